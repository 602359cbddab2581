//! Targets: how far each has come, and when it is tried next.

use rusqlite::{Connection, Row, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::Queue;
use crate::queue::sql::{SqlResult, each, every, execute, is, number};

/// A moment, and how long to wait from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// When the waiting began.
    pub since: Stamp,
    /// How long, in milliseconds; 0 when there is nothing to wait for.
    pub ms: i64,
}

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    /// The service's name.
    pub name: String,
    /// The last event that is settled.
    pub cursor: i64,
    /// Failures in a row.
    pub failures: u32,
    /// Not to be tried before this is over.
    pub wait: Wait,
    /// Why the last attempt failed; empty after a success.
    pub error: String,
    /// When the target last took something, in UTC milliseconds.
    pub success_ms: Option<i64>,
    /// Events that wait.
    pub waiting: i64,
    /// Deliveries that were given up.
    pub dead: i64,
}

impl Wait {
    /// Milliseconds that are left. A clock that went backwards leaves nothing: better early than never.
    pub fn left(&self, now: &Stamp) -> i64 {
        match self.since.until(now) {
            Some(passed) => (self.ms - passed).clamp(0, self.ms.max(0)),
            // Neither boot could be told. In the same one, the boot-time clock has gone on.
            None if self.since.boot_id == now.boot_id && now.boot_ms >= self.since.boot_ms => {
                (self.ms - (now.boot_ms - self.since.boot_ms)).clamp(0, self.ms.max(0))
            }
            None => 0,
        }
    }
}

impl Queue {
    /// Makes the known targets those of the configuration. The first ones of all get every event
    /// that waits, one that is added later gets events from then on, and one that is gone takes its
    /// waiting deliveries with it: the answer has its name and their number.
    pub fn set_targets(&mut self, names: &[&str]) -> Result<Vec<(String, i64)>, Error> {
        if self.has_targets(names)? {
            return Ok(Vec::new());
        }
        let known: Vec<String> = self.read(names_of)?;
        self.write("change the targets of", |connection| {
            let start = if known.is_empty() { 0 } else { newest(connection)? };
            for name in names.iter().filter(|name| !known.iter().any(|known| known == *name)) {
                execute(connection, "INSERT INTO target (name, cursor) VALUES (?, ?)", params![name, start])?;
            }
            let gone = known.iter().filter(|known| !names.contains(&known.as_str()));
            gone.map(|name| Ok((name.clone(), remove(connection, name)?))).collect()
        })
    }

    /// Whether the known targets are these.
    pub fn has_targets(&self, names: &[&str]) -> Result<bool, Error> {
        let known: Vec<String> = self.read(names_of)?;
        Ok(known.len() == names.len() && names.iter().all(|name| known.iter().any(|known| known == name)))
    }

    /// Every target's state, for `status`.
    pub fn targets(&self) -> Result<Vec<TargetState>, Error> {
        self.read(|connection| {
            names_of(connection)?
                .iter()
                .map(|name| state(connection, name, true).map(Option::unwrap_or_default))
                .collect()
        })
    }

    /// Whether something waits that was tried before in vain.
    pub fn is_overdue(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM target WHERE error <> '' AND cursor < (SELECT max(id) FROM event))
                       OR EXISTS (SELECT 1 FROM delivery WHERE dead = 0)";
        self.read(|connection| is(connection, sql, &[]))
    }

    /// The shortest time, in milliseconds, after which something is due for a target that waits now.
    pub fn next_due(&self, now: &Stamp) -> Result<Option<i64>, Error> {
        self.read(|connection| {
            let newest = newest(connection)?;
            let mut waits = Vec::new();
            for name in names_of(connection)? {
                let Some(target) = state(connection, &name, false)? else { continue };
                if target.cursor < newest {
                    waits.push(target.wait.left(now));
                }
                let sql = "SELECT wait_ms, since FROM delivery WHERE target = ? AND dead = 0";
                each(connection, sql, params![name], &mut |row| {
                    waits.push(wait(row, 0)?.left(now).max(target.wait.left(now)));
                    Ok(())
                })?;
            }
            Ok(waits.into_iter().min())
        })
    }
}

