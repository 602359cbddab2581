//! One run: imports, judges, delivers, and repairs the queue if need be.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health, Kind};
use crate::event::Event;
use crate::log::{self, Level};
use crate::queue::{Due, Queue, Role};
use crate::send::deadline::{Deadline, RUN_LIMIT};
use crate::send::lock::{self, Lock};
use crate::send::{delivery, heartbeat, import};

/// Nobody needs the queue for so long: a login ends after a second, and a command takes less.
const HOLD_LIMIT: Duration = Duration::from_secs(10);

/// How often the sender looks whether it is still the same process that has the queue.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Delivers what is due, once, and calls the monitor. Does nothing while another sender works.
pub fn once(config: &Config) -> Result<Health, Error> {
    let Some(lock) = lock::take(config)? else { return Ok(Health::Well) };
    let deadline = Deadline::new(RUN_LIMIT, None);
    match run(config, &lock, &deadline)? {
        Health::Well => heartbeat::ping(config, &deadline),
        Health::Failed => Ok(Health::Failed),
    }
}

/// Delivers what is due, with the lock held. With nothing due it writes nothing at all.
pub fn run(config: &Config, _lock: &Lock, deadline: &Deadline<'_>) -> Result<Health, Error> {
    if is_idle(config) {
        return Ok(Health::Well);
    }
    match deliver(config, open(&config.paths.database), deadline) {
        Err(damaged) => {
            let Kind::Damaged { path, why } = damaged.kind() else { return Err(damaged) };
            let (mut queue, report) = Queue::repair(path, why)?;
            log::write(Level::Error, &report);
            queue.append(&[Event::notice(&report)])?;
            deliver(config, Ok(queue), deadline).map(|_| Health::Failed)
        }
        well => well,
    }
}

/// Whether a short look finds nothing to do. Any trouble is something to do.
fn is_idle(config: &Config) -> bool {
    let look = || match Queue::open_to_read(&config.paths.database)? {
        Some(queue) => {
            Ok::<_, Error>(queue.work(&config.target_names(), &config.limits, &Stamp::now())?.due != Due::Now)
        }
        None => Ok(false),
    };
    import::is_empty(config) && look().unwrap_or(false)
}

/// Opens the queue. A process that keeps it locked is ended, if it is this user's and has it for ten seconds: a
/// login ends by itself in less, but the user who logs in can freeze his own (cgroups(7)).
fn open(database: &Path) -> Result<Queue, Error> {
    match Queue::open(database, Role::Sender) {
        Err(why) if matches!(why.kind(), Kind::Locked { .. }) => {
            let Some(holder) = Queue::holder(database) else { return Err(why) };
            let current = || Queue::holder(database);
            let ends = Instant::now() + HOLD_LIMIT;
            while current() == Some(holder) && Instant::now() < ends {
                thread::sleep(LOOK_AGAIN);
            }
            if current() == Some(holder) {
                if !holder.end(current) {
                    return Err(why);
                }
                let text = format!("process {} kept the queue locked; it was ended", holder.pid);
                log::write(Level::Warning, &text);
            }
            Queue::open(database, Role::Sender)
        }
        opened => opened,
    }
}

fn deliver(config: &Config, queue: Result<Queue, Error>, deadline: &Deadline<'_>) -> Result<Health, Error> {
    let mut queue = queue?;
    let health = import::run(config, &mut queue)?;
    for (gone, count) in queue.set_targets(&config.target_names())? {
        let text = format!("{gone} is no longer a target; {count} deliveries to it are dropped");
        log::write(Level::Warning, &text);
    }
    for (target, id) in queue.mend_cursors()? {
        let text = format!("events are missing from the queue; {target} goes on after event {id}");
        log::write(Level::Error, &text);
    }
    delivery::run(config, queue, deadline).map(|delivered| health.and(delivered))
}
