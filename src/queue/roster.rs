//! The roster: which targets there are. One that leaves the configuration may come back; until it is given up, it
//! keeps its place in the queue.

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

/// What is to be changed so that the known targets are those of the configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Not known yet.
    added: Vec<String>,
    /// In the configuration again.
    back: Vec<String>,
    /// No longer in it, or nobody knows since when.
    left: Vec<String>,
    /// Not in it for so long that they are given up.
    over: Vec<String>,
}

impl Changes {
    /// Compares the targets of the queue with those of the configuration.
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
                (true, false) => changes.back.push(name),
                (false, true) => changes.left.push(name),
                (false, false) if is_lost => changes.left.push(name),
                (false, false) if is_over(&since, limits.give_up, now) => changes.over.push(name),
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
    /// Makes the known targets those of the configuration. The first ones of all get every event that waits,
    /// and one that is added later gets events from then on. One that is gone keeps its place until it is
    /// given up, and goes on if it comes back. Then its deliveries are dropped: `notice` makes the event that
    /// reports how many. Returns the names of those that are gone since now, and how many deliveries each has.
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
            changes.back.iter().try_for_each(|name| execute(connection, set_gone, params!["", name]).map(drop))?;
            let mut left = Vec::new();
            for name in &changes.left {
                execute(connection, set_gone, params![now.to_string(), name])?;
                left.push((visible(name).into(), deliveries(connection, name)?));
            }
            for name in &changes.over {
                let count = deliveries(connection, name)?;
                remove(connection, name)?;
                if count > 0 {
                    row::insert(connection, &notice(&visible(name), count))?;
                }
            }
            Ok(left)
        })
    }

    /// Forgets a target that is not in the configuration; how many deliveries it had. `None` if it isn't known.
    pub fn drop_target(&mut self, name: &str) -> Result<Option<i64>, Error> {
        self.write("drop a target from", |connection| {
            let count = deliveries(connection, name)?;
            Ok((remove(connection, name)? > 0).then_some(count))
        })
    }
}

/// How many events wait for a target or are its dead letters.
fn deliveries(connection: &Connection, name: &str) -> SqlResult<i64> {
    let Some(state) = state(connection, name)? else { return Ok(0) };
    let Counts { waiting, dead, .. } = counts(connection, &state, &|_, _, _| true)?;
    Ok(waiting + dead)
}

/// Removes a target and whatever is kept for it; how many there were.
fn remove(connection: &Connection, name: &str) -> SqlResult<usize> {
    for table in ["delivery", "attempt"] {
        execute(connection, &format!("DELETE FROM {table} WHERE target = ?"), params![name])?;
    }
    execute(connection, "DELETE FROM target WHERE name = ?", params![name])
}
