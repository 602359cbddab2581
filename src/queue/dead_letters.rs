//! Dead letters: deliveries that were given up, kept with the reason for an operator.

use std::ops::ControlFlow;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::clock::{EARLIEST_MS, Stamp, milliseconds};
use crate::error::Error;
use crate::event::{Event, Kind};
use crate::queue::backlog::{Backlog, each_pending};
use crate::queue::cursors::advance;
use crate::queue::overflow::{BATCH, Overflow};
use crate::queue::sessions::IS_OPEN;
use crate::queue::sql::{SqlResult, Values, each, every, execute, value};
use crate::queue::{EventId, Limits, Queue, Row, row};
use crate::rules::Verdict;
use crate::text::visible;

/// Delivered events stay at least this long, however short the history is, because a second copy is recognized by the
/// first. A late login's copy comes within half a minute; the spool file of a killed login is imported after a
/// minute.
const SHORTEST_HISTORY: Duration = Duration::from_mins(10);

/// Dead letters kept for each target, the newest ones.
const KEPT: usize = 1000;

/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_hours(90 * 24);

/// What became of a target's events.
#[derive(Clone, Copy, Debug)]
pub enum Loss<'a> {
    /// They became dead letters, for this reason.
    GivenUp(&'a str),
    /// They were dead letters and were discarded, because they were too many or too old.
    Discarded,
}

/// A delivery that was given up. Its texts are printable lines.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The event's id, for `retry` and `drop`.
    pub id: EventId,
    /// The target that didn't get it.
    pub target: String,
    /// Why.
    pub error: String,
    /// The event itself.
    pub event: Event,
    /// The sender's verdict on it.
    pub verdict: Verdict,
}

impl Queue {
    /// Gives up deliveries that have failed for too long, and those beyond the limit of pending events: those that
    /// the target `wants` become dead letters. Writes nothing if there is nothing to give up.
    pub fn give_up(
        &mut self,
        target: &str,
        wants: &dyn Fn(&Row) -> bool,
        limits: &Limits,
        now: &Stamp,
    ) -> Result<(), Error> {
        let Some(backlog) = self.read(|connection| Backlog::read(connection, target))? else { return Ok(()) };
        let mut after = backlog.state.cursor;
        for (id, error) in self.read(|connection| overdue(connection, &backlog, limits, now))? {
            self.write("give up deliveries in", |connection| {
                if id <= backlog.state.cursor {
                    return move_to_dead_letters(connection, target, id, &error, now);
                }
                let mut wanted = Vec::new();
                each_pending(connection, target, after, &mut |row| {
                    if row.id <= id && wants(&row) {
                        wanted.push(row.id);
                    }
                    Ok(if row.id < id { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                })?;
                wanted.into_iter().try_for_each(|id| move_to_dead_letters(connection, target, id, &error, now))?;
                after = id;
                advance(connection, target, id)
            })?;
        }
        let most = usize::try_from(limits.pending).unwrap_or(usize::MAX);
        if backlog.newest.0.saturating_sub(after.0) <= limits.pending {
            return Ok(());
        }
        let mut overflow = self.read(|connection| Overflow::count(connection, target, after, wants, most))?;
        let error = format!("more than {most} events were pending");
        loop {
            let chosen = self.read(|connection| overflow.next(connection))?;
            if chosen.is_empty() {
                return Ok(());
            }
            self.write("give up deliveries in", |connection| {
                chosen.iter().try_for_each(|id| move_to_dead_letters(connection, target, *id, &error, now))
            })?;
        }
    }

    /// Reports new dead letters by target and reason, and discards surplus ones by target. `notice` makes the event
    /// that is recorded in the same transaction. Returns whether there was anything to report.
    pub fn report_dead_letters(
        &mut self,
        now: &Stamp,
        notice: impl Fn(&str, i64, Loss<'_>) -> Event,
    ) -> Result<bool, Error> {
        let unreported = self.read(unreported)?;
        let surplus = self.read(|connection| surplus(connection, now))?;
        if unreported.is_empty() && surplus.is_empty() {
            return Ok(false);
        }
        self.write("record a notice in", |connection| {
            for (target, count, error) in &unreported {
                row::insert(connection, &notice(target, *count, Loss::GivenUp(error)))?;
            }
            execute(connection, "UPDATE delivery SET told = 1 WHERE dead = 1 AND told = 0", &[])?;
            for (target, ids) in &surplus {
                let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
                row::insert(connection, &notice(target, count, Loss::Discarded))?;
            }
            Ok(())
        })?;
        // If a run is killed here, the next one reports the others again.
        for (target, ids) in &surplus {
            for some in ids.chunks(BATCH) {
                self.write("discard dead letters in", |connection| {
                    some.iter().try_for_each(|id| forget(connection, target, *id).map(drop))
                })?;
            }
        }
        Ok(true)
    }

    /// Deletes events that are settled for every target and older than the history.
    pub fn prune(&mut self, limits: &Limits, now: &Stamp) -> Result<(), Error> {
        let before = now.utc_ms.saturating_sub(milliseconds(limits.history.max(SHORTEST_HISTORY)));
        // The newest row stays, so that its id is never reused.
        let sql = format!(
            "DELETE FROM event WHERE utc_ms < ? AND id <= (SELECT min(cursor) FROM target)
             AND id < (SELECT max(id) FROM event) AND id NOT IN (SELECT event FROM delivery) AND NOT {IS_OPEN}"
        );
        self.write("delete delivered events in", |connection| {
            execute(connection, &sql, params![before])?;
            // Nothing is left to deliver of an event that somebody deleted.
            execute(connection, "DELETE FROM delivery WHERE event NOT IN (SELECT id FROM event)", &[]).map(drop)
        })
    }

    /// The oldest dead letters, at most `most`, and the number of all.
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
                let text = |column| Ok::<_, rusqlite::Error>(visible(&row.get::<_, String>(column)?).into());
                Ok(DeadLetter { id, event, verdict, target: text("target")?, error: text("reason")? })
            })?;
            let count = "SELECT count(*) FROM delivery JOIN event ON event.id = delivery.event WHERE dead = 1";
            Ok((letters, value(connection, count, &[])?))
        })
    }

    /// Makes the dead letters of one event, or all of them, due again; returns how many.
    pub fn retry(&mut self, id: Option<EventId>) -> Result<usize, Error> {
        self.write("retry dead letters in", |connection| {
            let sql = "UPDATE delivery SET dead = 0, told = 0, failures = 0, wait_ms = 0, since = '', first = ''
                 WHERE dead = 1 AND (?1 IS NULL OR event = ?1)";
            execute(connection, sql, params![id])
        })
    }

    /// Discards the dead letters of one event, or all of them; returns how many.
    pub fn drop_dead_letters(&mut self, id: Option<EventId>) -> Result<usize, Error> {
        self.write("drop dead letters in", |connection| {
            remove(connection, "dead = 1 AND (?1 IS NULL OR event = ?1)", params![id])
        })
    }
}

