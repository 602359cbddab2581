//! The tables, created by a list of migrations, and the journal mode: a write-ahead log where the file system
//! supports one.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::files::sync_directory_of;
use crate::queue::connection::{Role, Sharing, connect};
use crate::queue::go_database;
use crate::queue::sql::{SqlResult, value};

/// The statements that bring the schema from each version to the next, starting from an empty database.
///
/// A login runs these too, so each must cost the same for any number of rows, as CREATE TABLE and ADD COLUMN do. Work
/// that touches every row is left to the sender.
///
/// A target's `cursor` is the last event that is settled for it: delivered, or in `delivery`. Event ids are never
/// reused (the newest row is never deleted), so cursors stay right. `attempt` records that the events up to `upto`
/// were first tried at `first`. Moments are `UTC_MS BOOT_MS BOOT_ID`.
const MIGRATIONS: [&str; 2] = [
    "CREATE TABLE event (
  id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, user TEXT NOT NULL, remote_host TEXT NOT NULL,
  tty TEXT NOT NULL, service TEXT NOT NULL, session TEXT NOT NULL,
  utc_ms INTEGER NOT NULL, boot_ms INTEGER NOT NULL, boot_id TEXT NOT NULL);
CREATE TABLE target (
  name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
  wait_ms INTEGER NOT NULL DEFAULT 0, since TEXT NOT NULL DEFAULT '',
  error TEXT NOT NULL DEFAULT '', success_ms INTEGER) WITHOUT ROWID;
CREATE TABLE attempt (
  target TEXT NOT NULL, upto INTEGER NOT NULL, first TEXT NOT NULL, PRIMARY KEY (target, upto)) WITHOUT ROWID;
CREATE TABLE delivery (
  target TEXT NOT NULL, event INTEGER NOT NULL, dead INTEGER NOT NULL, error TEXT NOT NULL,
  told INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, wait_ms INTEGER NOT NULL DEFAULT 0,
  since TEXT NOT NULL DEFAULT '', first TEXT NOT NULL DEFAULT '', PRIMARY KEY (target, event)) WITHOUT ROWID;",
    // `facts` has the facts without a column, `judged` the sender's verdict, both as lines of text. Events of the
    // first version count as judged.
    "ALTER TABLE event ADD COLUMN facts TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN judged TEXT NOT NULL DEFAULT '';
