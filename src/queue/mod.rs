//! The queue: an `SQLite` database that a login appends to and the sender delivers from.
//!
//! Events are one table, in the order in which they were recorded. Each target has a cursor into it: what
//! is behind the cursor is settled, what is beyond it is pending. Only the exceptions, events that one
//! service refused, have rows of their own. So a login writes one page and a delivered message one more,
//! however many events and targets there are: flash wears out by the page.

mod backlog;
mod connection;
mod cursors;
mod dead_letters;
mod deliveries;
mod go_database;
mod history;
mod judging;
mod known;
mod lately;
mod memory;
mod noted;
mod open;
mod overflow;
mod repair;
mod repeats;
mod roster;
mod row;
mod schema;
mod sessions;
mod settings;
pub mod spool;
mod sql;
mod targets;
#[cfg(test)]
mod tests;
mod trouble;
mod work;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub use backlog::Due;
pub use connection::Role;
pub use dead_letters::{DeadLetter, Loss};
pub use deliveries::{Batch, Cause, Failure, Take};
pub use history::{Exceptional, Progress};
pub use judging::Judgment;
pub use noted::Noted;
pub use row::{EventId, Row};
pub use sessions::{Context, OpenSession, are_twins, session_key};
pub use settings::{Limits, ORPHANS, Paths};
pub use targets::{Counts, TargetState, Wait};
pub use trouble::{disk_trouble, trouble};

use crate::error::{Error, Kind};
use crate::event::{Event, Uid};
use crate::files;
use crate::locks::Holder;
use crate::queue::sql::{SqlResult, value};

/// Pages in the write-ahead log at which a login moves them into the database. The next process to open
/// the queue reads them all, so they must stay few even where no sender runs. `SQLite`'s own checkpoints
/// won't do: their progress is lost when the last connection closes.
const HOOK_WAL_PAGES: i64 = 64;

/// The same for the sender, for which nobody is waiting.
const SENDER_WAL_PAGES: i64 = 32;

/// Bytes that the file of the write-ahead log may keep for later.
const WAL_BYTES: i64 = 256 * 1024;

/// An open queue.
pub struct Queue {
    connection: Connection,
    path: PathBuf,
    /// Whether the name of the write-ahead log is known to be on the disk.
    is_wal_named: bool,
    /// Whether it is a copy in memory, of which nothing is kept.
    is_copy: bool,
    /// Held while the file is open, except by the sender.
    open_lock: Option<File>,
}

impl Queue {
    /// Opens the queue, creates it if it is missing, and brings its schema up to date. For the sender it
    /// also imports the events of a Go program's database and of a repair that was cut off.
    ///
    /// An error of the kind [`Kind::Locked`] means that another process keeps this one out.
    pub fn open(path: &Path, role: Role) -> Result<Self, Error> {
        let lock = match role {
            Role::Hook => open::queue_for_lock(path),
            Role::Sender => open::wait_for_lock(path)?,
        };
        open::make_private(open::files(path)?);
        let mut queue = open::open(path, role).map_err(failed("open the queue", path))?;
        // The sender stays for long, and writes between two logins.
        queue.open_lock = lock.filter(|_| role == Role::Hook);
        if role == Role::Sender {
            repair::restore(&mut queue)?;
        }
        Ok(queue)
    }

