//! Signals that a user sends to the hook of his own session: none ends it.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::home::SERVICE;
use crate::support::outcome::Outcome;
use crate::support::sshd::EVE;
use crate::support::{has, is_root, skip, wait_for};
use crate::surroundings::{after, busy_host, end_of};

/// P1, P3
#[test]
fn no_signal_that_can_be_blocked_ends_a_waiting_hook() {
    let test = "no_signal_that_can_be_blocked_ends_a_waiting_hook";
    if is_root() && !has("setpriv") {
        return skip(test, "needs setpriv");
    }
    let (home, lock) = busy_host();
    let mut hook = after("", &home).stderr(Stdio::piped()).spawn().expect("sh starts");
    let status = format!("/proc/{}/status", hook.id());
    // The hook waits half a second for the lock; then the event goes to the spool.
    let is_deaf = || {
        let lines = fs::read_to_string(&status).unwrap_or_default();
        let mask = lines.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap_or_default();
        // SIGKILL and SIGSTOP can't be blocked, and the C library reserves 32 to 34.
        u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & 0x7fff_ffff == 0x7ffb_feff)
    };
    assert!(wait_for(is_deaf), "{}", fs::read_to_string(&status).unwrap_or_default());
    let process = Pid::from_raw(i32::try_from(hook.id()).expect("a process id"));
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        kill(process, signal).expect("it runs");
    }
    let ended = end_of(&mut hook);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    drop(lock);
    assert!(home.sent().contains("'amanda'"));
}

/// P3
#[test]
fn a_user_cannot_kill_the_hook_of_a_su_that_he_started() {
    let test = "a_user_cannot_kill_the_hook_of_a_su_that_he_started";
    if !is_root() || !has("setpriv") {
        return skip(test, "needs root and setpriv");
    }
    let (home, lock) = busy_host();
    let mut hook = after("", &home).stderr(Stdio::piped()).spawn().expect("sh starts");
    // PAM waits for the parent, which opens nothing and stays root. The child gives root up.
    let parent = hook.id().to_string();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child = || fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
    let is_user = |process: &str, user: u32| {
        let ids = format!("Uid:\t{user}\t{user}\t{user}\t{user}\n");
        fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|lines| lines.contains(&ids))
    };
    assert!(wait_for(|| is_user(&parent, 0) && is_user(&child(), SERVICE)), "{parent} {}", child());
    let (id, child) = (EVE.to_string(), child());
    for (signal, process) in [("-KILL", &parent), ("-STOP", &parent), ("-KILL", &child), ("-STOP", &child)] {
        let mut attack = Command::new("/usr/bin/setpriv");
        attack.args(["--reuid", &id, "--regid", &id, "--clear-groups", "/bin/kill", signal, process]);
        attack.output().expect("setpriv starts").when(signal).says("not permitted");
    }
    assert!(end_of(&mut hook).is_some_and(|status| status.success()));
    drop(lock);
    assert!(home.sent().contains("'amanda'"));
}
