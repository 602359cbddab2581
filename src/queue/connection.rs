//! A connection to the database, with the settings that every one has.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::queue::sql::SqlResult;

/// How long a login waits for another writer. All of it must stay within a second.
const HOOK_PATIENCE: Duration = Duration::from_millis(500);

/// How long the sender waits for one: logins take milliseconds.
const SENDER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a look waits for one.
pub const READER_PATIENCE: Duration = SENDER_PATIENCE;

/// Who is opening the queue to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A login, that must not wait.
    Hook,
    /// The sender, or a command that changes something.
    Sender,
}

/// How the database is shared with other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Through memory that all map: what the file beside the database, `-shm`, is for.
    Shared,
    /// Not at all while it is open, which spares that file and a third of a login's system calls. Fails at
    /// once if another process has the database open.
    Exclusive,
}

/// Opens the file, and creates it if it is missing.
pub fn connect(path: &Path, role: Role, sharing: Sharing) -> SqlResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let patience = match role {
        Role::Hook => HOOK_PATIENCE,
        Role::Sender => SENDER_PATIENCE,
    };
    configure(&connection, patience, sharing)?;
    Ok(connection)
}

/// Makes those settings.
pub fn configure(connection: &Connection, patience: Duration, sharing: Sharing) -> SqlResult<()> {
    match sharing {
        Sharing::Shared => connection.busy_timeout(patience)?,
        Sharing::Exclusive => {
            connection.busy_timeout(Duration::ZERO)?;
            connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
        }
    }
    // The file is the service user's, and may hold anything: nothing in its schema may run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // A checkpoint costs two more syncs; it is made when the log has grown, not at every close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")?;
    Ok(())
}
