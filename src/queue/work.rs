//! What there is to do: one question, which `send`, `send --watch` and the heartbeat all ask.

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::cursors::{judged, newest};
use crate::queue::dead_letters::{has_unreported, overdue};
use crate::queue::sql::{SqlResult, each, every, is};
use crate::queue::targets::{TargetState, state, wait};
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

impl Queue {
    /// What there is to do for these targets: deliveries that are due, events to judge, dead letters to
    /// make or to report, targets that were added or removed, damage to mend.
    pub fn work(&self, targets: &[&str], limits: &Limits, now: &Stamp) -> Result<Work, Error> {
        let at_once = Work { due: Due::Now, is_failing: false };
        if repair::is_unfinished(&self.path) {
            return Ok(at_once);
        }
        self.read(|connection| {
            let known = known(connection)?;
            let is_known = |name: &&str| known.iter().any(|(known, _)| known == name);
            if known.len() != targets.len() || !targets.iter().all(is_known) {
                return Ok(at_once);
            }
            let mut work = Work { due: Due::Never, is_failing: false };
            // Nearly every minute this is all.
            if known.iter().all(|(_, is_settled)| *is_settled) {
                return Ok(work);
            }
            if judged(connection)? != newest(connection)? || has_unreported(connection)? {
                work.due = Due::Now;
            }
            for name in targets {
                let due = due(connection, name, now)?;
                let is_overdue = !overdue(connection, name, limits, now)?.is_empty();
                work.due = work.due.min(if is_overdue { Due::Now } else { due });
                work.is_failing |= due != Due::Never && is_failing(connection, name)?;
            }
            Ok(work)
        })
    }

    /// When something is due for one target.
    pub fn due(&self, target: &str, now: &Stamp) -> Result<Due, Error> {
        self.read(|connection| due(connection, target, now))
    }
}

/// The names of the known targets, and whether nothing is left to do for each: in one statement.
fn known(connection: &Connection) -> SqlResult<Vec<(String, bool)>> {
    let sql = "SELECT name, cursor = newest AND judged = newest AND is_clean FROM target,
        (SELECT ifnull(max(id), 0) AS newest FROM event),
        (SELECT CAST(value AS INTEGER) AS judged FROM meta WHERE name = 'judged'),
        (SELECT NOT EXISTS (SELECT 1 FROM delivery WHERE dead = 0 OR told = 0) AS is_clean)";
    every(connection, sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// When something is due for a target.
pub fn due(connection: &Connection, target: &str, now: &Stamp) -> SqlResult<Due> {
    let Some(TargetState { cursor, wait: pause, .. }) = state(connection, target)? else { return Ok(Due::Never) };
    let after = |ms: i64| if ms > 0 { Due::After(ms) } else { Due::Now };
    let newest = newest(connection)?;
    if cursor > newest {
        return Ok(Due::Now);
    }
    let mut due = if cursor < newest { after(pause.left(now)) } else { Due::Never };
    let sql = "SELECT wait_ms, since FROM delivery WHERE target = ? AND dead = 0";
    each(connection, sql, params![target], &mut |row| {
        due = due.min(after(wait(row, 0)?.left(now).max(pause.left(now))));
        Ok(())
    })?;
    Ok(due)
}

/// Whether something is pending for a target because an attempt failed.
fn is_failing(connection: &Connection, target: &str) -> SqlResult<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM target WHERE name = ?1 AND error <> '' AND cursor < ?2)
                   OR EXISTS (SELECT 1 FROM delivery WHERE target = ?1 AND dead = 0)";
    let newest: EventId = newest(connection)?;
    is(connection, sql, params![target, newest])
}
