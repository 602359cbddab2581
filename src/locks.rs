//! File locks: opens a file to lock it, waits for the lock with a limit, and finds the process that holds it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::O_PATH;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::clock::Stamp;
use crate::files::{self, Links, read_proc};
use crate::process::Process;

/// How often to try a lock that is held.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Lines read of a file in /proc. Any user can take many locks, which makes /proc/locks long.
const LINES_LIMIT: usize = 1_000_000;

/// How long a process may take to end after SIGKILL. In a frozen cgroup of version 1, it never ends.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Another process that holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: i32,
    process: Process,
}

/// How a wait for a lock ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Wait {
    /// This process has the lock.
    Taken,
    /// It does not, and the holder is unknown or has changed.
    Missed,
    /// One process held the lock all the time.
    Stuck(Holder),
}

/// Opens a file to lock it. Creates it if it is missing, and opens it read-only if it can't be written, which is
/// enough for a lock. Sets mode 0600, because a user who can open the file can lock it.
pub fn open(path: &Path) -> io::Result<File> {
    let mut create = OpenOptions::new();
    create.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = match files::open(path, &mut create, Links::Follow) {
        Err(why) if matches!(why.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            open_existing(path)?
        }
        opened => opened?,
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
    Ok(file)
}

/// Opens an existing file to lock it, and changes nothing.
pub fn open_existing(path: &Path) -> io::Result<File> {
    files::open(path, OpenOptions::new().read(true), Links::Follow)
}

/// Waits up to `limit` for the lock on a file that was opened at `path`.
pub fn wait(file: &File, path: &Path, limit: Duration) -> Wait {
    if file.try_lock().is_ok() {
        return Wait::Taken;
    }
    let (deadline, first) = (Instant::now() + limit, Holder::of(path));
    while Instant::now() < deadline {
        thread::sleep(TRY_AGAIN);
        if file.try_lock().is_ok() {
            return Wait::Taken;
        }
    }
    first.filter(|first| Holder::of(path) == Some(*first)).map_or(Wait::Missed, Wait::Stuck)
}

impl Holder {
    /// Finds the process that holds an exclusive lock on a file. `None` if there is none, or if it is invisible, as in
    /// another pid namespace.
    pub fn of(path: &Path) -> Option<Self> {
        // If /proc belongs to another pid namespace, its ids mean other processes.
        let is_own_proc = fs::read_link("/proc/self").is_ok_and(|own| own == Path::new(&process::id().to_string()));
        let id = lock_id(path).filter(|_| is_own_proc)?;
        let mut found = None;
        each_line("/proc/locks", &mut |line| {
            found = Self::in_line(line, &id);
            found.is_some()
        });
        found
    }

    /// Parses `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131075 0 EOF` (proc(5)). A process that waits has `->` as the
    /// second word.
    fn in_line(line: &str, id: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[_, "FLOCK" | "POSIX", _, "WRITE", pid, found, ..] = words.as_slice() else { return None };
        let pid: u32 = pid.parse().ok().filter(|_| found == id)?;
        // 0 stands for a process in another pid namespace; 1 holds none of our locks.
        let process = Some(pid).filter(|pid| *pid > 1 && *pid != process::id()).and_then(Process::find)?;
        Some(Self { pid: i32::try_from(pid).ok()?, process })
    }

    /// How long ago the process started.
    pub fn age(&self) -> Duration {
        let age = Stamp::now().boot_ms.saturating_sub(self.process.started_ms());
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// Kills the process if it is this user's and `holder` still returns it, and waits for its end. Returns whether it
    /// has ended.
    pub fn end(&self, holder: impl Fn() -> Option<Self>) -> bool {
        let pid = Some(self.pid).filter(|pid| *pid > 1).and_then(Pid::from_raw);
        let Some(process) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return false };
        // Ask again now: the descriptor can't come to mean another process, the id could.
        if holder() != Some(*self) || !self.is_ours() || pidfd_send_signal(&process, Signal::KILL).is_err() {
            return false;
        }
        let limit = PollTimeout::try_from(END_LIMIT).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], limit).is_ok_and(|count| count > 0)
    }

    /// Whether all its user ids are this process's. The kernel allows more, and root to signal any process.
    fn is_ours(&self) -> bool {
        let status = read_proc(&format!("/proc/{}/status", self.pid));
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let own = geteuid().as_raw().to_string();
        ids.split_ascii_whitespace().count() == 4 && ids.split_ascii_whitespace().all(|id| id == own)
    }
}

