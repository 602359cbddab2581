//! Ends a command that hangs, by SIGALRM after a minute.
//!
//! Each wait has its own limit. This is for waits without one: a hung file system, or a bug.

use nix::libc::c_ulong;
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::alarm;

/// Seconds for a command, or for one round of `send --watch`. A run has fifty, and schedulers start the next one after
/// sixty.
const LIMIT: u32 = 60;

/// Nanoseconds by which the kernel may delay a timer: Linux's default.
const TIMER_SLACK: c_ulong = 50_000;

/// Resets signals, timers and limits that the caller may have changed, and starts the watchdog. Must be called first.
///
/// Other inherited state doesn't matter here: the standard library replaces closed descriptors and ignores SIGPIPE,
/// and `give_up_root` sets the umask.
pub fn begin() {
    default_alarm();
    // A write beyond a limit that can't be raised fails then, instead of killing this process.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    let _ = signals.thread_block();
    // Timer slack is inherited, and could be so long that no sleep ends.
    let _ = set_timerslack(TIMER_SLACK);
    for resource in [Resource::RLIMIT_FSIZE, Resource::RLIMIT_DATA, Resource::RLIMIT_AS, Resource::RLIMIT_NOFILE] {
        if let Ok((_, hard)) = getrlimit(resource) {
            let _ = setrlimit(resource, hard, hard);
        }
    }
    start();
}

/// Starts or restarts the watchdog: SIGALRM ends this process after a minute.
pub fn start() {
    alarm::set(LIMIT);
}

/// Stops the watchdog before a wait that may take any time: for new events, or for the reader of stdout.
pub fn stop() {
    let _ = alarm::cancel();
}

/// Restores SIGALRM's default action, in case the caller ignored or blocked it.
#[expect(unsafe_code, reason = "nix marks every change of a signal's action as unsafe")]
fn default_alarm() {
    for action in [SigHandler::SigIgn, SigHandler::SigDfl] {
        // Ignoring it first discards a pending one.
        // SAFETY: only a handler of our own could be unsound, and neither of these is one.
        let _ = unsafe { signal(Signal::SIGALRM, action) };
    }
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGALRM);
    let _ = signals.thread_unblock();
}
