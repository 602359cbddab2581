//! Deliveries: the events that are due for a target, and their settlement.
//!
//! A [`Batch`] holds the events that one message carries. It is settled once, in one transaction, by one of the
//! methods that consume it. Reading it writes nothing: if the sender dies in between, the events are due again.

use std::ops::ControlFlow;

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::backlog::{Backlog, Due, Exception};
use crate::queue::cursors::{PENDING, advance, judged};
use crate::queue::dead_letters::{forget, move_to_dead_letters};
use crate::queue::sql::{SqlResult, Values, each, execute};
use crate::queue::targets::set_asked;
use crate::queue::{EventId, Queue, Row, Wait, row};

/// Events that are due for one target.
#[derive(Debug)]
pub struct Batch {
    target: String,
    /// The events in the message, in order.
    ids: Vec<EventId>,
    /// Exceptions that the target doesn't want. They are settled with the others.
    passed: Vec<EventId>,
    /// The last event that was read.
    last: EventId,
    source: BatchSource,
    /// Failures in a row so far, of the target or of the quarantined event.
    pub failures: u32,
    /// When a quarantined event was last tried, in UTC milliseconds.
    pub tried_ms: Option<i64>,
}

/// Where a batch's events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchSource {
    /// After the target's cursor.
    Pending,
    /// Before the cursor, each with a row of its own: an operator retries them, or they are quarantined.
    Exceptions,
}

/// Whether more events are due than the message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    Some,
}

/// Whether an event becomes part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is in the message.
    Taken,
    /// The target doesn't want it.
    Passed,
    /// The message has no room for it.
    Full,
}

/// A failed attempt that will be repeated.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How long to wait before the next attempt.
    pub wait: Wait,
    /// Why it failed.
    pub error: String,
    /// Who is at fault.
    pub cause: Cause,
}

/// Who is at fault for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The target: leave it alone for a while.
    Target,
    /// Nobody: the target asked us to wait.
    Throttling,
    /// Perhaps the event, so others needn't wait.
    Event,
}

#[expect(clippy::needless_pass_by_value, reason = "a batch can be settled only once")]
impl Queue {
    /// Reads what is due for `target` until `take` says that the message is full. Retries of an operator come first,
    /// then pending events. If there are neither, it takes one quarantined event, alone, so that it delays nothing
    /// else. `None` if nothing is due.
    pub fn batch(&self, target: &str, now: &Stamp, take: &mut dyn FnMut(&Row) -> Take) -> Result<Option<Batch>, Error> {
        self.read(|connection| {
            let backlog = Backlog::read(connection, target)?.filter(|backlog| backlog.due(now) == Due::Now);
            let Some(Backlog { state, exceptions, newest }) = backlog else { return Ok(None) };
            let mut batch = Batch {
                target: target.into(),
                ids: Vec::new(),
                passed: Vec::new(),
                last: EventId::default(),
                source: BatchSource::Exceptions,
                failures: 0,
                tried_ms: None,
            };
            let again = "id IN (SELECT event FROM delivery WHERE +target = ? AND dead = 0 AND failures = 0)";
            batch.read(connection, again, params![target], take)?;
            if batch.is_empty() {
                (batch.source, batch.failures) = (BatchSource::Pending, state.failures);
                // Events that aren't judged yet aren't due.
                let end = judged(connection)?.min(newest);
                let choice = format!("{PENDING} AND event.id <= ?3");
                let rest = batch.read(connection, &choice, params![target, state.cursor, end], take)?;
                // No event after the last one that was read is pending.
                batch.last = if rest == Rest::None && end > state.cursor { end } else { batch.last };
            }
            let is_ready = |exception: &&Exception| exception.failures > 0 && exception.wait.left(now) == 0;
            if batch.is_empty()
                && let Some(quarantined) = exceptions.iter().find(is_ready)
            {
                (batch.source, batch.failures) = (BatchSource::Exceptions, quarantined.failures);
                batch.tried_ms = Some(quarantined.wait.since.utc_ms);
                batch.read(connection, "id = ?", params![quarantined.id], take)?;
            }
            Ok(Some(batch).filter(|batch| !batch.is_empty()))
        })
    }

    /// Settles a batch that the service accepted, and leaves the target alone for `rest_ms`.
    pub fn delivered(&mut self, batch: Batch, rest_ms: i64, now: &Stamp) -> Result<(), Error> {
        let since = if rest_ms == 0 { String::new() } else { now.to_string() };
        self.write("settle a delivery in", |connection| {
            batch.settle(connection)?;
            if batch.ids.is_empty() { Ok(()) } else { succeeded(connection, &batch.target, rest_ms, &since, now) }
        })
    }

