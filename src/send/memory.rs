//! A run while the queue can't be written, perhaps because its disk is full or read-only. It delivers from a copy in
//! memory, and the notes in the spool directory are its only record.

use std::fs;
use std::time::Duration;

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health};
use crate::event::Event;
use crate::log;
use crate::queue::{self, Limits, Queue, TargetState};
use crate::send::deadline::Deadline;
use crate::send::notes::{self, Need};
use crate::send::{delivery, import, judge};

/// Longer than any target is missing.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

/// Delivers what is due, as far as it can be noted. Always returns an error: `why`, the reason that the queue can't
/// be written.
pub fn run(config: &Config, why: Error, deadline: &Deadline<'_>) -> Result<Health, Error> {
    if let Err(also) = deliver(config, deadline) {
        let _ = log::failed(&also);
    }
    Err(why)
}

fn deliver(config: &Config, deadline: &Deadline<'_>) -> Result<(), Error> {
    let noted = notes::read_all(config);
    let mut queue = Queue::in_memory(&config.paths.database)?;
    // Spooled events are delivered even if the database can't be read.
    if let Err(why) = queue.copy(&|uid| noted.iter().all(|noted| noted.has(uid))) {
        let _ = log::failed(&why);
    }
    let (spooled, _) = import::copy(config, &mut queue)?;
    let now = Stamp::now();
    // Giving up a target is left to the queue, which can record it.
    let patient = Limits { give_up: FOREVER, ..config.limits };
    queue.set_targets(&config.target_names(), &patient, &now, |gone, _| Event::notice(gone))?;
    judge::run(&mut queue, config, &now)?;
    for (target, noted) in config.targets.iter().zip(&noted) {
        queue.settle_noted(target.name.as_str(), noted, &now)?;
    }
    let before = states(config, &queue)?;
    let (queue, result) = delivery::run(config, queue, Need::Required, deadline);
    // If the trouble has passed, the files stay, so that the next run imports them into the queue's history.
    if queue::trouble(&config.paths.database).is_some() {
        let unsettled = queue.unsettled()?;
        for (path, _) in spooled.iter().filter(|(_, event)| !unsettled.contains(&event.uid)) {
            fs::remove_file(path).map_err(Error::file("remove", path))?;
        }
    }
    note_waits(config, &before, &states(config, &queue)?)?;
    result.map(drop)
}

/// Notes each back-off that has changed.
fn note_waits(config: &Config, before: &[TargetState], now: &[TargetState]) -> Result<(), Error> {
    for (now, before) in now.iter().zip(before) {
        let has_changed = (now.failures, &now.wait) != (before.failures, &before.wait);
        if let Some(target) = config.targets.iter().find(|target| has_changed && target.name.as_str() == now.name) {
            notes::wait(config, &target.name, now)?;
        }
    }
    Ok(())
}

fn states(config: &Config, queue: &Queue) -> Result<Vec<TargetState>, Error> {
    config.targets.iter().map(|target| queue.target(target.name.as_str())).collect()
}
