//! The history: recorded events, newest first, and how far each target has come.

use std::collections::{HashMap, HashSet};

use rusqlite::params;

use crate::error::Error;
use crate::queue::cursors::judged;
use crate::queue::sql::{every, value};
use crate::queue::targets::LIMIT;
use crate::queue::{EventId, Queue, Row, row};

/// How far the judge and the targets have come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The oldest event; 0 if there is none.
    pub oldest: EventId,
    /// The last event that is judged.
    pub judged: EventId,
    /// The last event that is settled, for each target by its name.
    pub cursors: HashMap<String, EventId>,
    /// The services with at least one paired login and logout.
    pub paired: HashSet<String>,
}

/// The state of an event that a target did not get in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceptional {
    /// Still to be delivered.
    Pending,
    /// A dead letter.
    Dead,
    /// Settled out of turn.
    Settled,
}

impl Queue {
    /// How far the judge and the targets have come.
    pub fn progress(&self) -> Result<Progress, Error> {
        self.read(|connection| {
            let sql = format!("SELECT name, cursor FROM target LIMIT {LIMIT}");
            let cursors = every(connection, &sql, &[], |row| Ok((row::text(row, 0)?, row.get(1)?)))?;
            let sql =
                format!("SELECT substr(name, 8) FROM meta WHERE name > 'paired:' AND name < 'paired;' LIMIT {LIMIT}");
            let paired = every(connection, &sql, &[], |row| row::text(row, 0))?;
            let (cursors, paired) = (cursors.into_iter().collect(), paired.into_iter().collect());
            let oldest = value(connection, "SELECT ifnull(min(id), 0) FROM event", &[])?;
            Ok(Progress { oldest, judged: judged(connection)?, cursors, paired })
        })
    }

    /// The newest events, or the newest before one, latest first, at most `most`.
    pub fn newest_events(&self, before: Option<EventId>, most: usize) -> Result<Vec<Row>, Error> {
        let sql = format!("SELECT {} FROM event WHERE id < ? ORDER BY id DESC LIMIT ?", row::columns());
        let (before, most) = (before.map_or(i64::MAX, |id| id.0), i64::try_from(most).unwrap_or(i64::MAX));
        self.read(|connection| every(connection, &sql, params![before, most], row::read))
    }

    /// The events from `first` to `last` that a target did not get in their turn.
    pub fn exceptions(
        &self,
        target: &str,
        first: EventId,
        last: EventId,
    ) -> Result<HashMap<EventId, Exceptional>, Error> {
        let sql = "SELECT event, dead FROM delivery WHERE target = ? AND event BETWEEN ? AND ?";
        let found = self.read(|connection| {
            every(connection, sql, params![target, first, last], |row| {
                let standing = match row.get(1)? {
                    0_i64 => Exceptional::Pending,
                    1 => Exceptional::Dead,
                    _ => Exceptional::Settled,
                };
                Ok((row.get(0)?, standing))
            })
        })?;
        Ok(found.into_iter().collect())
    }
}
