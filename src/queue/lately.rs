//! When the hook last recorded a session, by service: whether its lines in the PAM stacks still work.

use std::ops::ControlFlow;

use rusqlite::params;

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::SERVICE;
use crate::queue::sql::each;
use crate::queue::{Queue, row};
use crate::text::Field;

/// Services that are returned; a host rarely hooks more than five.
const SERVICE_LIMIT: usize = 16;

/// Events that are looked at, newest first, so that a long history doesn't make this slow on a router.
const EVENT_LIMIT: i64 = 10_000;

impl Queue {
    /// The services among the newest events, each with the moment of its last login or logout, newest first. Empty if
    /// none was ever recorded, or all are older than the history that is kept.
    pub fn last_sessions(&self) -> Result<Vec<(Field, Stamp)>, Error> {
        self.read(|connection| {
            let sql = format!("SELECT {} FROM event ORDER BY id DESC LIMIT ?", row::columns());
            let mut last: Vec<(Field, Stamp)> = Vec::new();
            each(connection, &sql, params![EVENT_LIMIT], &mut |row| {
                let event = row::read(row)?.event;
                let service = &event.facts[SERVICE];
                // Without an action it is a note of this program's own.
                if event.action().is_some() && !last.iter().any(|(known, _)| known == service) {
                    last.push((service.clone(), event.at));
                }
                Ok(if last.len() < SERVICE_LIMIT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            Ok(last)
        })
    }
}
