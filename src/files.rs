//! Files that somebody else may have put there: opened without following, waiting or reading too much.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use crate::error::Error;

/// Bytes of a file in /proc; a line of `stat` has fewer.
const PROC_LIMIT: usize = 1024;

/// Whether a symbolic link in the last place of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Yes: the path was chosen by root or by the caller.
    Follow,
    /// No: somebody else can write in the directory.
    Refuse,
}

/// Opens a regular file with these options. A pipe or a device is an error, and nothing is waited for.
pub fn open(path: &Path, options: &mut OpenOptions, links: Links) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO would wait for whoever is at its other end.
    let flags = if links == Links::Refuse { O_NONBLOCK | O_NOFOLLOW } else { O_NONBLOCK };
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// What is wrong with a pipe, a device or a directory in the place of a file.
pub fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

/// Reads a regular file of at most `limit` bytes, and what its open descriptor says of it. A pipe, a
/// device or a larger file is an error, and nothing is waited for.
pub fn read(path: &Path, limit: u64, links: Links) -> io::Result<(Vec<u8>, Metadata)> {
    let file = open(path, OpenOptions::new().read(true), links)?;
    let metadata = file.metadata()?;
    // One byte more than the file has, so that the first read also finds its end.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok((bytes, metadata))
}

/// Reads a short file of the kernel in one system call; empty where it is missing.
pub fn read_proc(path: &str) -> String {
    let mut bytes = [0; PROC_LIMIT];
    let length = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into()
}

/// Makes a directory if it is missing, and makes sure that this process's user owns it: in a directory
/// of somebody else, its owner could swap a file for a link.
pub fn ensure_own_directory(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(Error::file("create", path))?;
    }
    let owner = fs::metadata(path).map_err(Error::file("examine", path))?.uid();
    if owner == geteuid().as_raw() {
        return Ok(());
    }
    let why = io::Error::other(format!("user {owner} owns it, not user {}", geteuid()));
    Err(Error::file("write into", path)(why))
}

/// Makes sure that new names in the directory of `path` are on the disk. Some file systems can't do
/// that, and don't need it.
pub fn sync_directory_of(path: &Path) {
    let _ = File::open(path.parent().unwrap_or(Path::new("/"))).and_then(|directory| directory.sync_all());
}
