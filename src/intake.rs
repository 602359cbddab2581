//! The intake: what logins had to leave elsewhere comes into the queue.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, Place};
use crate::error::Error;
use crate::event::Event;
use crate::log::{self, Level};
use crate::queue::{Queue, spool};
use crate::send::said;

/// Whether there is nothing to take in. To be asked before the queue is opened.
pub fn is_empty(config: &Config) -> bool {
    let is_empty = |place: &Place| spool::count(&place.spool).is_ok_and(|count| count == 0);
    let has_no_strays = || Queue::has_no_strays(&config.stray.path) || !has_strays(config);
    is_empty(&config.place) && is_empty(&config.stray) && has_no_strays()
}

/// Takes everything in. `Ok(false)`: something failed, and was said.
pub fn take(config: &Config, queue: &mut Queue) -> Result<bool, Error> {
    let is_well = import(&config.place.spool, queue)? & import(&config.stray.spool, queue)?;
    if !has_strays(config) {
        return Ok(is_well);
    }
    Ok(is_well & queue.take_strays(&config.stray.path).map_or_else(|why| said(&why), |()| true))
}

/// Whether logins left something where they could, because this configuration was broken then.
fn has_strays(config: &Config) -> bool {
    Queue::has_strays(&config.stray.path).unwrap_or_else(|why| said(&why))
}

/// Takes in what logins had to leave in the spool.
fn import(spool: &Path, queue: &mut Queue) -> Result<bool, Error> {
    let (spooled, mistakes) = spool::read(spool);
    for mistake in &mistakes {
        log::say(Level::Error, &mistake.to_string());
    }
    if !spooled.is_empty() {
        let (paths, events): (Vec<PathBuf>, Vec<Event>) = spooled.into_iter().unzip();
        queue.import(&events)?;
        for path in paths {
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(mistakes.is_empty())
}
