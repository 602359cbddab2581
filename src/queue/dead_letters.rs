//! Dead letters: deliveries that were given up, kept for an operator with the reason.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::clock::{EARLIEST_MS, Stamp, milliseconds};
use crate::error::Error;
use crate::event::{Event, Kind};
use crate::queue::cursors::{advance, newest};
use crate::queue::sql::{SqlResult, each, every, execute, first, is};
use crate::queue::targets::state;
use crate::queue::{EventId, Limits, Queue, Row, row};

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
}

/// Deliveries of one target that are to be given up.
pub enum Overdue {
    /// The pending events up to this one.
    Pending { upto: EventId, error: String },
    /// A quarantined event.
    Quarantined { id: EventId, error: String },
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
        for overdue in self.read(|connection| overdue(connection, target, limits, now))? {
            self.write("give up deliveries in", |connection| match &overdue {
                Overdue::Quarantined { id, error } => move_to_dead_letters(connection, target, *id, error),
                Overdue::Pending { upto, error } => {
                    for id in pending(connection, target, *upto, wants)? {
                        move_to_dead_letters(connection, target, id, error)?;
                    }
                    advance(connection, target, *upto)
                }
            })?;
        }
        Ok(())
    }

    /// Reports dead letters that nobody was told of yet, by target and reason: `notice` makes the event to
    /// record, in the transaction that marks them as reported. Whether there were any.
    pub fn report_dead_letters(&mut self, notice: impl Fn(&str, i64, &str) -> Event) -> Result<bool, Error> {
        if !self.read(has_unreported)? {
            return Ok(false);
        }
        self.write("record a notice in", |connection| {
            let sql = "SELECT target, count(*), error FROM delivery WHERE dead = 1 AND told = 0 GROUP BY target, error";
            let unreported: Vec<(String, i64, String)> =
                every(connection, sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            for (target, count, error) in unreported {
                row::insert(connection, &notice(&target, count, &error))?;
            }
            execute(connection, "UPDATE delivery SET told = 1 WHERE dead = 1", &[])?;
            Ok(true)
        })
    }

    /// Deletes events that are settled for every target and older than the history is long.
    pub fn prune(&mut self, limits: &Limits, now: &Stamp) -> Result<(), Error> {
        let before = now.utc_ms.saturating_sub(milliseconds(limits.history.max(SHORTEST_HISTORY)));
        // The newest row stays, so that its id is never used again.
        let condition = "utc_ms < ?1 AND id <= (SELECT min(cursor) FROM target)
             AND id < (SELECT max(id) FROM event) AND id NOT IN (SELECT event FROM delivery)";
        let found = self.read(|connection| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM event WHERE {condition})");
            is(connection, &sql, params![before])
        })?;
        if !found {
            return Ok(());
        }
        self.write("delete delivered events in", |connection| {
            execute(connection, &format!("DELETE FROM event WHERE {condition}"), params![before]).map(|_| ())
        })
    }

    /// The oldest dead letters, at most `most`, and how many there are.
    pub fn dead_letters(&self, most: i64) -> Result<(Vec<DeadLetter>, i64), Error> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {}, delivery.target, delivery.error AS reason FROM delivery JOIN event ON event.id = delivery.event
                 WHERE dead = 1 ORDER BY event.id, delivery.target LIMIT ?",
                row::columns()
            );
            let letters = every(connection, &sql, params![most], |row| {
                let Row { id, event, .. } = row::read(row)?;
                Ok(DeadLetter { id, event, target: row.get("target")?, error: row.get("reason")? })
            })?;
            let count = first(connection, "SELECT count(*) FROM delivery WHERE dead = 1", &[])?;
            Ok((letters, count.unwrap_or_default()))
        })
    }

    /// Makes the dead letters of one event, or all, due again; returns how many.
    pub fn retry(&mut self, id: Option<EventId>) -> Result<usize, Error> {
        self.write("retry dead letters in", |connection| {
            execute(
                connection,
                "UPDATE delivery SET dead = 0, told = 0, failures = 0, wait_ms = 0, since = '', first = ''
                 WHERE dead = 1 AND (?1 IS NULL OR event = ?1)",
                params![id],
            )
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
    execute(
        connection,
        "INSERT OR REPLACE INTO delivery (target, event, dead, error, told)
         SELECT ?1, id, 1, ?3, kind = ?4 FROM event WHERE id = ?2",
        params![target, id, error, Kind::Notice.number()],
    )?;
    Ok(())
}

/// Whether there are dead letters that nobody was told of.
pub fn has_unreported(connection: &Connection) -> SqlResult<bool> {
    is(connection, "SELECT EXISTS (SELECT 1 FROM delivery WHERE dead = 1 AND told = 0)", &[])
}

/// What is to be given up for a target.
pub fn overdue(connection: &Connection, target: &str, limits: &Limits, now: &Stamp) -> SqlResult<Vec<Overdue>> {
    let Some(state) = state(connection, target)? else { return Ok(Vec::new()) };
    let days = limits.give_up.as_secs() / 86_400;
    let too_old = |error: &str| format!("still failing after {days} days: {error}");
    let patience = milliseconds(limits.give_up);
    let mut found = Vec::new();
    let sql = "SELECT event, error, first FROM delivery WHERE target = ? AND dead = 0";
    each(connection, sql, params![target], &mut |row| {
        if is_over(&Stamp::parse(row.get_ref(2)?.as_str()?), patience, now) {
            let error = too_old(row.get_ref(1)?.as_str()?);
            found.push(Overdue::Quarantined { id: row.get(0)?, error });
        }
        Ok(())
    })?;
    let mut after = state.cursor;
    if let Some(upto) = expired(connection, target, patience, now)?.filter(|upto| *upto > after) {
        after = upto;
        found.push(Overdue::Pending { upto, error: too_old(&state.error) });
    }
    if let Some(upto) = excess(connection, after, limits.waiting)? {
        let error = format!("more than {} events were waiting", limits.waiting);
        found.push(Overdue::Pending { upto, error });
    }
    Ok(found)
}

/// The pending events up to one of them that the target wants.
fn pending(
    connection: &Connection,
    target: &str,
    upto: EventId,
    wants: &dyn Fn(&Row) -> bool,
) -> SqlResult<Vec<EventId>> {
    let sql = format!(
        "SELECT {} FROM event WHERE id > (SELECT cursor FROM target WHERE name = ?) AND id <= ? ORDER BY id",
        row::columns()
    );
    let mut ids = Vec::new();
    each(connection, &sql, params![target, upto], &mut |row| {
        let row = row::read(row)?;
        ids.extend(wants(&row).then_some(row.id));
        Ok(())
    })?;
    Ok(ids)
}

/// The last event whose first attempt is too long ago.
fn expired(connection: &Connection, target: &str, patience: i64, now: &Stamp) -> SqlResult<Option<EventId>> {
    let sql = "SELECT upto, first FROM attempt WHERE target = ? ORDER BY upto";
    let mut last = None;
    each(connection, sql, params![target], &mut |row| {
        if is_over(&Stamp::parse(row.get_ref(1)?.as_str()?), patience, now) {
            last = Some(row.get(0)?);
        }
        Ok(())
    })?;
    Ok(last)
}

/// Whether more time has passed than patience lasts, as far as the clocks can be believed.
fn is_over(first: &Stamp, patience: i64, now: &Stamp) -> bool {
    now.utc_ms >= EARLIEST_MS && first.until(now).is_some_and(|passed| passed >= patience)
}

/// The last of the oldest events beyond `after` that are too many. Notices don't count: one about what was
/// given up would push out the next event, about which there would be a notice, and so on.
fn excess(connection: &Connection, after: EventId, most: i64) -> SqlResult<Option<EventId>> {
    if newest(connection)?.0 - after.0 <= most {
        return Ok(None);
    }
    let sql = "SELECT id FROM event WHERE id > ? AND kind <> ? ORDER BY id DESC LIMIT 1 OFFSET ?";
    Ok(first(connection, sql, params![after, Kind::Notice.number(), most])?.map(EventId))
}
