//! Hooks that are frozen while they hold the open lock: under su, the user can do that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::locks::{Running, is_taken, run, turn};
use crate::support::cgroup::Cgroup;
use crate::support::home::{Home, LOGIN, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::{is_root, skip, wait_for};

/// Starts a hook that holds the open lock while it waits for a busy database.
fn hook_with_lock(home: &Home, cgroup: Option<&Cgroup>) -> Running {
    let inner = home.command(&["queue"]);
    let mut hook = Command::new("/usr/bin/env");
    hook.arg("-i").args(LOGIN.map(|(name, value)| format!("{name}={value}")));
    hook.arg(inner.get_program()).args(inner.get_args());
    let outsider = home.queue().outsider();
    outsider.begin_writing();
    let process = Running::start(match cgroup {
        Some(cgroup) => cgroup.command(&hook),
        None => hook,
    });
    assert!(wait_for(|| is_taken(home)), "the hook takes the lock");
    process
}

/// Returns the process that holds a file's lock.
fn holder_of(file: &Path) -> i32 {
    let inode = format!(":{}", fs::metadata(file).expect("it is there").ino());
    let locks = fs::read_to_string("/proc/locks").expect("/proc");
    let mut lines = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words[1] == "FLOCK" && words[5].ends_with(&inode)).expect("somebody has locked it");
    line[4].parse().expect("a process id")
}

/// P3, P8: the user who runs su can freeze the hook.
#[test]
fn a_frozen_hook_that_has_the_lock_is_killed_and_its_event_is_sent_once() {
    let test = "a_frozen_hook_that_has_the_lock_is_killed_and_its_event_is_sent_once";
    if !is_root() {
        return skip(test, "needs root");
    }
    let cgroup = Cgroup::new(&[&[("cgroup.freeze", "0")]]);
    if cgroup.is_none() {
        skip(test, "there is no cgroup v2 that can be frozen; SIGSTOP is tested instead");
    }
    let home = Home::of_service(STDOUT);
    home.login("bob");
    let mut hook = hook_with_lock(&home, cgroup.as_ref());
    let freeze = |is_frozen: bool| match &cgroup {
        Some(cgroup) => cgroup.set("cgroup.freeze", if is_frozen { "1" } else { "0" }),
        None => home.workers().into_iter().for_each(|worker| {
            let _ = kill(worker, if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
        }),
    };
    freeze(true);
    assert!(is_taken(&home), "it is frozen with the lock");
    let worker = holder_of(&turn(&home));
    for arguments in [&["status"][..], &["retry", "--all"], &["drop", "1"]] {
        run(&home, arguments).fails().says(&format!("is locked by process {worker}"));
    }
    let sent = run(&home, &["send"]);
    sent.exits(0).says(&format!("process {worker} kept the queue locked and was ended")).prints("'bob'");
    home.login("zoe");
    freeze(false);
    assert!(wait_for(|| !hook.is_alive()), "the frozen hook ends");
    let sent = run(&home, &["send"]).stdout() + &run(&home, &["send"]).stdout();
    assert_eq!((sent.matches("'amanda'").count(), sent.matches("'zoe'").count()), (1, 1), "{sent}");
}

/// P8: SIGKILL reaches a process in a frozen cgroup of version 1 only after the thaw.
#[test]
fn a_hook_that_cannot_be_killed_is_named_and_loses_no_event() {
    let test = "a_hook_that_cannot_be_killed_is_named_and_loses_no_event";
    let Some(cgroup) = Cgroup::new(&[&[("freezer.state", "THAWED")]]).filter(|_| is_root()) else {
        return skip(test, "needs root and a freezer of cgroup v1");
    };
    let home = Home::of_service(STDOUT);
    home.login("bob");
    let mut hook = hook_with_lock(&home, Some(&cgroup));
    cgroup.set("freezer.state", "FROZEN");
    assert!(is_taken(&home), "it is frozen with the lock");
    let worker = holder_of(&turn(&home));
    let named = format!("is locked by process {worker}");
    run(&home, &["status"]).fails().says(&named);
    // The events in the queue are sent.
    let first = run(&home, &["send"]);
    first.fails().says(&named);
    let started = Instant::now();
    home.hook(&[("PAM_SERVICE", "sshd"), ("PAM_USER", "zoe"), ("PAM_TYPE", "open_session")]).exits(0);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    cgroup.set("freezer.state", "THAWED");
    assert!(wait_for(|| !hook.is_alive() && !is_taken(&home)), "the frozen hook ends");
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    let sent = first.stdout() + &run(&home, &["send"]).stdout() + &run(&home, &["send"]).stdout();
    for user in ["'bob'", "'amanda'", "'zoe'"] {
        assert_eq!(sent.matches(user).count(), 1, "{sent}");
    }
}
