//! The queue: an `SQLite` database that a login appends to and the sender takes from.
//!
//! Events are one table, in the order in which they were recorded. Each target has a cursor into it
//! (what lies behind is settled), and only the exceptions, events that one service would not take,
//! have rows of their own: so a login writes one page and a delivered digest one more, however many
//! events and targets there are. Flash wears out by the page.

mod damage;
mod dead;
mod deliveries;
mod rows;
mod schema;
pub mod spool;
mod takeover;
mod targets;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

pub use deliveries::{Claim, Due, Setback};
pub use targets::{TargetState, Wait};

use crate::error::Error;
use crate::event::Event;

/// How long a login waits for another writer. All of it must stay within a second.
const HOOK_PATIENCE: Duration = Duration::from_millis(500);

/// How long the sender waits for one: logins take milliseconds.
const SENDER_PATIENCE: Duration = Duration::from_secs(5);

/// Pages of write-ahead log at which a login moves them into the database. The next one to open the
/// queue reads the whole log, so it must stay short even where no sender runs.
const HOOK_LOG_PAGES: u32 = 64;

/// The same for the sender, to whom nobody is waiting.
const SENDER_LOG_PAGES: u32 = 16;

/// Who is opening the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A login, that must not wait.
    Hook,
    /// The sender or an administrator's command.
    Sender,
}

/// An open queue.
pub struct Queue {
    connection: Connection,
    path: PathBuf,
    /// The log's name isn't on the disk yet: the first event is safe only when the directory is too.
    has_new_log: bool,
}

impl Queue {
    /// Opens the queue and makes it if it isn't there; a Go program's database is taken over.
    pub fn open(path: &Path, role: Role) -> Result<Self, Error> {
        Self::try_open(path, role).map_err(failed("open the queue", path))
    }

    /// Moves a damaged database aside ([`Error::Damaged`] said so), saves what can be read of it into
    /// a new one, and answers that and what to tell the administrator.
    pub fn repair(path: &Path, why: &str) -> Result<(Self, String), Error> {
        damage::repair(path, why)
    }

    fn try_open(path: &Path, role: Role) -> rusqlite::Result<Self> {
        let has_new_log = !schema::beside(path, "-wal").exists();
        let connection = connect(path, role)?;
        let connection = match schema::prepare(connection, path, role) {
            Err(why) if schema::is_without_shared_memory(&why) => schema::do_without_log(path, role)?,
            prepared => prepared?,
        };
        Ok(Self { connection, path: path.into(), has_new_log })
    }

    /// Appends events durably, in one transaction: when this returns they are on the disk.
    pub fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        let append = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for event in events {
                rows::insert(&transaction, event)?;
            }
            transaction.commit()
        };
        append(&mut self.connection).map_err(failed("record in the queue", &self.path))?;
        self.keep_log_name();
        Ok(())
    }

    /// Appends those events that aren't there yet: a login that was cut off may have left the same
    /// one in the queue and in the spool.
    pub fn import(&mut self, events: &[Event]) -> Result<(), Error> {
        let import = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for event in events {
                if !rows::has(&transaction, event)? {
                    rows::insert(&transaction, event)?;
                }
            }
            transaction.commit()
        };
        import(&mut self.connection).map_err(failed("record in the queue", &self.path))?;
        self.keep_log_name();
        Ok(())
    }

    /// Syncs the directory if the log in it is new. `SQLite` would do so at every first write of a
    /// connection, and so at every login (see `.cargo/config.toml`).
    fn keep_log_name(&mut self) {
        if std::mem::take(&mut self.has_new_log) {
            schema::sync_directory(&self.path);
        }
    }

    /// How many events there are, delivered ones included.
    pub fn count(&self) -> Result<i64, Error> {
        self.read(|connection| connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0)))
    }

    /// Runs `change` in one transaction.
    fn write<T>(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let path = &self.path;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let run = |transaction: rusqlite::Transaction<'_>| {
            let result = change(&transaction)?;
            transaction.commit().map(|()| result)
        };
        transaction.and_then(run).map_err(failed(doing, path))
    }

    /// Runs `question`, which only reads.
    fn read<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        question(&self.connection).map_err(failed("read the queue", &self.path))
    }
}

/// Opens the file with the settings that every connection has.
fn connect(path: &Path, role: Role) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let (patience, log_pages) = match role {
        Role::Hook => (HOOK_PATIENCE, HOOK_LOG_PAGES),
        Role::Sender => (SENDER_PATIENCE, SENDER_LOG_PAGES),
    };
    connection.busy_timeout(patience)?;
    // The file is the service user's, and may hold anything: nothing in its schema is to run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // A checkpoint costs two more syncs; it is made when the log has grown, not at every close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", log_pages)?;
    // Sorting never needs a file, and /tmp may be full or somebody else's.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Attaches what was done to which database: `.map_err(failed("open", path))`.
fn failed(doing: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    move |why| {
        if damage::is_damage(&why) {
            return Error::Damaged { path: path.into(), why: why.to_string() };
        }
        Error::Queue { doing, path: path.into(), why: why.to_string() }
    }
}
