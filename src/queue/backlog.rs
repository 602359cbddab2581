//! A target's backlog: the events still to be delivered to it, and when they are due.

use std::ops::ControlFlow;

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::queue::cursors::{PENDING, newest};
use crate::queue::sql::{SqlResult, each, every};
use crate::queue::targets::{TargetState, Wait, state, wait};
use crate::queue::{EventId, Row, row};
use crate::text::visible;

/// When there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Now.
    Now,
    /// After this many milliseconds.
    After(i64),
    /// Not until something is recorded.
    Never,
}

/// The events still to be delivered to one target.
pub struct Backlog {
    /// Its state; events after its cursor are pending.
    pub state: TargetState,
    /// The newest event.
    pub newest: EventId,
    /// Events before the cursor that are still to be delivered.
    pub exceptions: Vec<Exception>,
}

/// An event that an operator retries, or that is quarantined.
pub struct Exception {
    pub id: EventId,
    pub wait: Wait,
    /// How often it failed alone; 0 for a retry.
    pub failures: u32,
    /// Why it failed.
    pub error: String,
    /// When it was first tried.
    pub first: Stamp,
}

/// Calls `take` with each event after `after` that is pending for `target`, oldest first, until it breaks.
pub fn each_pending(
    connection: &Connection,
    target: &str,
    after: EventId,
    take: &mut dyn FnMut(Row) -> rusqlite::Result<ControlFlow<()>>,
) -> SqlResult<()> {
    let sql = format!("SELECT {} FROM event WHERE {PENDING} ORDER BY event.id", row::columns());
    each(connection, &sql, params![target, after], &mut |row| take(row::read(row)?))
}

impl Backlog {
    /// Reads a target's backlog; `None` if the target isn't known.
    pub fn read(connection: &Connection, target: &str) -> SqlResult<Option<Self>> {
        let Some(state) = state(connection, target)? else { return Ok(None) };
        // The `+` keeps SQLite from using the primary key, by which it would read every dead letter. An event that
        // somebody deleted is not due.
        let sql = "SELECT event, wait_ms, since, failures, error, first FROM delivery
             WHERE +target = ? AND dead = 0 AND EXISTS (SELECT 1 FROM event WHERE id = delivery.event)
             ORDER BY event";
        let exceptions = every(connection, sql, params![target], |row| {
            let first = Stamp::parse(&row.get::<_, String>(5)?);
            Ok(Exception {
                id: row.get(0)?,
                wait: wait(row, 1)?,
                failures: row.get(3)?,
                error: visible(&row.get::<_, String>(4)?).into(),
                first,
            })
        })?;
        Ok(Some(Self { state, newest: newest(connection)?, exceptions }))
    }

    /// When the target has something due.
    pub fn due(&self, now: &Stamp) -> Due {
        let pause = self.state.wait.left(now);
        let pending = self.has_pending().then_some(pause);
        let waits = self.exceptions.iter().map(|exception| exception.wait.left(now).max(pause)).chain(pending);
        waits.min().map_or(Due::Never, |ms| if ms > 0 { Due::After(ms) } else { Due::Now })
    }

    /// Whether events after the cursor are pending.
    pub fn has_pending(&self) -> bool {
        self.state.cursor < self.newest
    }

    /// Whether something is pending because an attempt failed.
    pub fn is_failing(&self) -> bool {
        !self.exceptions.is_empty() || self.has_pending() && !self.state.error.is_empty()
    }
}
