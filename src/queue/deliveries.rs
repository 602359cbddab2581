//! Deliveries: what is due for a target, and what became of it.
//!
//! A [`Batch`] is a run of events that one message carries. It is settled once, by one of the methods that
//! take it, in one transaction. Nothing is written when it is read: a sender that dies in between leaves
//! everything as it was, and the events are due again.

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
    /// Those that were taken, in order.
    ids: Vec<EventId>,
    /// Those exceptions that the target doesn't want. They are settled with the others.
    passed: Vec<EventId>,
    /// The last event that was looked at.
    last: EventId,
    source: BatchSource,
    /// Failures in a row so far: of the target, or of the event that is quarantined.
    pub failures: u32,
    /// When an event that was quarantined was last tried, in UTC milliseconds.
    pub tried_ms: Option<i64>,
}

/// Where a batch's events stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchSource {
    /// Beyond the target's cursor.
    Pending,
    /// Behind it, each with a row of its own: an operator sends them again, or they are quarantined.
    Exceptions,
}

/// Whether there is more than the message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    Some,
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
    /// What it says of the target.
    pub cause: Cause,
}

/// What a failure says of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It fails: leave it alone for a while.
    Target,
    /// It asks to wait, which is no failure.
    Throttling,
    /// Nothing: the event may be at fault, and others needn't wait.
    Event,
}

#[expect(clippy::needless_pass_by_value, reason = "settling a batch uses it up: that is what taking it says")]
impl Queue {
    /// Reads what is due for `target` until `take` says that the message is full: first what an operator
    /// sends again, then what is pending, and if there is neither, one quarantined event, alone, because it
    /// must not delay anything else. `None` if nothing is due.
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
                // As far as events are judged.
                let end = judged(connection)?.min(newest);
                let choice = format!("{PENDING} AND event.id <= ?3");
                let rest = batch.read(connection, &choice, params![target, state.cursor, end], take)?;
                // Of what is behind the last one, nothing is pending.
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
            // The failure of a quarantined event says nothing of the target; a request to wait does.
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

    /// Settles a batch by setting all its events but the last aside, each to be tried alone from now on,
    /// because the service accepted the last one by itself.
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

    /// Whether it isn't the target's turn but an event's own: sent again, or quarantined.
    pub fn is_exception(&self) -> bool {
        self.source == BatchSource::Exceptions
    }

    fn is_empty(&self) -> bool {
        self.last == EventId::default()
    }

    /// Offers the events that `choice` selects, until the message is full.
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

    /// Takes its events off the list of what is due.
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

/// Records that a target accepted something; it is left alone for `rest_ms` from `since` on.
fn succeeded(connection: &Connection, target: &str, rest_ms: i64, since: &str, now: &Stamp) -> SqlResult<()> {
    if rest_ms > 0 {
        set_asked(connection, target, since)?;
    }
    let sql = "UPDATE target SET failures = 0, rejected = 0, wait_ms = ?, since = ?, error = '', success_ms = ?
         WHERE name = ?";
    execute(connection, sql, params![rest_ms, since, now.utc_ms, target]).map(drop)
}
