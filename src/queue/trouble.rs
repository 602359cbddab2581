//! Why the database can't be written: the cause and the remedy, which `SQLite`'s messages ("disk I/O error") lack.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};
use rusqlite::ErrorCode;

use crate::files;
use crate::queue::schema::with_suffix;

/// Bytes that a run may need: settling a message takes a few pages, but a run also deletes old events. With less, a
/// write succeeds or fails depending on how much room the existing files have left.
const LEAST_ROOM: u64 = 64 * 1024;

/// Descriptors that `SQLite` needs at once, with one or two to spare.
const DESCRIPTORS: usize = 8;

/// `SQLITE_READONLY_ROLLBACK` (sqlite.org/rescode.html).
const CUT_OFF: i32 = 776;

/// Suffixes of the files that must be writable if they exist.
const FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Why nothing can be written next to the database, if the file system is the cause.
pub fn disk_trouble(database: &Path) -> Option<String> {
    let directory = directory_of(database);
    let disk = statvfs(directory).ok()?;
    let name = directory.display();
    if disk.flags().contains(FsFlags::ST_RDONLY) {
        return Some(format!(
            "{name} is on a file system that is mounted read-only; if an error did that (see `dmesg`), check the \
             disk, then `mount -o remount,rw`"
        ));
    }
    let is_root = geteuid().is_root();
    let blocks = if is_root { disk.blocks_free() } else { disk.blocks_available() };
    let room = files::bytes_of(blocks, &disk);
    // Some file systems don't report their size.
    if disk.blocks() > 0 && room < LEAST_ROOM {
        return Some(format!("the disk is full: {} KiB are left on the one with {name}; free some space", room / 1024));
    }
    None
}

/// Why this process can't write to the database, as far as it can tell without trying.
pub fn trouble(database: &Path) -> Option<String> {
    let directory = directory_of(database);
    match directory.metadata() {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Some(format!("{} is missing; a login as root, or `install.sh`, makes it", directory.display()));
        }
        Err(why) => return Some(format!("{} cannot be entered: {why}", directory.display())),
        Ok(_) => {}
    }
    if fs::metadata(database).is_ok_and(|metadata| !metadata.is_file()) {
        return Some("not a regular file".into());
    }
    disk_trouble(database)
        .or_else(|| forbidden(directory, AccessFlags::W_OK | AccessFlags::X_OK))
        .or_else(|| FILES.iter().find_map(|suffix| forbidden(&with_suffix(database, suffix), AccessFlags::W_OK)))
}

/// The cause of an `SQLite` error and its remedy; `None` if it has nothing to do with the disk.
pub fn explain(database: &Path, why: &rusqlite::Error) -> Option<String> {
    use ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
    let error = why.sqlite_error()?;
    if !matches!(error.code, CannotOpen | DiskFull | PermissionDenied | ReadOnly | SystemIoFailure) {
        return None;
    }
    if error.extended_code == CUT_OFF {
        return Some("a change to it was interrupted, perhaps by a power cut; the next `send` undoes it".into());
    }
    // Not the database itself, because closing it would release `SQLite`'s locks on it (fcntl(2)).
    let opened: io::Result<Vec<File>> = (0..DESCRIPTORS).map(|_| File::open(directory_of(database))).collect();
    let cause = trouble(database).or_else(|| opened.err().map(|why| why.to_string()));
    Some(cause.unwrap_or_else(|| format!("{why} (SQLite's code {}); see `dmesg`", error.extended_code)))
}

/// Why this process's user may not write to something that exists.
fn forbidden(path: &Path, wanted: AccessFlags) -> Option<String> {
    let why = access(path, wanted).err().filter(|why| *why != nix::Error::ENOENT)?;
    let owner = fs::metadata(path).map_or(0, |metadata| metadata.uid());
    let user = geteuid();
    let remedy = if owner == user.as_raw() { "check its mode and attributes" } else { "`chown` it to that user" };
    let (name, why) = (path.display(), why.desc());
    Some(format!("user {user} cannot write to {name}, which user {owner} owns ({why}); {remedy}"))
}

fn directory_of(database: &Path) -> &Path {
    database.parent().unwrap_or(Path::new("/"))
}
