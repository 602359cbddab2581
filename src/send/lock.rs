//! One sender at a time, by a file lock beside the database: a crash frees it.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Error;
use crate::queue::Paths;

/// The one process that sends, for as long as this lives.
pub struct Lock {
    file: File,
    paths: Paths,
}

impl Lock {
    /// Whether the file is still the one that others would lock: its directory may have been replaced.
    pub fn is_current(&self) -> bool {
        let place = |file: &File| file.metadata().map(|file: Metadata| (file.dev(), file.ino()));
        let there = open(&self.paths).ok().and_then(|(file, _)| place(&file).ok());
        there.is_some_and(|there| place(&self.file).is_ok_and(|here| here == there))
    }
}

/// Locks out every other sender; `None` if there is one.
pub fn take(config: &Config) -> Result<Option<Lock>, Error> {
    let (file, path) = open(&config.paths)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file, paths: config.paths.clone() })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(Error::file("lock", &path)(why)),
    }
}

/// Opens what senders lock: a file, which need not be writable; the directory of the database where there can be
/// none; or the spool where that directory is missing.
fn open(paths: &Paths) -> Result<(File, PathBuf), Error> {
    let mut name = paths.database.clone().into_os_string();
    name.push(".lock");
    let path = PathBuf::from(name);
    let why = match OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path) {
        Ok(file) => return Ok((file, path)),
        Err(why) => why,
    };
    let directory = paths.database.parent().unwrap_or(Path::new("/"));
    for other in [&path, directory, &paths.spool] {
        match File::open(other) {
            Ok(file) => return Ok((file, other.into())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(_) => break,
        }
    }
    Err(Error::file("open", &path)(why))
}
