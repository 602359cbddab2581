//! Opens and reads files that another user may have planted: without following links, waiting, or reading too much.

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

/// Bytes read of a file in /proc. A line of `stat` is shorter.
const PROC_LIMIT: usize = 1024;

/// Symbolic links followed on the way to a file: Linux's own limit (`path_resolution(7)`).
const LINKS_LIMIT: u32 = 40;

/// `RAMFS_MAGIC` of linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Whether a symbolic link as the last part of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Yes: root or the caller chose the path.
    Follow,
    /// No: another user can write in the directory.
    Refuse,
}

/// Opens a regular file with these options. Fails for anything else, and never waits.
pub fn open(path: &Path, options: &mut OpenOptions, links: Links) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO would wait for its other end.
    let flags = if links == Links::Refuse { O_NONBLOCK | O_NOFOLLOW } else { O_NONBLOCK };
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// The error for a pipe, a device or a directory in place of a file.
pub fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

/// Reads a regular file of at most `limit` bytes. Also returns the open descriptor's metadata. Fails for anything else
/// or larger, and never waits.
pub fn read(path: &Path, limit: u64, links: Links) -> io::Result<(Vec<u8>, Metadata)> {
    let file = open(path, OpenOptions::new().read(true), links)?;
    let metadata = file.metadata()?;
    // One spare byte, so that the first read also finds the end.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok((bytes, metadata))
}

/// Whether only root can change what is read at this path: root owns every directory and link on the way, and no other
/// user can write there. Links are followed, and their targets' directories count too. Fails if the file is missing.
pub fn is_roots_alone(path: &Path) -> io::Result<bool> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_LIMIT {
        let mut next = None;
        let mut prefix = PathBuf::new();
        let mut parts = path.components();
        for part in parts.by_ref() {
            prefix.push(part);
            let metadata = fs::symlink_metadata(&prefix)?;
            // A link's mode means nothing.
            let is_shared = metadata.mode() & 0o022 != 0 && !metadata.is_symlink();
            if metadata.uid() != 0 || is_shared {
                return Ok(false);
            }
            if metadata.is_symlink() {
                let link = fs::read_link(&prefix)?;
                prefix.pop();
                next = Some(prefix.join(link));
                break;
            }
        }
        let Some(target) = next else { return Ok(true) };
        // `target.join(parts)` would append a slash if no parts are left.
        path = parts.fold(target, |path, part| path.join(part));
    }
    Err(io::Error::from(nix::Error::ELOOP))
}

/// Refuses a file that this process would read as root although another user could have put it there.
pub fn check_for_root(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() || is_roots_alone(path)? {
        return Ok(());
    }
    Err(io::Error::other("root reads it only if no other user can change it or a directory above it"))
}

/// Reads up to 1 KiB of a file in /proc or /sys with one system call. Empty if that fails.
pub fn read_proc(path: &str) -> String {
    let mut bytes = [0; PROC_LIMIT];
    let length = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into()
}

/// Creates a directory if it is missing. Fails if another user owns it, who could swap a file in it for a link.
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

/// Returns true at most once in `pause`. The time of a file in `directory` remembers the last time; if it can't be
/// written, returns true always.
pub fn is_time_again(directory: &Path, name: &str, pause: Duration) -> bool {
    let path = directory.join(name);
    let last = fs::symlink_metadata(&path).and_then(|file| file.modified());
    // A time in the future doesn't count: the clock was set back.
    if last.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < pause)) {
        return false;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let _ = options.open(&path).and_then(|file| file.set_modified(SystemTime::now()));
    true
}

/// Whether a directory is in memory, so that a reboot loses it. If it is missing, its nearest ancestor counts.
pub fn is_in_memory(directory: &Path) -> bool {
    let in_memory: [FsType; 2] = [TMPFS_MAGIC, RAMFS_MAGIC];
    let found = directory.ancestors().find_map(|place| statfs(place).ok());
    found.is_some_and(|found| in_memory.contains(&found.filesystem_type()))
}

/// Converts blocks of a file system to bytes.
#[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "the types are smaller on 32-bit machines")]
pub fn bytes_of(blocks: fsblkcnt_t, disk: &Statvfs) -> u64 {
    u64::from(blocks).saturating_mul(u64::from(disk.fragment_size()))
}

/// Syncs the directory of `path`, so that new names in it survive a power cut. Errors are ignored: file systems that
/// can't do it don't need it.
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
    fn a_path_is_roots_alone_if_root_owns_every_part_and_link_on_the_way() {
        if !geteuid().is_root() {
            let test = "a_path_is_roots_alone_if_root_owns_every_part_and_link_on_the_way";
            let _ = writeln!(io::stderr().lock(), "SKIP: {test}: needs root");
            return;
        }
        // Not in the directory for temporary files, where every user can write.
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
