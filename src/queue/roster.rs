//! The roster: the known targets. One that leaves the configuration keeps its place in the queue until it is given
//! up, because it may come back.

use rusqlite::{Connection, params};

use crate::clock::{EARLIEST_MS, Stamp};
use crate::error::Error;
use crate::event::Event;
use crate::queue::cursors::newest;
use crate::queue::dead_letters::is_over;
use crate::queue::sql::{SqlResult, every, execute, value};
use crate::queue::targets::{Counts, LIMIT, counts, state};
use crate::queue::{EventId, Limits, Queue, row};
use crate::text::visible;

/// The changes that bring the known targets in line with the configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the configuration, but not known yet.
    added: Vec<String>,
    /// In the configuration again.
    returned: Vec<String>,
    /// No longer in the configuration, or since an unknown time.
    missing: Vec<String>,
    /// Missing for so long that they are given up.
    expired: Vec<String>,
}

impl Changes {
    /// Compares the queue's targets with the configuration's.
    pub fn read(connection: &Connection, names: &[&str], limits: &Limits, now: &Stamp) -> SqlResult<Self> {
        let sql = format!("SELECT name, gone FROM target ORDER BY name LIMIT {LIMIT}");
        let known: Vec<(String, String)> = every(connection, &sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let is_known = |name: &&&str| known.iter().any(|(known, _)| known == **name);
        let added = names.iter().filter(|name| !is_known(name)).map(|name| (*name).into()).collect();
        let mut changes = Self { added, ..Self::default() };
        for (name, gone) in known {
            let since = Stamp::parse(&gone);
            let is_lost = now.utc_ms >= EARLIEST_MS && since.until(now).is_none();
            match (names.contains(&name.as_str()), gone.is_empty()) {
                (true, false) => changes.returned.push(name),
                (false, true) => changes.missing.push(name),
                (false, false) if is_lost => changes.missing.push(name),
                (false, false) if is_over(&since, limits.give_up, now) => changes.expired.push(name),
                (true, true) | (false, false) => {}
            }
        }
        Ok(changes)
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Queue {
    /// Brings the known targets in line with the configuration. The very first targets get every pending event; one
    /// that is added later gets events from then on. A target that leaves the configuration keeps its place until it
    /// is given up, and continues if it comes back. When it is given up, its deliveries are dropped, and `notice`
    /// makes the event that reports how many. Returns the targets that have just left, each with its number of
    /// deliveries.
    pub fn set_targets(
        &mut self,
        names: &[&str],
        limits: &Limits,
        now: &Stamp,
        notice: impl Fn(&str, i64) -> Event,
    ) -> Result<Vec<(String, i64)>, Error> {
        if self.read(|connection| Changes::read(connection, names, limits, now))?.is_empty() {
            return Ok(Vec::new());
        }
        self.write("change the targets of", |connection| {
            let changes = Changes::read(connection, names, limits, now)?;
            let is_first = value(connection, "SELECT NOT EXISTS (SELECT 1 FROM target)", &[])?;
            let start = if is_first { EventId::default() } else { newest(connection)? };
            for name in &changes.added {
                execute(connection, "INSERT INTO target (name, cursor) VALUES (?, ?)", params![name, start])?;
            }
            let set_gone = "UPDATE target SET gone = ? WHERE name = ?";
            changes.returned.iter().try_for_each(|name| execute(connection, set_gone, params!["", name]).map(drop))?;
            let mut left = Vec::new();
            for name in &changes.missing {
                execute(connection, set_gone, params![now.to_string(), name])?;
                left.push((visible(name).into(), deliveries(connection, name)?));
            }
            for name in &changes.expired {
                let count = deliveries(connection, name)?;
                remove(connection, name)?;
                if count > 0 {
                    row::insert(connection, &notice(&visible(name), count))?;
                }
            }
            Ok(left)
        })
    }

    /// Forgets a target that is not in the configuration, and returns how many deliveries it had. `None` if it isn't
    /// known.
    pub fn drop_target(&mut self, name: &str) -> Result<Option<i64>, Error> {
        self.write("drop a target from", |connection| {
            let count = deliveries(connection, name)?;
            Ok((remove(connection, name)? > 0).then_some(count))
        })
    }
}

/// Counts the pending events and dead letters of a target.
fn deliveries(connection: &Connection, name: &str) -> SqlResult<i64> {
    let Some(state) = state(connection, name)? else { return Ok(0) };
    let Counts { pending, dead, .. } = counts(connection, &state, &|_, _, _| true)?;
    Ok(pending + dead)
}

/// Removes a target and everything kept for it; returns how many targets that were.
fn remove(connection: &Connection, name: &str) -> SqlResult<usize> {
    for table in ["delivery", "attempt"] {
        execute(connection, &format!("DELETE FROM {table} WHERE target = ?"), params![name])?;
    }
    execute(connection, "DELETE FROM target WHERE name = ?", params![name])
}
