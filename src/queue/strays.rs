//! Strays: events of logins that couldn't read in the configuration where the queue is. They have a
//! queue of their own, from which nobody sends.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::error::Error;
use crate::event::Event;
use crate::queue::sql::{SqlResult, every, execute};
use crate::queue::{Queue, Role, glance, rows};

/// The one target of that queue: its cursor is the last event that was taken in.
const TAKEN: &str = "taken";

impl Queue {
    /// Whether it is plain that there is nothing to take in; see [`glance::is_settled`].
    pub fn has_no_strays(path: &Path) -> bool {
        !path.exists() || glance::is_settled(path, &[TAKEN])
    }

    /// Whether there is anything to take in at `path`.
    pub fn has_strays(path: &Path) -> Result<bool, Error> {
        Ok(path.exists() && !Self::open(path, Role::Look)?.read(strays)?.is_empty())
    }

    /// Takes in what there is at `path`. The last event stays there, for an id is never used again.
    pub fn take_strays(&mut self, path: &Path) -> Result<(), Error> {
        let mut other = Self::open(path, Role::Sender)?;
        let (ids, events): (Vec<i64>, Vec<Event>) = other.read(strays)?.into_iter().unzip();
        let Some(last) = ids.last() else { return Ok(()) };
        self.import(&events)?;
        other.write("settle strays in", |connection| {
            execute(connection, "INSERT OR REPLACE INTO target (name, cursor) VALUES (?, ?)", params![TAKEN, last])?;
            execute(connection, "DELETE FROM event WHERE id < ?", params![last])
        })?;
        other.close();
        Ok(())
    }
}

fn strays(connection: &Connection) -> SqlResult<Vec<(i64, Event)>> {
    let columns = rows::COLUMNS;
    let taken = "ifnull((SELECT max(cursor) FROM target), 0)";
    let sql = format!("SELECT {columns} FROM event WHERE id > {taken} ORDER BY id");
    every(connection, &sql, &[], rows::read)
}
