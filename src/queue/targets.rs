//! Targets: how far each has come, and when it is tried next.

use std::ops::ControlFlow;

use rusqlite::{Connection, Row, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::Action;
use crate::queue::cursors::PENDING;
use crate::queue::sql::{SqlResult, Values, each, every, execute, value};
use crate::queue::{EventId, Queue, row};
use crate::rules::Verdict;
use crate::text::visible;

/// A moment, and how long to wait from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// When the waiting began.
    pub since: Stamp,
    /// How long, in milliseconds; 0 if there is no wait.
    pub ms: i64,
}

/// The recorded state of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    /// The name in the configuration.
    pub name: String,
    /// The last event that is settled.
    pub cursor: EventId,
    /// Failures in a row.
    pub failures: u32,
    /// No attempt is made before this is over.
    pub wait: Wait,
    /// Why the last attempt failed, as one visible line; empty after a success.
    pub error: String,
    /// When the target last accepted something, in UTC milliseconds.
    pub success_ms: Option<i64>,
    /// How many events in a row it rejected.
    pub rejected: u32,
    /// How it is reached, if not in the usual way; only its service understands this.
    pub hint: String,
    /// When it was first missing from the configuration.
    pub gone: Option<Stamp>,
}

/// Whether the target with this name wants an event.
pub type Wants<'w> = &'w dyn Fn(&str, Option<Action>, &Verdict) -> bool;

/// How much is pending and how much was given up for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pending events.
    pub pending: i64,
    /// Dead letters.
    pub dead: i64,
    /// When the oldest pending event happened.
    pub oldest: Option<Stamp>,
}

impl Wait {
    /// Milliseconds that are left. None are left if the clock went backwards: early is better than never.
    pub fn left(&self, now: &Stamp) -> i64 {
        // Within one boot, the clock since boot has gone on, even if the boot's id is unknown.
        let in_one_boot = || {
            let passed = now.boot_ms.saturating_sub(self.since.boot_ms);
            (self.since.boot_id == now.boot_id && passed >= 0).then_some(passed)
        };
        let passed = self.since.until(now).or_else(in_one_boot);
        passed.map_or(0, |passed| self.ms.saturating_sub(passed).clamp(0, self.ms.max(0)))
    }
}

/// Targets that are read at a time. A configuration has fewer, but somebody may have written more into the database.
pub const LIMIT: usize = 1000;

/// The columns of a target's state.
const STATE: &str = "name, cursor, failures, wait_ms, since, error, success_ms, rejected, hint, gone";

impl Queue {
    /// Every target's state, and how many of the events that it `wants` are pending.
    pub fn targets(&self, wants: Wants<'_>) -> Result<Vec<(TargetState, Counts)>, Error> {
        self.read(|connection| counted(connection, wants))
    }

    /// A target's state; the default if it isn't known.
    pub fn target(&self, name: &str) -> Result<TargetState, Error> {
        Ok(self.read(|connection| state(connection, name))?.unwrap_or_default())
    }

    /// Whether the settings have changed since the targets were last tried.
    pub fn has_other_settings(&self, settings: &str) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM target WHERE gone = '' AND settings <> ?)";
        self.read(|connection| value(connection, sql, params![settings]))
    }

    /// Records the fingerprint of the settings. If it has changed, all back-offs end and all hints are forgotten.
    pub fn set_settings(&mut self, settings: &str) -> Result<(), Error> {
        if !self.has_other_settings(settings)? {
            return Ok(());
        }
        self.write("note the settings in", |connection| {
            end_back_off(connection, "settings NOT IN ('', ?)", params![settings])?;
            let sql = "UPDATE target SET hint = '' WHERE settings NOT IN ('', ?)";
            execute(connection, sql, params![settings])?;
            execute(connection, "UPDATE target SET settings = ? WHERE gone = ''", params![settings]).map(drop)
        })
    }

    /// Ends every back-off after a failure, but no pause that a service asked for.
    pub fn end_back_off(&mut self) -> Result<(), Error> {
        self.write("end a back-off in", |connection| end_back_off(connection, "gone = ''", &[]))
    }

    /// Remembers how a target is reached.
    pub fn set_hint(&mut self, target: &str, hint: &str) -> Result<(), Error> {
        self.write("remember how a target is reached in", |connection| {
            execute(connection, "UPDATE target SET hint = ? WHERE name = ?", params![hint, target]).map(drop)
        })
    }
}

