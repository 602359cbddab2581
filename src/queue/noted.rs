//! Deliveries that were noted in a file because the queue could not record them.

use std::collections::HashSet;

use rusqlite::params;

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::Uid;
use crate::queue::cursors::advance;
use crate::queue::dead_letters::move_to_dead_letters;
use crate::queue::row;
use crate::queue::sql::{every, execute};
use crate::queue::{EventId, Queue, Row, Wait};

/// The reason of a dead letter whose rejection was noted; a note has no room for the service's answer.
const REJECTED: &str = "the service rejected it while the queue could not be written";

/// The notes about one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Events that were delivered.
    pub delivered: HashSet<Uid>,
    /// Events that it rejected for good.
    pub rejected: HashSet<Uid>,
    /// Events that may have been delivered: the sender was killed while it posted them.
    pub unknown: HashSet<Uid>,
    /// Failures in a row, and the target's back-off.
    pub waits: Option<(u32, Wait)>,
}

impl Noted {
    /// Whether an event is settled for this target.
    pub fn has(&self, uid: Uid) -> bool {
        self.delivered.contains(&uid) || self.rejected.contains(&uid)
    }

    /// Whether there is nothing to settle.
    fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.rejected.is_empty() && self.waits.is_none()
    }
}

impl Queue {
    /// Settles a target's noted deliveries. Notes are in any order, so an earlier event without a note gets a row of
    /// its own and is due at once. Repeating it changes nothing.
    pub fn settle_noted(&mut self, target: &str, noted: &Noted, now: &Stamp) -> Result<(), Error> {
        if noted.is_empty() {
            return Ok(());
        }
        self.write("settle deliveries in", |connection| {
            let sql = format!(
                "SELECT {} FROM event WHERE id > (SELECT cursor FROM target WHERE name = ?1)
                   OR id IN (SELECT event FROM delivery WHERE target = ?1 AND dead = 0) ORDER BY id",
                row::columns()
            );
            let pending: Vec<(EventId, Uid)> = every(connection, &sql, params![target], |row| {
                let Row { id, event, .. } = row::read(row)?;
                Ok((id, event.uid))
            })?;
            let last = pending.iter().rfind(|(_, uid)| noted.has(*uid)).map_or(EventId::default(), |(id, _)| *id);
            for (id, uid) in pending.into_iter().filter(|(id, _)| *id <= last) {
                if noted.rejected.contains(&uid) {
                    move_to_dead_letters(connection, target, id, REJECTED, now)?;
                } else if noted.delivered.contains(&uid) {
                    let sql = "DELETE FROM delivery WHERE target = ? AND event = ?";
                    execute(connection, sql, params![target, id])?;
                } else {
                    let sql = "INSERT OR IGNORE INTO delivery (target, event, dead, error) VALUES (?, ?, 0, '')";
                    execute(connection, sql, params![target, id])?;
                }
            }
            advance(connection, target, last)?;
            if let Some((failures, wait)) = &noted.waits {
                let sql = "UPDATE target SET failures = ?, wait_ms = ?, since = ? WHERE name = ?";
                execute(connection, sql, params![failures, wait.ms, wait.since.to_string(), target])?;
            }
            Ok(())
        })
    }

    /// The events that aren't settled for every target, dead letters included.
    pub fn unsettled(&self) -> Result<HashSet<Uid>, Error> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {} FROM event WHERE id > ifnull((SELECT min(cursor) FROM target), 0)
                   OR id IN (SELECT event FROM delivery)",
                row::columns()
            );
            Ok(every(connection, &sql, &[], |row| Ok(row::read(row)?.event.uid))?.into_iter().collect())
        })
    }
}
