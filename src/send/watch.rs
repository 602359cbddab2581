//! `send --watch`: stays, and wakes for what the kernel says has come, or at the next retry.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Kind};
use crate::log::{self, Level};
use crate::queue::{Queue, Role};
use crate::send;
use crate::send::deadline::Deadline;
use crate::send::heartbeat;
use crate::send::lock::{self, Lock};

/// Without any event, look again after this: for the heartbeat, and because a directory may have
/// been replaced meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// After an event, wait for those that come with it (a log-in is often followed by a log-out).
const GATHER: Duration = Duration::from_millis(100);

/// After a run that failed, also wait so long: what a run writes wakes this one again.
const REST: Duration = Duration::from_secs(5);

/// Calls the monitor no more often than a scheduler would.
const HEARTBEAT: Duration = Duration::from_secs(55);
const _: () = assert!(HEARTBEAT.as_secs() < LONGEST_SLEEP.as_secs());

/// Delivers until SIGTERM or SIGINT comes.
pub fn run(config: &Config, mut lock: Lock) -> Result<bool, Error> {
    let signals = end_signals().map_err(Error::system("watch for signals"))?;
    let (mut last_beat, mut is_warned) = (None, false);
    loop {
        if !lock.is_current() {
            lock = lock::take(config)?.ok_or(Kind::Environment("another `send` is running"))?;
        }
        // Watches are set before the look at the queue, so that nothing slips in between.
        let changes = watches(config);
        if changes.is_none() && !is_warned {
            log::say(Level::Warning, "changes can't be watched (inotify): new events are looked for each minute");
            is_warned = true;
        }
        let deadline = Deadline::new(send::RUN_LIMIT, Some(&signals));
        let is_well = send::run(config, &lock, &deadline).unwrap_or_else(|why| send::said(&why));
        if is_well && last_beat.is_none_or(|beat: Instant| beat.elapsed() >= HEARTBEAT) {
            heartbeat::beat(config, &deadline).unwrap_or_else(|why| send::said(&why));
            last_beat = Some(Instant::now());
        }
        let gather = if is_well { GATHER } else { REST };
        if wait(&signals, changes.as_ref(), sleep(config))? && wait(&signals, None, gather)? {
            continue;
        }
        return Ok(true);
    }
}

/// Waits for a change, or until `longest` is over. `Ok(false)`: a signal asks for the end.
fn wait(signals: &SignalFd, changes: Option<&Inotify>, longest: Duration) -> Result<bool, Error> {
    let mut ready = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    ready.extend(changes.map(|changes| PollFd::new(changes.as_fd(), PollFlags::POLLIN)));
    match poll(&mut ready, PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX)) {
        Ok(_) => Ok(!ready[0].any().unwrap_or(false)),
        Err(nix::Error::EINTR) => Ok(true),
        Err(why) => Err(Error::system("wait")(why)),
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
    let changes = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_DELETE_SELF;
    let home = config.paths.database.parent().unwrap_or(Path::new("/"));
    inotify.add_watch(home, changes).ok()?;
    let _ = inotify.add_watch(&config.paths.spool, changes);
    Some(inotify)
}

/// How long nothing will be due unless something comes.
fn sleep(config: &Config) -> Duration {
    let next = Queue::open(&config.paths.database, Role::Look).and_then(|queue| queue.next_due(&Stamp::now()));
    let next = next.ok().flatten().and_then(|ms| u64::try_from(ms).ok());
    // At least a second, so that a queue that can't be settled isn't tried without a rest.
    next.map_or(LONGEST_SLEEP, Duration::from_millis).clamp(Duration::from_secs(1), LONGEST_SLEEP)
}
