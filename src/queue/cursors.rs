//! Cursors: how far the judge and each target have come.

use rusqlite::{Connection, params};

use crate::error::Error;
use crate::queue::sql::{SqlResult, every, execute, first, number};
use crate::queue::{EventId, Queue};

impl Queue {
    /// Moves back each cursor that is beyond the newest event, which is damage: somebody deleted events or
    /// put an older copy in the database's place. It goes on behind the last event that was recorded before
    /// the target's last success; the targets' names and those events are returned.
    pub fn mend_cursors(&mut self) -> Result<Vec<(String, EventId)>, Error> {
        let newest = self.read(newest)?;
        let damaged = |connection: &Connection| -> SqlResult<Vec<(String, Option<i64>)>> {
            let sql = "SELECT name, success_ms FROM target WHERE cursor > ?";
            every(connection, sql, params![newest], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let is_judged_beyond = self.read(judged)? > newest;
        if self.read(damaged)?.is_empty() && !is_judged_beyond {
            return Ok(Vec::new());
        }
        self.write("mend the cursors in", |connection| {
            let mut mended = Vec::new();
            for (name, success_ms) in damaged(connection)? {
                let sql = "SELECT ifnull(max(id), 0) FROM event WHERE utc_ms <= ?";
                let id = EventId(first(connection, sql, params![success_ms])?.unwrap_or_default());
                execute(connection, "UPDATE target SET cursor = ? WHERE name = ?", params![id, name])?;
                execute(connection, "DELETE FROM attempt WHERE target = ?", params![name])?;
                mended.push((name, id));
            }
            set_judged(connection, newest)?;
            Ok(mended)
        })
    }
}

/// The newest event; 0 when there never was one.
pub fn newest(connection: &Connection) -> SqlResult<EventId> {
    number(connection, "SELECT ifnull(max(id), 0) FROM event", &[]).map(EventId)
}

/// The last event that is judged.
pub fn judged(connection: &Connection) -> SqlResult<EventId> {
    let sql = "SELECT ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'judged'), 0)";
    number(connection, sql, &[]).map(EventId)
}

/// Moves the judge's cursor.
pub fn set_judged(connection: &Connection, id: EventId) -> SqlResult<()> {
    execute(connection, "INSERT OR REPLACE INTO meta VALUES ('judged', ?)", params![id.0.to_string()])?;
    Ok(())
}

/// Moves a target's cursor. It never moves back.
pub fn advance(connection: &Connection, target: &str, upto: EventId) -> SqlResult<()> {
    execute(connection, "UPDATE target SET cursor = max(cursor, ?) WHERE name = ?", params![upto, target])?;
    execute(connection, "DELETE FROM attempt WHERE target = ? AND upto <= ?", params![target, upto])?;
    Ok(())
}
