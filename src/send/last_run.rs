//! The last run: when `send` last ran and how it went, for `status` to show.
//!
//! ```text
//! at 1795758639470 2788352 295c187d-2d9e-4c59-a2a9-93d694b9557f
//! by once
//! failed discord: HTTP 503; everything is kept and retried in 2 min
//! heartbeat 1795758579470 2728352 295c187d-2d9e-4c59-a2a9-93d694b9557f
//! heartbeat_failed HTTP 404: check the address
//! end
//! ```
//!
//! The file is replaced after every run, so it is kept only in memory: writing to flash so often would wear it out. It
//! has its own directory, because `--watch` wakes at every change in the spool itself.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health};
use crate::files::{self, Links};
use crate::text::Field;

/// The directory in the spool, and the file in it.
const DIRECTORY: &str = "sender";
const FILE: &str = "last-run";

/// The file's name while it is written.
const NEW_FILE: &str = "last-run.new";

/// Directories below this count as memory on any file system: a container may have no tmpfs there.
const MEMORY: &str = "/run";

/// Bytes of the file: enough for two reasons and three moments.
const FILE_LIMIT: u64 = 4096;

/// Characters of a reason.
const REASON_LIMIT: usize = 500;

/// How a run is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By a scheduler or by hand.
    #[default]
    Once,
    /// As a round of `send --watch`.
    Watch,
}

/// The record of the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastRun {
    /// When the run ended.
    pub at: Stamp,
    /// How it was started.
    pub mode: Mode,
    /// The first failure; empty if there was none.
    pub failure: String,
    /// The state of the heartbeat.
    pub heartbeat: Heartbeat,
}

/// The state of the heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the monitor was last reached.
    pub success: Option<Stamp>,
    /// Why the last call failed; empty if it succeeded.
    pub failure: String,
}

/// The last run, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Runs are not recorded, for this reason.
    NotKept(&'static str),
    /// There was no run since the host started.
    Nothing,
    /// The last run.
    Run(LastRun),
}

/// Records a run that has just ended; `called` is the result of the call to the monitor, if there was one. A failure
/// to record is ignored.
pub fn record(config: &Config, mode: Mode, health: &Health, called: Option<&Health>) {
    if is_in_memory(&config.paths.spool) {
        let mut heartbeat = Heartbeat::default();
        if config.network.heartbeat_url.is_some() {
            heartbeat = match read(config) {
                Record::Run(last) => last.heartbeat,
                Record::NotKept(_) | Record::Nothing => heartbeat,
            };
            match called {
                Some(Health::Well) => heartbeat = Heartbeat { success: Some(Stamp::now()), failure: String::new() },
                Some(Health::Failed(why)) => heartbeat.failure = reason(why),
                None => {}
            }
        }
        let failure = match health {
            Health::Well => String::new(),
            Health::Failed(why) => reason(why),
        };
        let _ = write(&config.paths.spool, &LastRun { at: Stamp::now(), mode, failure, heartbeat });
    }
}

/// Reads the last run's record. A file of another user counts as missing.
pub fn read(config: &Config) -> Record {
    let spool = &config.paths.spool;
    if !is_in_memory(spool) {
        return Record::NotKept("queue.spool is not in memory");
    }
    if !spool.exists() {
        return Record::NotKept("queue.spool is missing; the next login creates it");
    }
    let own = || {
        let directory = spool.join(DIRECTORY);
        is_own(&directory).then(|| files::read(&directory.join(FILE), FILE_LIMIT, Links::Refuse).ok())?
    };
    let own = own().filter(|(_, file)| file.uid() == geteuid().as_raw());
    own.and_then(|(bytes, _)| parse(&bytes)).map_or(Record::Nothing, Record::Run)
}

/// Whether the spool is in memory, so that writing to it doesn't wear out flash.
fn is_in_memory(spool: &Path) -> bool {
    spool.starts_with(MEMORY) || files::is_in_memory(spool)
}

