//! Ends a command that hangs, whatever its caller left behind.
//!
//! Each wait has a limit of its own. This is for what has none: a file system that doesn't answer, a mistake.

use nix::libc::c_ulong;
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::alarm;

/// Seconds that a command may take, and one round of `send --watch`. A run has fifty; schedulers start the next
/// one after sixty.
const LIMIT: u32 = 60;

/// Nanoseconds by which the kernel may delay a timer: what Linux itself begins with.
const TIMER_SLACK: c_ulong = 50_000;

/// Undoes what the caller of a command may have set up against it, and starts the clock. To be called first.
///
/// Nothing else of what a process inherits matters here: the standard library replaces closed descriptors and
/// ignores SIGPIPE, and the mask for new files is set when root is given up.
pub fn begin() {
    default_alarm();
    // Writing beyond a limit that can't be lifted is an error then, and no sudden end.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    let _ = signals.thread_block();
    // Inherited across exec, and for ever long perhaps: no sleep would end.
    let _ = set_timerslack(TIMER_SLACK);
    for resource in [Resource::RLIMIT_FSIZE, Resource::RLIMIT_DATA, Resource::RLIMIT_AS, Resource::RLIMIT_NOFILE] {
        if let Ok((_, hard)) = getrlimit(resource) {
            let _ = setrlimit(resource, hard, hard);
        }
    }
    start();
}

/// Starts the clock again: SIGALRM ends this process after a minute.
pub fn start() {
    alarm::set(LIMIT);
}

/// Stops the clock, for a wait that may last: for work, or for a reader of what is printed.
pub fn stop() {
    let _ = alarm::cancel();
}

/// Makes SIGALRM end the process again if the caller ignored or blocked it.
#[expect(unsafe_code, reason = "nix takes every change of a signal's handler for dangerous")]
fn default_alarm() {
    for action in [SigHandler::SigIgn, SigHandler::SigDfl] {
        // One that is pending is dropped while it is ignored.
        // SAFETY: only handlers that run our code can be unsound; neither of these does.
        let _ = unsafe { signal(Signal::SIGALRM, action) };
    }
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGALRM);
    let _ = signals.thread_unblock();
}
