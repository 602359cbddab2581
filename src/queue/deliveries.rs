//! Deliveries: what is due for a target, and what became of it.
//!
//! A [`Claim`] is a run of events that one message can carry. It is settled once, by one of the
//! methods that take it, in one transaction. Nothing is written when it is made: a sender that dies
//! in between leaves everything as it was, and the events are due again.

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::Event;
use crate::queue::sql::{SqlResult, every, execute};
use crate::queue::targets::{newest, state, wait};
use crate::queue::{Queue, Wait, row};

/// Events that are due for a target, in the order in which they happened.
#[derive(Debug)]
pub struct Claim {
    target: String,
    /// Whether its events are ones that were set apart: each has a row of its own.
    is_apart: bool,
    /// Ids and events; never empty.
    pub events: Vec<(i64, Event)>,
    /// Failures in a row so far: of the target, or of the event that stands apart.
    pub failures: u32,
}

/// What is due for a target.
#[derive(Debug)]
pub enum Due {
    /// These.
    Now(Claim),
    /// Something, but not yet: [`Queue::next_due`] tells when.
    Later,
    /// Nothing.
    Nothing,
}

/// A delivery that didn't work out, for now.
#[derive(Clone, Debug)]
pub struct Setback {
    /// What to wait for.
    pub wait: Wait,
    /// Why.
    pub error: String,
    /// Whether it counts as a failure (being throttled doesn't).
    pub is_failure: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "settling a claim uses it up: that is what taking it says")]
impl Queue {
    /// What is due for `target`: first what an operator sends again, then at most `most` events
    /// behind the cursor, and when there are none, a suspect, alone: it must not delay anything else.
    pub fn due(&self, target: &str, most: usize, now: &Stamp) -> Result<Due, Error> {
        self.read(|connection| {
            let Some(state) = state(connection, target, false)? else { return Ok(Due::Nothing) };
            let left = state.wait.left(now);
            if left > 0 {
                let is_idle = state.cursor >= newest(connection)? && apart(connection, target)?.is_empty();
                return Ok(if is_idle { Due::Nothing } else { Due::Later });
            }
            let claim = |events, failures, is_apart| Claim { target: target.into(), is_apart, events, failures };
            let mut is_later = false;
            let (mut fresh, mut suspect) = (Vec::new(), None);
            for (id, wait, failures) in apart(connection, target)? {
                match wait.left(now) {
                    // Those that an operator sends again may share a message.
                    0 if failures == 0 && fresh.len() < most => fresh.extend(one(connection, id)?),
                    0 if failures > 0 && suspect.is_none() => {
                        suspect = one(connection, id)?.map(|event| (event, failures));
                    }
                    _ => is_later = true,
                }
            }
            if !fresh.is_empty() {
                return Ok(Due::Now(claim(fresh, 0, true)));
            }
            let events = behind(connection, state.cursor, most)?;
            Ok(match (events.is_empty(), suspect) {
                (false, _) => Due::Now(claim(events, state.failures, false)),
                (true, Some((event, failures))) => Due::Now(claim(vec![event], failures, true)),
                (true, None) if is_later => Due::Later,
                (true, None) => Due::Nothing,
            })
        })
    }

    /// Settles a claim that the service took; the target is left alone for `rest_ms`.
    pub fn delivered(&mut self, claim: Claim, rest_ms: i64, now: &Stamp) -> Result<(), Error> {
        let last = claim.last();
        let since = if rest_ms == 0 { String::new() } else { (now).to_string() };
        self.write("settle a delivery in", |connection| {
            claim.forget(connection, last)?;
            succeeded(connection, &claim.target, rest_ms, &since, now)
        })
    }

