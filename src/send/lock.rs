//! Lets only one sender run at a time, by a lock on a file next to the database. The kernel releases it after a
//! crash.
//!
//! A resident sender (`--watch`) also holds a lock of the other kind (fcntl(2), not flock(2)) on the same file, which
//! shows other senders that it may hold the first one for long.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, c_int, flock};

use crate::config::Config;
use crate::error::{Error, Kind};
use crate::locks::{self, Holder};
use crate::queue::Paths;

/// A sender that has run for longer is stuck, because a run ends within a minute.
const LONGEST_RUN: Duration = Duration::from_mins(2);

/// The lock of the only sender. Dropping it releases it.
pub struct Lock {
    file: File,
    paths: Paths,
}

impl Lock {
    /// Whether others would still lock the same file: its directory may have been replaced.
    pub fn is_current(&self) -> bool {
        let place = |file: &File| file.metadata().map(|file: Metadata| (file.dev(), file.ino()));
        let there = open(&self.paths, locks::open).ok().and_then(|(file, _)| place(&file).ok());
        there.is_some_and(|there| place(&self.file).is_ok_and(|here| here == there))
    }

    /// Shows others that this sender is resident. If this fails, they merely complain about it.
    pub fn stay(&self) {
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(F_RDLCK)));
    }
}

/// Locks out other senders. `None` if another one is at work, an error if that one is stuck.
pub fn take(config: &Config) -> Result<Option<Lock>, Error> {
    let (file, path) = open(&config.paths, locks::open)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file, paths: config.paths.clone() })),
        Err(TryLockError::WouldBlock) if is_resident(&file) => Ok(None),
        Err(TryLockError::WouldBlock) => complaint(&path, Holder::of(&path).map(|holder| (holder.pid, holder.age()))),
        Err(TryLockError::Error(why)) => Err(Error::file("lock", &path)(why)),
    }
}

/// Whether a resident sender is at work. Creates nothing.
pub fn is_watching(config: &Config) -> bool {
    open(&config.paths, locks::open_existing).is_ok_and(|(file, _)| is_resident(&file))
}

/// Opens what senders lock: a file, or the database's directory if the file can't be created, or the spool if that
/// directory is missing.
fn open(paths: &Paths, file: fn(&Path) -> io::Result<File>) -> Result<(File, PathBuf), Error> {
    let mut name = paths.database.clone().into_os_string();
    name.push(".lock");
    let path = PathBuf::from(name);
    let why = match file(&path) {
        Ok(file) => return Ok((file, path)),
        Err(why) => why,
    };
    let directory = paths.database.parent().unwrap_or(Path::new("/"));
    let opened = [directory, &paths.spool].into_iter().find_map(|other| Some((File::open(other).ok()?, other.into())));
    opened.ok_or_else(|| Error::file("open", &path)(why))
}

/// Whether the sender with the lock is resident.
fn is_resident(file: &File) -> bool {
    let mut found = whole_file(F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)).is_ok() && c_int::from(found.l_type) != F_UNLCK
}

/// A lock on a whole file. (The constants' types differ between systems.)
fn whole_file(kind: c_int) -> flock {
    let narrow = |value: c_int| value.try_into().unwrap_or_default();
    flock { l_type: narrow(kind), l_whence: narrow(SEEK_SET), l_start: 0, l_len: 0, l_pid: 0 }
}

/// Reports another sender if it is stuck or can't be seen.
fn complaint(path: &Path, other: Option<(i32, Duration)>) -> Result<Option<Lock>, Error> {
    let why = match other {
        Some((_, age)) if age < LONGEST_RUN => return Ok(None),
        Some((process, age)) => {
            let minutes = age.as_secs() / 60;
            format!("process {process}, another `send`, has run for {minutes} minutes and locks {}", path.display())
        }
        None => format!("{} is locked by a process that can't be seen from here (in a container?)", path.display()),
    };
    Err(Kind::System { doing: "send", why }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P8
    #[test]
    fn another_sender_is_tolerated_for_two_minutes_and_then_reported() {
        let said = |other| complaint(Path::new("/q.db.lock"), other).err().map(|why| why.to_string());
        assert_eq!(said(Some((7, Duration::from_secs(119)))), None);
        assert_eq!(
            said(Some((7, Duration::from_secs(125)))).as_deref(),
            Some("cannot send: process 7, another `send`, has run for 2 minutes and locks /q.db.lock")
        );
        assert!(said(None).is_some_and(|said| said.contains("can't be seen from here")));
    }
}
