//! Deliveries: what is due for a target, and what became of it.
//!
//! A [`Batch`] is a run of events that one message carries. It is settled once, by one of the methods that
//! take it, in one transaction. Nothing is written when it is read: a sender that dies in between leaves
//! everything as it was, and the events are due again.

use std::ops::ControlFlow;

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::cursors::{advance, judged};
use crate::queue::dead_letters::move_to_dead_letters;
use crate::queue::sql::{SqlResult, every, execute, until};
use crate::queue::targets::{TargetState, state, wait};
use crate::queue::work::{Due, due};
use crate::queue::{EventId, Queue, Row, Wait, row};

/// Events that are due for one target.
#[derive(Debug)]
pub struct Batch {
    target: String,
    /// Those that were taken, in order.
    ids: Vec<EventId>,
    /// Those that the target doesn't want. They are settled with the others.
    passed: Vec<EventId>,
    /// The last event that was looked at.
    last: EventId,
    source: BatchSource,
    /// Failures in a row so far: of the target, or of the event that is quarantined.
    pub failures: u32,
}

/// Where a batch's events stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchSource {
    /// Beyond the target's cursor.
    Pending,
    /// Behind it, each with a row of its own: an operator sends them again, or they are quarantined.
    Exceptions,
}

/// What becomes of an event that is offered for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It goes into the message.
    Taken,
    /// The target doesn't want it.
    Passed,
    /// The message is full without it.
    Full,
}

/// An attempt that didn't work out, for now.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to wait for.
    pub wait: Wait,
    /// Why.
    pub error: String,
    /// Whether the service was reached and only asked to wait: that counts as no failure.
    pub is_throttled: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "settling a batch uses it up: that is what taking it says")]
impl Queue {
    /// Reads what is due for `target` until `take` says that the message is full: first what an operator
    /// sends again, then what is pending, and if there is neither, one quarantined event, alone, because it
    /// must not delay anything else. `None` if nothing is due.
    pub fn batch(&self, target: &str, now: &Stamp, take: &mut dyn FnMut(&Row) -> Take) -> Result<Option<Batch>, Error> {
        self.read(|connection| {
            let Some(state) = state(connection, target)? else { return Ok(None) };
            if due(connection, target, now)? != Due::Now || state.wait.left(now) > 0 {
                return Ok(None);
            }
            let exceptions = exceptions(connection, target)?;
            let mut batch = Batch {
                target: target.into(),
                ids: Vec::new(),
                passed: Vec::new(),
                last: EventId::default(),
                source: BatchSource::Exceptions,
                failures: 0,
            };
            for exception in exceptions.iter().filter(|exception| exception.failures == 0) {
                if batch.offer(exception.id, one(connection, exception.id)?.as_ref(), take) == Take::Full {
                    break;
                }
            }
            if batch.last > EventId::default() {
                return Ok(Some(batch));
            }
            batch.read_pending(connection, &state, take)?;
            if batch.last > EventId::default() {
                return Ok(Some(batch));
            }
            let is_ready = |exception: &&Exception| exception.failures > 0 && exception.wait.left(now) == 0;
            let Some(quarantined) = exceptions.iter().find(is_ready) else { return Ok(None) };
            batch.source = BatchSource::Exceptions;
            batch.failures = quarantined.failures;
            batch.offer(quarantined.id, one(connection, quarantined.id)?.as_ref(), take);
            Ok(Some(batch))
        })
    }

    /// Settles a batch that the service accepted; the target is left alone for `rest_ms`.
    pub fn delivered(&mut self, batch: Batch, rest_ms: i64, now: &Stamp) -> Result<(), Error> {
        let since = if rest_ms == 0 { String::new() } else { now.to_string() };
        self.write("settle a delivery in", |connection| {
            batch.settle(connection)?;
            if batch.ids.is_empty() { Ok(()) } else { succeeded(connection, &batch.target, rest_ms, &since, now) }
        })
    }