/// Removes an event from a target's exceptions; returns how many rows that were.
pub fn forget(connection: &Connection, target: &str, id: EventId) -> SqlResult<usize> {
    remove(connection, "target = ?1 AND event = ?2", params![target, id])
}

/// Removes exceptions. One after its target's cursor leaves a mark, or else it would be pending again. The cursor
/// removes the mark when it passes.
fn remove(connection: &Connection, choice: &str, values: Values<'_>) -> SqlResult<usize> {
    let behind = "event <= (SELECT cursor FROM target WHERE name = delivery.target)";
    let removed = execute(connection, &format!("DELETE FROM delivery WHERE {choice} AND {behind}"), values)?;
    let mark = format!("UPDATE delivery SET dead = 2, told = 1, error = '' WHERE {choice}");
    Ok(removed + execute(connection, &mark, values)?)
}

/// Makes one event a dead letter. If it is a notice, that isn't reported, because the report would be one more
/// notice, and so on.
pub fn move_to_dead_letters(
    connection: &Connection,
    target: &str,
    id: EventId,
    error: &str,
    now: &Stamp,
) -> SqlResult<()> {
    let sql = "INSERT OR REPLACE INTO delivery (target, event, dead, error, told, since)
         SELECT ?1, id, 1, ?3, kind = ?4, ?5 FROM event WHERE id = ?2";
    execute(connection, sql, params![target, id, error, Kind::Notice.number(), now.to_string()]).map(drop)
}

/// Dead letters of each target that are too many or too old, newest first.
fn surplus(connection: &Connection, now: &Stamp) -> SqlResult<Vec<(String, Vec<EventId>)>> {
    let targets: Vec<String> = every(connection, "SELECT name FROM target", &[], |row| row.get(0))?;
    let mut all = Vec::new();
    for target in targets {
        let (mut kept, mut surplus) = (0, Vec::new());
        let sql = "SELECT event, since FROM delivery WHERE target = ? AND dead = 1 ORDER BY event DESC";
        each(connection, sql, params![target], &mut |row| {
            let is_old = is_over(&Stamp::parse(&row.get::<_, String>(1)?), KEPT_FOR, now);
            if kept < KEPT && !is_old {
                kept += 1;
            } else {
                surplus.push(row.get(0)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !surplus.is_empty() {
            all.push((target, surplus));
        }
    }
    Ok(all)
}

/// Whether this much time has passed, as far as the clocks can be trusted.
pub fn is_over(since: &Stamp, time: Duration, now: &Stamp) -> bool {
    now.utc_ms >= EARLIEST_MS && since.until(now).is_some_and(|ms| ms >= milliseconds(time))
}

/// Whether every dead letter is reported.
pub fn is_reported(connection: &Connection) -> SqlResult<bool> {
    value(connection, "SELECT NOT EXISTS (SELECT 1 FROM delivery WHERE dead = 1 AND told = 0)", &[])
}

/// Unreported dead letters: target, number and reason.
pub fn unreported(connection: &Connection) -> SqlResult<Vec<(String, i64, String)>> {
    let sql = "SELECT target, count(*), error FROM delivery WHERE dead = 1 AND told = 0 GROUP BY target, error";
    every(connection, sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// The deliveries to give up for a target, and why: a quarantined event, or an event after the cursor with all
/// pending ones before it.
pub fn overdue(
    connection: &Connection,
    backlog: &Backlog,
    limits: &Limits,
    now: &Stamp,
) -> SqlResult<Vec<(EventId, String)>> {
    let Backlog { state, exceptions, .. } = backlog;
    let is_over = |first: &Stamp| is_over(first, limits.give_up, now);
    let days = limits.give_up.as_secs() / 86_400;
    let too_old = |error: &str| format!("still failing after {days} days: {error}");
    let exceptions = exceptions.iter().filter(|exception| is_over(&exception.first));
    let mut found: Vec<_> = exceptions.map(|exception| (exception.id, too_old(&exception.error))).collect();

    if !backlog.has_pending() {
        return Ok(found);
    }
    let sql = "SELECT upto, first FROM attempt WHERE target = ? ORDER BY upto";
    let attempts: Vec<(EventId, String)> =
        every(connection, sql, params![state.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let expired = attempts.into_iter().rfind(|(upto, first)| *upto > state.cursor && is_over(&Stamp::parse(first)));
    found.extend(expired.map(|(upto, _)| (upto, too_old(&state.error))));
    Ok(found)
}
