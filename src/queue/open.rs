//! Opening the database: for a login, for the sender, or for a look that leaves no trace.

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

/// What the file of the open lock is called, behind the name of the database.
const LOCK: &str = ".turn";

/// How a look asks for no lock.
const WITHOUT_LOCKS: &str = "mode=ro&vfs=unix-none";
/// How long all but logins wait for the open lock. A hundred logins at once are done by then.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens the queue to write to it. To be called with the open lock, if that can be had.
pub fn open(path: &Path, role: Role) -> SqlResult<Queue> {
    let has_wal_file = has_wal_file(path);
    let alone = if role == Role::Hook { open_exclusive(path)? } else { None };
    let shared = || match schema::open(path, role, Sharing::Shared(role)) {
        Err(why) if schema::is_without_shared_memory(&why) => schema::do_without_wal(path, role),
        opened => opened,
    };
    let connection = alone.map_or_else(shared, Ok)?;
    let is_wal_named = has_wal_file || !schema::has_wal(&connection)?;
    Ok(Queue { connection, path: path.into(), is_wal_named, is_copy: false, open_lock: None })
}

/// Opens the database for this process alone; `None` if another process has it open, or if it has no
/// write-ahead log: its readers would meet our lock only later.
fn open_exclusive(path: &Path) -> SqlResult<Option<Connection>> {
    match schema::open(path, Role::Hook, Sharing::Exclusive) {
        Ok(connection) => Ok(schema::has_wal(&connection)?.then_some(connection)),
        Err(why) if is_busy(&why) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Opens the database for a look: nothing is created and nothing is written, also on a disk that is full
/// or read-only. `None` if it has no tables yet.
pub fn open_to_read(path: &Path) -> SqlResult<Option<Queue>> {
    let shared = Sharing::Shared(Role::Sender);
    let connection = if has_wal_file(path) {
        match look(path, "mode=rw", Sharing::Exclusive) {
            // The process that has it open has made the shared memory.
            Err(why) if is_busy(&why) => look(path, "mode=rw", shared)?,
            // A lock can't be had on a read-only disk, and nobody else can write there either.
            Err(_) => look(path, WITHOUT_LOCKS, Sharing::Exclusive)?,
            Ok(connection) => connection,
        }
    } else {
        // Without `immutable`, SQLite would create an empty log beside the database.
        match look(path, "mode=ro&immutable=1", shared)? {
            Some(whole) if schema::is_without_wal(&whole)? => look(path, "mode=ro", shared)?,
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

/// Opens a database that has tables for a look, although another process may be writing to it.
pub fn open_without_locks(path: &Path) -> SqlResult<Queue> {
    let connection = look(path, WITHOUT_LOCKS, Sharing::Exclusive)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Queue { connection, path: path.into(), is_wal_named: true, is_copy: false, open_lock: None })
}

/// Opens the database and reads from it, which is when `SQLite` takes its locks.
fn look(path: &Path, options: &str, sharing: Sharing) -> SqlResult<Option<Connection>> {
    let connection = connect(path, options, sharing)?;
    Ok(schema::is_current(&connection)?.then_some(connection))
}

/// Whether another process has a lock that was needed.
pub fn is_busy(why: &rusqlite::Error) -> bool {
    why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Whether the write-ahead log has ever been written.
fn has_wal_file(path: &Path) -> bool {
    schema::beside(path, "-wal").metadata().is_ok_and(|wal| wal.len() > 0)
}

/// Queues on a flock, which the kernel grants in order: a hundred logins that poll `SQLite`'s locks keep
/// each other from work for half a second. A login goes on without it if need be. It has no limit of its own:
/// a login has its deadline.
pub fn queue_for_lock(path: &Path) -> Option<File> {
    locks::open(&schema::beside(path, LOCK)).ok().filter(|file| file.lock().is_ok())
}

/// The same for everybody else, with a limit. It goes to no one without the lock if one process has held it all
/// the time: that one is stuck. Whoever meets a crowd of logins, or a file that can't be locked, goes on without.
pub fn wait_for_lock(path: &Path) -> Result<Option<File>, Error> {
    wait(path, locks::open(&schema::beside(path, LOCK)))
}

/// The same, but creates nothing.
pub fn wait_for_existing_lock(path: &Path) -> Result<Option<File>, Error> {
    wait(path, locks::open_existing(&schema::beside(path, LOCK)))
}

fn wait(path: &Path, file: io::Result<File>) -> Result<Option<File>, Error> {
    let Ok(file) = file else { return Ok(None) };
    match locks::wait(&file, &schema::beside(path, LOCK), PATIENCE) {
        Wait::Taken => Ok(Some(file)),
        Wait::Missed => Ok(None),
        Wait::Stuck(Holder { pid, .. }) => {
            Err(Kind::Locked { doing: "open the queue", path: path.into(), holder: Some(pid) }.into())
        }
    }
}

/// The process that keeps others out of the database: by `SQLite`'s own locks, or by the open lock.
pub fn holder(path: &Path) -> Option<Holder> {
    ["", "-shm", LOCK].iter().find_map(|suffix| Holder::of(&schema::beside(path, suffix)))
}

/// The files of the database that are there. `SQLite` may meet nothing else in their places: opening a pipe
/// would wait for whoever is at its other end.
pub fn files(path: &Path) -> Result<Vec<(PathBuf, Metadata)>, Error> {
    let files = ["", "-wal", "-shm", "-journal"].map(|suffix| schema::beside(path, suffix));
    let found = files.into_iter().filter_map(|file| file.metadata().ok().map(|metadata| (file, metadata)));
    let regular = |(file, metadata): (PathBuf, Metadata)| {
        if metadata.is_file() {
            return Ok((file, metadata));
        }
        Err(Kind::Unwritable { doing: "open", path: file, why: not_regular().to_string() }.into())
    };
    found.map(regular).collect()
}

/// Takes the files away from others, however they were made: they say who logs in from where, and who can open
/// one can lock it. What `SQLite` creates later has the mode of the database.
pub fn make_private(files: Vec<(PathBuf, Metadata)>) {
    for (file, _) in files.into_iter().filter(|(_, metadata)| metadata.mode() & 0o077 != 0) {
        // By name: to close a descriptor would give up this process's locks on the file.
        let _ = fs::set_permissions(file, Permissions::from_mode(0o600));
    }
}
