//! Gives up root: the program becomes the owner of the state directory before it opens anything that this user can
//! write, so that no link planted there can make root touch another file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::process;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, User, geteuid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use crate::error::{Error, Kind};

/// The user that a new state directory is created for, if it exists.
pub const SERVICE_USER: &str = "ssh-session-notifier";

/// What to do about a missing directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Create it.
    Create,
    /// Nothing, for a command that only reads.
    Leave,
}

/// Becomes the owner of the queue's directory, for all threads, if this process is root. If root owns that directory,
/// the process stays root. Also sets the umask to 077.
///
/// With [`Missing::Create`], creates the directories of the queue and the spool first.
pub fn give_up_root(database: &Path, spool: &Path, missing: Missing) -> Result<(), Error> {
    umask(Mode::from_bits_truncate(0o077));
    if !geteuid().is_root() {
        return Ok(());
    }
    let home = database.parent().unwrap_or(Path::new("/"));
    let (uid, gid) = match owner_on_the_way(home) {
        Ok(owner) => owner,
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let (uid, gid) = service_user();
            match missing {
                Missing::Create => create_for(home, uid, gid).map_err(Error::file("create", home))?,
                Missing::Leave if uid == 0 => return Ok(()),
                Missing::Leave => {}
            }
            (uid, gid)
        }
        Err(why) => return Err(Error::file("examine", home)(why)),
    };
    if uid == 0 {
        return refuse_if_shared(home);
    }
    // Without a spool, the queue may still accept the event. Code that needs the spool reports the error.
    if missing == Missing::Create && fs::symlink_metadata(spool).is_err() {
        if let Some(above) = spool.parent().filter(|above| !above.exists()) {
            let _ = create_for(above, uid, gid);
        }
        let _ = create_for(spool, uid, gid);
    }
    become_user(Uid::from_raw(uid), Gid::from_raw(gid))
}

/// Returns the uid and gid that `queue` and `send` become: those of the queue's directory, or of the service user if it
/// is missing.
pub fn owner_of(database: &Path) -> (u32, u32) {
    owner_on_the_way(database.parent().unwrap_or(Path::new("/"))).unwrap_or_else(|_| service_user())
}

/// Becomes the user that `send` runs as, if this process is root and that user isn't. Also sets the umask to 077.
pub fn become_sender(uid: u32, gid: u32) -> Result<(), Error> {
    umask(Mode::from_bits_truncate(0o077));
    if uid == 0 || !geteuid().is_root() {
        return Ok(());
    }
    become_user(Uid::from_raw(uid), Gid::from_raw(gid))
}

/// Finds the owner of a directory: the first on the way to it who isn't root, because that user can replace the rest by
/// a link to anywhere.
fn owner_on_the_way(directory: &Path) -> io::Result<(u32, u32)> {
    let first_user = |way: &Path| -> io::Result<Option<(u32, u32)>> {
        for above in way.ancestors().collect::<Vec<_>>().iter().rev() {
            let metadata = fs::symlink_metadata(above)?;
            if metadata.uid() != 0 {
                return Ok(Some((metadata.uid(), metadata.gid())));
            }
        }
        Ok(None)
    };
    // First the path as given, then the path to which root's own links lead.
    match first_user(directory)? {
        Some(owner) => Ok(owner),
        None => Ok(first_user(&directory.canonicalize()?)?.unwrap_or((0, 0))),
    }
}

/// Refuses to stay root in a directory where another user can plant a link.
fn refuse_if_shared(directory: &Path) -> Result<(), Error> {
    let mode = fs::metadata(directory).map_err(Error::file("examine", directory))?.mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let why = format!("{} is root's, but others can write in it; `chmod go-w` it", directory.display());
    Err(Kind::System { doing: "open the queue as root", why }.into())
}

/// The uid and gid of the service user, or root's if there is none.
fn service_user() -> (u32, u32) {
    let user = User::from_name(SERVICE_USER).ok().flatten();
    user.map_or((0, 0), |user| (user.uid.as_raw(), user.gid.as_raw()))
}

/// Creates a directory for a user, unless it exists. It gets its name once the user owns it, so that a kill in between
/// leaves none that is root's. Fails if a directory above it isn't root's, because its owner could swap it for a link.
fn create_for(directory: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let is_others = |above: &&Path| fs::symlink_metadata(above).is_ok_and(|metadata| metadata.uid() != 0);
    if let Some(above) = directory.ancestors().skip(1).find(is_others) {
        let why = format!("{} above it is not root's", above.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    if fs::symlink_metadata(directory).is_ok() {
        return Ok(());
    }
    let mut unnamed = directory.as_os_str().to_owned();
    unnamed.push(format!(".new-{}", process::id()));
    DirBuilder::new().mode(0o700).create(&unnamed)?;
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(&unnamed)?;
    let named = fchown(&opened, Some(uid), Some(gid)).and_then(|()| fs::rename(&unnamed, directory));
    if let Err(why) = named {
        let _ = fs::remove_dir(&unnamed);
        // Another process has created it, and a file in it.
        return if why.kind() == io::ErrorKind::DirectoryNotEmpty { Ok(()) } else { Err(why) };
    }
    File::open(directory.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Changes all user and group ids for good, and checks that root can't be regained.
fn become_user(uid: Uid, gid: Gid) -> Result<(), Error> {
    setgroups(&[]).map_err(Error::system("leave root's groups"))?;
    setresgid(gid, gid, gid).map_err(Error::system("become the state directory's group"))?;
    setresuid(uid, uid, uid).map_err(Error::system("become the state directory's owner"))?;
    let (users, groups) = (getresuid(), getresgid());
    let is_gone = users.is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [uid; 3])
        && groups.is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [gid; 3])
        && getgroups().is_ok_and(|groups| groups.is_empty())
        && setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err();
    if is_gone {
        return Ok(());
    }
    Err(Kind::System { doing: "give up root", why: "some of root's ids or groups are left".into() }.into())
}
