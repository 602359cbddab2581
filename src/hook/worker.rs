//! Runs work in a child process with a deadline.
//!
//! A process blocked on a hung disk (state D) ignores even SIGKILL, and so does one with a thread in that state.
//! So PAM waits for a parent that touches no disk, and the parent leaves its child behind if that is late.

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

/// A child that is left behind ends itself after this, unless a hung disk holds it.
const CHILD_LIMIT: Duration = Duration::from_secs(30);

/// The byte that a child writes to stderr once its work is safe. No message contains it.
const DONE: u8 = 0;

/// A child process, by the reading end of its stderr.
pub struct Worker(PipeReader);

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is at work, and may have logged something.
    Working,
    /// Its work is safe.
    Safe,
    /// It has ended before its work was safe.
    Ended,
}

/// Starts `work` in a child process. `work` calls its argument once the event is safe, which ends the parent's wait.
/// A child that is late may still finish.
///
/// `None` if there is no memory for a child: then the work has been done here, without a deadline. Must be called
/// while this process has one thread.
pub fn start(work: impl FnOnce(&mut dyn FnMut())) -> Option<Worker> {
    let Some((child, (reader, writer))) = pipe().ok().and_then(|pipe| Some((fork_here().ok()?, pipe))) else {
        work(&mut || {});
        return None;
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
        ForkResult::Parent { .. } => Some(Worker(reader)),
    }
}

/// Waits until one worker's work is safe, and copies the workers' messages to stderr. The error completes a sentence:
/// they `took too long`, or all ended. A worker that has ended is removed.
pub fn wait_for_one(workers: &mut Vec<Worker>, deadline: Instant) -> Result<(), &'static str> {
    while !workers.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut pipes: Vec<_> = workers.iter().map(|worker| PollFd::new(worker.0.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut pipes, timeout) {
            Ok(0) | Err(_) => return Err("took too long"),
            Ok(_) => {}
        }
        let mut is_ready = pipes.iter().map(|pipe| pipe.any() != Some(false)).collect::<Vec<_>>().into_iter();
        let mut is_safe = false;
        workers.retain_mut(|worker| {
            let progress = if is_ready.next() == Some(true) { worker.relay() } else { Progress::Working };
            is_safe |= progress == Progress::Safe;
            progress != Progress::Ended
        });
        if is_safe {
            return Ok(());
        }
    }
    Err("ended unexpectedly")
}

impl Worker {
    /// Copies the messages that have arrived to stderr.
    fn relay(&mut self) -> Progress {
        let mut buffer = [0; 4096];
        let length = self.0.read(&mut buffer).unwrap_or(0);
        let mut parts = buffer[..length].split(|byte| *byte == DONE);
        log::to_stderr(parts.next().unwrap_or_default());
        match length {
            _ if parts.next().is_some() => Progress::Safe,
            0 => Progress::Ended,
            _ => Progress::Working,
        }
    }
}

#[expect(unsafe_code, reason = "only fork makes a second process without running the program again")]
fn fork_here() -> nix::Result<ForkResult> {
    // SAFETY: this process has a single thread, as `start` requires, so no lock in the child is held by a thread that
    // it lacks (fork(2), signal-safety(7)). Only a child starts threads, in `limit_lifetime`, and a child doesn't fork.
    unsafe { fork() }
}

/// Kills this process after a while, in case it is left behind: by SIGKILL, because `harden` blocks all other signals.
/// Must be called after root is given up: with the thread below, musl's setresuid would wait forever.
pub fn limit_lifetime() {
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
    if let Ok(mut timer) = Timer::new(ClockId::CLOCK_MONOTONIC, event) {
        let _ = timer.set(Expiration::OneShot(TimeSpec::from_duration(CHILD_LIMIT)), TimerSetTimeFlags::empty());
        std::mem::forget(timer);
    } else {
        // A timer counts as a pending signal, and a user can allow none (`ulimit -i 0`).
        let _ = thread::Builder::new().spawn(|| {
            thread::sleep(CHILD_LIMIT);
            let _ = kill(Pid::this(), Signal::SIGKILL);
        });
    }
}

/// Detaches a child from the caller, who may wait until its pipe on stdout is closed. stderr leads to the parent.
fn detach(stderr: PipeWriter) {
    let _ = dup2_stderr(stderr);
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
    }
}
