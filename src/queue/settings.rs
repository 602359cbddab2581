//! The settings of the queue: where it is, how much it keeps, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use crate::toml::{PathKind, Section};

/// The database, unless `queue.path` names another one.
const DATABASE: &str = "/var/lib/ssh-session-notifier/session_events.db";

/// The spool, unless `queue.spool` names another one.
const SPOOL: &str = "/run/ssh-session-notifier";

/// Where a login keeps its event if it can't know where the queue is, because the configuration can't be read or
/// trusted. The first place survives a reboot; the second is for a disk that can't be written.
pub const ORPHANS: [&str; 2] = ["/var/lib/ssh-session-notifier/orphans", "/run/ssh-session-notifier/orphans"];

const DAY: Duration = Duration::from_hours(24);

/// Where events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The database. The owner of its directory is the service user.
    pub database: PathBuf,
    /// The directory for events that the database can't take.
    pub spool: PathBuf,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long delivered events are kept.
    pub history: Duration,
    /// How long after its first attempt a failing delivery becomes a dead letter.
    pub give_up: Duration,
    /// How many events may be pending for one target.
    pub pending: i64,
}

impl Default for Paths {
    fn default() -> Self {
        Self { database: DATABASE.into(), spool: SPOOL.into() }
    }
}

impl Paths {
    /// Reads `path` and `spool` of the section `queue`; the caller reads the rest.
    pub fn configure(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            database: section.path("path", PathKind::File).unwrap_or(default.database),
            spool: section.path("spool", PathKind::Directory).unwrap_or(default.spool),
        }
    }
}

impl Limits {
    /// Reads `history_days`, `give_up_days` and `max_waiting` of the section `queue`.
    pub fn configure(section: &mut Section<'_>) -> Self {
        let days = |days: Option<i64>, default: u32| days.and_then(|days| u32::try_from(days).ok()).unwrap_or(default);
        Self {
            history: DAY * days(section.integer("history_days", 0..=3650), 30),
            give_up: DAY * days(section.integer("give_up_days", 1..=3650), 7),
            pending: section.integer("max_waiting", 1..=1_000_000).unwrap_or(10_000),
        }
    }
}
