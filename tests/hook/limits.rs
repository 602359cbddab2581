//! Resource limits that a caller lowers before the hook starts: no event is lost.

use std::fs;
use std::process::Command;

use crate::support::home::{self, Home, LOGIN, STDOUT, Syslog};
use crate::support::outcome::Outcome;
use crate::support::{has, has_mount_namespaces, is_root, skip};
use crate::surroundings::{after, assert_recorded};

/// Options of `ulimit`: file size, descriptors, address space, data, stack, processes, processor time.
const LIMITS: [&str; 7] = ["-f 0", "-n 4", "-v 65536", "-d 16384", "-s 128", "-p 1", "-t 1"];

/// Returns lines that lower each limit, then all at once; `kind` is `-S ` for soft limits only.
fn lowered(kind: &str) -> Vec<String> {
    let mut lines: Vec<_> = LIMITS.map(|limit| format!("ulimit {kind}{limit}")).into();
    lines.push(lines.join("; "));
    lines
}

fn assert_limits_lose_no_event(kind: &str) {
    for prelude in lowered(kind) {
        let home = Home::as_installed(STDOUT);
        let output = after(&prelude, &home).output().expect("sh starts");
        assert_recorded(&home, &output, &prelude);
    }
}

/// P1, P3
#[test]
fn lowered_soft_limits_lose_no_event() {
    if is_root() && !has("setpriv") {
        return skip("lowered_soft_limits_lose_no_event", "needs setpriv");
    }
    assert_limits_lose_no_event("-S ");
}

/// P1, P3
#[test]
fn hard_limits_lowered_before_su_lose_no_event() {
    let test = "hard_limits_lowered_before_su_lose_no_event";
    if !is_root() || !has("setpriv") {
        return skip(test, "needs root and setpriv");
    }
    if !may_lift_hard_limits() {
        return skip(test, "needs CAP_SYS_RESOURCE");
    }
    assert_limits_lose_no_event("");
}

/// Whether this process has `CAP_SYS_RESOURCE` (number 24), which containers often drop.
fn may_lift_hard_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap_or_default();
    u64::from_str_radix(set, 16).is_ok_and(|set| set >> 24 & 1 == 1)
}

/// P2
#[test]
fn syslog_gets_the_whole_event_if_a_limit_cannot_be_lifted() {
    let test = "syslog_gets_the_whole_event_if_a_limit_cannot_be_lifted";
    if !has_mount_namespaces() || !has("setpriv") {
        return skip(test, "needs root, mount namespaces and setpriv");
    }
    let home = Home::as_installed(STDOUT);
    let syslog = Syslog::listen(&home);
    let mut command = home.command_in_own_dev("ulimit -f 0", &["queue"]);
    if may_lift_hard_limits() {
        let inner = command;
        command = Command::new("/usr/bin/setpriv");
        command.args(["--bounding-set", "-sys_resource"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    }
    home::hook(command, &LOGIN).exits(0);
    let lines = syslog.lines();
    for part in ["action open", "user amanda", "remote_host 192.0.2.7", "tty ssh", "service sshd"] {
        assert!(lines.contains(&format!(" | {part} | ")) && lines.starts_with("<34>"), "{part}: {lines}");
    }
    assert!(home.spooled().iter().all(|name| name.starts_with('.')), "{:?}", home.spooled());
}
