//! Cursors: how far the judge and each target have come.

use rusqlite::{Connection, params};

use crate::error::Error;
use crate::queue::sql::{SqlResult, every, execute, value};
use crate::queue::{EventId, Queue};
use crate::text::visible;

/// The newest event; 0 if there never was one.
const NEWEST: &str = "(SELECT ifnull(max(id), 0) FROM event)";

/// The last event that is judged.
const JUDGED: &str = "ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'judged'), 0)";

/// Selects the events that are pending for the target `?1` after its cursor, `?2`. Those that were settled out of
/// turn, such as dead letters, have rows of their own.
pub const PENDING: &str =
    "event.id > ?2 AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.target = ?1 AND delivery.event = event.id)";

impl Queue {
    /// Moves back each cursor beyond the newest event. Such a cursor is damage: somebody deleted events, or replaced
    /// the database with an older copy. The target continues with the first event recorded after its last success,
    /// and the judge after the last target. Returns the targets' names and new cursors.
    pub fn mend_cursors(&mut self) -> Result<Vec<(String, EventId)>, Error> {
        let sql = format!("SELECT max({JUDGED}, (SELECT ifnull(max(cursor), 0) FROM target)) > {NEWEST}");
        if !self.read(|connection| value(connection, &sql, &[]))? {
            return Ok(Vec::new());
        }
        self.write("mend the cursors in", |connection| {
            let sql = format!(
                "SELECT name, ifnull((SELECT min(id) - 1 FROM event WHERE utc_ms > success_ms OR success_ms IS NULL),
                 {NEWEST}) FROM target WHERE cursor > {NEWEST}"
            );
            let mended: Vec<(String, EventId)> = every(connection, &sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for (name, cursor) in &mended {
                execute(connection, "UPDATE target SET cursor = ? WHERE name = ?", params![cursor, name])?;
                for table in ["attempt WHERE target = ?1 AND upto > ?2", "delivery WHERE target = ?1 AND event > ?2"] {
                    execute(connection, &format!("DELETE FROM {table}"), params![name, cursor])?;
                }
            }
            if judged(connection)? > newest(connection)? {
                set_judged(connection, value(connection, "SELECT ifnull(min(cursor), 0) FROM target", &[])?)?;
            }
            Ok(mended.into_iter().map(|(name, cursor)| (visible(&name).into(), cursor)).collect())
        })
    }
}

/// The newest event; 0 if there never was one.
pub fn newest(connection: &Connection) -> SqlResult<EventId> {
    value(connection, &format!("SELECT {NEWEST}"), &[])
}

/// Whether every event is judged. False too if the cursor is beyond the newest event.
pub fn is_judged(connection: &Connection) -> SqlResult<bool> {
    value(connection, &format!("SELECT {JUDGED} = {NEWEST}"), &[])
}

/// The last event that is judged.
pub fn judged(connection: &Connection) -> SqlResult<EventId> {
    value(connection, &format!("SELECT {JUDGED}"), &[])
}

/// Moves the judge's cursor.
pub fn set_judged(connection: &Connection, id: EventId) -> SqlResult<()> {
    execute(connection, "INSERT OR REPLACE INTO meta VALUES ('judged', ?)", params![id.0.to_string()]).map(drop)
}

/// Moves a target's cursor, but never back.
pub fn advance(connection: &Connection, target: &str, upto: EventId) -> SqlResult<()> {
    execute(connection, "UPDATE target SET cursor = max(cursor, ?) WHERE name = ?", params![upto, target])?;
    execute(connection, "DELETE FROM attempt WHERE target = ? AND upto <= ?", params![target, upto])?;
    let marks = "DELETE FROM delivery WHERE target = ? AND event <= ? AND dead = 2";
    execute(connection, marks, params![target, upto]).map(drop)
}