    /// Settles a claim that is to be tried again.
    pub fn postponed(&mut self, claim: Claim, setback: &Setback, now: &Stamp) -> Result<(), Error> {
        let since = (&setback.wait.since).to_string();
        let failures = claim.failures + u32::from(setback.is_failure);
        self.write("postpone a delivery in", |connection| {
            let target = &claim.target;
            if claim.is_apart {
                for (event, _) in &claim.events {
                    execute(
                        connection,
                        "UPDATE delivery SET failures = ?, wait_ms = ?, since = ?, error = ?,
                         first = CASE first WHEN '' THEN ? ELSE first END WHERE target = ? AND event = ?",
                        params![failures, setback.wait.ms, since, setback.error, (now).to_string(), target, event],
                    )?;
                }
                // A suspect's failure tells nothing of the target; that it is too much for now does.
                if claim.failures > 0 && setback.is_failure {
                    return Ok(());
                }
            }
            execute(
                connection,
                "UPDATE target SET failures = failures + ?, wait_ms = ?, since = ?, error = ? WHERE name = ?",
                params![u32::from(setback.is_failure), setback.wait.ms, since, setback.error, target],
            )?;
            if !claim.is_apart {
                execute(
                    connection,
                    "INSERT INTO attempt SELECT ?1, ?2, ?3
                     WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE target = ?1 AND upto >= ?2)",
                    params![target, claim.last(), (now).to_string()],
                )?;
            }
            Ok(())
        })
    }

    /// Settles a claim by making its first event a dead letter.
    pub fn rejected(&mut self, claim: Claim, error: &str) -> Result<(), Error> {
        let first = claim.events.first().map_or(0, |(id, _)| *id);
        self.write("set a dead letter aside in", |connection| {
            claim.forget(connection, first)?;
            bury(connection, &claim.target, first - 1, first, error)
        })
    }

    /// Settles a claim by setting all its events but the last apart, to be tried alone from now on,
    /// because the service took the last one by itself.
    pub fn set_apart(&mut self, claim: Claim, setback: &Setback, now: &Stamp) -> Result<(), Error> {
        let last = claim.last();
        self.write("set events apart in", |connection| {
            let (since, now_text) = ((&setback.wait.since).to_string(), (now).to_string());
            let failures = claim.failures.max(1);
            for (event, _) in claim.events.iter().filter(|(event, _)| *event < last) {
                execute(
                    connection,
                    "INSERT OR REPLACE INTO delivery (target, event, dead, error, failures, wait_ms, since, first)
                     VALUES (?, ?, 0, ?, ?, ?, ?, ifnull((SELECT first FROM attempt WHERE target = ?1 AND upto >= ?2 LIMIT 1), ?))",
                    params![claim.target, event, setback.error, failures, setback.wait.ms, since, now_text],
                )?;
            }
            claim.forget(connection, last)?;
            succeeded(connection, &claim.target, 0, "", now)
        })
    }
}

impl Setback {
    /// The same, counted as a failure or not.
    pub fn counted(self, is_failure: bool) -> Self {
        Self { is_failure, ..self }
    }
}

impl Claim {
    /// Keeps the first `count` events only; the others stay due.
    pub fn shorten(&mut self, count: usize) {
        self.events.truncate(count.max(1));
    }

    /// The id of the last event.
    pub fn last(&self) -> i64 {
        self.events.last().map_or(0, |(id, _)| *id)
    }

    /// Takes the events up to `upto` off the list of what is due.
    fn forget(&self, connection: &Connection, upto: i64) -> SqlResult<()> {
        if self.is_apart {
            for (event, _) in self.events.iter().filter(|(event, _)| *event <= upto) {
                let sql = "DELETE FROM delivery WHERE target = ? AND event = ?";
                execute(connection, sql, params![self.target, event])?;
            }
            return Ok(());
        }
        advance(connection, &self.target, upto)
    }
}

/// Notes that a target took something; it is left alone for `rest_ms` from `since` on.
fn succeeded(connection: &Connection, target: &str, rest_ms: i64, since: &str, now: &Stamp) -> SqlResult<()> {
    execute(
        connection,
        "UPDATE target SET failures = 0, wait_ms = ?, since = ?, error = '', success_ms = ? WHERE name = ?",
        params![rest_ms, since, now.utc_ms, target],
    )?;
    Ok(())
}

/// Moves a target's cursor. It never moves back.
pub fn advance(connection: &Connection, target: &str, upto: i64) -> SqlResult<()> {
    execute(connection, "UPDATE target SET cursor = max(cursor, ?) WHERE name = ?", params![upto, target])?;
    execute(connection, "DELETE FROM attempt WHERE target = ? AND upto <= ?", params![target, upto])?;
    Ok(())
}

/// Makes the events behind `after` up to `upto` dead letters. Nobody is told of a note's death: that
/// would be one more note, and so on.
pub fn bury(connection: &Connection, target: &str, after: i64, upto: i64, error: &str) -> SqlResult<()> {
    execute(
        connection,
        "INSERT OR REPLACE INTO delivery (target, event, dead, error, told)
         SELECT ?1, id, 1, ?4, kind = ?5 FROM event WHERE id > ?2 AND id <= ?3",
        params![target, after, upto, error, row::NOTE],
    )?;
    Ok(())
}

fn behind(connection: &Connection, cursor: i64, most: usize) -> SqlResult<Vec<(i64, Event)>> {
    let sql = format!("SELECT {} FROM event WHERE id > ? ORDER BY id LIMIT ?", row::COLUMNS);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    every(connection, &sql, params![cursor, most], row::read)
}

type Apart = (i64, Wait, u32);

fn one(connection: &Connection, id: i64) -> SqlResult<Option<(i64, Event)>> {
    Ok(behind(connection, id - 1, 1)?.pop().filter(|(found, _)| *found == id))
}

fn apart(connection: &Connection, target: &str) -> SqlResult<Vec<Apart>> {
    let sql = "SELECT event, wait_ms, since, failures FROM delivery WHERE target = ? AND dead = 0 ORDER BY event";
    every(connection, sql, params![target], |row| Ok((row.get(0)?, wait(row, 1)?, row.get(3)?)))
}
