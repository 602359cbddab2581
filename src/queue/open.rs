//! Opens the database: for a login, for the sender, or read-only.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::error::{Error, Kind};
use crate::files::not_regular;
use crate::locks::{self, Holder, Wait};
use crate::queue::connection::{Role, Sharing, connect};
use crate::queue::sql::SqlResult;
use crate::queue::{Queue, schema};

/// Suffix of the open lock's file.
const LOCK: &str = ".turn";

/// Options for opening the database without locks.
const WITHOUT_LOCKS: &str = "mode=ro&vfs=unix-none";
/// How long all but logins wait for the open lock. A hundred simultaneous logins are done by then.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens the queue for writing. The caller holds the open lock, if it could get it.
pub fn open(path: &Path, role: Role) -> SqlResult<Queue> {
    let has_wal_file = has_wal_file(path);
    let exclusive = if role == Role::Hook { open_exclusive(path)? } else { None };
    let shared = || match schema::open(path, role, Sharing::Shared(role)) {
        Err(why) if schema::lacks_shared_memory(&why) => schema::switch_to_rollback_journal(path, role),
        opened => opened,
    };
    let connection = exclusive.map_or_else(shared, Ok)?;
    let is_wal_named = has_wal_file || !schema::has_wal(&connection)?;
    Ok(Queue { connection, path: path.into(), is_wal_named, is_copy: false, open_lock: None })
}

/// Opens the database for this process alone; `None` if another process has it open, or if it has no write-ahead log:
/// without one, readers would meet our lock only later.
fn open_exclusive(path: &Path) -> SqlResult<Option<Connection>> {
    match schema::open(path, Role::Hook, Sharing::Exclusive) {
        Ok(connection) => Ok(schema::has_wal(&connection)?.then_some(connection)),
        Err(why) if is_busy(&why) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Opens the database read-only. Creates and writes nothing, and works on a full or read-only disk. `None` if it has
/// no tables yet.
pub fn open_to_read(path: &Path) -> SqlResult<Option<Queue>> {
    let shared = Sharing::Shared(Role::Sender);
    let connection = if has_wal_file(path) {
        match look(path, "mode=rw", Sharing::Exclusive) {
            // The process that has the database open has created the shared memory.
            Err(why) if is_busy(&why) => look(path, "mode=rw", shared)?,
            // On a read-only disk nothing can be locked, and nobody else can write.
            Err(_) => look(path, WITHOUT_LOCKS, Sharing::Exclusive)?,
            Ok(connection) => connection,
        }
    } else {
        // Without `immutable`, SQLite would create an empty log next to the database.
        match look(path, "mode=ro&immutable=1", shared)? {
            Some(whole) if schema::is_marked_without_wal(&whole)? => look(path, "mode=ro", shared)?,
            whole => whole,
        }
    };
    Ok(connection.map(|connection| Queue {
        connection,
        path: path.into(),
        is_wal_named: true,
        is_copy: false,
        open_lock: None,
    }))
}

/// Opens a database read-only even while another process writes to it. An error if it has no tables.
pub fn open_without_locks(path: &Path) -> SqlResult<Queue> {
    let connection = look(path, WITHOUT_LOCKS, Sharing::Exclusive)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Queue { connection, path: path.into(), is_wal_named: true, is_copy: false, open_lock: None })
}

/// Opens the database and reads from it, because `SQLite` takes its locks at the first read.
fn look(path: &Path, options: &str, sharing: Sharing) -> SqlResult<Option<Connection>> {
    let connection = connect(path, options, sharing)?;
    Ok(schema::is_current(&connection)?.then_some(connection))
}

/// Whether another process holds a lock that we needed.
pub fn is_busy(why: &rusqlite::Error) -> bool {
    why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Whether the write-ahead log has a file that isn't empty.
fn has_wal_file(path: &Path) -> bool {
    schema::with_suffix(path, "-wal").metadata().is_ok_and(|wal| wal.len() > 0)
}

/// Queues on a flock, which the kernel grants in order: a hundred logins polling `SQLite`'s locks would delay each
/// other by half a second. A login goes on without the lock if it can't have it. There is no limit here, because a
/// login has its own deadline.
pub fn queue_for_lock(path: &Path) -> Option<File> {
    locks::open(&schema::with_suffix(path, LOCK)).ok().filter(|file| file.lock().is_ok())
}

/// The same for everything but logins, with a limit. Fails if one process has held the lock all the time, because
/// that process is stuck. Goes on without the lock after a crowd of logins, or if the file can't be locked.
pub fn wait_for_lock(path: &Path) -> Result<Option<File>, Error> {
    wait(path, locks::open(&schema::with_suffix(path, LOCK)))
}

/// The same, but creates nothing.
pub fn wait_for_existing_lock(path: &Path) -> Result<Option<File>, Error> {
    wait(path, locks::open_existing(&schema::with_suffix(path, LOCK)))
}

fn wait(path: &Path, file: io::Result<File>) -> Result<Option<File>, Error> {
    let Ok(file) = file else { return Ok(None) };
    match locks::wait(&file, &schema::with_suffix(path, LOCK), PATIENCE) {
        Wait::Taken => Ok(Some(file)),
        Wait::Missed => Ok(None),
        Wait::Stuck(Holder { pid, .. }) => {
            Err(Kind::Locked { doing: "open the queue", path: path.into(), holder: Some(pid) }.into())
        }
    }
}

/// The process that keeps others out of the database, by `SQLite`'s own locks or by the open lock.
pub fn holder(path: &Path) -> Option<Holder> {
    ["", "-shm", LOCK].iter().find_map(|suffix| Holder::of(&schema::with_suffix(path, suffix)))
}

/// The existing files of the database. All must be regular files: if one were a pipe, `SQLite` would hang in open(2).
pub fn files(path: &Path) -> Result<Vec<(PathBuf, Metadata)>, Error> {
    let files = ["", "-wal", "-shm", "-journal"].map(|suffix| schema::with_suffix(path, suffix));
    let found = files.into_iter().filter_map(|file| file.metadata().ok().map(|metadata| (file, metadata)));
    let regular = |(file, metadata): (PathBuf, Metadata)| {
        if metadata.is_file() {
            return Ok((file, metadata));
        }
        Err(Kind::Unwritable { doing: "open", path: file, why: not_regular().to_string() }.into())
    };
    found.map(regular).collect()
}

/// Makes the files private, however they were created: they say who logs in from where, and anyone who can open one
/// can lock it. `SQLite` creates its other files with the mode of the database.
pub fn make_private(files: Vec<(PathBuf, Metadata)>) {
    for (file, _) in files.into_iter().filter(|(_, metadata)| metadata.mode() & 0o077 != 0) {
        // By name, because closing a descriptor would release this process's locks on the file.
        let _ = fs::set_permissions(file, Permissions::from_mode(0o600));
    }
}