    /// Settles a batch that will be tried again.
    pub fn postponed(&mut self, batch: Batch, failure: &Failure, now: &Stamp) -> Result<(), Error> {
        let since = failure.wait.since.to_string();
        let failed = u32::from(failure.cause != Cause::Throttling);
        self.write("postpone a delivery in", |connection| {
            let target = &batch.target;
            if batch.source == BatchSource::Exceptions {
                let sql = "UPDATE delivery SET failures = ?, wait_ms = ?, since = ?, error = ?,
                     first = CASE first WHEN '' THEN ? ELSE first END WHERE target = ? AND event = ?";
                let (failures, first) = (batch.failures + failed, now.to_string());
                for event in &batch.ids {
                    let values = params![failures, failure.wait.ms, since, failure.error, first, target, event];
                    execute(connection, sql, values)?;
                }
            } else {
                let sql = "INSERT INTO attempt SELECT ?1, ?2, ?3
                     WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE target = ?1 AND upto >= ?2)";
                execute(connection, sql, params![target, batch.last, now.to_string()])?;
            }
            // The failure of a quarantined event says nothing about the target; a request to wait does.
            if failure.cause == Cause::Throttling {
                set_asked(connection, target, &since)?;
            }
            let is_quarantined = batch.source == BatchSource::Exceptions && batch.failures > 0;
            if failure.cause == Cause::Throttling || failure.cause == Cause::Target && !is_quarantined {
                let sql = "UPDATE target SET failures = failures + ?, wait_ms = ?, since = ?, error = ? WHERE name = ?";
                execute(connection, sql, params![failed, failure.wait.ms, since, failure.error, target])?;
            }
            Ok(())
        })
    }

    /// Settles a batch of one event by making it a dead letter.
    pub fn rejected(&mut self, batch: Batch, error: &str, now: &Stamp) -> Result<(), Error> {
        self.write("make a dead letter in", |connection| {
            batch.settle(connection)?;
            let sql = "UPDATE target SET rejected = rejected + 1 WHERE name = ?";
            execute(connection, sql, params![batch.target])?;
            batch.ids.iter().try_for_each(|id| move_to_dead_letters(connection, &batch.target, *id, error, now))
        })
    }

    /// Settles a batch by quarantining all its events but the last, because the service accepted the last one alone.
    pub fn quarantined(&mut self, batch: Batch, failure: &Failure, now: &Stamp) -> Result<(), Error> {
        self.write("quarantine events in", |connection| {
            let (since, now_text) = (failure.wait.since.to_string(), now.to_string());
            let failures = batch.failures.max(1);
            let sql = "INSERT OR REPLACE INTO delivery (target, event, dead, error, failures, wait_ms, since, first)
                 VALUES (?, ?, 0, ?, ?, ?, ?,
                         ifnull((SELECT first FROM attempt WHERE target = ?1 AND upto >= ?2 LIMIT 1), ?))";
            for event in batch.ids.split_last().map_or(&[][..], |(_, suspects)| suspects) {
                let values = params![batch.target, event, failure.error, failures, failure.wait.ms, since, now_text];
                execute(connection, sql, values)?;
            }
            batch.settle(connection)?;
            succeeded(connection, &batch.target, 0, "", now)
        })
    }
}

impl Batch {
    /// The events in it, in order; none if the target wants none of those that were read.
    pub fn ids(&self) -> &[EventId] {
        &self.ids
    }

    /// Keeps only the first `count` events, but at least one; the others stay due.
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

    /// Whether the batch consists of exceptions: retries, or a quarantined event.
    pub fn is_exception(&self) -> bool {
        self.source == BatchSource::Exceptions
    }

    fn is_empty(&self) -> bool {
        self.last == EventId::default()
    }

    /// Offers the events that `choice` selects to `take`, until the message is full.
    fn read(
        &mut self,
        connection: &Connection,
        choice: &str,
        values: Values<'_>,
        take: &mut dyn FnMut(&Row) -> Take,
    ) -> SqlResult<Rest> {
        let mut rest = Rest::None;
        let sql = format!("SELECT {} FROM event WHERE {choice} ORDER BY id", row::columns());
        each(connection, &sql, values, &mut |row| {
            let row = row::read(row)?;
            match take(&row) {
                Take::Taken => self.ids.push(row.id),
                Take::Passed if self.source == BatchSource::Exceptions => self.passed.push(row.id),
                Take::Passed => {}
                Take::Full => {
                    rest = Rest::Some;
                    return Ok(ControlFlow::Break(()));
                }
            }
            self.last = row.id;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rest)
    }

    /// Removes its events from what is due.
    fn settle(&self, connection: &Connection) -> SqlResult<()> {
        match self.source {
            BatchSource::Pending => advance(connection, &self.target, self.last),
            BatchSource::Exceptions => {
                let mut all = self.ids.iter().chain(&self.passed);
                all.try_for_each(|event| forget(connection, &self.target, *event).map(drop))
            }
        }
    }
}

/// Records that a target accepted something, and leaves it alone for `rest_ms` from `since` on.
fn succeeded(connection: &Connection, target: &str, rest_ms: i64, since: &str, now: &Stamp) -> SqlResult<()> {
    if rest_ms > 0 {
        set_asked(connection, target, since)?;
    }
    let sql = "UPDATE target SET failures = 0, rejected = 0, wait_ms = ?, since = ?, error = '', success_ms = ?
         WHERE name = ?";
    execute(connection, sql, params![rest_ms, since, now.utc_ms, target]).map(drop)
}
