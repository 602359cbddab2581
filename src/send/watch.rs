//! `send --watch`: stays, and wakes when the kernel reports a change or the next retry is due.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::config::{Config, Source};
use crate::error::{Error, Health, Kind};
use crate::log::{self, Level};
use crate::queue::{Due, Queue};
use crate::send::deadline::{Deadline, RUN_LIMIT};
use crate::send::last_run::{self, Mode};
use crate::send::lock::{self, Lock};
use crate::send::{heartbeat, import, run};
use crate::watchdog;

/// Without any event, work again after this: for the heartbeat, and because a directory may have been replaced.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// The minimum, so that a queue that can't be settled isn't tried without pause.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

/// After an event, wait for those that come with it (a login is often followed by a logout).
const GATHER: Duration = Duration::from_millis(100);

/// After a failed run, wait this long as well, because the run's own writes wake this process again.
const REST: Duration = Duration::from_secs(5);

/// The monitor is called no more often than a scheduler would call it.
const HEARTBEAT: Duration = Duration::from_secs(55);
const _: () = assert!(HEARTBEAT.as_secs() < LONGEST_SLEEP.as_secs());

/// Why a wait ended.
#[derive(PartialEq, Eq)]
enum Woken {
    /// Something changed, or the time is over.
    ToWork,
    /// A signal asks for the end.
    ToEnd,
}

/// Delivers until SIGTERM or SIGINT. Rereads the configuration when it changes, or a file that it names.
pub fn run(first: &Config) -> Result<Health, Error> {
    let (mut newer, mut known) = (None, first.fingerprint());
    let signals = end_signals().map_err(Error::system("watch for signals"))?;
    let (mut lock, mut last_ping, mut is_warned) = (None, None, false);
    loop {
        if newer.as_ref().unwrap_or(first).fingerprint() != known {
            newer = reload(first)?.or(newer);
            known = newer.as_ref().unwrap_or(first).fingerprint();
        }
        let config = newer.as_ref().unwrap_or(first);
        // Watches are set before the queue is read, so that no event is missed in between.
        let changes = watches(config);
        if changes.is_none() && !is_warned {
            log::write(
                Level::Warning,
                "changes can't be watched (inotify); looking for new events every minute instead",
            );
            is_warned = true;
        }
        watchdog::start();
        let deadline = Deadline::new(RUN_LIMIT, Some(&signals));
        let result = match keep(lock.take(), config) {
            Ok(None) => Ok(Health::Well),
            Ok(Some(held)) => run::run(config, lock.insert(held), &deadline),
            Err(why) if matches!(why.kind(), Kind::Impossible(_)) => return Err(why),
            Err(why) => Err(why),
        };
        // A failed operation will not succeed a second later.
        let longest = if result.is_ok() { sleep(config) } else { LONGEST_SLEEP };
        let health = result.unwrap_or_else(|why| log::failed(&why));
        let mut called = None;
        if health == Health::Well && last_ping.is_none_or(|ping: Instant| ping.elapsed() >= HEARTBEAT) {
            called = heartbeat::ping(config, &deadline).unwrap_or_else(|why| Some(log::failed(&why)));
            last_ping = Some(Instant::now());
        }
        last_run::record(config, Mode::Watch, &health, called.as_ref());
        let gather = if health == Health::Well { GATHER } else { REST };
        watchdog::stop();
        if wait(&signals, changes.as_ref(), longest)? == Woken::ToEnd || wait(&signals, None, gather)? == Woken::ToEnd {
            return Ok(Health::Well);
        }
    }
}

/// Rereads the configuration. If it has a mistake, that is logged and the old one stays.
fn reload(first: &Config) -> Result<Option<Config>, Error> {
    match Source::read(&first.file).and_then(Source::check) {
        Ok((config, _)) if config.paths != first.paths || config.network.ca_file != first.network.ca_file => {
            Err(Kind::Impossible("queue.path, queue.spool or network.ca_file has changed; restart `send --watch`")
                .into())
        }
        Ok((config, _)) => Ok(Some(config)),
        Err(why) => {
            let _ = log::failed(&why);
            Ok(None)
        }
    }
}

/// Takes the lock, unless it is held already. `None` if there is nothing to do until a directory for the queue
/// appears. [`Kind::Impossible`] if another process holds it.
fn keep(lock: Option<Lock>, config: &Config) -> Result<Option<Lock>, Error> {
    if run::has_nothing(config) {
        return Ok(None);
    }
    // A stale lock is dropped first, because it would block the new one.
    match lock.filter(Lock::is_current) {
        Some(lock) => Ok(Some(lock)),
        None => match lock::take(config)? {
            Some(lock) => {
                lock.stay();
                Ok(Some(lock))
            }
            None => Err(Kind::Impossible("another `send` is running").into()),
        },
    }
}

/// Waits for a change, or until `longest` is over.
fn wait(signals: &SignalFd, changes: Option<&Inotify>, longest: Duration) -> Result<Woken, Error> {
    let mut ready = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    ready.extend(changes.map(|changes| PollFd::new(changes.as_fd(), PollFlags::POLLIN)));
    match poll(&mut ready, PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX)) {
        Ok(_) if ready[0].any().unwrap_or(false) => Ok(Woken::ToEnd),
        Ok(_) | Err(nix::Error::EINTR) => Ok(Woken::ToWork),
        Err(why) => Err(Error::system("wait")(why)),
    }
}

/// SIGTERM and SIGINT as a descriptor to poll.
fn end_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Watches the directories of the queue and of spooled events, as they are now.
fn watches(config: &Config) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let changes = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_DELETE_SELF;
    let home = config.paths.database.parent().unwrap_or(Path::new("/"));
    // If it is missing, watch the directory where it will appear.
    home.ancestors().find(|directory| inotify.add_watch(*directory, changes).is_ok())?;
    // Editors replace the old file with a new one.
    let _ = inotify.add_watch(config.file.parent().unwrap_or(Path::new("/")), changes);
    for directory in import::directories(config) {
        let _ = inotify.add_watch(directory, changes);
    }
    Some(inotify)
}

/// How long nothing will be due if no event comes.
fn sleep(config: &Config) -> Duration {
    let look = || match Queue::open_to_read(&config.paths.database)? {
        Some(queue) => run::due(config, &queue),
        None => Ok(Due::Never),
    };
    let next = match look() {
        Ok(Due::Now) => Duration::ZERO,
        Ok(Due::After(ms)) => Duration::from_millis(ms.unsigned_abs()),
        Ok(Due::Never) | Err(_) => LONGEST_SLEEP,
    };
    next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
}
