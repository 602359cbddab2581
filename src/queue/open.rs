//! Opening the database: for a login, for the sender, or for a look that leaves no trace.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::queue::connection::{READER_PATIENCE, Role, Sharing, configure, connect};
use crate::queue::sql::{SqlResult, number};
use crate::queue::{Queue, schema};

/// What the file of the open lock is called, behind the name of the database.
const LOCK: &str = ".turn";

/// Opens the queue for one who writes. To be called with the open lock, if that can be had.
pub fn open(path: &Path, role: Role) -> SqlResult<Queue> {
    let has_wal_file = has_wal_file(path);
    let exclusive = if role == Role::Hook { open_exclusive(path)? } else { None };
    let prepared = || connect(path, role, Sharing::Shared).and_then(|shared| schema::prepare(shared, path, role));
    let shared = || match prepared() {
        Err(why) if schema::is_without_shared_memory(&why) => schema::do_without_wal(path, role),
        prepared => prepared,
    };
    let connection = exclusive.map_or_else(shared, Ok)?;
    let is_wal_named = has_wal_file || !schema::has_wal(&connection)?;
    Ok(Queue { connection, path: path.into(), is_wal_named, open_lock: None })
}

/// Opens the database for this process alone; `None` if another process has it open, or if it has no
/// write-ahead log: its readers would meet our lock only later.
fn open_exclusive(path: &Path) -> SqlResult<Option<Connection>> {
    let role = Role::Hook;
    let prepared = connect(path, role, Sharing::Exclusive).and_then(|alone| schema::prepare(alone, path, role));
    match prepared {
        Ok(connection) => Ok(schema::has_wal(&connection)?.then_some(connection)),
        Err(why) if why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Opens the database for a look: nothing is created and nothing is written, also on a disk that is full
/// or read-only. `None` if it has no tables yet.
pub fn open_to_read(path: &Path) -> SqlResult<Option<Queue>> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if has_wal_file(path) {
        let read_write = flags | OpenFlags::SQLITE_OPEN_READ_WRITE;
        match try_read(path, read_write, Sharing::Exclusive, None) {
            // The process that has it open has made the shared memory.
            Err(why) if why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                try_read(path, read_write, Sharing::Shared, None)?
            }
            // A lock can't be had on a read-only disk, and nobody else can write there either.
            Err(_) => try_read(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY, Sharing::Exclusive, Some("unix-none"))?,
            Ok(connection) => connection,
        }
    } else {
        // Without this, SQLite would create an empty log beside the database.
        let read_only = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
        let whole = Connection::open_with_flags(uri(path), read_only | OpenFlags::SQLITE_OPEN_URI)?;
        if schema::is_without_wal(&whole)? { try_read(path, read_only, Sharing::Shared, None)? } else { whole }
    };
    if !schema::is_current(&connection)? {
        return Ok(None);
    }
    Ok(Some(Queue { connection, path: path.into(), is_wal_named: true, open_lock: None }))
}

/// Opens the database and reads from it, which is when `SQLite` takes its locks.
fn try_read(path: &Path, flags: OpenFlags, sharing: Sharing, vfs: Option<&str>) -> SqlResult<Connection> {
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    configure(&connection, READER_PATIENCE, sharing)?;
    number(&connection, "SELECT count(*) FROM sqlite_schema", &[])?;
    Ok(connection)
}

/// `file:/var/lib/…?immutable=1` (sqlite.org/uri.html)
fn uri(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?immutable=1")
}

/// Whether the write-ahead log has ever been written.
fn has_wal_file(path: &Path) -> bool {
    schema::beside(path, "-wal").metadata().is_ok_and(|wal| wal.len() > 0)
}

/// Queues on a flock, which the kernel grants in order: a hundred logins that poll `SQLite`'s locks keep
/// each other from work for half a second. A login goes on without it if need be; only a repair depends on
/// it. It has no bound of its own: a login has its deadline, and nobody holds it for long.
pub fn wait_for_lock(path: &Path) -> Option<File> {
    let path = schema::beside(path, LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
    file.lock().is_ok().then_some(file)
}

/// The same for one who creates nothing.
pub fn wait_for_existing_lock(path: &Path) -> Option<File> {
    let file = File::open(schema::beside(path, LOCK)).ok()?;
    file.lock().is_ok().then_some(file)
}
