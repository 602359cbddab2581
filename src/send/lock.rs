//! One sender at a time, by a file lock beside the database: a crash frees it.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::config::Config;
use crate::error::Error;

/// The one process that sends, for as long as this lives.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Whether the file is still the one that others would lock: its directory may have been replaced.
    pub fn is_current(&self) -> bool {
        let place = |file: Metadata| (file.dev(), file.ino());
        let there = self.path.metadata().map(place);
        there.is_ok_and(|there| self.file.metadata().map(place).is_ok_and(|here| here == there))
    }
}

/// Locks out every other sender; `None` if there is one.
pub fn take(config: &Config) -> Result<Option<Lock>, Error> {
    let mut name = config.paths.database.clone().into_os_string();
    name.push(".lock");
    let path = PathBuf::from(name);
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = open.map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file, path })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(Error::file("lock", &path)(why)),
    }
}
