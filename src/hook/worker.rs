//! Work in a process of its own, for so long and no longer.
//!
//! What waits for a disk that doesn't answer can't be ended, not even by SIGKILL, and neither can a
//! process that has a thread in that state: whoever waits for the process waits for the disk. Only
//! another process is free to go on, and so `PAM` waits for one that touches no disk.

use std::fs;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsFd;
use std::process;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};

/// Whoever has computed for so long isn't starved but lost: a login computes for milliseconds.
const WORK_LIMIT: Duration = Duration::from_millis(900);

/// Clock ticks a second in /proc, on every architecture that Linux has (proc(5), `USER_HZ`).
const TICKS: u64 = 100;

/// How often to look whether a child that is starved still is.
const LOOK_AGAIN: Duration = Duration::from_millis(80);

/// Does `work` in a child process, which is killed if it isn't done in time: an error says so, or
/// that it died. The work may call what it is given as soon as all that matters is done: what it goes
/// on with then is not waited for. While the processor is busy with others, this process couldn't go on either, and
/// that time isn't counted. Without memory for a child the work is done here, without a limit.
///
/// To be called while this process has one thread.
pub fn within(limit: Duration, work: impl FnOnce(&mut dyn FnMut())) -> Result<(), &'static str> {
    let Ok((mut done, mut end)) = pipe() else {
        work(&mut || {});
        return Ok(());
    };
    match fork_here() {
        Err(_) => {
            work(&mut || {});
            Ok(())
        }
        Ok(ForkResult::Child) => {
            drop(done);
            let mut is_done = move || drop(end.write_all(b"."));
            work(&mut is_done);
            is_done();
            process::exit(0);
        }
        Ok(ForkResult::Parent { child }) => {
            drop(end);
            let result = if is_ready(&done, limit, child) { read(&mut done) } else { Err("took too long") };
            if result.is_err() {
                // Without a wait for its death, which may be far. It is init's child soon.
                let _ = kill(child, Signal::SIGKILL);
            }
            result
        }
    }
}

#[expect(unsafe_code, reason = "there is no other way to a second process without starting the program again")]
fn fork_here() -> nix::Result<ForkResult> {
    // SAFETY: this process has a single thread (`within` says so, and the hook starts none), so that
    // nothing in the child is locked by a thread that it doesn't have (fork(2), signal-safety(7)).
    unsafe { fork() }
}

/// Waits until there is something to read, or the child's end of the pipe is gone.
fn is_ready(done: &PipeReader, limit: Duration, child: Pid) -> bool {
    let mut limit = limit;
    loop {
        let mut ready = [PollFd::new(done.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        match poll(&mut ready, timeout) {
            Ok(0) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
        if !is_starved(child) {
            return false;
        }
        limit = LOOK_AGAIN;
    }
}

fn read(done: &mut PipeReader) -> Result<(), &'static str> {
    match done.read(&mut [0]) {
        Ok(1) => Ok(()),
        Ok(_) | Err(_) => Err("came to a sudden end"),
    }
}

/// Whether a process would go on if it were let: the processor is busy, and the caller may have chosen
/// to come last (`chrt --idle`). One that waits for a disk or a lock is not starved, nor is one that has
/// run for long enough.
fn is_starved(process: Pid) -> bool {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // proc(5): the state is the field behind the name, which is in parentheses; fields 14 and 15 are
    // the time it has computed.
    let fields: Vec<&str> = line.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(u64::MAX);
    let worked = ticks(14).saturating_add(ticks(15)).saturating_mul(1000 / TICKS);
    fields.first() == Some(&"R") && u128::from(worked) < WORK_LIMIT.as_millis()
}
