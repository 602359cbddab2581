//! The deadline of a run: its time limit, or the arrival of a signal.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

/// A run starts nothing after this; the next run goes on. Including the settlement of the last message, a run ends
/// within fifty seconds, before cron's next minute.
pub const RUN_LIMIT: Duration = Duration::from_secs(48);
const _: () = assert!(RUN_LIMIT.as_secs() < 50);

/// No request starts with less time left, because the library counts in whole seconds.
pub const SHORTEST_REQUEST: Duration = Duration::from_secs(1);

/// The end of a run.
pub struct Deadline<'a> {
    ends: Instant,
    signals: Option<&'a SignalFd>,
}

impl<'a> Deadline<'a> {
    /// A run with this time limit. Without `signals`, a signal ends the process as usual.
    pub fn new(limit: Duration, signals: Option<&'a SignalFd>) -> Self {
        Self { ends: Instant::now() + limit, signals }
    }

    /// The time that is left; none once a signal has come.
    pub fn left(&self) -> Duration {
        if self.is_signalled(Duration::ZERO) { Duration::ZERO } else { self.ends.duration_since(Instant::now()) }
    }

    /// Sleeps, but wakes at a signal.
    pub fn sleep(&self, pause: Duration) {
        if self.signals.is_none() {
            thread::sleep(pause);
        } else {
            self.is_signalled(pause);
        }
    }

    fn is_signalled(&self, within: Duration) -> bool {
        let Some(signals) = self.signals else { return false };
        let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX)).is_ok_and(|count| count > 0)
    }
}
