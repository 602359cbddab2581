//! The queue: an `SQLite` database that a login appends to and the sender takes from.
//!
//! Events are one table, in the order in which they were recorded. Each target has a cursor into it
//! (what lies behind is settled), and only the exceptions, events that one service would not take,
//! have rows of their own: so a login writes one page and a delivered digest one more, however many
//! events and targets there are. Flash wears out by the page.

mod dead_letters;
mod deliveries;
mod go_database;
mod repair;
mod row;
mod schema;
mod settings;
pub mod spool;
mod sql;
mod targets;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub use deliveries::{Claim, Due, Setback};
pub use settings::{Limits, Paths};
pub use targets::{TargetState, Wait};

use crate::clock::Stamp;
use crate::error::{Error, Kind};
use crate::event::Event;
use crate::files;
use crate::queue::sql::{SqlResult, every, number};

/// How long a login waits for another writer. All of it must stay within a second.
const HOOK_PATIENCE: Duration = Duration::from_millis(500);

/// How long the sender waits for one: logins take milliseconds.
const SENDER_PATIENCE: Duration = Duration::from_secs(5);

/// Pages in the write-ahead log at which a login moves them into the database. The next one to open
/// the queue reads them all, so they must stay few even where no sender runs. `SQLite`'s own
/// checkpoints won't do: what they did is forgotten when the last process closes the database.
const HOOK_LOG_LIMIT: i64 = 64;

/// The same for the sender, to whom nobody is waiting.
const SENDER_LOG_LIMIT: i64 = 32;

/// Bytes that the file of the log may keep for what is to come.
const LOG_BYTES: i64 = 256 * 1024;

/// Who is opening the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A login, that must not wait.
    Hook,
    /// The sender, or an administrator's command, for as long as it likes.
    Sender,
    /// The sender, for a short look whether there is anything to do.
    Look,
}

/// How the database is shared with other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Through memory that all map: what the file beside the database, `-shm`, is for.
    Shared,
    /// Not at all while it is open, which spares that file, a third of a login's system calls, and
    /// an idle sender's only writes. Fails at once if somebody else has it open.
    Alone,
}

/// An open queue.
pub struct Queue {
    connection: Connection,
    path: PathBuf,
    /// Whether the log's name is known to be on the disk.
    is_log_named: bool,
    /// Lasts as long as the file is open.
    turn: Option<File>,
}

impl Queue {
    /// Opens the queue and makes it if it isn't there; a Go program's database is taken over.
    pub fn open(path: &Path, role: Role) -> Result<Self, Error> {
        let mut queue = Self::try_open(path, role).map_err(failed("open the queue", path))?;
        if role == Role::Sender {
            repair::restore(&mut queue)?;
        }
        Ok(queue)
    }

    /// Moves a damaged database aside ([`Kind::Damaged`] said so), saves what can be read of it into
    /// a new one, and answers that and what to tell the administrator.
    pub fn repair(path: &Path, why: &str) -> Result<(Self, String), Error> {
        repair::repair(path, why)
    }

    fn try_open(path: &Path, role: Role) -> SqlResult<Self> {
        let turn = wait_for_turn(path);
        let mut queue = Self::open_in_turn(path, role)?;
        // The sender stays for long, and what it writes is written between two logins.
        queue.turn = turn.filter(|_| role != Role::Sender);
        Ok(queue)
    }

