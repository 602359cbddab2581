//! Files that somebody else may have put there: opened without following, waiting or reading too much.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use std::time::{Duration, SystemTime};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK, fsblkcnt_t};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::Statvfs;
use nix::unistd::geteuid;

use crate::error::Error;

/// Bytes of a file in /proc; a line of `stat` has fewer.
const PROC_LIMIT: usize = 1024;

/// Links that are followed on the way to a file, as many as Linux follows (`path_resolution(7)`).
const LINKS_LIMIT: u32 = 40;

/// `RAMFS_MAGIC` of linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

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

/// Whether root alone decides what is read at this path: everything on the way to it is root's, and nobody else
/// can write there. Links are followed, and the way to where they lead counts too. Fails if it leads nowhere.
pub fn is_roots_alone(path: &Path) -> io::Result<bool> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_LIMIT {
        let mut next = None;
        let mut way = PathBuf::new();
        let mut parts = path.components();
        for part in parts.by_ref() {
            way.push(part);
            let metadata = fs::symlink_metadata(&way)?;
            // Everybody may write in a link, and nobody can.
            let is_shared = metadata.mode() & 0o022 != 0 && !metadata.is_symlink();
            if metadata.uid() != 0 || is_shared {
                return Ok(false);
            }
            if metadata.is_symlink() {
                way.pop();
                next = Some(way.join(fs::read_link(way.join(part))?));
                break;
            }
        }
        let Some(target) = next else { return Ok(true) };
        // The rest of the path may be empty, and to join that would add a slash.
        path = parts.fold(target, |path, part| path.join(part));
    }
    Err(io::Error::from(nix::Error::ELOOP))
}

/// Refuses a file that this process would read as root although others could have put it there.
pub fn check_for_root(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() || is_roots_alone(path)? {
        return Ok(());
    }
    Err(io::Error::other("root reads it only if it and all above it are root's alone"))
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

/// Whether it has been so long since this last said yes; the time of a file in `directory` tells. Where that can't
/// be made, always.
pub fn is_time_again(directory: &Path, name: &str, pause: Duration) -> bool {
    let path = directory.join(name);
    let last = fs::symlink_metadata(&path).and_then(|file| file.modified());
    // A time in the future is no reason to be silent.
    if last.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < pause)) {
        return false;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let _ = options.open(&path).and_then(|file| file.set_modified(SystemTime::now()));
    true
}

/// Whether a directory, or where it is missing the one that it would be made in, is lost with the host's memory.
pub fn is_in_memory(directory: &Path) -> bool {
    let in_memory: [FsType; 2] = [TMPFS_MAGIC, RAMFS_MAGIC];
    let found = directory.ancestors().find_map(|place| statfs(place).ok());
    found.is_some_and(|found| in_memory.contains(&found.filesystem_type()))
}

/// Bytes of so many blocks of a file system.
#[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "the numbers are smaller on 32-bit machines")]
pub fn bytes_of(blocks: fsblkcnt_t, disk: &Statvfs) -> u64 {
    u64::from(blocks).saturating_mul(u64::from(disk.fragment_size()))
}

/// Makes sure that new names in the directory of `path` are on the disk. Some file systems can't do
/// that, and don't need it.
pub fn sync_directory_of(path: &Path) {
    let _ = File::open(path.parent().unwrap_or(Path::new("/"))).and_then(|directory| directory.sync_all());
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// P5
    #[test]
    fn only_what_root_alone_can_change_all_along_the_way_is_roots_alone() {
        if !geteuid().is_root() {
            let test = "only_what_root_alone_can_change_all_along_the_way_is_roots_alone";
            let _ = writeln!(io::stderr().lock(), "SKIP: {test}: needs root");
            return;
        }
        // Not in the directory for temporary files, which is everybody's.
        let home = PathBuf::from(format!("/run/ssn-files-{}", std::process::id()));
        fs::create_dir_all(home.join("etc/deep")).expect("root may");
        fs::create_dir_all(home.join("user/deep")).expect("root may");
        for file in ["etc/token", "etc/deep/token", "user/token", "user/deep/token", "etc/open", "etc/theirs"] {
            fs::write(home.join(file), "x").expect("root may");
        }
        chown(home.join("user"), Some(65534), None).expect("root may");
        chown(home.join("etc/theirs"), Some(65534), None).expect("root may");
        fs::set_permissions(home.join("etc/open"), Permissions::from_mode(0o664)).expect("root may");
        for (link, target) in [
            ("etc/near", "token"),
            ("etc/up", "../etc/deep"),
            ("etc/out", "../user/token"),
            ("user/back", "../etc/token"),
            ("etc/there-and-back", "../user/back"),
            ("etc/loop", "loop"),
        ] {
            symlink(target, home.join(link)).expect("root may");
        }
        for (path, expected) in [
            ("etc/token", Some(true)),
            ("etc/deep/../token", Some(true)),
            ("etc/near", Some(true)),
            ("etc/up/token", Some(true)),
            ("etc/deep", Some(true)),
            ("etc/open", Some(false)),
            ("etc/theirs", Some(false)),
            ("user/token", Some(false)),
            ("user/deep/token", Some(false)),
            ("user/deep/../../etc/token", Some(false)),
            ("etc/out", Some(false)),
            ("user/back", Some(false)),
            ("etc/there-and-back", Some(false)),
            ("etc/loop", None),
            ("etc/missing", None),
            ("user/missing", Some(false)),
        ] {
            assert_eq!(is_roots_alone(&home.join(path)).ok(), expected, "{path}");
        }
        fs::remove_dir_all(&home).expect("it is ours");
    }
}
