//! The configuration: TOML in, checked values out, every mistake with its file and line.
//!
//! It is read in two ways. [`Hook`] is the little that a login needs, whatever else is wrong in the file.
//! [`Config`] is all of it, for the commands that an administrator or a scheduler runs: any mistake stops
//! them.

mod hook;
#[cfg(test)]
mod tests;

pub use hook::Hook;

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::error::{Error, Kind};
use crate::files::{self, Links};
use crate::http;
use crate::notifier::{self, Notifier};
use crate::privileges::SERVICE_USER;
use crate::queue::{Limits, Paths};
use crate::rules::{self, Allowlist, Rules, Trust};
use crate::text::Field;
use crate::toml::{KnownSecret, Reader, Section, root_secrets};
use crate::tz::Zone;

/// Where the configuration is unless `--config` names another place.
pub const FILE: &str = "/etc/ssh-session-notifier/config.toml";

/// Bytes of the file. A thousand allowlisted networks take less than a tenth of it.
const FILE_LIMIT: u64 = 1 << 20;

/// The file's sections.
const SECTIONS: [&str; 7] = ["host", "notification", "allowlist", "rule", "hook", "queue", "network"];

/// Everything.
#[derive(Debug)]
pub struct Config {
    /// Where the queue is.
    pub paths: Paths,
    /// How much the queue keeps, and for how long.
    pub limits: Limits,
    /// How requests are made.
    pub network: http::Settings,
    /// What the host is called in notices.
    pub host: Field,
    /// The zone that times are shown in.
    pub zone: Zone,
    /// Where notices go.
    pub targets: Vec<Notifier>,
    /// Which sessions are not recorded; the hook sees to that.
    pub allowlist: Allowlist,
    /// What becomes of the others.
    pub rules: Rules,
    /// The file itself.
    pub file: PathBuf,
    /// When it was changed last, in UTC milliseconds.
    pub changed_ms: i64,
    /// The other files that it names.
    named: Vec<PathBuf>,
}

impl Config {
    /// The targets' names.
    pub fn target_names(&self) -> Vec<&str> {
        self.targets.iter().map(|target| target.name.as_str()).collect()
    }

    /// Whether anything is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.targets.iter().any(Notifier::is_secure)
            || self.network.heartbeat_url.as_ref().is_some_and(http::Url::is_secure)
    }

    /// Checks a text that came from `file`.
    fn parse(file: &Path, text: &str, secrets: &[KnownSecret]) -> Result<Self, Error> {
        let reader = Reader::with_secrets(file, text, secrets);
        let document = reader.parse();
        let config = reader.finish(document.as_ref().and_then(|document| Self::from_root(reader.root(document))))?;
        Ok(Self { file: file.into(), named: reader.named(), ..config })
    }

    /// What tells these settings from others: the present state of the file and of those that it names, by device,
    /// inode, size and times. Nothing can be learned of a secret from it.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for path in iter::once(&self.file).chain(&self.named) {
            let state = fs::metadata(path).map(|file| {
                let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
                (file.dev(), file.ino(), file.size(), times)
            });
            state.ok().hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }

    fn from_root(mut root: Section<'_>) -> Option<Self> {
        let (host, zone) = host(root.section("host"));
        let targets = notifier::configure(root.section("notification"));
        let allowlist = Allowlist::configure(root.section("allowlist"));
        let trust = Trust::configure(root.section("hook"));
        let rules = root.sections("rule", rules::LIMIT);
        // Without a zone there is a mistake, and nothing of this is used.
        let rules = Rules::configure(rules, trust, zone.as_ref().unwrap_or(&Zone::utc()));
        let (paths, limits) = queue(root.section("queue"));
        let network = http::Settings::configure(root.section("network"));
        root.finish();
        let (host, zone, file, named) = (host?, zone?, PathBuf::new(), Vec::new());
        Some(Self { paths, limits, network, host, zone, targets, allowlist, rules, file, changed_ms: 0, named })
    }
}

