//! Processes, as /proc shows them: which one a session belongs to, and whether it is still there.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;

use crate::files::read_proc;

/// How /proc counts a process's start: `USER_HZ`, which Linux has kept at 100 for all programs (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// One process, told from every other one that has had its number since the host booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in its pid namespace.
    pub id: u32,
    /// When it started, in clock ticks since boot.
    started: u64,
}

impl Process {
    /// Reads `PID-START`. `None` where the start is missing, as it is without /proc.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, started) = text.split_once('-')?;
        Some(Self { id: id.parse().ok()?, started: started.parse().ok()? })
    }

    /// Whether it still runs, if it is of this process's pid namespace.
    pub fn is_alive(self) -> bool {
        started(self.id) == Some(self.started)
    }

    /// When it started, in milliseconds since boot.
    pub fn started_ms(self) -> i64 {
        i64::try_from(self.started * 1000 / TICKS_PER_SECOND).unwrap_or(i64::MAX)
    }
}

/// The parent of this process, as `PID-START`, because process ids are used again; `PID` without /proc.
pub fn parent() -> String {
    let id = parent_id();
    started(id).map_or_else(|| id.to_string(), |started| format!("{id}-{started}"))
}

/// The number of this process's pid namespace: `4026531836`, out of `pid:[4026531836]` (`pid_namespaces(7)`).
pub fn namespace() -> String {
    let link = fs::read_link(Path::new("/proc/self/ns/pid")).unwrap_or_default();
    let name = link.as_os_str().to_string_lossy();
    name.trim_start_matches("pid:[").trim_end_matches(']').into()
}

/// Whether this process can see others' processes: /proc may be missing, or hide them (`hidepid`).
pub fn are_visible() -> bool {
    started(1).is_some()
}

/// Field 22 of stat (proc(5)).
fn started(id: u32) -> Option<u64> {
    let line = read_proc(&format!("/proc/{id}/stat"));
    let (_, after_name) = line.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_only_as_long_as_it_is_the_same() {
        let parent = Process::parse(&parent()).expect("there is /proc");
        assert!(parent.is_alive() && are_visible());
        assert!(!Process { started: parent.started + 1, ..parent }.is_alive(), "another one with its number");
        for text in ["", "7", "7-", "-7", "x-7", "7-8-9"] {
            assert_eq!(Process::parse(text), None, "{text}");
        }
    }
}