/// Ends the back-offs of some targets. The moment of a pause that a service asked for is in `meta`.
fn end_back_off(connection: &Connection, choice: &str, values: Values<'_>) -> SqlResult<()> {
    let asked = "EXISTS (SELECT 1 FROM meta WHERE meta.name = 'asked:' || target.name AND meta.value = since)";
    let sql = format!(
        "UPDATE delivery SET wait_ms = 0 WHERE dead = 0 AND target IN (SELECT name FROM target WHERE {choice})"
    );
    execute(connection, &sql, values)?;
    let sql = format!("UPDATE target SET wait_ms = 0, failures = 0 WHERE {choice} AND NOT {asked}");
    execute(connection, &sql, values).map(drop)
}

/// Remembers that a service asked for the pause that began at this moment.
pub fn set_asked(connection: &Connection, target: &str, since: &str) -> SqlResult<()> {
    let sql = "INSERT OR REPLACE INTO meta VALUES ('asked:' || ?, ?)";
    execute(connection, sql, params![target, since]).map(drop)
}

/// Reads every target's state and counts its pending events, which reads all of them, a few columns each.
fn counted(connection: &Connection, wants: Wants<'_>) -> SqlResult<Vec<(TargetState, Counts)>> {
    let states = every(connection, &format!("SELECT {STATE} FROM target ORDER BY name LIMIT {LIMIT}"), &[], read)?;
    let count = |state| counts(connection, &state, wants).map(|counts| (state, counts));
    states.into_iter().map(count).collect()
}

/// Counts a target's pending events and dead letters.
pub fn counts(connection: &Connection, state: &TargetState, wants: Wants<'_>) -> SqlResult<Counts> {
    let exceptions =
        "SELECT count(*) FROM delivery JOIN event ON event.id = delivery.event WHERE target = ? AND dead = ?";
    let choice = format!("SELECT {}, event.id FROM event WHERE {PENDING}", row::BRIEF_COLUMNS);
    let mut pending = value(connection, exceptions, params![state.name, 0])?;
    let sql =
        "SELECT min(event.id) FROM delivery JOIN event ON event.id = delivery.event WHERE target = ? AND dead = 0";
    let mut first: Option<EventId> = value(connection, sql, params![state.name])?;
    each(connection, &choice, params![state.name, state.cursor], &mut |row| {
        let (action, verdict) = row::read_briefly(row)?;
        if wants(&state.name, action, &verdict) {
            let id = row.get("id")?;
            first = Some(first.map_or(id, |first| first.min(id)));
            pending += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let sql = format!("SELECT {} FROM event WHERE id = ?", row::columns());
    let oldest = every(connection, &sql, params![first], row::read)?.pop().map(|row| row.event.at);
    Ok(Counts { pending, dead: value(connection, exceptions, params![state.name, 1])?, oldest })
}

/// Reads a target's state.
pub fn state(connection: &Connection, name: &str) -> SqlResult<Option<TargetState>> {
    let sql = format!("SELECT {STATE} FROM target WHERE name = ?");
    Ok(every(connection, &sql, params![name], read)?.pop())
}

fn read(row: &Row<'_>) -> rusqlite::Result<TargetState> {
    Ok(TargetState {
        name: row.get(0)?,
        cursor: row.get(1)?,
        failures: row.get(2)?,
        wait: wait(row, 3)?,
        error: visible(&row.get::<_, String>(5)?).into(),
        success_ms: row.get(6)?,
        rejected: row.get(7)?,
        hint: row.get(8)?,
        gone: Some(row.get::<_, String>(9)?).filter(|gone| !gone.is_empty()).map(|gone| Stamp::parse(&gone)),
    })
}

/// Reads two columns: `wait_ms` and `since`.
pub fn wait(row: &Row<'_>, column: usize) -> rusqlite::Result<Wait> {
    Ok(Wait { ms: row.get(column)?, since: Stamp::parse(&row.get::<_, String>(column + 1)?) })
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
        // Without /proc, on a host whose clock was never set.
        let wait = Wait { since: Stamp { utc_ms: 5, boot_ms: 9_000, boot_id: String::new() }, ms: 60_000 };
        for (boot_ms, left) in [(9_000, 60_000), (10_000, 59_000), (900_000, 0), (8_000, 0)] {
            assert_eq!(wait.left(&Stamp { utc_ms: 6, boot_ms, boot_id: String::new() }), left, "{boot_ms}");
        }
    }
}