    fn open_in_turn(path: &Path, role: Role) -> SqlResult<Self> {
        let has_log_file = schema::beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0);
        let alone = match role {
            Role::Hook | Role::Look => Self::open_alone(path, role)?,
            Role::Sender => None,
        };
        let prepared = || connect(path, role, Sharing::Shared).and_then(|shared| schema::prepare(shared, path, role));
        let shared = || match prepared() {
            Err(why) if schema::is_without_shared_memory(&why) => schema::do_without_log(path, role),
            prepared => prepared,
        };
        let connection = alone.map_or_else(shared, Ok)?;
        let is_log_named = has_log_file || !schema::has_log(&connection)?;
        Ok(Self { connection, path: path.into(), is_log_named, turn: None })
    }

    /// Opens the database for this process alone; `None` if somebody else has it open, or if it is
    /// without a write-ahead log, whose readers would meet our lock only later.
    fn open_alone(path: &Path, role: Role) -> SqlResult<Option<Connection>> {
        let prepared = connect(path, role, Sharing::Alone).and_then(|alone| schema::prepare(alone, path, role));
        match prepared {
            Ok(connection) => Ok(schema::has_log(&connection)?.then_some(connection)),
            Err(why) if why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Ends a login's work. The closing is left to the end of the process, which comes at once:
    /// nothing is lost, for what was committed is on the disk, and a login is spared two dozen system
    /// calls.
    pub fn leave(self) {
        self.shorten_log(HOOK_LOG_LIMIT);
        std::mem::forget(self);
    }

    /// Appends events durably, in one transaction: when this returns they are on the disk.
    pub fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        self.write("record in the queue", |connection| {
            events.iter().try_for_each(|event| row::insert(connection, event))
        })
    }

    /// Appends those events that aren't there yet: a login that was cut off may have left the same
    /// one in the queue and in the spool.
    pub fn import(&mut self, events: &[Event]) -> Result<(), Error> {
        self.write("record in the queue", |connection| {
            let mut known = row::present(connection, events)?;
            // One that a login wrote twice into the spool is new only once.
            events.iter().filter(|event| known.insert(event)).try_for_each(|event| row::insert(connection, event))
        })
    }

    /// Syncs the directory before anything is written into an empty log, so that one with something
    /// in it has its name on the disk, whoever made it and was killed since. `SQLite` would do so at
    /// every first write of a connection, and so at every login (see `.cargo/config.toml`).
    fn keep_log_name(&mut self) {
        if !self.is_log_named {
            files::sync_directory_of(&self.path);
            self.is_log_named = true;
        }
    }

    /// Moves the write-ahead log into the database if it has become long, and begins it anew. Nothing
    /// depends on it: what can't be moved now is moved another time. Somebody who reads the old state
    /// (a backup, perhaps) is not waited for, for who waits here keeps the others from writing.
    ///
    /// The file keeps its length: a sync of blocks that are written over has no metadata to wait for,
    /// and wears flash out less, than one of blocks that are new.
    fn shorten_log(&self, limit: i64) {
        let checkpoint = |mode: &str| {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            let answer: Vec<(bool, i64)> = every(&self.connection, &sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, Box<rusqlite::Error>>(answer.first().copied().unwrap_or((true, 0)))
        };
        let is_long = checkpoint("NOOP").is_ok_and(|(_, pages)| pages >= limit);
        if !is_long || self.connection.busy_timeout(Duration::ZERO).is_err() {
            return;
        }
        if checkpoint("RESTART").is_ok_and(|(is_busy, _)| !is_busy) {
            // What was moved counts as moved for others only when the next page is in its place.
            let _ = self.connection.execute_batch(&format!("PRAGMA journal_size_limit = {LOG_BYTES}"));
            let _ = schema::write_version(&self.connection);
        }
    }

    /// Ends the sender's work: the next login finds a short log.
    pub fn close(self) {
        self.shorten_log(SENDER_LOG_LIMIT);
    }

    /// Whether nothing is due for any of these targets, nor to be given up, nor to be told: whether a
    /// sender that looks may leave again.
    pub fn is_idle(&self, targets: &[&str], limits: &Limits, now: &Stamp) -> Result<bool, Error> {
        let (has_targets, is_settled) = self.read(|connection| settled(connection, targets))?;
        if !has_targets || repair::is_unfinished(&self.path) {
            return Ok(false);
        }
        if is_settled {
            return Ok(true);
        }
        for target in targets {
            if matches!(self.due(target, 1, now)?, Due::Now(_)) || self.is_time_over(target, limits, now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many events there are, delivered ones included.
    pub fn count(&self) -> Result<i64, Error> {
        self.read(|connection| number(connection, "SELECT count(*) FROM event", &[]))
    }

    /// Runs `change` in one transaction.
    fn write<T>(
        &mut self,
        doing: &'static str,
        mut change: impl FnMut(&Connection) -> SqlResult<T>,
    ) -> Result<T, Error> {
        let mut result = None;
        self.transact(doing, &mut |connection| {
            result = Some(change(connection)?);
            Ok(())
        })?;
        Ok(result.expect("a change that was committed has a result"))
    }

    /// What of that is the same for every change, and so need be in the program only once.
    fn transact(
        &mut self,
        doing: &'static str,
        change: &mut dyn FnMut(&Connection) -> SqlResult<()>,
    ) -> Result<(), Error> {
        self.keep_log_name();
        let connection = &mut self.connection;
        let mut run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        };
        run().map_err(failed(doing, &self.path))
    }

    /// Runs `question`, which only reads.
    fn read<T>(&self, question: impl FnOnce(&Connection) -> SqlResult<T>) -> Result<T, Error> {
        question(&self.connection).map_err(failed("read the queue", &self.path))
    }
}

/// Whether the known targets are these, and whether there is nothing that waits for any of them, now or
/// later, or that nobody was told of: in one statement, for that is how it is nearly every minute where
/// a `glance` doesn't tell.
fn settled(connection: &Connection, targets: &[&str]) -> SqlResult<(bool, bool)> {
    let sql = "SELECT name, cursor >= (SELECT ifnull(max(id), 0) FROM event),
                      NOT EXISTS (SELECT 1 FROM delivery WHERE dead = 0 OR told = 0) FROM target";
    let rows: Vec<(String, bool)> = every(connection, sql, &[], |row| Ok((row.get(0)?, row.get(1)? && row.get(2)?)))?;
    let is_known = |name: &&str| rows.iter().any(|(known, _)| known == name);
    Ok((rows.len() == targets.len() && targets.iter().all(is_known), rows.iter().all(|(_, is_settled)| *is_settled)))
}

/// Waits for those who came before, for the kernel wakes them one by one and in order: a hundred that
/// look again and again whether `SQLite`'s locks are free keep each other from work for half a second.
/// A login goes on without it if need be; only a repair depends on it. It has no bound of its own: a login
/// has its deadline, and nobody keeps his turn for long.
fn wait_for_turn(path: &Path) -> Option<File> {
    let path = schema::beside(path, ".turn");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
    file.lock().is_ok().then_some(file)
}

/// Opens the file with the settings that every connection has.
fn connect(path: &Path, role: Role, sharing: Sharing) -> SqlResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let patience = match role {
        Role::Hook => HOOK_PATIENCE,
        Role::Sender | Role::Look => SENDER_PATIENCE,
    };
    match sharing {
        Sharing::Shared => connection.busy_timeout(patience)?,
        Sharing::Alone => {
            connection.busy_timeout(Duration::ZERO)?;
            connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
        }
    }
    // The file is the service user's, and may hold anything: nothing in its schema is to run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // A checkpoint costs two more syncs; it is made when the log has grown, not at every close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")?;
    Ok(connection)
}

/// Attaches what was done to which database: `.map_err(failed("open", path))`.
fn failed(doing: &'static str, path: &Path) -> impl Fn(Box<rusqlite::Error>) -> Error {
    move |why| {
        if repair::is_damage(&why) {
            return Kind::Damaged { path: path.into(), why: why.to_string() }.into();
        }
        Kind::Queue { doing, path: path.into(), why: why.to_string() }.into()
    }
}