    /// Settles a batch that is to be tried again.
    pub fn postponed(&mut self, batch: Batch, failure: &Failure, now: &Stamp) -> Result<(), Error> {
        let since = failure.wait.since.to_string();
        let failed = u32::from(!failure.is_throttled);
        self.write("postpone a delivery in", |connection| {
            let target = &batch.target;
            if batch.source == BatchSource::Exceptions {
                for event in &batch.ids {
                    execute(
                        connection,
                        "UPDATE delivery SET failures = ?, wait_ms = ?, since = ?, error = ?,
                         first = CASE first WHEN '' THEN ? ELSE first END WHERE target = ? AND event = ?",
                        params![
                            batch.failures + failed,
                            failure.wait.ms,
                            since,
                            failure.error,
                            now.to_string(),
                            target,
                            event
                        ],
                    )?;
                }
                // The failure of a quarantined event says nothing of the target; a request to wait does.
                if batch.failures > 0 && !failure.is_throttled {
                    return Ok(());
                }
            }
            execute(
                connection,
                "UPDATE target SET failures = failures + ?, wait_ms = ?, since = ?, error = ? WHERE name = ?",
                params![failed, failure.wait.ms, since, failure.error, target],
            )?;
            if batch.source == BatchSource::Pending {
                execute(
                    connection,
                    "INSERT INTO attempt SELECT ?1, ?2, ?3
                     WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE target = ?1 AND upto >= ?2)",
                    params![target, batch.last, now.to_string()],
                )?;
            }
            Ok(())
        })
    }

    /// Settles a batch of one event by making it a dead letter.
    pub fn rejected(&mut self, batch: Batch, error: &str) -> Result<(), Error> {
        self.write("make a dead letter in", |connection| {
            batch.settle(connection)?;
            batch.ids.iter().try_for_each(|id| move_to_dead_letters(connection, &batch.target, *id, error))
        })
    }

    /// Settles a batch by setting all its events but the last aside, each to be tried alone from now on,
    /// because the service accepted the last one by itself.
    pub fn quarantined(&mut self, batch: Batch, failure: &Failure, now: &Stamp) -> Result<(), Error> {
        self.write("quarantine events in", |connection| {
            let (since, now_text) = (failure.wait.since.to_string(), now.to_string());
            let failures = batch.failures.max(1);
            for event in batch.ids.iter().filter(|event| **event < batch.last) {
                execute(
                    connection,
                    "INSERT OR REPLACE INTO delivery (target, event, dead, error, failures, wait_ms, since, first)
                     VALUES (?, ?, 0, ?, ?, ?, ?,
                             ifnull((SELECT first FROM attempt WHERE target = ?1 AND upto >= ?2 LIMIT 1), ?))",
                    params![batch.target, event, failure.error, failures, failure.wait.ms, since, now_text],
                )?;
            }
            batch.settle(connection)?;
            succeeded(connection, &batch.target, 0, "", now)
        })
    }
}

impl Batch {
    /// The events in it, in order; none if every event that was looked at was passed over.
    pub fn ids(&self) -> &[EventId] {
        &self.ids
    }

    /// Keeps the first `count` events only, at least one; the others stay due.
    pub fn shorten(&mut self, count: usize) {
        if count < self.ids.len() {
            self.ids.truncate(count.max(1));
            self.last = self.ids.last().copied().unwrap_or(self.last);
        }
    }

    /// The last event that it settles.
    pub fn last(&self) -> EventId {
        self.last
    }

    /// Offers one event; one that somebody deleted is passed over.
    fn offer(&mut self, id: EventId, row: Option<&Row>, take: &mut dyn FnMut(&Row) -> Take) -> Take {
        let taken = row.map_or(Take::Passed, take);
        match taken {
            Take::Taken => self.ids.push(id),
            Take::Passed if self.source == BatchSource::Exceptions => self.passed.push(id),
            Take::Passed => {}
            Take::Full => return taken,
        }
        self.last = id;
        taken
    }

    /// Reads on from the target's cursor, as far as events are judged.
    fn read_pending(
        &mut self,
        connection: &Connection,
        state: &TargetState,
        take: &mut dyn FnMut(&Row) -> Take,
    ) -> SqlResult<()> {
        (self.source, self.failures) = (BatchSource::Pending, state.failures);
        let sql = format!("SELECT {} FROM event WHERE id > ? AND id <= ? ORDER BY id", row::columns());
        until(connection, &sql, params![state.cursor, judged(connection)?], &mut |row| {
            let row = row::read(row)?;
            let is_full = self.offer(row.id, Some(&row), take) == Take::Full;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    /// Takes its events off the list of what is due.
    fn settle(&self, connection: &Connection) -> SqlResult<()> {
        match self.source {
            BatchSource::Pending => advance(connection, &self.target, self.last),
            BatchSource::Exceptions => self.ids.iter().chain(&self.passed).try_for_each(|event| {
                let sql = "DELETE FROM delivery WHERE target = ? AND event = ?";
                execute(connection, sql, params![self.target, event]).map(|_| ())
            }),
        }
    }
}

/// Records that a target accepted something; it is left alone for `rest_ms` from `since` on.
fn succeeded(connection: &Connection, target: &str, rest_ms: i64, since: &str, now: &Stamp) -> SqlResult<()> {
    execute(
        connection,
        "UPDATE target SET failures = 0, wait_ms = ?, since = ?, error = '', success_ms = ? WHERE name = ?",
        params![rest_ms, since, now.utc_ms, target],
    )?;
    Ok(())
}

/// An event behind the cursor that is still to be delivered.
struct Exception {
    id: EventId,
    wait: Wait,
    /// How often it failed alone; 0 for one that an operator sends again.
    failures: u32,
}

fn exceptions(connection: &Connection, target: &str) -> SqlResult<Vec<Exception>> {
    let sql = "SELECT event, wait_ms, since, failures FROM delivery WHERE target = ? AND dead = 0 ORDER BY event";
    every(connection, sql, params![target], |row| {
        Ok(Exception { id: row.get(0)?, wait: wait(row, 1)?, failures: row.get(3)? })
    })
}

fn one(connection: &Connection, id: EventId) -> SqlResult<Option<Row>> {
    let sql = format!("SELECT {} FROM event WHERE id = ?", row::columns());
    Ok(every(connection, &sql, params![id], row::read)?.pop())
}
