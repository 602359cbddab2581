//! Targets: how far each has come, and when it is tried next.

use rusqlite::{Connection, Row, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::cursors::newest;
use crate::queue::sql::{SqlResult, every, execute, number};
use crate::queue::{EventId, Queue};

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
    /// The name in the configuration.
    pub name: String,
    /// The last event that is settled.
    pub cursor: EventId,
    /// Failures in a row.
    pub failures: u32,
    /// Not to be tried before this is over.
    pub wait: Wait,
    /// Why the last attempt failed; empty after a success.
    pub error: String,
    /// When the target last accepted something, in UTC milliseconds.
    pub success_ms: Option<i64>,
}

/// How much is pending and how much was given up for a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that wait.
    pub waiting: i64,
    /// Dead letters.
    pub dead: i64,
}

impl Wait {
    /// Milliseconds that are left. A clock that went backwards leaves nothing: better early than never.
    pub fn left(&self, now: &Stamp) -> i64 {
        match self.since.until(now) {
            Some(passed) => (self.ms - passed).clamp(0, self.ms.max(0)),
            // Neither boot is known. In the same one, the clock since boot has gone on.
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
    /// pending deliveries with it: its name and their number are returned.
    pub fn set_targets(&mut self, names: &[&str]) -> Result<Vec<(String, i64)>, Error> {
        let known: Vec<String> = self.read(names_of)?;
        if known.len() == names.len() && names.iter().all(|name| known.iter().any(|known| known == name)) {
            return Ok(Vec::new());
        }
        self.write("change the targets of", |connection| {
            let start = if known.is_empty() { EventId::default() } else { newest(connection)? };
            for name in names.iter().filter(|name| !known.iter().any(|known| known == *name)) {
                execute(connection, "INSERT INTO target (name, cursor) VALUES (?, ?)", params![name, start])?;
            }
            let gone = known.iter().filter(|known| !names.contains(&known.as_str()));
            gone.map(|name| Ok((name.clone(), remove(connection, name)?))).collect()
        })
    }

    /// Every target's state, and how much is pending for it.
    pub fn targets(&self) -> Result<Vec<(TargetState, Counts)>, Error> {
        self.read(|connection| {
            let names = names_of(connection)?;
            let target = |name: &String| {
                let state = state(connection, name)?.unwrap_or_default();
                let counts = counts(connection, name, state.cursor)?;
                Ok((state, counts))
            };
            names.iter().map(target).collect()
        })
    }
}

/// Reads a target's state.
pub fn state(connection: &Connection, name: &str) -> SqlResult<Option<TargetState>> {
    let read = |row: &Row<'_>| {
        Ok(TargetState {
            name: name.into(),
            cursor: row.get(0)?,
            failures: row.get(1)?,
            wait: wait(row, 2)?,
            error: row.get(4)?,
            success_ms: row.get(5)?,
        })
    };
    let sql = "SELECT cursor, failures, wait_ms, since, error, success_ms FROM target WHERE name = ?";
    Ok(every(connection, sql, params![name], read)?.pop())
}

/// Reads two columns: `wait_ms` and `since`.
pub fn wait(row: &Row<'_>, column: usize) -> rusqlite::Result<Wait> {
    Ok(Wait { ms: row.get(column)?, since: Stamp::parse(&row.get::<_, String>(column + 1)?) })
}

fn names_of(connection: &Connection) -> SqlResult<Vec<String>> {
    every(connection, "SELECT name FROM target ORDER BY name", &[], |row| row.get(0))
}

/// Counts what is pending, which reads all of it.
fn counts(connection: &Connection, name: &str, cursor: EventId) -> SqlResult<Counts> {
    let sql = "SELECT (SELECT count(*) FROM event WHERE id > ?2)
                    + (SELECT count(*) FROM delivery WHERE target = ?1 AND dead = 0)";
    let waiting = number(connection, sql, params![name, cursor])?;
    let sql = "SELECT count(*) FROM delivery WHERE target = ? AND dead = 1";
    Ok(Counts { waiting, dead: number(connection, sql, params![name])? })
}

/// Forgets a target; returns how many deliveries went with it.
fn remove(connection: &Connection, name: &str) -> SqlResult<i64> {
    let cursor = state(connection, name)?.unwrap_or_default().cursor;
    let Counts { waiting, dead } = counts(connection, name, cursor)?;
    for table in ["delivery", "attempt"] {
        execute(connection, &format!("DELETE FROM {table} WHERE target = ?"), params![name])?;
    }
    execute(connection, "DELETE FROM target WHERE name = ?", params![name])?;
    Ok(waiting + dead)
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
