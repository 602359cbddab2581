//! The intake: what logins had to leave elsewhere comes into the queue.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Error;
use crate::event::Event;
use crate::log::{self, Level};
use crate::queue::{Queue, spool};

/// Whether there is nothing to take in.
pub fn is_empty(config: &Config) -> bool {
    spool::count(&config.paths.spool).is_ok_and(|count| count == 0)
}

/// Takes everything in. `Ok(false)`: something failed, and was said.
pub fn take(config: &Config, queue: &mut Queue) -> Result<bool, Error> {
    import(&config.paths.spool, queue)
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