ALTER TABLE target ADD COLUMN settings TEXT NOT NULL DEFAULT '';
ALTER TABLE target ADD COLUMN rejected INTEGER NOT NULL DEFAULT 0;
ALTER TABLE target ADD COLUMN gone TEXT NOT NULL DEFAULT '';
ALTER TABLE target ADD COLUMN hint TEXT NOT NULL DEFAULT '';
CREATE TABLE open (
  session TEXT PRIMARY KEY, event INTEGER NOT NULL, closed TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE known (
  user TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, last TEXT NOT NULL,
  PRIMARY KEY (user, kind, value)) WITHOUT ROWID;
CREATE TABLE repeat (
  key TEXT PRIMARY KEY, since TEXT NOT NULL, ms INTEGER NOT NULL, count INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta SELECT 'judged', ifnull(max(id), 0) FROM event;",
];

/// `PRAGMA user_version` of a database with all these tables.
#[expect(clippy::cast_possible_wrap, reason = "there is no checked conversion in a constant, and there are few")]
const VERSION: i64 = MIGRATIONS.len() as i64;

/// `PRAGMA application_id` of a database whose file system can't have a write-ahead log (`SSNt`), so that no login
/// tries again.
const WITHOUT_WAL: i64 = 0x5353_4e74;

/// A rollback journal. Truncating it wears flash out less than creating and deleting a file each time.
const ROLLBACK_JOURNAL: &str = "PRAGMA journal_mode = TRUNCATE";

/// Finds the few exceptions that aren't reported dead letters among a thousand that are. Logins add nothing to it,
/// and older programs maintain it too. It isn't a migration, because creating it reads every row.
const EXCEPTIONS: &str =
    "CREATE INDEX IF NOT EXISTS exception ON delivery (dead, target, event) WHERE dead = 0 OR told = 0";

/// Page size of a new database. A login writes one page, and sometimes two more. With 1 KiB that is a third of the
/// bytes that `SQLite`'s default of 4 KiB takes; with 512 bytes a page holds hardly two events, and a login takes
/// longer.
const PAGE_SIZE: i64 = 1024;

/// Opens the database, creates it if it is missing, and creates or migrates our tables.
pub fn open(path: &Path, role: Role, sharing: Sharing) -> SqlResult<Connection> {
    let mut connection = connect(path, "mode=rwc", sharing)?;
    if version(&connection)? < VERSION {
        make_journal(path);
        // Even if the file existed: the process that created it may have been killed before it synced.
        sync_directory_of(path);
        migrate(&mut connection)?;
        // Fails if another process holds the lock; the sender tries again, see below.
        let _ = begin_wal(&connection);
    }
    if !has_wal(&connection)? {
        if make_journal(path) {
            sync_directory_of(path);
        }
        if role != Role::Sender || is_marked_without_wal(&connection)? || !begin_wal(&connection)? {
            is_wal(&connection, ROLLBACK_JOURNAL)?;
        }
    }
    if role == Role::Sender {
        make_private(path);
        go_database::import(&mut connection)?;
        // Without the index everything is slower but works, and the next sender tries again.
        let _ = connection.execute_batch(EXCEPTIONS);
    }
    Ok(connection)
}

/// Makes the database private.
fn make_private(path: &Path) {
    for file in ["", "-wal", "-shm", "-journal"].map(|suffix| with_suffix(path, suffix)) {
        let is_open = file.symlink_metadata().is_ok_and(|file| file.is_file() && file.mode() & 0o077 != 0);
        if is_open {
            let _ = fs::set_permissions(file, Permissions::from_mode(0o600));
        }
    }
}

/// Creates our tables in memory.
pub fn open_in_memory() -> SqlResult<Connection> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Whether the database has our tables: `false` if it has none, an error if they are of another version.
pub fn is_current(connection: &Connection) -> SqlResult<bool> {
    match version(connection)? {
        VERSION => Ok(true),
        0 if value(connection, "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", &[])? => Ok(false),
        _ => mismatch("the next `send` brings it up to date: it was made by an older version of this program".into()),
    }
}

/// Whether a write-ahead log fails here because processes can't share memory.
pub fn lacks_shared_memory(why: &rusqlite::Error) -> bool {
    /// `SQLITE_IOERR_SHMOPEN`, `_SHMSIZE`, `_SHMLOCK`, `_SHMMAP` (sqlite.org/rescode.html)
    const SHARED_MEMORY: [i32; 4] = [4618, 4874, 5130, 5386];
    let Some(error) = why.sqlite_error() else { return false };
    error.code == ErrorCode::FileLockingProtocolFailed || SHARED_MEMORY.contains(&error.extended_code)
}

/// Reopens a database whose file system can't share memory, with a rollback journal from now on.
pub fn switch_to_rollback_journal(path: &Path, role: Role) -> SqlResult<Connection> {
    // A process that has the database to itself can read its log without shared memory.
    let exclusive = connect(path, "mode=rwc", Sharing::Exclusive)?;
    make_journal(path);
    is_wal(&exclusive, ROLLBACK_JOURNAL)?;
    // Before anything is written, the removal of the log and the journal's name are on the disk.
    sync_directory_of(path);
    mark_without_wal(&exclusive)?;
    drop(exclusive);
    open(path, role, Sharing::Shared(role))
}

/// Whether the database is marked as unable to have a write-ahead log.
pub fn is_marked_without_wal(connection: &Connection) -> SqlResult<bool> {
    Ok(value::<i64>(connection, "PRAGMA application_id", &[])? == WITHOUT_WAL)
}

/// The path of the database with this suffix appended, as `SQLite` names its other files.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Whether the database has a write-ahead log.
pub fn has_wal(connection: &Connection) -> SqlResult<bool> {
    is_wal(connection, "PRAGMA journal_mode")
}

/// Rewrites the schema's version: the shortest transaction that writes a page.
pub fn write_version(connection: &Connection) -> SqlResult<()> {
    Ok(connection.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?)
}

/// Runs the missing migrations in one transaction, because another process may run them too. An older database keeps
/// its page size: changing it (VACUUM) is more than a login should risk.
fn migrate(connection: &mut Connection) -> SqlResult<()> {
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE_SIZE}"))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let taken = usize::try_from(version(&transaction)?).unwrap_or(0);
    for step in &MIGRATIONS[taken..] {
        transaction.execute_batch(step)?;
    }
    write_version(&transaction)?;
    Ok(transaction.commit()?)
}

/// The version of the schema; an error if it is newer than ours.
fn version(connection: &Connection) -> SqlResult<i64> {
    match value(connection, "PRAGMA user_version", &[])? {
        version @ 0..=VERSION => Ok(version),
        newer => mismatch(format!(
            "it was made by a newer version of this program (schema {newer}, this one knows {VERSION})"
        )),
    }
}

fn mismatch<T>(what: String) -> SqlResult<T> {
    let why = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISMATCH);
    Err(rusqlite::Error::SqliteFailure(why, Some(what)).into())
}

/// Creates an empty rollback journal if there is none; returns whether it did. After a power cut, a journal whose
/// name isn't on the disk can't roll anything back.
fn make_journal(path: &Path) -> bool {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(with_suffix(path, "-journal")).is_ok()
}

/// Turns the write-ahead log on, or marks the database if that is impossible. Returns whether it is on.
fn begin_wal(connection: &Connection) -> SqlResult<bool> {
    let is_on = is_wal(connection, "PRAGMA journal_mode = WAL")?;
    // The log is opened by the first read.
    if is_on { version(connection).map(drop) } else { mark_without_wal(connection) }?;
    Ok(is_on)
}

fn mark_without_wal(connection: &Connection) -> SqlResult<()> {
    Ok(connection.execute_batch(&format!("PRAGMA application_id = {WITHOUT_WAL}"))?)
}

/// Reads or sets the journal mode. Returns whether it is then a write-ahead log.
fn is_wal(connection: &Connection, pragma: &str) -> SqlResult<bool> {
    Ok(value::<String>(connection, pragma, &[])? == "wal")
}
