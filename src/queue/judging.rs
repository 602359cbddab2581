//! Judging: each new event gets its verdict once, before it is delivered to anybody.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use rusqlite::params;

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::Uid;
use crate::queue::cursors::{judged, newest, set_judged};
use crate::queue::sessions::{self, Context};
use crate::queue::sql::{each, every, execute, value};
use crate::queue::{Queue, Row, row};
use crate::queue::{known, lately};
use crate::rules::{New, Verdict};

/// Events among which the first copy of one is looked for: a login that was late leaves one in the spool, and may
/// still record its event in the queue, at most half a minute afterwards.
const WINDOW: i64 = 1000;

/// Events that are judged in one transaction.
const BATCH: i64 = 2000;

impl Queue {
    /// Judges every event that is beyond the judge's cursor, in order and in batches. `judge` gets each one with
    /// what it is in the light of the earlier ones, and returns its verdict.
    pub fn judge(&mut self, now: &Stamp, judge: &mut dyn FnMut(&Row, Context) -> Verdict) -> Result<(), Error> {
        let mut seen = self.judged_uids(WINDOW)?;
        let is_in_memory = known::is_in_memory(&self.path);
        loop {
            let new = self.read(|connection| {
                let sql = format!("SELECT {} FROM event WHERE id > ? ORDER BY id LIMIT {BATCH}", row::columns());
                every(connection, &sql, params![judged(connection)?], row::read)
            })?;
            let Some(last) = new.last().map(|row| row.id) else { return Ok(()) };
            self.write("judge events in", |connection| {
                sessions::set_created(connection, now)?;
                for row in &new {
                    let is_new = seen.insert(row.event.uid);
                    let copy = Context { is_copy: true, ..Context::default() };
                    let mut context = if is_new { sessions::place(connection, row)? } else { copy };
                    if is_in_memory {
                        context.new = New::default();
                    }
                    let verdict = judge(row, context).to_string();
                    // An empty verdict is what a new event has.
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

    /// Whether there are events to judge.
    pub fn has_unjudged(&self) -> Result<bool, Error> {
        self.read(|connection| Ok(judged(connection)? < newest(connection)?))
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
