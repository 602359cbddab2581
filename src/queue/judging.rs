//! Judging: each new event gets its verdict once, before it is delivered to anybody.

use std::collections::HashSet;

use rusqlite::params;

use crate::error::Error;
use crate::event::Uid;
use crate::queue::cursors::{judged, newest, set_judged};
use crate::queue::sql::{every, execute};
use crate::queue::{EventId, Queue, Row, row};
use crate::rules::Verdict;

/// Events that are judged in one transaction.
const BATCH: i64 = 2000;

impl Queue {
    /// Judges every event that is beyond the judge's cursor, in order and in batches. `judge` gets each one
    /// and returns its verdict.
    pub fn judge(&mut self, judge: &mut dyn FnMut(&Row) -> Verdict) -> Result<(), Error> {
        loop {
            let new = self.read(|connection| {
                let sql = format!("SELECT {} FROM event WHERE id > ? ORDER BY id LIMIT {BATCH}", row::columns());
                every(connection, &sql, params![judged(connection)?], row::read)
            })?;
            let Some(last) = new.last().map(|row| row.id) else { return Ok(()) };
            let verdicts: Vec<(EventId, String)> = new.iter().map(|row| (row.id, judge(row).to_string())).collect();
            self.write("judge events in", |connection| {
                // An empty verdict is what a new event has.
                for (id, verdict) in verdicts.iter().filter(|(_, verdict)| !verdict.is_empty()) {
                    execute(connection, "UPDATE event SET judged = ? WHERE id = ?", params![verdict, id])?;
                }
                set_judged(connection, last)
            })?;
        }
    }

    /// Whether there are events to judge.
    pub fn has_unjudged(&self) -> Result<bool, Error> {
        self.read(|connection| Ok(judged(connection)? < newest(connection)?))
    }

    /// The uids of the last `count` events that were judged.
    pub fn judged_uids(&self, count: i64) -> Result<HashSet<Uid>, Error> {
        self.read(|connection| {
            let sql = format!("SELECT {} FROM event WHERE id <= ? ORDER BY id DESC LIMIT ?", row::columns());
            let rows = every(connection, &sql, params![judged(connection)?, count], row::read)?;
            Ok(rows.into_iter().map(|row| row.event.uid).collect())
        })
    }
}
