//! The configuration: TOML in, checked values out, every mistake with its file and line.
//!
//! It is read twice over. [`Hook`] is the little that a login needs, and whatever else is wrong in
//! the file doesn't touch it. [`Config`] is all of it, for the commands that an administrator or a
//! scheduler runs, and any mistake there stops them.

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::error::{Error, Kind};
use crate::notifier::Notifier;
use crate::queue::{Limits, Paths};
use crate::rules::{Allowlist, Network};
use crate::text::{Field, Secret};
use crate::toml::{PathKind, Reader, Section};
use crate::tz::Zone;

/// Bytes of the file. A thousand allowlisted networks take less than a tenth of it.
const FILE_LIMIT: u64 = 1 << 20;

/// Seconds that one request may take, unless `network.timeout` says otherwise. A run has fifty.
const TIMEOUT: i64 = 10;

/// The part that the hook needs.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Where the queue is.
    pub paths: Paths,
    /// Whose sessions need no notice.
    pub allowlist: Allowlist,
}

/// Everything.
#[derive(Debug)]
pub struct Config {
    /// Where the queue is.
    pub paths: Paths,
    /// What the host is called in notices.
    pub host: Field,
    /// The zone that times are shown in.
    pub zone: Zone,
    /// Where notices go.
    pub targets: Vec<Notifier>,
    /// How long one request may take.
    pub timeout: Duration,
    /// The only authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What to call after a run that left nothing overdue.
    pub heartbeat_url: Option<Secret>,
    /// When deliveries are given up, and how long delivered events are kept.
    pub limits: Limits,
}

impl Hook {
    /// Reads what the hook needs. There is always an answer: with a mistake, what could be read of
    /// the paths, an allowlist that is empty, and the mistake to be said.
    pub fn read(file: &Path) -> (Self, Option<Error>) {
        let nothing = Self { paths: Paths::default(), allowlist: Allowlist::default() };
        let read = read_file(file).and_then(|(text, metadata)| {
            // Whoever can write the file could send root anywhere, or silence what he does himself.
            check_owner(file, &metadata, geteuid().as_raw()).map(|_| text)
        });
        let text = match read {
            Ok(text) => text,
            Err(why) => return (nothing, Some(why)),
        };
        let reader = Reader::new(file, &text);
        let hook = reader.parse().map(|document| {
            let mut root = reader.root(&document);
            let paths = Paths::configure(&mut root.section("queue"));
            Self { paths, allowlist: allowlist(root.section("allowlist")) }
        });
        let paths = hook.as_ref().map_or_else(Paths::default, |hook| hook.paths.clone());
        match reader.finish(hook) {
            Ok(hook) => (hook, None),
            Err(why) => (Self { paths, ..nothing }, Some(why)),
        }
    }
}

impl Config {
    /// Reads and checks the whole file, if it is fit to be believed; answers a warning too, if any. The
    /// files that it names are read last: they may be root's.
    pub fn read(file: &Path) -> Result<(Self, Option<String>), Error> {
        let (text, metadata) = read_file(file)?;
        let warning = check_owner(file, &metadata, geteuid().as_raw())?;
        Self::parse(file, &text).map(|config| (config, warning))
    }

    /// Whether anything is reached over TLS.
    pub fn is_secure(&self) -> bool {
        let is_https = |url: &Secret| url.reveal().starts_with("https:");
        self.targets.iter().any(Notifier::is_secure) || self.heartbeat_url.as_ref().is_some_and(is_https)
    }

    /// Checks a text that came from `file`.
    fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let reader = Reader::new(file, text);
        let document = reader.parse();
        reader.finish(document.as_ref().and_then(|document| Self::from_root(reader.root(document))))
    }

    fn from_root(mut root: Section<'_>) -> Option<Self> {
        let (host, zone) = host(root.section("host"));
        let targets = Notifier::configure(root.section("notification"));
        allowlist(root.section("allowlist"));
        let mut queue = root.section("queue");
        let paths = Paths::configure(&mut queue);
        let limits = Limits::configure(&mut queue);
        queue.finish();
        let mut network = root.section("network");
        let timeout = network.integer("timeout", 1..=45).unwrap_or(TIMEOUT);
        let timeout = Duration::from_secs(timeout.unsigned_abs());
        let ca_file = network.path("ca_file", PathKind::Directory);
        let heartbeat_url = heartbeat_url(&mut network);
        network.finish();
        root.finish();
        Some(Self { paths, host: host?, zone: zone?, targets, timeout, ca_file, heartbeat_url, limits })
    }
}

/// Refuses a configuration that somebody else could have written, as its opened descriptor says;
/// `user` is who reads it, and as root believes nobody's file but root's. The answer is a warning when others can read the secrets in it.
fn check_owner(file: &Path, metadata: &Metadata, user: u32) -> Result<Option<String>, Error> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let name = file.display();
    if owner != 0 && owner != user {
        let what =
            format!("{name}:1: the file is owned by user {owner}; `chown root` it: its owner decides what is sent");
        return Err(Kind::Config(vec![what]).into());
    }
    if mode & 0o022 != 0 {
        let what = format!("{name}:1: the file can be written by others (mode {mode:04o}); `chmod go-w` it");
        return Err(Kind::Config(vec![what]).into());
    }
    Ok((mode & 0o004 != 0).then(|| format!("{name} can be read by everybody (mode {mode:04o}); `chmod o-r` it")))
}

/// Reads a regular file of bounded size, and what its descriptor says of it.
fn read_file(path: &Path) -> Result<(String, Metadata), Error> {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer, and a login with it.
    let nonblock = nix::libc::O_NONBLOCK;
    let file: File =
        OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(Error::file("read", path))?;
    let metadata = file.metadata().map_err(Error::file("read", path))?;
    let refuse = |what: &str| Error::from(Kind::Config(vec![format!("{}:1: {what}", path.display())]));
    if !metadata.is_file() {
        return Err(refuse("this is not a regular file"));
    }
    let expected = usize::try_from(metadata.len().min(FILE_LIMIT)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(expected + 1);
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(refuse("the file is larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("the file is not UTF-8"))?;
    Ok((text, metadata))
}

fn host(mut section: Section<'_>) -> (Option<Field>, Option<Zone>) {
    let name = section.required("name").and_then(|name| {
        let field = Field::new(name.value.as_bytes());
        if field.as_str() != name.value.trim() {
            section.mistake(&name, "name", "must be one line of printable characters, at most 255 of them");
        }
        Some(field).filter(|field| !field.is_empty())
    });
    let zone = match section.string("timezone") {
        None => Some(Zone::utc()),
        Some(found) => match Zone::open(&found.value) {
            Ok(zone) => Some(zone),
            Err(why) => {
                section.mistake(&found, "timezone", format!("cannot be used: {why}"));
                None
            }
        },
    };
    section.finish();
    (name, zone)
}

fn allowlist(mut section: Section<'_>) -> Allowlist {
    let mut networks = Vec::new();
    for found in section.strings("ips").unwrap_or_default() {
        match Network::parse(&found.value) {
            Some(network) => networks.push(network),
            None => section.mistake(
                &found,
                "ips",
                format!("has {:?}, which is neither an address nor a network such as 192.168.0.0/16", found.value),
            ),
        }
    }
    section.finish();
    Allowlist::new(networks)
}

/// The monitor's address; an empty one means none.
fn heartbeat_url(section: &mut Section<'_>) -> Option<Secret> {
    let found = section.secret("heartbeat_url", "heartbeat_url_file")?;
    if found.value.reveal().is_empty() { None } else { section.address("heartbeat_url", &found) }
}
