//! The configuration: TOML in, checked values out, every mistake with its file and line.
//!
//! It is read in two ways. [`Hook`] is the little that a login needs, and tolerates mistakes elsewhere in the file.
//! [`Config`] is the whole file, for all other commands, and any mistake is an error.

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

/// The configuration file, unless `--config` names another.
pub const FILE: &str = "/etc/ssh-session-notifier/config.toml";

/// Bytes of the file. A thousand allowlisted networks take less than a tenth of this.
const FILE_LIMIT: u64 = 1 << 20;

const SECTIONS: [&str; 7] = ["host", "notification", "allowlist", "rule", "hook", "queue", "network"];

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// Where the queue is.
    pub paths: Paths,
    /// How much the queue keeps, and for how long.
    pub limits: Limits,
    /// The timeout, the proxy and the heartbeat's address.
    pub network: http::Settings,
    /// The host's name in notices.
    pub host: Field,
    /// The time zone in notices.
    pub zone: Zone,
    /// Where notices go.
    pub targets: Vec<Notifier>,
    /// Which sessions the hook doesn't record.
    pub allowlist: Allowlist,
    /// How urgent the notices of other sessions are.
    pub rules: Rules,
    /// The file that it was read from.
    pub file: PathBuf,
    /// When the file last changed, in UTC milliseconds.
    pub changed_ms: i64,
    /// Other files that it names.
    named: Vec<PathBuf>,
}

impl Config {
    pub fn target_names(&self) -> Vec<&str> {
        self.targets.iter().map(|target| target.name.as_str()).collect()
    }

    /// Whether any request uses TLS.
    pub fn is_secure(&self) -> bool {
        self.targets.iter().any(Notifier::is_secure)
            || self.network.heartbeat_url.as_ref().is_some_and(http::Url::is_secure)
    }

    /// Checks the text of `file`.
    fn parse(file: &Path, text: &str, secrets: &[KnownSecret]) -> Result<Self, Error> {
        let reader = Reader::with_secrets(file, text, secrets);
        let document = reader.parse();
        let config = reader.finish(document.as_ref().and_then(|document| Self::from_root(reader.root(document))))?;
        Ok(Self { file: file.into(), named: reader.named(), ..config })
    }

    /// Identifies these settings by the device, inode, size and times of the file and of those that it names. It
    /// reveals nothing about secrets.
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
        // Without a valid zone the configuration is refused, so these rules are never used.
        let rules = Rules::configure(rules, trust, zone.as_ref().unwrap_or(&Zone::utc()));
        let (paths, limits) = queue(root.section("queue"));
        let network = http::Settings::configure(root.section("network"));
        root.finish();
        let (host, zone, file, named) = (host?, zone?, PathBuf::new(), Vec::new());
        Some(Self { paths, limits, network, host, zone, targets, allowlist, rules, file, changed_ms: 0, named })
    }
}

/// The file's text, not yet checked. Root reads it, and gives up its privileges before anything else is done with it.
pub struct Source {
    file: PathBuf,
    text: String,
    secrets: Vec<KnownSecret>,
    warning: Option<String>,
    changed_ms: i64,
}

impl Source {
    /// Reads the file. As root, also reads those files with secrets that only root can have written.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let (bytes, metadata) = read_file(file)?;
        let warning = check_owner(file, &metadata, geteuid().as_raw())?;
        let text = text(file, &bytes)?.to_owned();
        let changed_ms = metadata.ctime().saturating_mul(1000);
        Ok(Self { file: file.into(), secrets: root_secrets(&text), text, warning, changed_ms })
    }

    /// Where the queue is. If those settings have a mistake, returns every mistake in the file.
    pub fn paths(&self) -> Result<Paths, Error> {
        let reader = Reader::new(&self.file, &self.text);
        let paths = reader.parse().map(|document| queue(reader.root(&document).section("queue")).0);
        match paths.filter(|_| !reader.has_mistakes()) {
            Some(paths) => Ok(paths),
            None => Config::parse(&self.file, &self.text, &self.secrets).map(|config| config.paths),
        }
    }

    /// Checks the whole file and reads the other files that it names. May return a warning too.
    pub fn check(self) -> Result<(Config, Option<String>), Error> {
        let config = Config::parse(&self.file, &self.text, &self.secrets)?;
        Ok((Config { changed_ms: self.changed_ms, ..config }, self.warning))
    }
}

/// Reads the file, and its metadata from the open descriptor.
fn read_file(file: &Path) -> Result<(Vec<u8>, Metadata), Error> {
    files::read(file, FILE_LIMIT, Links::Follow).map_err(|why| match why.kind() {
        // Usually, nothing was installed yet.
        io::ErrorKind::NotFound => {
            let next = io::Error::new(why.kind(), format!("{why}; install.sh creates it, --config names another file"));
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

/// Refuses a configuration that somebody else could have written, by the metadata of its open descriptor. `user`
/// reads it; root trusts only its own files. Returns a warning if everybody can read the secrets in it.
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
