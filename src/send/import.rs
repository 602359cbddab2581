//! The import: moves events that logins left elsewhere into the queue.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Error, Health};
use crate::event::Event;
use crate::log;
use crate::queue::{ORPHANS, Queue, spool};

/// Whether there is nothing to import.
pub fn is_empty(config: &Config) -> bool {
    directories(config).into_iter().all(|directory| spool::count(directory).is_ok_and(|count| count == 0))
}

/// Imports all of them.
pub fn run(config: &Config, queue: &mut Queue) -> Result<Health, Error> {
    let health = directories(config).into_iter().map(|directory| import(directory, queue));
    health.into_iter().try_fold(Health::Well, |all, one| Ok(all.and(one?)))
}

/// Where logins leave events: in the spool, or with the orphans if they couldn't know where the spool is.
pub fn directories(config: &Config) -> [&Path; 3] {
    [&config.paths.spool, Path::new(ORPHANS[0]), Path::new(ORPHANS[1])]
}

/// Imports all events into a copy of the queue, and leaves the files in place. Returns the files with their events,
/// and whether all of them could be read.
pub fn copy(config: &Config, queue: &mut Queue) -> Result<(Vec<(PathBuf, Event)>, Health), Error> {
    let (mut all, mut health) = (Vec::new(), Health::Well);
    for directory in directories(config) {
        let (spooled, mistakes) = spool::read(directory);
        health = mistakes.iter().map(log::failed).fold(health, Health::and);
        all.extend(spooled);
    }
    let events: Vec<Event> = all.iter().map(|(_, event)| event.clone()).collect();
    queue.import(&events)?;
    Ok((all, health))
}

fn import(directory: &Path, queue: &mut Queue) -> Result<Health, Error> {
    let (spooled, mistakes) = spool::read(directory);
    let mut health = mistakes.iter().map(log::failed).fold(Health::Well, Health::and);
    if !spooled.is_empty() {
        let (paths, events): (Vec<PathBuf>, Vec<Event>) = spooled.into_iter().unzip();
        queue.import(&events)?;
        // A file that can't be removed (on a read-only disk, perhaps) isn't imported twice, and stops no delivery.
        for path in paths {
            let removed = fs::remove_file(&path).map_err(Error::file("remove", &path));
            health = health.and(removed.map_or_else(|why| log::failed(&why), |()| Health::Well));
        }
    }
    Ok(health)
}
