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

/// A child process at work. Its messages come through the pipe, and the news that its work is safe.
pub struct Worker(PipeReader);

/// What came from a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Messages, or nothing.
    Working,
    /// All that matters is done.
    Safe,
    /// It is gone, and its work may not be done.
    Ended,
}

/// Starts `work` in a child process. It calls what it is given once all that matters is done; nobody waits for
/// what it does afterwards. A child that isn't waited for any more may still finish.
///
/// `None`: without memory for a child the work was done here, without a deadline. To be called while this
/// process has one thread.
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

/// Waits until the work of one of these is safe. An error says that they were late or died; those that died are
/// left out from then on. What they log appears on stderr as long as they are waited for.
pub fn wait_for_one(workers: &mut Vec<Worker>, ends: Instant) -> Result<(), &'static str> {
    while !workers.is_empty() {
        let left = ends.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut pipes: Vec<_> = workers.iter().map(|worker| PollFd::new(worker.0.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut pipes, timeout) {
            Ok(0) | Err(_) => return Err("took too long"),
            Ok(_) => {}
        }
        let mut has_news = pipes.iter().map(|pipe| pipe.any() != Some(false)).collect::<Vec<_>>().into_iter();
        let mut is_safe = false;
        workers.retain_mut(|worker| {
            let news = if has_news.next() == Some(true) { worker.relay() } else { News::Working };
            is_safe |= news == News::Safe;
            news != News::Ended
        });
        if is_safe {
            return Ok(());
        }
    }
    Err("came to a sudden end")
}

impl Worker {
    /// Passes on the messages that are there.
    fn relay(&mut self) -> News {
        let mut buffer = [0; 4096];
        let length = self.0.read(&mut buffer).unwrap_or(0);
        let mut parts = buffer[..length].split(|byte| *byte == DONE);
        log::to_stderr(parts.next().unwrap_or_default());
        match length {
            _ if parts.next().is_some() => News::Safe,
            0 => News::Ended,
            _ => News::Working,
        }
    }
}

#[expect(unsafe_code, reason = "there is no other way to a second process without starting the program again")]
fn fork_here() -> nix::Result<ForkResult> {
    // SAFETY: this process has a single thread (`start` says so; only a child starts another one, in
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
