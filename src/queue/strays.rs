//! Events that a login left in the default place, because it couldn't read in the configuration
//! where the queue is.

use std::path::Path;

use crate::error::Error;
use crate::queue::damage::waiting;
use crate::queue::{Queue, Role};

impl Queue {
    /// Whether anything waits in the queue at `path`, if there is one.
    pub fn has_strays(path: &Path) -> Result<bool, Error> {
        if !path.exists() {
            return Ok(false);
        }
        Self::open(path, Role::Look)?.read(|connection| Ok(!waiting(connection).1.is_empty()))
    }

    /// Takes in what waits in the queue at `path`. Nobody sends from there: it is emptied, once its
    /// events are safe in this one.
    pub fn take_strays(&mut self, path: &Path) -> Result<(), Error> {
        let mut other = Self::open(path, Role::Sender)?;
        let (settled, strays) = other.read(|connection| Ok(waiting(connection)))?;
        self.import(&strays)?;
        other.write("empty", |connection| connection.execute("DELETE FROM event WHERE id > ?", [settled]))?;
        other.close();
        Ok(())
    }
}
