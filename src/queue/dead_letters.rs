//! Dead letters: deliveries that were given up, kept for an operator with the reason.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::clock::{EARLIEST_MS, Stamp, milliseconds};
use crate::error::Error;
use crate::event::{Event, Kind};
use crate::queue::backlog::Backlog;
use crate::queue::cursors::advance;
use crate::queue::sessions::IS_OPEN;
use crate::queue::sql::{SqlResult, every, execute, value};
use crate::queue::{EventId, Limits, Queue, Row, row};
use crate::rules::Verdict;

/// Delivered events stay at least this long, however short the history is: a second copy of one may still
/// come, and is known by the first. A late login's comes within half a minute, and what a login that was
/// killed left in the spool is imported after a minute.
const SHORTEST_HISTORY: Duration = Duration::from_mins(10);

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The event's id, for `retry` and `drop`.
    pub id: EventId,
    /// Which target didn't get it.
    pub target: String,
    /// Why.
    pub error: String,
    /// What it reports.
    pub event: Event,
    /// What the sender decided about it.
    pub verdict: Verdict,
}

impl Queue {
    /// Gives up what has failed for too long, and what is too much for one target: makes dead letters of
    /// those events that the target `wants`. Writes nothing when nothing is to be given up.
    pub fn give_up(
        &mut self,
        target: &str,
        wants: &dyn Fn(&Row) -> bool,
        limits: &Limits,
        now: &Stamp,
    ) -> Result<(), Error> {
        let Some(backlog) = self.read(|connection| Backlog::read(connection, target))? else { return Ok(()) };
        for (id, error) in self.read(|connection| overdue(connection, &backlog, limits, now))? {
            self.write("give up deliveries in", |connection| {
                if id <= backlog.state.cursor {
                    return move_to_dead_letters(connection, target, id, &error);
                }
                let sql = format!(
                    "SELECT {} FROM event WHERE id > (SELECT cursor FROM target WHERE name = ?) AND id <= ?",
                    row::columns()
                );
                let wanted = every(connection, &sql, params![target, id], |row| {
                    let row = row::read(row)?;
                    Ok(wants(&row).then_some(row.id))
                })?;
                for wanted in wanted.into_iter().flatten() {
                    move_to_dead_letters(connection, target, wanted, &error)?;
                }
                advance(connection, target, id)
            })?;
        }
        Ok(())
    }

    /// Reports dead letters that were not reported yet, by target and reason: `notice` makes the event to
    /// record, in the transaction that marks them as reported. Whether there were any.
    pub fn report_dead_letters(&mut self, notice: impl Fn(&str, i64, &str) -> Event) -> Result<bool, Error> {
        let unreported = self.read(unreported)?;
        if unreported.is_empty() {
            return Ok(false);
        }
        self.write("record a notice in", |connection| {
            for (target, count, error) in &unreported {
                row::insert(connection, &notice(target, *count, error))?;
            }
            execute(connection, "UPDATE delivery SET told = 1 WHERE dead = 1", &[])?;
            Ok(true)
        })
    }

    /// Deletes events that are settled for every target and older than the history is long.
    pub fn prune(&mut self, limits: &Limits, now: &Stamp) -> Result<(), Error> {
        let before = now.utc_ms.saturating_sub(milliseconds(limits.history.max(SHORTEST_HISTORY)));
        // The newest row stays, so that its id is never used again.
        let sql = format!(
            "DELETE FROM event WHERE utc_ms < ? AND id <= (SELECT min(cursor) FROM target)
             AND id < (SELECT max(id) FROM event) AND id NOT IN (SELECT event FROM delivery) AND NOT {IS_OPEN}"
        );
        self.write("delete delivered events in", |connection| execute(connection, &sql, params![before])).map(drop)
    }

