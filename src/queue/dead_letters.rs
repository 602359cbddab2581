//! Dead letters: deliveries that were given up, kept aside for an operator with the reason.

use rusqlite::{Connection, Row, params};

use crate::clock::{EARLIEST_MS, Stamp};
use crate::error::Error;
use crate::event::Event;
use crate::queue::Limits;
use crate::queue::deliveries::{advance, bury};
use crate::queue::sql::{SqlResult, each, every, execute, first, is};
use crate::queue::targets::{newest, state};
use crate::queue::{Queue, row};

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The event's id, for `retry` and `drop`.
    pub id: i64,
    /// Which target would not have it.
    pub target: String,
    /// Why.
    pub error: String,
    /// What it tells.
    pub event: Event,
}

/// Events whose time is over: those behind `after` up to `upto`.
struct Over {
    after: i64,
    upto: i64,
    /// Whether it is one that was set apart, and so behind the cursor.
    is_apart: bool,
    error: String,
}

impl Queue {
    /// Whether there is something for [`Queue::give_up`] or [`Queue::tell_dead`] to do.
    pub fn is_time_over(&self, target: &str, limits: &Limits, now: &Stamp) -> Result<bool, Error> {
        let over = self.over(target, limits, now)?;
        let sql = "SELECT EXISTS (SELECT 1 FROM delivery WHERE target = ? AND dead = 1 AND told = 0)";
        let is_untold = self.read(|connection| is(connection, sql, params![target]))?;
        Ok(is_untold || !over.is_empty())
    }

    /// Gives up what has failed for too long, and what is too much for one target: makes dead
    /// letters of it. Writes nothing when nothing is to be given up.
    pub fn give_up(&mut self, target: &str, limits: &Limits, now: &Stamp) -> Result<(), Error> {
        for Over { after, upto, is_apart, error } in self.over(target, limits, now)? {
            self.write("give up deliveries in", |connection| {
                bury(connection, target, after, upto, &error)?;
                if is_apart { Ok(()) } else { advance(connection, target, upto) }
            })?;
        }
        Ok(())
    }

    fn over(&self, target: &str, limits: &Limits, now: &Stamp) -> Result<Vec<Over>, Error> {
        let patience = i64::try_from(limits.give_up.as_millis()).unwrap_or(i64::MAX);
        let days = limits.give_up.as_secs() / 86_400;
        let too_old = |error: &str| format!("still failing after {days} days: {error}");
        self.read(|connection| {
            let Some(state) = state(connection, target, false)? else { return Ok(Vec::new()) };
            let mut over = expired_apart(connection, target, patience, now)?;
            if let Some(upto) = expired(connection, target, patience, now)?.filter(|upto| *upto > state.cursor) {
                over.push(Over { after: state.cursor, upto, is_apart: false, error: state.error.clone() });
            }
            for over in &mut over {
                over.error = too_old(&over.error);
            }
            let after = over.last().filter(|over| !over.is_apart).map_or(state.cursor, |over| over.upto);
            if let Some(upto) = excess(connection, after, limits.waiting)? {
                let error = format!("more than {} events were waiting", limits.waiting);
                over.push(Over { after, upto, is_apart: false, error });
            }
            Ok(over)
        })
    }

    /// Dead letters that nobody was told of yet, by target and reason: they count as told from now
    /// on, for `notes` makes the notes to record of them, in the same transaction.
    pub fn tell_dead(&mut self, notes: impl Fn(&str, i64, &str) -> Event) -> Result<bool, Error> {
        let untold = |connection: &Connection| -> SqlResult<Vec<(String, i64, String)>> {
            let sql = "SELECT target, count(*), error FROM delivery WHERE dead = 1 AND told = 0 GROUP BY target, error";
            every(connection, sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        };
        if self.read(untold)?.is_empty() {
            return Ok(false);
        }
        self.write("record a note in", |connection| {
            for (target, count, error) in untold(connection)? {
                row::insert(connection, &notes(&target, count, &error))?;
            }
            execute(connection, "UPDATE delivery SET told = 1 WHERE dead = 1", &[])?;
            Ok(true)
        })
    }

    /// Deletes events that every target is done with and that are older than the history is long.
    pub fn prune(&mut self, limits: &Limits, now: &Stamp) -> Result<(), Error> {
        let age = i64::try_from(limits.history.as_millis()).unwrap_or(i64::MAX);
        let before = now.utc_ms.saturating_sub(age);
        let condition = "utc_ms <= ? AND id <= (SELECT min(cursor) FROM target) AND id < (SELECT max(id) FROM event)
                         AND id NOT IN (SELECT event FROM delivery)";
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

    /// Every dead letter, oldest first.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        self.read(|connection| {
            let columns = row::COLUMNS;
            let sql = format!(
                "SELECT {columns}, target, error FROM delivery JOIN event ON event.id = delivery.event
                 WHERE dead = 1 ORDER BY id, target"
            );
            let sql = sql.replace("session, utc_ms", "event.session, utc_ms");
            let read = |row: &Row<'_>| {
                let (id, event) = row::read(row)?;
                Ok(DeadLetter { id, event, target: row.get(10)?, error: row.get(11)? })
            };
            every(connection, &sql, &[], read)
        })
    }

    /// Makes the dead letters of one event, or all, due again; answers how many.
    pub fn retry(&mut self, id: Option<i64>) -> Result<usize, Error> {
        self.write("retry dead letters in", |connection| {
            execute(
                connection,
                "UPDATE delivery SET dead = 0, told = 0, failures = 0, wait_ms = 0, since = '', first = ''
                 WHERE dead = 1 AND (?1 IS NULL OR event = ?1)",
                params![id],
            )
        })
    }

    /// Forgets the dead letters of one event; answers how many.
    pub fn drop_dead(&mut self, id: i64) -> Result<usize, Error> {
        self.write("drop a dead letter in", |connection| {
            execute(connection, "DELETE FROM delivery WHERE dead = 1 AND event = ?", params![id])
        })
    }
}

/// The last event whose first attempt is too long ago.
fn expired(connection: &Connection, target: &str, patience: i64, now: &Stamp) -> SqlResult<Option<i64>> {
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

fn expired_apart(connection: &Connection, target: &str, patience: i64, now: &Stamp) -> SqlResult<Vec<Over>> {
    let sql = "SELECT event, error, first FROM delivery WHERE target = ? AND dead = 0";
    let mut over = Vec::new();
    each(connection, sql, params![target], &mut |row| {
        if is_over(&Stamp::parse(row.get_ref(2)?.as_str()?), patience, now) {
            let event: i64 = row.get(0)?;
            over.push(Over { after: event - 1, upto: event, is_apart: true, error: row.get(1)? });
        }
        Ok(())
    })?;
    Ok(over)
}

/// Whether more time has passed than patience lasts, as far as the clocks can be believed.
fn is_over(first: &Stamp, patience: i64, now: &Stamp) -> bool {
    now.utc_ms >= EARLIEST_MS && first.until(now).is_some_and(|passed| passed >= patience)
}

/// The last of the oldest events behind `after` that are too many. Notes don't count: one on what was
/// given up would push out the next event, of which there would be a note, and so on.
fn excess(connection: &Connection, after: i64, most: i64) -> SqlResult<Option<i64>> {
    if newest(connection)? - after <= most {
        return Ok(None);
    }
    let sql = "SELECT id FROM event WHERE id > ? AND kind <> ? ORDER BY id DESC LIMIT 1 OFFSET ?";
    first(connection, sql, params![after, row::NOTE, most])
}