/// Whether it is a real directory of this user.
fn is_own(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}

fn write(spool: &Path, run: &LastRun) -> Result<(), Error> {
    let directory = spool.join(DIRECTORY);
    if !is_own(&directory) {
        files::ensure_own_directory(spool)?;
        DirBuilder::new().mode(0o700).create(&directory).map_err(Error::file("create", &directory))?;
    }
    let (path, new): (PathBuf, PathBuf) = (directory.join(FILE), directory.join(NEW_FILE));
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let file = create().or_else(|why| match why.kind() {
        // A killed run left it behind.
        io::ErrorKind::AlreadyExists => fs::remove_file(&new).and_then(|()| create()),
        _ => Err(why),
    });
    let put = |mut file: File| file.write_all(print(run).as_bytes()).and_then(|()| fs::rename(&new, &path));
    file.and_then(put).inspect_err(|_| drop(fs::remove_file(&new))).map_err(Error::file("write", &path))
}

/// The first line of a message, cut to the limit.
fn reason(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    Field::bounded(line.as_bytes(), REASON_LIMIT).as_str().into()
}

fn print(run: &LastRun) -> String {
    let mode = match run.mode {
        Mode::Once => "once",
        Mode::Watch => "watch",
    };
    let mut text = format!("at {}\nby {mode}\n", run.at);
    let success = run.heartbeat.success.as_ref().map(Stamp::to_string).unwrap_or_default();
    for (name, value) in
        [("failed", &run.failure), ("heartbeat", &success), ("heartbeat_failed", &run.heartbeat.failure)]
    {
        if !value.is_empty() {
            let _ = writeln!(text, "{name} {value}");
        }
    }
    text + "end\n"
}

/// Parses the file's text; `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Option<LastRun> {
    let text = String::from_utf8_lossy(bytes);
    let mut run = LastRun::default();
    for line in text.strip_suffix("end\n")?.lines() {
        match line.split_once(' ')? {
            ("at", moment) => run.at = Stamp::parse(moment),
            ("by", mode) => run.mode = if mode == "watch" { Mode::Watch } else { Mode::Once },
            ("failed", why) => run.failure = reason(why),
            ("heartbeat", moment) => run.heartbeat.success = Some(Stamp::parse(moment)),
            ("heartbeat_failed", why) => run.heartbeat.failure = reason(why),
            // A newer version wrote this line.
            _ => {}
        }
    }
    (run.at != Stamp::default()).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> LastRun {
        let at = |boot_ms| Stamp { utc_ms: 1_795_758_639_470, boot_ms, boot_id: "b".into() };
        let heartbeat = Heartbeat { success: Some(at(5)), failure: "HTTP 404".into() };
        LastRun { at: at(7), mode: Mode::Watch, failure: "discord: HTTP 503".into(), heartbeat }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for run in [whole(), LastRun { at: whole().at, ..LastRun::default() }] {
            assert_eq!(parse(print(&run).as_bytes()), Some(run));
        }
    }

    #[test]
    fn a_truncated_record_is_refused_and_no_damage_panics() {
        let text = print(&whole());
        for length in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..length]), None, "{length}");
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = parse(&bytes);
        }
        for text in ["", "end\n", "at x\nend\n", "at\nend\n"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_reason_is_one_printable_line_of_bounded_length() {
        assert_eq!(reason("a\x1b[2J\nb"), "a\u{fffd}[2J");
        assert!(reason(&"x".repeat(100_000)).chars().count() <= REASON_LIMIT + 1);
        let long = LastRun { failure: reason(&"王".repeat(9999)), ..whole() };
        let both = LastRun { heartbeat: Heartbeat { failure: long.failure.clone(), ..whole().heartbeat }, ..long };
        assert!(print(&both).len() as u64 <= FILE_LIMIT, "{}", print(&both).len());
    }
}
