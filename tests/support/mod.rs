//! Shared by the tests of the real binary: a host to run it on, servers to talk to, and a way to skip a test
//! that can't run on this machine.
#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod cgroup;
pub mod container;
pub mod copy;
pub mod cost;
pub mod home;
pub mod inject;
pub mod network;
pub mod outcome;
pub mod powercut;
pub mod proxies;
pub mod queue;
pub mod server;
pub mod smtp;
pub mod sshd;
pub mod tls;
pub mod tools;
pub mod tree;

use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{iter, thread};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Returns the words that start the program under test: the binary that cargo built, or `SSN_BINARY` split at
/// spaces (`qemu-aarch64-static PATH`).
pub fn program() -> Vec<String> {
    match std::env::var("SSN_BINARY") {
        Ok(words) => words.split_whitespace().map(Into::into).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_ssh-session-notifier").into()],
    }
}

/// Reports that a test can't run here; `.ci/run` collects these lines. Not by `eprintln!`, which libtest
/// captures, and in one write, so that no other test's result gets in between.
pub fn skip(test: &str, why: &str) {
    let _ = io::stderr().write_all(format!("\nSKIP: {test}: {why}\n").as_bytes());
}

/// Whether the tests run as root, and so can change owners and make namespaces and devices.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a program is installed or unpacked.
pub fn has(program: &str) -> bool {
    tools::find(program).is_some()
}

/// Whether this process may make a mount namespace (a container may not).
pub fn has_mount_namespaces() -> bool {
    is_root() && Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|done| done.status.success())
}

/// Waits up to ten seconds for a condition. Returns whether it held.
pub fn wait_for(mut what: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if what() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    what()
}

/// Calls `run` with each case, four at a time, for cases that mostly wait. Returns the results, in no order.
pub fn side_by_side<T: Sync, R: Send>(cases: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let rest = Mutex::new(cases.iter());
    let next = || rest.lock().expect("no case panics while it is taken").next();
    thread::scope(|scope| {
        let worker = || iter::from_fn(next).map(&run).collect::<Vec<R>>();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("every case passes")).collect()
    })
}

/// Fills a pipe, so that the next write blocks.
pub fn fill(pipe: &PipeWriter) {
    let flags = OFlag::from_bits_truncate(fcntl(pipe, FcntlArg::F_GETFL).expect("a pipe"));
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("a pipe");
    let mut file = File::from(OwnedFd::from(pipe.try_clone().expect("a pipe")));
    while file.write(&[0; 1]).is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(flags)).expect("a pipe");
}