/// Names a file as /proc/locks does: `fe:00:131075`. stat(2) won't do: it has another device on btrfs and overlayfs.
fn lock_id(path: &Path) -> Option<String> {
    // O_PATH never waits, and closing such a descriptor releases none of this process's own locks.
    let file = OpenOptions::new().read(true).custom_flags(O_PATH).open(path).ok()?;
    let info = read_proc(&format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let number = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mount = number("mnt_id:")?;
    let inode = number("ino:").map_or_else(|| file.metadata().ok().map(|file| file.ino()), |ino| ino.parse().ok())?;
    let mut device = String::new();
    // `36 35 98:0 /mnt1 …` (proc(5)). The device is decimal here, and hexadecimal in /proc/locks.
    each_line("/proc/self/mountinfo", &mut |line| {
        let mut words = line.split(' ');
        let is_found = words.next() == Some(mount);
        if is_found {
            device = words.nth(1).unwrap_or_default().into();
        }
        is_found
    });
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{major:02x}:{minor:02x}:{inode}"))
}

/// Calls `is_done` with each line of a file in /proc until it returns true.
fn each_line(path: &str, is_done: &mut dyn FnMut(&str) -> bool) {
    let Ok(mut file) = File::open(path).map(BufReader::new) else { return };
    let mut line = String::new();
    for _ in 0..LINES_LIMIT {
        line.clear();
        if !file.read_line(&mut line).is_ok_and(|length| length > 0) || is_done(line.trim_end()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_a_visible_process_with_an_exclusive_lock_on_this_file() {
        let parent = std::os::unix::process::parent_id();
        let line = |rest: &str| Holder::in_line(&rest.replace("PID", &parent.to_string()), "fe:00:7");
        for held in ["1: FLOCK  ADVISORY  WRITE PID fe:00:7 0 EOF", "12: POSIX  ADVISORY  WRITE PID fe:00:7 123 123"] {
            assert_eq!(line(held).map(|holder| holder.pid.to_string()), Some(parent.to_string()), "{held}");
        }
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE PID fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  READ PID fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE PID fe:00:77 0 EOF",
            "1: FLOCK  ADVISORY  WRITE PID fe:01:7 0 EOF",
            "1: LEASE  ACTIVE    WRITE PID fe:00:7 0 EOF",
            "1: OFDLCK ADVISORY  WRITE -1 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 0 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 1 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE -7 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 4294967295 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE",
            "",
        ] {
            assert_eq!(line(other), None, "{other}");
        }
        let own = format!("1: FLOCK  ADVISORY  WRITE {} fe:00:7 0 EOF", process::id());
        assert_eq!(line(&own), None, "this process");
    }

    #[test]
    fn a_locked_file_has_the_name_that_proc_locks_gives_it() {
        let path = std::env::temp_dir().join(format!("ssn-locks-{}", process::id()));
        let file = open(&path).expect("a temporary file");
        assert_eq!(wait(&file, &path, Duration::ZERO), Wait::Taken);
        let id = lock_id(&path).expect("/proc");
        let locks = fs::read_to_string("/proc/locks").expect("/proc");
        let own = format!(" {} {id} ", process::id());
        assert!(locks.contains(&own), "{own} is not in\n{locks}");
        fs::remove_file(&path).expect("it is ours");
    }

    #[test]
    fn only_a_process_that_still_holds_the_lock_is_killed() {
        let mut child = process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let pid = i32::try_from(child.id()).expect("a process id");
        let holder = Holder { pid, process: Process::find(child.id()).expect("/proc") };
        let later = Holder { pid, process: Process::parse(&format!("{pid}-1")).expect("a process") };
        assert!(!holder.end(|| None), "it holds nothing");
        assert!(!holder.end(|| Some(later)), "the id was used again");
        assert!(child.try_wait().expect("ours").is_none(), "it lives");
        assert!(holder.age() < Duration::from_secs(30), "{:?}", holder.age());
        assert!(holder.end(|| Some(holder)));
        child.wait().expect("ours");
        for pid in [0, -1, 1] {
            let holder = Holder { pid, ..holder };
            assert!(!holder.end(|| Some(holder)), "{pid}");
        }
    }
}
