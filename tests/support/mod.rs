//! What the tests of the real binary share: a host of their own to run it on, servers to talk to,
//! and a way to say that a test could not run here.
#![allow(dead_code, reason = "each test file uses a part of it")]

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
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// The program under test: the one that cargo built, or what `SSN_BINARY` names (a static one, behind
/// `qemu-aarch64-static` perhaps: words are split at spaces).
pub fn program() -> Vec<String> {
    match std::env::var("SSN_BINARY") {
        Ok(words) => words.split_whitespace().map(Into::into).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_ssh-session-notifier").into()],
    }
}

/// Says that a test could not run here. `.ci/run` collects these lines; libtest would swallow what
/// goes through `eprintln!`. One write, or another test's result comes in between.
pub fn skip(test: &str, why: &str) {
    let _ = io::stderr().write_all(format!("\nSKIP: {test}: {why}\n").as_bytes());
}

/// Whether the tests run as root, and so may make users' files, namespaces and devices.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a program can be started.
pub fn has(program: &str) -> bool {
    tools::find(program).is_some()
}

/// Whether this process may make a mount namespace (a container may not).
pub fn has_mount_namespaces() -> bool {
    is_root() && Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|done| done.status.success())
}

/// Waits until something holds, ten seconds at most; answers whether it does.
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

/// Writes into a pipe until it takes no more; whoever writes next waits.
pub fn fill(pipe: &PipeWriter) {
    let flags = OFlag::from_bits_truncate(fcntl(pipe, FcntlArg::F_GETFL).expect("a pipe"));
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("a pipe");
    let mut file = File::from(OwnedFd::from(pipe.try_clone().expect("a pipe")));
    while file.write(&[0; 1]).is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(flags)).expect("a pipe");
}
