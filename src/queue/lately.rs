//! When the hook last recorded a session, by service: whether its lines in the PAM stacks still work.

use std::ops::ControlFlow;

use rusqlite::params;

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::Queue;
use crate::queue::sql::each;
use crate::text::visible;

/// Services that are returned; a host rarely hooks more than five.
const SERVICE_LIMIT: usize = 16;

/// Events that are looked at, newest first: a few milliseconds of reading on a router.
const EVENT_LIMIT: i64 = 10_000;

impl Queue {
    /// The services among the newest events, each with the moment of its last login or logout, newest first. Empty if
    /// none was ever recorded, or all are older than the history that is kept.
    pub fn last_sessions(&self) -> Result<Vec<(String, Stamp)>, Error> {
        self.read(|connection| {
            let sql = "SELECT kind, service, utc_ms, boot_ms, boot_id FROM event ORDER BY id DESC LIMIT ?";
            let mut last: Vec<(String, Stamp)> = Vec::new();
            each(connection, sql, params![EVENT_LIMIT], &mut |row| {
                let service = row.get::<_, String>(1)?;
                // A note is this program's own, not a session.
                if row.get::<_, i64>(0)? < 2 && !last.iter().any(|(known, _)| *known == visible(&service)) {
                    let stamp = Stamp { utc_ms: row.get(2)?, boot_ms: row.get(3)?, boot_id: row.get(4)? };
                    last.push((visible(&service).into(), stamp));
                }
                Ok(if last.len() < SERVICE_LIMIT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            Ok(last)
        })
    }
}
