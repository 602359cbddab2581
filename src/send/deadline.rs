//! How long a run may go on: until its time is over, or until a signal asks for the end.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

/// A run begins nothing after this; the next one carries on. With what is settled after it, a run ends
/// within fifty seconds, and so before the minute that cron repeats at.
pub const RUN_LIMIT: Duration = Duration::from_secs(48);
const _: () = assert!(RUN_LIMIT.as_secs() < 50);

/// No request is begun with less time left; the library counts in whole seconds.
pub const SHORTEST_REQUEST: Duration = Duration::from_secs(1);

/// The end of a run.
pub struct Deadline<'a> {
    ends: Instant,
    signals: Option<&'a SignalFd>,
}

impl<'a> Deadline<'a> {
    /// A run that may last so long. Where no `signals` are given, they end the process as usual.
    pub fn new(limit: Duration, signals: Option<&'a SignalFd>) -> Self {
        Self { ends: Instant::now() + limit, signals }
    }

    /// How much time is left: none once a signal has come.
    pub fn left(&self) -> Duration {
        if self.is_signalled(Duration::ZERO) { Duration::ZERO } else { self.ends.duration_since(Instant::now()) }
    }

    /// Sleeps, but not beyond a signal.
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