/// Reads a target's state, and how much waits for it if `counted`: that reads the whole queue.
pub fn state(connection: &Connection, name: &str, counted: bool) -> SqlResult<Option<TargetState>> {
    let read = |row: &Row<'_>| {
        Ok(TargetState {
            name: name.into(),
            cursor: row.get(0)?,
            failures: row.get(1)?,
            wait: wait(row, 2)?,
            error: row.get(4)?,
            success_ms: row.get(5)?,
            ..TargetState::default()
        })
    };
    let sql = "SELECT cursor, failures, wait_ms, since, error, success_ms FROM target WHERE name = ?";
    let mut state = every(connection, sql, params![name], read)?.pop();
    if let Some(state) = state.as_mut().filter(|_| counted) {
        state.waiting = waiting(connection, name, state.cursor)?;
        let sql = "SELECT count(*) FROM delivery WHERE target = ? AND dead = 1";
        state.dead = number(connection, sql, params![name])?;
    }
    Ok(state)
}

/// Reads two columns: `wait_ms` and `since`.
pub fn wait(row: &Row<'_>, column: usize) -> rusqlite::Result<Wait> {
    Ok(Wait { ms: row.get(column)?, since: Stamp::parse(&row.get::<_, String>(column + 1)?) })
}

/// The id of the newest event; 0 when there never was one.
pub fn newest(connection: &Connection) -> SqlResult<i64> {
    number(connection, "SELECT ifnull(max(id), 0) FROM event", &[])
}

fn names_of(connection: &Connection) -> SqlResult<Vec<String>> {
    every(connection, "SELECT name FROM target ORDER BY name", &[], |row| row.get(0))
}

fn waiting(connection: &Connection, name: &str, cursor: i64) -> SqlResult<i64> {
    let sql = "SELECT (SELECT count(*) FROM event WHERE id > ?2)
                    + (SELECT count(*) FROM delivery WHERE target = ?1 AND dead = 0)";
    number(connection, sql, params![name, cursor])
}

/// Forgets a target; answers how many deliveries went with it.
fn remove(connection: &Connection, name: &str) -> SqlResult<i64> {
    let state = state(connection, name, true)?.unwrap_or_default();
    for table in ["delivery", "attempt"] {
        execute(connection, &format!("DELETE FROM {table} WHERE target = ?"), params![name])?;
    }
    execute(connection, "DELETE FROM target WHERE name = ?", params![name])?;
    Ok(state.waiting + state.dead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EARLIEST_MS;

    #[test]
    fn no_clock_can_make_a_wait_longer_than_it_was_set() {
        let stamp =
            |utc_ms, boot_ms, boot_id: &str| Stamp { utc_ms: EARLIEST_MS + utc_ms, boot_ms, boot_id: boot_id.into() };
        let wait = Wait { since: stamp(1_000_000, 500_000, "b"), ms: 60_000 };
        let rows = [
            (stamp(1_000_000, 500_000, "b"), 60_000),
            (stamp(1_010_000, 510_000, "b"), 50_000),
            (stamp(-9_000_000, 510_000, "b"), 50_000),
            (stamp(9_000_000_000, 510_000, "b"), 50_000),
            (stamp(1_010_000, 1, "c"), 50_000),
            (stamp(1_070_000, 1, "c"), 0),
            (stamp(999_999, 1, "c"), 0),
            (stamp(-9_000_000_000_000, 1, "c"), 0),
        ];
        for (now, left) in rows {
            assert_eq!(wait.left(&now), left, "{now:?}");
        }
        assert_eq!(Wait::default().left(&stamp(0, 0, "b")), 0);
        // Without /proc, and with a clock that was never set.
        let wait = Wait { since: Stamp { utc_ms: 5, boot_ms: 9_000, boot_id: String::new() }, ms: 60_000 };
        for (boot_ms, left) in [(9_000, 60_000), (10_000, 59_000), (900_000, 0), (8_000, 0)] {
            assert_eq!(wait.left(&Stamp { utc_ms: 6, boot_ms, boot_id: String::new() }), left, "{boot_ms}");
        }
    }
}