    /// The oldest dead letters, at most `most`, and how many there are.
    pub fn dead_letters(&self, most: i64) -> Result<(Vec<DeadLetter>, i64), Error> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {}, delivery.target, delivery.error AS reason
                 FROM delivery JOIN event ON event.id = delivery.event
                 WHERE dead = 1 ORDER BY event.id, delivery.target LIMIT ?",
                row::columns()
            );
            let letters = every(connection, &sql, params![most], |row| {
                let Row { id, event, verdict } = row::read(row)?;
                Ok(DeadLetter { id, event, verdict, target: row.get("target")?, error: row.get("reason")? })
            })?;
            Ok((letters, value(connection, "SELECT count(*) FROM delivery WHERE dead = 1", &[])?))
        })
    }

    /// Makes the dead letters of one event, or all, due again; returns how many.
    pub fn retry(&mut self, id: Option<EventId>) -> Result<usize, Error> {
        self.write("retry dead letters in", |connection| {
            let sql = "UPDATE delivery SET dead = 0, told = 0, failures = 0, wait_ms = 0, since = '', first = ''
                 WHERE dead = 1 AND (?1 IS NULL OR event = ?1)";
            execute(connection, sql, params![id])
        })
    }

    /// Discards the dead letters of one event; returns how many.
    pub fn drop_dead_letters(&mut self, id: EventId) -> Result<usize, Error> {
        self.write("drop a dead letter in", |connection| {
            execute(connection, "DELETE FROM delivery WHERE dead = 1 AND event = ?", params![id])
        })
    }
}

/// Makes one event a dead letter. The death of a notice is not reported: that would be one more notice, and
/// so on.
pub fn move_to_dead_letters(connection: &Connection, target: &str, id: EventId, error: &str) -> SqlResult<()> {
    let sql = "INSERT OR REPLACE INTO delivery (target, event, dead, error, told)
         SELECT ?1, id, 1, ?3, kind = ?4 FROM event WHERE id = ?2";
    execute(connection, sql, params![target, id, error, Kind::Notice.number()]).map(drop)
}

/// Dead letters that were not reported yet: target, number and reason.
pub fn unreported(connection: &Connection) -> SqlResult<Vec<(String, i64, String)>> {
    let sql = "SELECT target, count(*), error FROM delivery WHERE dead = 1 AND told = 0 GROUP BY target, error";
    every(connection, sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// What is to be given up for a target, and why: a quarantined event; or an event beyond the cursor, with
/// everything that is pending before it.
pub fn overdue(
    connection: &Connection,
    backlog: &Backlog,
    limits: &Limits,
    now: &Stamp,
) -> SqlResult<Vec<(EventId, String)>> {
    let Backlog { state, newest, exceptions } = backlog;
    let patience = milliseconds(limits.give_up);
    // As far as the clocks can be believed.
    let is_over = |first: &Stamp| now.utc_ms >= EARLIEST_MS && first.until(now).is_some_and(|ms| ms >= patience);
    let days = limits.give_up.as_secs() / 86_400;
    let too_old = |error: &str| format!("still failing after {days} days: {error}");
    let exceptions = exceptions.iter().filter(|exception| is_over(&exception.first));
    let mut found: Vec<_> = exceptions.map(|exception| (exception.id, too_old(&exception.error))).collect();

    let sql = "SELECT upto, first FROM attempt WHERE target = ? ORDER BY upto";
    let attempts: Vec<(EventId, String)> =
        every(connection, sql, params![state.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let expired = attempts.into_iter().rfind(|(upto, first)| *upto > state.cursor && is_over(&Stamp::parse(first)));
    let mut after = state.cursor;
    if let Some((upto, _)) = expired {
        after = upto;
        found.push((upto, too_old(&state.error)));
    }
    if newest.0 - after.0 > limits.waiting
        && let Some(upto) = excess(connection, after, limits.waiting)?
    {
        found.push((upto, format!("more than {} events were waiting", limits.waiting)));
    }
    Ok(found)
}

/// The last of the oldest events beyond `after` that are too many. Notices don't count: one about what was
/// given up would push out the next event, about which there would be a notice, and so on.
fn excess(connection: &Connection, after: EventId, most: i64) -> SqlResult<Option<EventId>> {
    let sql = "SELECT (SELECT id FROM event WHERE id > ? AND kind <> ? ORDER BY id DESC LIMIT 1 OFFSET ?)";
    value(connection, sql, params![after, Kind::Notice.number(), most])
}
