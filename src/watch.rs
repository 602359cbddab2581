//! `send --watch`: stays, and wakes for what the kernel says has come, or at the next retry.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::config::Config;
use crate::error::Error;
use crate::event::Stamp;
use crate::log::{self, Level};
use crate::queue::{Queue, Role};
use crate::send::{self, Lock};

/// Without any event, look again after this: a directory may have been replaced meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// After an event, wait for those that come with it (a log-in is often followed by a log-out).
const GATHER: Duration = Duration::from_millis(100);

/// Delivers until SIGTERM or SIGINT comes.
pub fn run(config: &Config, lock: &Lock) -> Result<bool, Error> {
    let ends = end_signals().map_err(failed("watch for signals"))?;
    loop {
        // Watches are set before the look at the queue, so that nothing slips in between.
        let events = watches(config);
        if let Err(why) = send::run(config, lock) {
            log::say(Level::Error, &why.to_string());
        }
        let sleep = sleep(config);
        let mut ready = vec![PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
        if let Some(events) = &events {
            ready.push(PollFd::new(events.as_fd(), PollFlags::POLLIN));
        }
        let timeout = PollTimeout::try_from(sleep).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(why) => return Err(failed("wait")(why)),
        }
        let is_end = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        if ready.first().is_some_and(is_end) {
            return Ok(true);
        }
        if ready.get(1).is_some_and(is_end) {
            let mut end = [PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut end, PollTimeout::try_from(GATHER).unwrap_or(PollTimeout::ZERO));
            if is_end(&end[0]) {
                return Ok(true);
            }
        }
    }
}

/// SIGTERM and SIGINT as something to poll.
fn end_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Watches the directories of the queue and of the spool, as they are now.
fn watches(config: &Config) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
    let home = config.place.path.parent().unwrap_or(Path::new("/"));
    inotify.add_watch(home, changes).ok()?;
    let _ = inotify.add_watch(&config.place.spool, changes);
    Some(inotify)
}

/// How long nothing will be due unless something comes.
fn sleep(config: &Config) -> Duration {
    let next = Queue::open(&config.place.path, Role::Sender).and_then(|queue| queue.next_due(&Stamp::now()));
    let next = next.ok().flatten().and_then(|ms| u64::try_from(ms).ok());
    // At least a second, so that a queue that can't be settled isn't tried without a rest.
    next.map_or(LONGEST_SLEEP, Duration::from_millis).clamp(Duration::from_secs(1), LONGEST_SLEEP)
}

fn failed(doing: &'static str) -> impl FnOnce(nix::Error) -> Error {
    move |why| Error::Privileges { doing, why: why.desc().into() }
}
