//! Identifies processes by /proc: the one that a session belongs to, and whether it still runs.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;

use crate::files::read_proc;

/// Clock ticks in a second (`USER_HZ`), which is 100 for all programs on Linux (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// A process. Ids are reused, so its start time is a part of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id in its pid namespace.
    pub id: u32,
    /// When it started, in clock ticks since boot.
    started: u64,
}

impl Process {
    /// Finds the process that has this id now. `None` if there is none, or without /proc.
    pub fn find(id: u32) -> Option<Self> {
        let line = read_proc(&format!("/proc/{id}/stat"));
        // Field 22 (proc(5)), counted from the end of the name, which may contain spaces.
        let (_, after_name) = line.rsplit_once(')')?;
        Some(Self { id, started: after_name.split_ascii_whitespace().nth(19)?.parse().ok()? })
    }

    /// Parses `PID-STARTTIME`. `None` for a `PID` alone, which [`parent`] writes without /proc.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, started) = text.split_once('-')?;
        Some(Self { id: id.parse().ok()?, started: started.parse().ok()? })
    }

    /// Whether it still runs. It must belong to this process's pid namespace.
    pub fn is_alive(self) -> bool {
        Self::find(self.id) == Some(self)
    }

    /// When it started, in milliseconds since boot.
    pub fn started_ms(self) -> i64 {
        i64::try_from(self.started.saturating_mul(1000) / TICKS_PER_SECOND).unwrap_or(i64::MAX)
    }
}

/// Identifies this process's parent as `PID-STARTTIME`, or `PID` without /proc.
pub fn parent() -> String {
    let id = parent_id();
    Process::find(id).map_or_else(|| id.to_string(), |process| format!("{id}-{}", process.started))
}

/// The number of this process's pid namespace: `4026531836` from `pid:[4026531836]` (`pid_namespaces(7)`).
pub fn namespace() -> String {
    let link = fs::read_link(Path::new("/proc/self/ns/pid")).unwrap_or_default();
    let name = link.as_os_str().to_string_lossy();
    name.trim_start_matches("pid:[").trim_end_matches(']').into()
}

/// Whether this process can see other users' processes. /proc may be missing or hide them (`hidepid`).
pub fn are_visible() -> bool {
    Process::find(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_another_start_time_is_not_the_same() {
        let parent = Process::parse(&parent()).expect("there is /proc");
        assert!(parent.is_alive() && are_visible());
        assert!(!Process { started: parent.started + 1, ..parent }.is_alive(), "another one with its id");
        for text in ["", "7", "7-", "-7", "x-7", "7-8-9"] {
            assert_eq!(Process::parse(text), None, "{text}");
        }
    }
}
