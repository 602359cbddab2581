//! Runs work in a child process with a deadline.
//!
//! A process blocked on a hung disk (state D) ignores even SIGKILL, and so does one with a thread in that
//! state. Whoever waits for such a process waits for the disk. So PAM waits for a process that touches no
//! disk, and the child that does is left behind if it is late.

use std::fs::File;
use std::io::{Read, Write, pipe};
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

use crate::log::Level;

/// A child that is left behind ends itself after this. Only a disk that doesn't answer can keep it longer.
const CHILD_LIMIT: Duration = Duration::from_secs(30);

/// Ends a message on the way to the parent; no message contains it.
const END: u8 = 0;

/// Ends the whole report: a child that dies before it doesn't send this.
const DONE: u8 = b'.';

/// What the child has to say to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How much it matters.
    pub level: Level,
    /// The message, perhaps of several lines.
    pub text: String,
}

/// Runs `work` in a child process until it reports, and returns the messages in that report. An error says
/// that the child was late or died. It may still finish its work then, and whatever it does after its report.
/// Without memory for a child the work is done here, without a deadline.
///
/// To be called while this process has one thread.
pub fn run_with_deadline(
    limit: Duration,
    work: impl FnOnce(&mut dyn FnMut(&[Message])),
) -> Result<Vec<Message>, &'static str> {
    let ends = Instant::now() + limit;
    let child = pipe().ok().and_then(|pipe| Some((fork_here().ok()?, pipe)));
    let Some((child, (mut reader, mut writer))) = child else {
        let mut messages = Vec::new();
        work(&mut |report| messages.extend_from_slice(report));
        return Ok(messages);
    };
    match child {
        ForkResult::Child => {
            drop(reader);
            end_in_time();
            detach();
            work(&mut |report| drop(writer.write_all(&encode(report))));
            process::exit(0);
        }
        ForkResult::Parent { .. } => {
            drop(writer);
            receive(&mut reader, ends)
        }
    }
}

#[expect(unsafe_code, reason = "there is no other way to a second process without starting the program again")]
fn fork_here() -> nix::Result<ForkResult> {
    // SAFETY: this process has a single thread (`run_with_deadline` says so, and the hook starts none), so
    // nothing in the child is locked by a thread that it doesn't have (fork(2), signal-safety(7)).
    unsafe { fork() }
}

/// Makes sure that a child that is left behind ends, by SIGKILL, because the caller may have blocked or
/// ignored any other signal.
fn end_in_time() {
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

/// Makes sure that nobody waits for a child that is left behind: a pipe on its standard output would stay
/// open as long as it lives.
fn detach() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
}

/// Reads the report until the child has sent all of it.
fn receive(reader: &mut (impl Read + AsFd), ends: Instant) -> Result<Vec<Message>, &'static str> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        if bytes == [DONE] || bytes.ends_with(&[END, DONE]) {
            return Ok(decode(&bytes));
        }
        let left = ends.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(_) => return Err("took too long"),
            Ok(_) => {}
        }
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return Err("came to a sudden end"),
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

fn encode(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Message { level, text } in messages {
        bytes.push(*level as u8);
        bytes.extend(text.bytes().filter(|byte| *byte != END));
        bytes.push(END);
    }
    bytes.push(DONE);
    bytes
}

fn decode(bytes: &[u8]) -> Vec<Message> {
    let parts = bytes.split(|byte| *byte == END).filter_map(<[u8]>::split_first);
    let messages = parts.filter_map(|(level, text)| {
        let level = [Level::Critical, Level::Error, Level::Warning].into_iter().find(|known| *known as u8 == *level)?;
        Some(Message { level, text: String::from_utf8_lossy(text).into() })
    });
    messages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_the_parent_as_they_are() {
        let message = |level, text: &str| Message { level, text: text.into() };
        let messages =
            [message(Level::Error, "one\ntwo. é"), message(Level::Critical, "."), message(Level::Warning, "")];
        assert_eq!(decode(&encode(&messages)), messages);
        assert_eq!(decode(&encode(&[])), []);
    }
}
