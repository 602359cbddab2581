//! One run: imports, judges, delivers, and repairs the queue if need be.

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health, Kind};
use crate::event::Event;
use crate::log::{self, Level};
use crate::queue::{Due, Queue, Role};
use crate::send::deadline::{Deadline, RUN_LIMIT};
use crate::send::lock::{self, Lock};
use crate::send::{delivery, ended, heartbeat, import, judge};

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
    match deliver(config, Queue::open(&config.paths.database, Role::Sender), deadline) {
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
        Some(queue) => Ok::<_, Error>(due(config, &queue)? != Due::Now),
        None => Ok(false),
    };
    import::is_empty(config) && look().unwrap_or(false)
}

/// When there is something to do, unless something comes.
pub fn due(config: &Config, queue: &Queue) -> Result<Due, Error> {
    let now = Stamp::now();
    let work = queue.work(&config.target_names(), &config.limits, &now)?.due;
    Ok(work.min(ended::due(queue, &now)?))
}

fn deliver(config: &Config, queue: Result<Queue, Error>, deadline: &Deadline<'_>) -> Result<Health, Error> {
    let mut queue = queue?;
    let health = import::run(config, &mut queue)?;
    let days = config.limits.give_up.as_secs() / 86_400;
    let notice = |gone: &str, count| {
        let text = format!("{gone} has not been a target for {days} days; {count} deliveries to it are dropped");
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
    for (target, id) in queue.mend_cursors()? {
        let text = format!("events are missing from the queue; {target} goes on after event {id}");
        log::write(Level::Error, &text);
    }
    // Every logout that is recorded is known before a missing one is looked for.
    let now = Stamp::now();
    judge::run(&mut queue, config, &now)?;
    ended::run(&mut queue, &now)?;
    delivery::run(config, queue, deadline).map(|delivered| health.and(delivered))
}
