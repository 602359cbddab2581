//! Locks on files: opened without waiting, waited for with a limit, and who holds one.

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

/// How often a lock is tried while it is waited for.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Lines of a file in /proc that are read. Any user can take locks, and so make /proc/locks long.
const LINES_LIMIT: usize = 1_000_000;

/// Clock ticks in a second, as /proc counts (`USER_HZ`).
const TICKS: u64 = 100;

/// How long a process that was sent SIGKILL may take to end. One in a frozen cgroup of version 1 doesn't.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Another process that holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since boot: ids are used again.
    started: u64,
}

/// How a wait for a lock ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Wait {
    /// The lock was taken.
    Taken,
    /// It was not, but nobody is known to have held it all the time.
    Missed,
    /// One process has held it all the time.
    Stuck(Holder),
}

/// Opens a file to lock it, and creates it if it is missing. Where it can't be written it is opened to read,
/// which is enough for a lock. It is its owner's alone: who can open it can lock it.
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

/// The same, but creates and changes nothing.
pub fn open_existing(path: &Path) -> io::Result<File> {
    files::open(path, OpenOptions::new().read(true), Links::Follow)
}

/// Waits for the lock on the file that was opened at `path`.
pub fn wait(file: &File, path: &Path, limit: Duration) -> Wait {
    if file.try_lock().is_ok() {
        return Wait::Taken;
    }
    let (ends, first) = (Instant::now() + limit, Holder::of(path));
    while Instant::now() < ends {
        thread::sleep(TRY_AGAIN);
        if file.try_lock().is_ok() {
            return Wait::Taken;
        }
    }
    first.filter(|first| Holder::of(path) == Some(*first)).map_or(Wait::Missed, Wait::Stuck)
}

impl Holder {
    /// The process that holds a lock on this file which keeps all others out. `None`: there is none, or it
    /// can't be seen from here (it is in another pid namespace).
    pub fn of(path: &Path) -> Option<Self> {
        // With the /proc of another pid namespace, the ids in it are not those of this one.
        let is_own_proc = fs::read_link("/proc/self").is_ok_and(|own| own == Path::new(&process::id().to_string()));
        let place = place(path).filter(|_| is_own_proc)?;
        let mut found = None;
        each_line("/proc/locks", &mut |line| {
            found = Self::in_line(line, &place);
            found.is_some()
        });
        found
    }

    /// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131075 0 EOF` (proc(5)). The lines of those who wait have an
    /// arrow in the second place.
    fn in_line(line: &str, place: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[_, "FLOCK" | "POSIX", _, "WRITE", pid, found, ..] = words.as_slice() else { return None };
        let pid: u32 = pid.parse().ok().filter(|_| found == place)?;
        // 0 stands for a process that can't be named here; 1 holds none of our locks.
        let pid = i32::try_from(pid).ok().filter(|_| pid > 1 && pid != process::id())?;
        Some(Self { pid, started: started(pid)? })
    }

    /// How long ago the process started.
    pub fn age(&self) -> Duration {
        let now = u64::try_from(Stamp::now().boot_ms).unwrap_or(0);
        Duration::from_millis(now.saturating_sub(self.started * 1000 / TICKS))
    }

    /// Ends the process by SIGKILL, if it is this user's and still the `holder`, and waits for its end. Whether
    /// it has ended.
    pub fn end(&self, holder: impl Fn() -> Option<Self>) -> bool {
        let pid = Some(self.pid).filter(|pid| *pid > 1).and_then(Pid::from_raw);
        let Some(process) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return false };
        // Asked again: from here on, the descriptor means no other process, whatever becomes of the id.
        if holder() != Some(*self) || !self.is_ours() || pidfd_send_signal(&process, Signal::KILL).is_err() {
            return false;
        }
        let limit = PollTimeout::try_from(END_LIMIT).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], limit).is_ok_and(|count| count > 0)
    }

    /// Whether all its user ids are this process's. (The kernel asks only for less, and root may signal anybody.)
    fn is_ours(&self) -> bool {
        let status = read_proc(&format!("/proc/{}/status", self.pid));
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let own = geteuid().as_raw().to_string();
        ids.split_ascii_whitespace().count() == 4 && ids.split_ascii_whitespace().all(|id| id == own)
    }
}

/// When a process started, in clock ticks since boot (proc(5), field 22 of stat).
fn started(pid: i32) -> Option<u64> {
    let line = read_proc(&format!("/proc/{pid}/stat"));
    line.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The file as /proc/locks names it: `fe:00:131075`. On btrfs and overlayfs, stat(2) has another device for it.
fn place(path: &Path) -> Option<String> {
    // Such a descriptor waits for nothing, and closing it gives up none of this process's own locks.
    let file = OpenOptions::new().read(true).custom_flags(O_PATH).open(path).ok()?;
    let info = read_proc(&format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let number = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mount = number("mnt_id:")?;
    let inode = number("ino:").map_or_else(|| file.metadata().ok().map(|file| file.ino()), |ino| ino.parse().ok())?;
    let mut device = String::new();
    // `36 35 98:0 /mnt1 …` (proc(5)); both numbers of the device are decimal here.
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

/// Shows `has_enough` the lines of a file in /proc, one after the other, until it has enough.
fn each_line(path: &str, has_enough: &mut dyn FnMut(&str) -> bool) {
    let Ok(mut file) = File::open(path).map(BufReader::new) else { return };
    let mut line = String::new();
    for _ in 0..LINES_LIMIT {
        line.clear();
        if !file.read_line(&mut line).is_ok_and(|length| length > 0) || has_enough(line.trim_end()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_a_process_that_can_be_named_and_keeps_others_out_of_this_file() {
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
    fn the_kernel_names_a_locked_file_as_this_program_does() {
        let path = std::env::temp_dir().join(format!("ssn-locks-{}", process::id()));
        let file = open(&path).expect("a temporary file");
        assert_eq!(wait(&file, &path, Duration::ZERO), Wait::Taken);
        let place = place(&path).expect("/proc");
        let locks = fs::read_to_string("/proc/locks").expect("/proc");
        let own = format!(" {} {place} ", process::id());
        assert!(locks.contains(&own), "{own} is not in\n{locks}");
        fs::remove_file(&path).expect("it is ours");
    }

    #[test]
    fn no_process_is_ended_that_is_another_users_or_holds_nothing_any_more() {
        let mut child = process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let pid = i32::try_from(child.id()).expect("a process id");
        let holder = Holder { pid, started: started(pid).expect("/proc") };
        assert!(!holder.end(|| None), "it holds nothing");
        assert!(!holder.end(|| Some(Holder { started: 1, ..holder })), "the id was used again");
        assert!(child.try_wait().expect("ours").is_none(), "it lives");
        assert!(holder.age() < Duration::from_secs(30), "{:?}", holder.age());
        assert!(holder.end(|| Some(holder)));
        child.wait().expect("ours");
        for pid in [0, -1, 1] {
            let holder = Holder { pid, started: 0 };
            assert!(!holder.end(|| Some(holder)), "{pid}");
        }
    }
}