/// The file before it is checked: root reads it, and is given up before anything else is done with it.
pub struct Source {
    file: PathBuf,
    text: String,
    secrets: Vec<KnownSecret>,
    warning: Option<String>,
    changed_ms: i64,
}

impl Source {
    /// Reads the file, and if this is root, those with secrets that are root's alone.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let (bytes, metadata) = read_file(file)?;
        let warning = check_owner(file, &metadata, geteuid().as_raw())?;
        let text = text(file, &bytes)?.to_owned();
        let changed_ms = metadata.ctime().saturating_mul(1000);
        Ok(Self { file: file.into(), secrets: root_secrets(&text), text, warning, changed_ms })
    }

    /// Where the queue is. With a mistake in that, every mistake in the file is returned.
    pub fn paths(&self) -> Result<Paths, Error> {
        let reader = Reader::new(&self.file, &self.text);
        let paths = reader.parse().map(|document| queue(reader.root(&document).section("queue")).0);
        match paths.filter(|_| !reader.has_mistakes()) {
            Some(paths) => Ok(paths),
            None => Config::parse(&self.file, &self.text, &self.secrets).map(|config| config.paths),
        }
    }

    /// Checks the whole file, reads the other files that it names, and returns a warning too, if any.
    pub fn check(self) -> Result<(Config, Option<String>), Error> {
        let config = Config::parse(&self.file, &self.text, &self.secrets)?;
        Ok((Config { changed_ms: self.changed_ms, ..config }, self.warning))
    }
}

/// Reads the file, and what its descriptor says of it.
fn read_file(file: &Path) -> Result<(Vec<u8>, Metadata), Error> {
    files::read(file, FILE_LIMIT, Links::Follow).map_err(|why| match why.kind() {
        // The next step, where nothing was installed yet.
        io::ErrorKind::NotFound => {
            let next = io::Error::new(why.kind(), format!("{why}; install.sh makes one, --config names another"));
            Error::file("read", file)(next)
        }
        _ => Error::file("read", file)(why),
    })
}

fn text<'b>(file: &Path, bytes: &'b [u8]) -> Result<&'b str, Error> {
    str::from_utf8(bytes).map_err(|why| {
        let line = bytes[..why.valid_up_to()].split(|byte| *byte == b'\n').count();
        Kind::Config(vec![format!("{}:{line}: this is not UTF-8", file.display())]).into()
    })
}

/// Refuses a configuration that somebody else could have written, as its open descriptor says. `user` reads
/// it; root believes only its own files. The answer is a warning if everybody can read the secrets in it.
fn check_owner(file: &Path, metadata: &Metadata, user: u32) -> Result<Option<String>, Error> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let name = file.display();
    let what = if owner != 0 && owner != user {
        format!("is owned by user {owner}; `chown root` it: its owner decides what is sent")
    } else if mode & 0o022 != 0 {
        format!("can be written by others (mode {mode:04o}); `chmod go-w` it")
    } else {
        let remedy = format!("chgrp {SERVICE_USER} {name} && chmod 0640 {name}");
        let warning = || format!("{name} can be read by everybody (mode {mode:04o}); `{remedy}`");
        return Ok((mode & 0o004 != 0).then(warning));
    };
    Err(Kind::Config(vec![format!("{name}:1: the file {what}")]).into())
}

fn queue(mut section: Section<'_>) -> (Paths, Limits) {
    let settings = (Paths::configure(&mut section), Limits::configure(&mut section));
    section.finish();
    settings
}

fn host(mut section: Section<'_>) -> (Option<Field>, Option<Zone>) {
    let name = section.required("name", Section::string).and_then(|found| {
        section.check("name", &found, |name| {
            let field = Field::new(name.as_bytes());
            let is_whole = !field.is_empty() && field.as_str() == name.trim();
            if is_whole { Ok(field) } else { Err("must be one line of printable characters, at most 255 of them") }
        })
    });
    let zone = match section.string("timezone") {
        None => Some(Zone::utc()),
        Some(found) => {
            section.check("timezone", &found, |name| Zone::open(name).map_err(|why| format!("cannot be used: {why}")))
        }
    };
    section.finish();
    (name, zone)
}
