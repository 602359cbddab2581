//! The queue: an `SQLite` database. Logins append to it, and the sender delivers from it.
//!
//! Events are one table, in the order of recording. Each target has a cursor into it: events up to the cursor are
//! settled, later ones are pending. Only exceptions, such as an event that one service refused, have rows of their
//! own. So a login writes one page and a delivered message one more, however many events and targets there are. Flash
//! wears out by the page.

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

/// Pages in the write-ahead log at which a login checkpoints it. The next process to open the queue reads them all,
/// so they must stay few even where no sender runs. `SQLite`'s own checkpoints won't do: their progress is lost when
/// the last connection closes.
const HOOK_WAL_PAGES: i64 = 64;

/// The same for the sender, which nobody waits for.
const SENDER_WAL_PAGES: i64 = 32;

/// Bytes of the write-ahead log's file that are kept for reuse.
const WAL_BYTES: i64 = 256 * 1024;

/// An open queue.
pub struct Queue {
    connection: Connection,
    path: PathBuf,
    /// Whether the directory entry of the write-ahead log is known to be on the disk.
    is_wal_named: bool,
    /// Whether it is a copy in memory, of which nothing is kept.
    is_copy: bool,
    /// Held while the file is open, except by the sender.
    open_lock: Option<File>,
}

impl Queue {
    /// Opens the queue, creates it if it is missing, and brings its schema up to date. The sender also imports the
    /// events of a Go program's database and of an interrupted repair.
    ///
    /// An error of the kind [`Kind::Locked`] means that another process holds a lock.
    pub fn open(path: &Path, role: Role) -> Result<Self, Error> {
        let lock = match role {
            Role::Hook => open::queue_for_lock(path),
            Role::Sender => open::wait_for_lock(path)?,
        };
        open::make_private(open::files(path)?);
        let mut queue = open::open(path, role).map_err(failed("open the queue", path))?;
        // The sender runs for long, and other processes must be able to open the queue meanwhile.
        queue.open_lock = lock.filter(|_| role == Role::Hook);
        if role == Role::Sender {
            repair::restore(&mut queue)?;
        }
        Ok(queue)
    }

    /// Opens the queue read-only and creates nothing; `None` if there is no queue yet.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, Error> {
        if !path.try_exists().map_err(Error::file("examine", path))? {
            return Ok(None);
        }
        let lock = open::wait_for_existing_lock(path)?;
        open::files(path)?;
        let queue = open::open_to_read(path).map_err(failed("read the queue", path))?;
        Ok(queue.map(|queue| Self { open_lock: lock, ..queue }))
    }

    /// The process that holds a lock on the queue now, if it is visible from here.
    pub fn holder(path: &Path) -> Option<Holder> {
        open::holder(path)
    }

    /// Whether an interrupted repair left events that the next `send` imports.
    pub fn is_being_repaired(path: &Path) -> bool {
        repair::is_unfinished(path)
    }

    /// Ends a login's work without closing the database. Committed data is on the disk and the process exits at once,
    /// so closing would only cost the login two dozen system calls.
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

    /// Appends the events that aren't in the queue yet: a login that was killed may have left the same event in the
    /// queue and in the spool.
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

    /// Ends the sender's work, and leaves a short log for the next login.
    pub fn close(self) {
        self.shorten_wal(SENDER_WAL_PAGES);
    }

    /// Checkpoints the write-ahead log if it is long, and restarts it. Nothing depends on it: the next checkpoint
    /// moves the pages that this one can't. It doesn't wait for a process that reads the old state, such as a backup,
    /// because waiting here would block other writers.
    ///
    /// The file keeps its length: overwriting existing blocks changes no metadata, so a sync is faster and wears
    /// flash out less.
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
            // Other processes see the restart only when the next page is written.
            let _ = self.connection.execute_batch(&format!("PRAGMA journal_size_limit = {WAL_BYTES}"));
            let _ = schema::write_version(&self.connection);
        }
    }

    /// Runs `change` in one transaction. Before the first write to an empty log it syncs the directory, so that the
    /// log's name is on the disk even if the process that created the log was killed. `SQLite` would do so at the
    /// first write of every connection, and so at every login (see `.cargo/config.toml`).
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

    /// Runs a read-only `question`.
    fn read<T>(&self, question: impl FnOnce(&Connection) -> SqlResult<T>) -> Result<T, Error> {
        question(&self.connection).map_err(failed("read the queue", &self.path))
    }
}

/// Adds the operation and the database to an error: `.map_err(failed("open", path))`.
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
