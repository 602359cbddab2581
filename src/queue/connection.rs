//! A connection to the database, with the settings that all connections share.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::queue::sql::SqlResult;

/// How long a login waits for another writer. A login must end within a second in all.
const HOOK_PATIENCE: Duration = Duration::from_millis(500);

/// How long the sender waits for another writer. Logins take milliseconds.
const SENDER_PATIENCE: Duration = Duration::from_secs(5);

/// The kind of process that opens the queue for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A login, which must not wait.
    Hook,
    /// The sender, or a command that changes something.
    Sender,
}

/// How the database is shared with other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Through memory that all processes map, in the file with the suffix `-shm`.
    Shared(Role),
    /// Not at all while it is open, which saves that file and a third of a login's system calls. Fails at once if
    /// another process has the database open.
    Exclusive,
}

/// Opens the file. `options` are those of `SQLite`'s URIs, such as `mode=rwc` to create it if it is missing
/// (sqlite.org/uri.html).
pub fn connect(path: &Path, options: &str, sharing: Sharing) -> SqlResult<Connection> {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let most = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let flags = most | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file://{path}?{options}"), flags)?;
    connection.busy_timeout(match sharing {
        Sharing::Shared(Role::Hook) => HOOK_PATIENCE,
        Sharing::Shared(Role::Sender) => SENDER_PATIENCE,
        Sharing::Exclusive => Duration::ZERO,
    })?;
    if sharing == Sharing::Exclusive {
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    }
    // The service user owns the file and may put anything into it, so nothing in its schema may run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // A checkpoint costs two more syncs. We make one when the log is long, not at every close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")?;
    Ok(connection)
}
