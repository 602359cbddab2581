//! A test's own network: only loopback is in it, and every port is free.

use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::support::{has, has_mount_namespaces};

/// Whether this process can make network namespaces, and mount namespaces in them.
pub fn has_networks() -> bool {
    let made = Command::new("unshare").args(["--net", "true"]).output();
    has_mount_namespaces() && has("ip") && made.is_ok_and(|made| made.status.success())
}

/// Runs `work` in its own network namespace. Its sockets, threads and processes are in it too.
pub fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        // This moves only this thread and the threads that it starts.
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network");
        ip("link set lo up");
        work()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

/// Runs `ip` with these words, which must succeed.
pub fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().expect("ip was there");
    assert!(done.status.success(), "ip {words}: {done:?}");
}
