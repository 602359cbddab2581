//! What there is to do: one question, which `send`, `send --watch` and the heartbeat all ask.

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::cursors::{judged, newest};
use crate::queue::dead_letters::{overdue, unreported};
use crate::queue::sql::{SqlResult, every, value};
use crate::queue::targets::{TargetState, Wait, state, wait};
use crate::queue::{EventId, Limits, Queue, repair};

/// When there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// At once.
    Now,
    /// After so many milliseconds.
    After(i64),
    /// Not until something new is recorded.
    Never,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// When.
    pub due: Due,
    /// Whether something is pending because an attempt failed.
    pub is_failing: bool,
}

/// What is left to deliver to one target.
pub struct Backlog {
    /// Events beyond its cursor are pending.
    pub state: TargetState,
    /// The newest event.
    pub newest: EventId,
    /// Events behind the cursor that are still to be delivered.
    pub exceptions: Vec<Exception>,
}

/// An event that an operator sends again, or that is quarantined.
pub struct Exception {
    pub id: EventId,
    pub wait: Wait,
    /// How often it failed alone; 0 for one that an operator sends again.
    pub failures: u32,
    /// Why it failed.
    pub error: String,
    /// When it was first tried.
    pub first: Stamp,
}

impl Queue {
    /// What there is to do for these targets: deliveries that are due, events to judge, dead letters to
    /// make or to report, targets that were added or removed, damage to mend.
    pub fn work(&self, targets: &[&str], limits: &Limits, now: &Stamp) -> Result<Work, Error> {
        let mut work = Work { due: Due::Never, is_failing: false };
        if repair::is_unfinished(&self.path) {
            work.due = Due::Now;
        }
        self.read(|connection| {
            let known: i64 = value(connection, "SELECT count(*) FROM target", &[])?;
            let is_judged = judged(connection)? == newest(connection)?;
            if usize::try_from(known) != Ok(targets.len()) || !is_judged || !unreported(connection)?.is_empty() {
                work.due = Due::Now;
            }
            for name in targets {
                let backlog = Backlog::read(connection, name)?;
                let is_at_once = match &backlog {
                    Some(backlog) => !overdue(connection, backlog, limits, now)?.is_empty() || backlog.is_damaged(),
                    None => true,
                };
                let due = backlog.as_ref().filter(|_| !is_at_once).map_or(Due::Now, |backlog| backlog.due(now));
                work.due = work.due.min(due);
                work.is_failing |= backlog.is_some_and(|backlog| backlog.is_failing());
            }
            Ok(work)
        })
    }

    /// When something is due for one target.
    pub fn due(&self, target: &str, now: &Stamp) -> Result<Due, Error> {
        let backlog = self.read(|connection| Backlog::read(connection, target))?;
        Ok(backlog.map_or(Due::Never, |backlog| backlog.due(now)))
    }
}

impl Backlog {
    /// Reads what is left for a target; `None` if it isn't known.
    pub fn read(connection: &Connection, target: &str) -> SqlResult<Option<Self>> {
        let Some(state) = state(connection, target)? else { return Ok(None) };
        // An event that somebody deleted is nothing to do.
        let sql = "SELECT event, wait_ms, since, failures, error, first FROM delivery
             WHERE target = ? AND dead = 0 AND event IN (SELECT id FROM event) ORDER BY event";
        let exceptions = every(connection, sql, params![target], |row| {
            let first = Stamp::parse(&row.get::<_, String>(5)?);
            Ok(Exception { id: row.get(0)?, wait: wait(row, 1)?, failures: row.get(3)?, error: row.get(4)?, first })
        })?;
        Ok(Some(Self { state, newest: newest(connection)?, exceptions }))
    }

    /// When something is due.
    pub fn due(&self, now: &Stamp) -> Due {
        let pause = self.state.wait.left(now);
        let pending = self.has_pending().then_some(pause);
        let waits = self.exceptions.iter().map(|exception| exception.wait.left(now).max(pause)).chain(pending);
        waits.min().map_or(Due::Never, |ms| if ms > 0 { Due::After(ms) } else { Due::Now })
    }

    fn has_pending(&self) -> bool {
        self.state.cursor < self.newest
    }

    /// Whether the cursor is one that only [`Queue::mend_cursors`] can help.
    fn is_damaged(&self) -> bool {
        self.state.cursor > self.newest
    }

    /// Whether something is pending because an attempt failed.
    fn is_failing(&self) -> bool {
        !self.exceptions.is_empty() || self.has_pending() && !self.state.error.is_empty()
    }
}
