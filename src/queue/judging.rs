//! Judging: each new event gets its verdict once, before it is delivered.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use rusqlite::params;

use crate::clock::{Stamp, milliseconds};
use crate::error::Error;
use crate::event::{TIMES, Uid};
use crate::queue::backlog::Due;
use crate::queue::cursors::{judged, newest, set_judged};
use crate::queue::sessions::{self, Context};
use crate::queue::sql::{each, every, execute, value};
use crate::queue::{Queue, Row, known, lately, repeats, row};
use crate::rules::{New, Verdict};

/// How many earlier events are searched for a copy. A late login leaves one in the spool, and may still record its
/// event in the queue up to half a minute later.
const WINDOW: i64 = 1000;

/// Events judged in one transaction.
const BATCH: i64 = 2000;

/// What is decided about an event.
pub struct Judgment {
    /// What stays with it.
    pub verdict: Verdict,
    /// For how long its repeats are held.
    pub repeat: Option<Duration>,
}

impl From<Verdict> for Judgment {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, repeat: None }
    }
}

impl Queue {
    /// Judges every event after the judge's cursor, in order and in batches. `judge` gets each event with its context.
    /// Then records the summaries of repeats that are due. A copy in memory holds no further repeats.
    pub fn judge(&mut self, now: &Stamp, judge: &mut dyn FnMut(&Row, Context) -> Judgment) -> Result<(), Error> {
        let mut seen = self.judged_uids(WINDOW)?;
        let is_copy = self.is_copy;
        let is_in_memory = known::is_in_memory(&self.path);
        let mut has_told = false;
        loop {
            let new = self.read(|connection| {
                let sql = format!("SELECT {} FROM event WHERE id > ? ORDER BY id LIMIT {BATCH}", row::columns());
                every(connection, &sql, params![judged(connection)?], row::read)
            })?;
            let Some(last) = new.last().map(|row| row.id) else {
                if has_told || self.read(|connection| repeats::due(connection, now))? != Due::Now {
                    return Ok(());
                }
                self.write("record a summary in", |connection| repeats::end(connection, now))?;
                has_told = true;
                continue;
            };
            self.write("judge events in", |connection| {
                sessions::set_created(connection, now)?;
                if let Some(first) = new.first().filter(|_| !is_copy) {
                    repeats::make_room(connection, &first.event.at)?;
                }
                for row in new.iter().filter(|row| row.event.facts[TIMES].is_empty()) {
                    let is_new = seen.insert(row.event.uid);
                    let copy = Context { is_copy: true, ..Context::default() };
                    let mut context = if is_new { sessions::place(connection, row)? } else { copy };
                    if is_in_memory {
                        context.new = New::default();
                    }
                    let Judgment { mut verdict, repeat } = judge(row, context);
                    if let Some(time) = repeat.filter(|_| !is_copy) {
                        verdict.is_held = repeats::hold(connection, row, milliseconds(time))?;
                    }
                    let verdict = verdict.to_string();
                    // A new event's verdict is already empty.
                    if !verdict.is_empty() {
                        execute(connection, "UPDATE event SET judged = ? WHERE id = ?", params![verdict, row.id])?;
                    }
                }
                sessions::forget(connection, now)?;
                lately::remember(connection, &new)?;
                set_judged(connection, last)
            })?;
        }
    }

    /// How many sessions of these services were opened since a moment, in UTC milliseconds.
    pub fn count_opened(&self, services: &[&str], since: i64) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM event WHERE kind = 0 AND utc_ms > ? AND service = ?";
        let count = |service| self.read(|connection| value::<i64>(connection, sql, params![since, service]));
        services.iter().try_fold(0, |sum, service| Ok(sum + count(service)?))
    }

    /// How many events each rule decided about since a moment, in UTC milliseconds.
    pub fn count_ruled(&self, since: i64) -> Result<BTreeMap<u16, u64>, Error> {
        let sql = "SELECT judged FROM event WHERE utc_ms > ? AND judged LIKE '%rule %'";
        let mut counts = BTreeMap::new();
        self.read(|connection| {
            each(connection, sql, params![since], &mut |row| {
                if let Some(place) = Verdict::parse(&row::text(row, 0)?).rule {
                    *counts.entry(place).or_default() += 1;
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(counts)
    }

    /// Whether there are events to judge, or repeats to tell.
    pub fn has_unjudged(&self, now: &Stamp) -> Result<bool, Error> {
        self.read(|connection| {
            Ok(judged(connection)? < newest(connection)? || repeats::due(connection, now)? == Due::Now)
        })
    }

    /// The uids of the last `count` events that were judged.
    fn judged_uids(&self, count: i64) -> Result<HashSet<Uid>, Error> {
        self.read(|connection| {
            let sql = format!("SELECT {} FROM event WHERE id <= ? ORDER BY id DESC LIMIT ?", row::columns());
            let rows = every(connection, &sql, params![judged(connection)?, count], row::read)?;
            Ok(rows.into_iter().map(|row| row.event.uid).collect())
        })
    }
}
