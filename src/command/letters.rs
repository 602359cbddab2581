//! `retry` and `drop`: put dead letters back in the queue, or discard them.

use crate::config::Config;
use crate::error::{Error, Kind};
use crate::queue::{EventId, Queue, Role};

/// Puts one dead letter back in the queue, or all of them.
pub fn retry(config: &Config, id: Option<EventId>) -> Result<String, Error> {
    let count = open(config)?.retry(id)?;
    some(count).map(|count| format!("{count} will be sent again\n"))
}

/// Discards one dead letter, or all of them.
pub fn drop(config: &Config, id: Option<EventId>) -> Result<String, Error> {
    let count = open(config)?.drop_dead_letters(id)?;
    some(count).map(|count| format!("{count} discarded\n"))
}

/// Forgets a target that is no longer in the configuration, with its pending events.
pub fn drop_target(config: &Config, name: &str) -> Result<String, Error> {
    if config.target_names().contains(&name) {
        return Err(Kind::Impossible("that target is in the configuration; remove it there first").into());
    }
    let dropped = open(config)?.drop_target(name)?;
    let count = dropped.ok_or(Kind::Impossible("there is no such target; `status` lists them"))?;
    Ok(format!("{count} deliveries discarded\n"))
}

/// Opens the queue for a change, but doesn't create one.
fn open(config: &Config) -> Result<Queue, Error> {
    if !config.paths.database.exists() {
        return Err(no_such_letter());
    }
    Queue::open(&config.paths.database, Role::Sender)
}

fn some(count: usize) -> Result<usize, Error> {
    if count > 0 { Ok(count) } else { Err(no_such_letter()) }
}

fn no_such_letter() -> Error {
    Kind::Impossible("there is no such dead letter; `status` lists them").into()
}
