//! The tables, and the journal: a write-ahead log where the file system can do it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::files::sync_directory_of;
use crate::queue::sql::{self, SqlResult, is};
use crate::queue::{Role, Sharing, connect, go_database};

/// `PRAGMA user_version` of a database with these tables.
pub const VERSION: i64 = 1;

/// `PRAGMA application_id` of a database on a file system that can't do a write-ahead log (`SSNt`),
/// so that nobody tries it again at every login.
pub const WITHOUT_LOG: i64 = 0x5353_4e74;

/// A rollback journal; emptying it costs flash less than making and deleting a file each time.
const NO_LOG: &str = "PRAGMA journal_mode = TRUNCATE";

/// Bytes of a page in a database that is made here. A login writes one page, and now and then two
/// more: with 1 KiB that is a third of what it is with `SQLite`'s 4 KiB, and with 512 bytes, where
/// hardly four events fit, it takes longer again.
const PAGE_SIZE: i64 = 1024;

/// Each table's name, and the statement that makes it. A table is known by it, too (`glance`): were a
/// space changed, each look at a queue made before would take the long way.
///
/// A target's `cursor` is the last event that is settled for it: delivered, or in `delivery`.
/// An event id is never used again (the newest row is never deleted), so that cursors stay right.
/// `attempt` remembers that the events up to `upto` were first tried at `first`. Moments are
/// `UTC_MS BOOT_MS BOOT_ID`.
pub const TABLES: [(&str, &str); 4] = [
    (
        "event",
        "CREATE TABLE event (
  id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, user TEXT NOT NULL, remote_host TEXT NOT NULL,
  tty TEXT NOT NULL, service TEXT NOT NULL, session TEXT NOT NULL,
  utc_ms INTEGER NOT NULL, boot_ms INTEGER NOT NULL, boot_id TEXT NOT NULL)",
    ),
    (
        "target",
        "CREATE TABLE target (
  name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
  wait_ms INTEGER NOT NULL DEFAULT 0, since TEXT NOT NULL DEFAULT '',
  error TEXT NOT NULL DEFAULT '', success_ms INTEGER) WITHOUT ROWID",
    ),
    (
        "attempt",
        "CREATE TABLE attempt (
  target TEXT NOT NULL, upto INTEGER NOT NULL, first TEXT NOT NULL, PRIMARY KEY (target, upto)) WITHOUT ROWID",
    ),
    (
        "delivery",
        "CREATE TABLE delivery (
  target TEXT NOT NULL, event INTEGER NOT NULL, dead INTEGER NOT NULL, error TEXT NOT NULL,
  told INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, wait_ms INTEGER NOT NULL DEFAULT 0,
  since TEXT NOT NULL DEFAULT '', first TEXT NOT NULL DEFAULT '', PRIMARY KEY (target, event)) WITHOUT ROWID",
    ),
];

/// Gives a connection back with our tables in its database, whatever was in it before.
pub fn prepare(mut connection: Connection, path: &Path, role: Role) -> SqlResult<Connection> {
    let version = number(&connection, "user_version")?;
    if version > VERSION {
        return Err(newer(version).into());
    }
    if version < VERSION {
        make_journal(path);
        // Also where it was there: whoever made it may have been killed before it got here.
        sync_directory_of(path);
        create(&mut connection)?;
        // Whoever is second meets the first one's lock; the sender tries again, see below.
        let _ = begin_log(&connection);
    }
    if !has_log(&connection)? {
        if make_journal(path) {
            sync_directory_of(path);
        }
        let is_hopeless = number(&connection, "application_id")? == WITHOUT_LOG;
        if role != Role::Sender || is_hopeless || !begin_log(&connection)? {
            journal(&connection, NO_LOG)?;
        }
    }
    Ok(connection)
}

/// Whether a write-ahead log fails here for want of memory that processes can share.
pub fn is_without_shared_memory(why: &rusqlite::Error) -> bool {
    /// `SQLITE_IOERR_SHMOPEN`, `_SHMSIZE`, `_SHMLOCK`, `_SHMMAP` (sqlite.org/rescode.html)
    const SHARED_MEMORY: [i32; 4] = [4618, 4874, 5130, 5386];
    let Some(error) = why.sqlite_error() else { return false };
    error.code == ErrorCode::FileLockingProtocolFailed || SHARED_MEMORY.contains(&error.extended_code)
}

/// Opens a database whose file system can't share memory: with a rollback journal from now on.
pub fn do_without_log(path: &Path, role: Role) -> SqlResult<Connection> {
    // A process that has the database for itself needs no shared memory to read its log.
    let alone = connect(path, role, Sharing::Alone)?;
    make_journal(path);
    journal(&alone, NO_LOG)?;
    // The log's name is gone for good, and the journal's there, before anything is written.
    sync_directory_of(path);
    write_number(&alone, "application_id", WITHOUT_LOG)?;
    drop(alone);
    prepare(connect(path, role, Sharing::Shared)?, path, role)
}

/// The file with this suffix that `SQLite` keeps beside the database.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes an empty rollback journal if there is none; whether it did. One whose name is not on the
/// disk can't roll anything back after a power cut.
fn make_journal(path: &Path) -> bool {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside(path, "-journal")).is_ok()
}

/// Whether the database has a write-ahead log.
pub fn has_log(connection: &Connection) -> SqlResult<bool> {
    journal(connection, "PRAGMA journal_mode")
}

/// Makes the tables in one transaction. Another process may have been faster. A Go program's database
/// keeps the pages that it has: to give it others (VACUUM) is more than a login should risk.
fn create(connection: &mut Connection) -> SqlResult<()> {
    write_number(connection, "page_size", PAGE_SIZE)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    if number(&transaction, "user_version")? == 0 {
        for (_, statement) in TABLES {
            transaction.execute_batch(statement)?;
        }
        if has_table(&transaction, "session_events")? {
            go_database::take_over(&transaction)?;
        }
        write_version(&transaction)?;
    }
    Ok(transaction.commit()?)
}

/// Writes the version of the tables: the shortest transaction that writes a page.
pub fn write_version(connection: &Connection) -> SqlResult<()> {
    write_number(connection, "user_version", VERSION)
}

/// Turns the write-ahead log on. Whether that worked; where it can't, the database says so.
fn begin_log(connection: &Connection) -> SqlResult<bool> {
    if journal(connection, "PRAGMA journal_mode = WAL")? {
        number(connection, "user_version")?;
        return Ok(true);
    }
    write_number(connection, "application_id", WITHOUT_LOG)?;
    Ok(false)
}

/// Asks for the journal's mode, or sets it. Whether it is a write-ahead log then.
fn journal(connection: &Connection, pragma: &str) -> SqlResult<bool> {
    let modes: Vec<String> = sql::every(connection, pragma, &[], |row| row.get(0))?;
    Ok(modes.first().is_some_and(|mode| mode == "wal"))
}

fn number(connection: &Connection, pragma: &str) -> SqlResult<i64> {
    sql::number(connection, &format!("PRAGMA {pragma}"), &[])
}

fn write_number(connection: &Connection, pragma: &str, number: i64) -> SqlResult<()> {
    Ok(connection.execute_batch(&format!("PRAGMA {pragma} = {number}"))?)
}

fn has_table(transaction: &Transaction<'_>, name: &str) -> SqlResult<bool> {
    is(transaction, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", params![name])
}

fn newer(version: i64) -> rusqlite::Error {
    let why = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISMATCH);
    let what = format!("it was made by a newer version of this program (schema {version}, this one knows {VERSION})");
    rusqlite::Error::SqliteFailure(why, Some(what))
}