    /// Opens the queue for a look, which creates and changes nothing; `None` if there is none yet.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, Error> {
        if !path.try_exists().map_err(Error::file("examine", path))? {
            return Ok(None);
        }
        let lock = open::wait_for_existing_lock(path)?;
        open::files(path)?;
        let queue = open::open_to_read(path).map_err(failed("read the queue", path))?;
        Ok(queue.map(|queue| Self { open_lock: lock, ..queue }))
    }

    /// The process that keeps others out of the queue now, if it can be seen from here.
    pub fn holder(path: &Path) -> Option<Holder> {
        open::holder(path)
    }

    /// Whether a repair was cut off, and left events that the next `send` imports.
    pub fn is_being_repaired(path: &Path) -> bool {
        repair::is_unfinished(path)
    }

    /// Ends a login's work. The closing is left to the end of the process, which comes at once: what was
    /// committed is on the disk, and a login is spared two dozen system calls.
    pub fn leave(self) {
        self.shorten_wal(HOOK_WAL_PAGES);
        std::mem::forget(self);
    }

    /// Appends events durably, in one transaction: when this returns they are on the disk.
    pub fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        self.write("record in the queue", |connection| {
            events.iter().try_for_each(|event| row::insert(connection, event))
        })
    }

    /// Appends those events that aren't there yet: a login that was cut off may have left the same one in
    /// the queue and in the spool.
    pub fn import(&mut self, events: &[Event]) -> Result<(), Error> {
        self.write("record in the queue", |connection| {
            let mut known: HashSet<Uid> = row::uids_at_the_moments_of(connection, events)?;
            let mut new = events.iter().filter(|event| known.insert(event.uid));
            new.try_for_each(|event| row::insert(connection, event))
        })
    }

    /// How many events there are, delivered ones included.
    pub fn count(&self) -> Result<i64, Error> {
        self.read(|connection| value(connection, "SELECT count(*) FROM event", &[]))
    }

    /// When the newest event happened, in milliseconds since 1970 in UTC; `None` if there is none.
    pub fn newest_ms(&self) -> Result<Option<i64>, Error> {
        self.read(|connection| value(connection, "SELECT (SELECT utc_ms FROM event ORDER BY id DESC LIMIT 1)", &[]))
    }

    /// Ends the sender's work: the next login finds a short log.
    pub fn close(self) {
        self.shorten_wal(SENDER_WAL_PAGES);
    }

    /// Moves the write-ahead log into the database if it has become long, and begins it again. Nothing
    /// depends on it: what can't be moved now is moved another time. A process that reads the old state (a
    /// backup, perhaps) is not waited for, because waiting here would keep the others from writing.
    ///
    /// The file keeps its length: a sync of blocks that are written over has no metadata to wait for,
    /// and wears flash out less, than one of blocks that are new.
    fn shorten_wal(&self, limit: i64) {
        let checkpoint = |mode: &str| {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            self.connection.query_row(&sql, [], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?)))
        };
        let is_long = checkpoint("NOOP").is_ok_and(|(_, pages)| pages >= limit);
        if !is_long || self.connection.busy_timeout(Duration::ZERO).is_err() {
            return;
        }
        if checkpoint("RESTART").is_ok_and(|(is_busy, _)| !is_busy) {
            // What was moved counts as moved for others only when the next page is in its place.
            let _ = self.connection.execute_batch(&format!("PRAGMA journal_size_limit = {WAL_BYTES}"));
            let _ = schema::write_version(&self.connection);
        }
    }

    /// Runs `change` in one transaction. Syncs the directory before anything is written into an empty log, so
    /// that a log that is in use has its name on the disk, even if the process that made it was killed. `SQLite`
    /// would do so at every first write of a connection, and so at every login (see `.cargo/config.toml`).
    fn write<T>(&mut self, doing: &'static str, change: impl FnOnce(&Connection) -> SqlResult<T>) -> Result<T, Error> {
        if !self.is_wal_named {
            files::sync_directory_of(&self.path);
            self.is_wal_named = true;
        }
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run(&mut self.connection).map_err(failed(doing, &self.path))
    }

    /// Runs `question`, which only reads.
    fn read<T>(&self, question: impl FnOnce(&Connection) -> SqlResult<T>) -> Result<T, Error> {
        question(&self.connection).map_err(failed("read the queue", &self.path))
    }
}

/// Attaches what was done to which database: `.map_err(failed("open", path))`.
fn failed(doing: &'static str, path: &Path) -> impl Fn(Box<rusqlite::Error>) -> Error {
    move |why| {
        if repair::is_damage(&why) {
            return Kind::Damaged { path: path.into(), why: why.to_string() }.into();
        }
        if open::is_busy(&why) {
            let holder = open::holder(path).map(|holder| holder.pid);
            return Kind::Locked { doing, path: path.into(), holder }.into();
        }
        let path = path.to_path_buf();
        match trouble::explain(&path, &why) {
            Some(why) => Kind::Unwritable { doing, path, why }.into(),
            None => Kind::Queue { doing, path, why: why.to_string() }.into(),
        }
    }
}
