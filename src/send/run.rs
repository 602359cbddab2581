//! One run: imports, judges, delivers, and repairs the queue if need be.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health, Kind};
use crate::event::Event;
use crate::log::{self, Level};
use crate::queue::{self, Due, Queue, Role};
use crate::send::deadline::{Deadline, RUN_LIMIT};
use crate::send::last_run::{self, Mode};
use crate::send::lock::{self, Lock};
use crate::send::notes::{self, Need};
use crate::send::reminder::daily;
use crate::send::{delivery, ended, heartbeat, import, judge, memory};

/// Nobody needs the queue for this long: a login ends after a second, and a command sooner.
const HOLD_LIMIT: Duration = Duration::from_secs(10);

/// How often the sender checks which process holds the queue.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Delivers what is due, calls the monitor, and records the run. Does nothing while another sender is at work.
pub fn once(config: &Config) -> Result<Health, Error> {
    let deadline = Deadline::new(RUN_LIMIT, None);
    let Some(result) = try_once(config, &deadline).transpose() else { return Ok(Health::Well) };
    let called = if matches!(result, Ok(Health::Well)) { heartbeat::ping(config, &deadline) } else { Ok(None) };
    let failed = |why: &Error| Health::Failed(why.to_string());
    let health = result.as_ref().map_or_else(failed, Health::clone);
    let call = called.as_ref().map_or_else(|why| Some(failed(why)), Option::clone);
    last_run::record(config, Mode::Once, &health, call.as_ref());
    Ok(result?.and(called?.unwrap_or(Health::Well)))
}

/// The same; `None` if another sender is at work.
fn try_once(config: &Config, deadline: &Deadline<'_>) -> Result<Option<Health>, Error> {
    if config.targets.is_empty() {
        let text = format!("no service is configured yet, so no notice is sent: edit {}", config.file.display());
        daily(config, ".said-no-service", &text);
        return Ok(Some(Health::Well));
    }
    if has_nothing(config) {
        return Ok(Some(Health::Well));
    }
    lock::take(config)?.map(|lock| run(config, &lock, deadline)).transpose()
}

/// The same, but ignores back-offs. Pauses that a service asked for still count.
pub fn now(config: &Config) -> Result<Health, Error> {
    if !has_nothing(config)
        && let Some(lock) = lock::take(config)?
    {
        // If the disk can't be written, due events are delivered all the same.
        if let Err(why) = open(&config.paths.database).and_then(|mut queue| queue.end_back_off()) {
            let _ = log::failed(&why);
        }
        drop(lock);
    }
    once(config)
}

/// Whether neither the queue's directory nor any spooled event exists: on a host that keeps both in memory, nobody
/// has logged in since boot.
pub fn has_nothing(config: &Config) -> bool {
    let home = config.paths.database.parent().unwrap_or(Path::new("/"));
    home.try_exists().is_ok_and(|exists| !exists) && import::is_empty(config)
}

/// Delivers what is due, with the lock held. Writes nothing if nothing is due. An error means that the queue could
/// not be written; due events were still delivered as far as they could be noted.
pub fn run(config: &Config, _lock: &Lock, deadline: &Deadline<'_>) -> Result<Health, Error> {
    if is_idle(config) {
        return Ok(Health::Well);
    }
    let database = &config.paths.database;
    if let Some(why) = queue::trouble(database) {
        let why = Kind::Unwritable { doing: "write to the queue", path: database.clone(), why };
        return memory::run(config, why.into(), deadline);
    }
    match on_disk(config, deadline) {
        Err(why) if is_unusable(&why) => memory::run(config, why, deadline),
        done => done,
    }
}

/// Whether the queue can't be used for now, although it may be sound.
fn is_unusable(why: &Error) -> bool {
    matches!(why.kind(), Kind::Unwritable { .. } | Kind::Locked { .. })
}

fn on_disk(config: &Config, deadline: &Deadline<'_>) -> Result<Health, Error> {
    match deliver(config, open(&config.paths.database), deadline) {
        Err(damaged) => {
            let Kind::Damaged { path, why } = damaged.kind() else { return Err(damaged) };
            let (mut queue, report) = Queue::repair(path, why)?;
            let repaired = log::error(report.clone());
            queue.append(&[Event::notice(&report)])?;
            deliver(config, Ok(queue), deadline).map(|delivered| repaired.and(delivered))
        }
        well => well,
    }
}

/// Whether there is nothing to do, found without writing. Any error counts as something to do.
fn is_idle(config: &Config) -> bool {
    let look = || match Queue::open_to_read(&config.paths.database)? {
        Some(queue) => Ok::<_, Error>(due(config, &queue)? != Due::Now),
        None => Ok(false),
    };
    import::is_empty(config) && !notes::exist(config) && look().unwrap_or(false)
}

/// When there is next something to do, if no event comes.
pub fn due(config: &Config, queue: &Queue) -> Result<Due, Error> {
    let now = Stamp::now();
    if queue.has_other_settings(&config.fingerprint())? {
        return Ok(Due::Now);
    }
    let work = queue.work(&config.target_names(), &config.limits, &now)?.due;
    Ok(work.min(ended::due(queue, &now)?))
}

/// Opens the queue. Ends a process of this user that has kept it locked for ten seconds: a login ends sooner, but the
/// user who logs in can freeze the hook (cgroups(7)).
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
                let text = format!("process {} kept the queue locked and was ended", holder.pid);
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
    let days = config.limits.give_up.as_secs() / 86_400;
    let notice = |gone: &str, count| {
        let text =
            format!("{gone} has not been in the configuration for {days} days; {count} deliveries to it are dropped");
        log::write(Level::Warning, &text);
        Event::notice(&text)
    };
    for (gone, count) in queue.set_targets(&config.target_names(), &config.limits, &Stamp::now(), notice)? {
        let text = format!(
            "{gone} is no longer a target; {count} deliveries to it are kept for {days} days, should it come back \
             (`drop --target {gone}` forgets them)"
        );
        log::write(Level::Warning, &text);
    }
    queue.set_settings(&config.fingerprint())?;
    for (target, id) in queue.mend_cursors()? {
        let text = format!("events are missing from the queue; {target} continues after event {id}");
        log::write(Level::Error, &text);
    }
    // A missing logout is looked for only after every recorded one is judged.
    let now = Stamp::now();
    judge::run(&mut queue, config, &now)?;
    ended::run(&mut queue, &now)?;
    let health = health.and(settle_noted(config, &mut queue)?);
    let (queue, delivered) = delivery::run(config, queue, Need::Optional, deadline);
    let delivered = delivered?;
    queue.close();
    Ok(health.and(delivered).and(notes::remove(config)))
}

/// Records deliveries that were made while the queue couldn't be written, or by a sender that was killed.
fn settle_noted(config: &Config, queue: &mut Queue) -> Result<Health, Error> {
    if !notes::exist(config) {
        return Ok(Health::Well);
    }
    for (target, noted) in config.targets.iter().zip(notes::read_all(config)) {
        queue.settle_noted(target.name.as_str(), &noted, &Stamp::now())?;
    }
    Ok(notes::remove(config))
}
