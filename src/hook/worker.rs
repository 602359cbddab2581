//! Runs work in a child process with a deadline.
//!
//! A process blocked on a hung disk (state D) ignores even SIGKILL, and so does one with a thread in that
//! state. Waiting for such a process means waiting for the disk. So PAM waits for a process that touches no
//! disk, and the child that does is left behind if it is late.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigEvent, SigevNotify, Signal, kill};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork};

use crate::log;

/// A child that is left behind ends itself after this. Only a disk that doesn't answer can keep it longer.
const CHILD_LIMIT: Duration = Duration::from_secs(30);

/// What the child writes behind its messages when its work is safe. No message contains it.
const DONE: u8 = 0;

/// Runs `work` in a child process, and waits until it calls what it is given: then all that matters is done,
/// and nobody waits for what it does afterwards. An error says that the child was late or died; a late one may
/// still finish. What the child logs appears on stderr as long as it is waited for.
///
/// Without memory for a child the work is done here, without a deadline. To be called while this process has
/// one thread.
pub fn run_with_deadline(limit: Duration, work: impl FnOnce(&mut dyn FnMut())) -> Result<(), &'static str> {
    let ends = Instant::now() + limit;
    let Some((child, (reader, writer))) = pipe().ok().and_then(|pipe| Some((fork_here().ok()?, pipe))) else {
        work(&mut || {});
        return Ok(());
    };
    match child {
        ForkResult::Child => {
            drop(reader);
            detach(writer);
            let mut done = || drop(io::stderr().write_all(&[DONE]));
            work(&mut done);
            done();
            process::exit(0);
        }
        ForkResult::Parent { .. } => {
            drop(writer);
            relay(reader, ends)
        }
    }
}

#[expect(unsafe_code, reason = "there is no other way to a second process without starting the program again")]
fn fork_here() -> nix::Result<ForkResult> {
    // SAFETY: this process has a single thread (`run_with_deadline` says so; only a child starts another one, in
    // `end_in_time`, and a child doesn't fork), so nothing in the child is locked by a thread that it doesn't have
    // (fork(2), signal-safety(7)).
    unsafe { fork() }
}

/// Makes sure that this process ends if it is left behind, by SIGKILL, because the caller may have blocked or
/// ignored any other signal. To be called once root is given up: with a second thread and `ulimit -i 0`, musl's
/// setresuid would wait for ever.
pub fn end_in_time() {
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
    if let Ok(mut timer) = Timer::new(ClockId::CLOCK_MONOTONIC, event) {
        let _ = timer.set(Expiration::OneShot(TimeSpec::from_duration(CHILD_LIMIT)), TimerSetTimeFlags::empty());
        std::mem::forget(timer);
    } else {
        // A timer counts as a pending signal, which a user can forbid (`ulimit -i 0`).
        let _ = thread::Builder::new().spawn(|| {
            thread::sleep(CHILD_LIMIT);
            let _ = kill(Pid::this(), Signal::SIGKILL);
        });
    }
}

/// Makes sure that nobody waits for a child that is left behind: a pipe of the caller's on its standard output
/// would stay open as long as it lives. The parent gets what it writes to stderr.
fn detach(stderr: PipeWriter) {
    let _ = dup2_stderr(stderr);
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
    }
}

/// Passes the child's messages on until its work is safe.
fn relay(mut child: PipeReader, ends: Instant) -> Result<(), &'static str> {
    let mut buffer = [0; 4096];
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(child.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(_) => return Err("took too long"),
            Ok(_) => {}
        }
        let length = child.read(&mut buffer).unwrap_or(0);
        let message = &buffer[..length];
        let is_done = message.contains(&DONE);
        log::to_stderr(message.split(|byte| *byte == DONE).next().unwrap_or_default());
        match length {
            _ if is_done => return Ok(()),
            0 => return Err("came to a sudden end"),
            _ => {}
        }
    }
}
