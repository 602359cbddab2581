//! When the hook last recorded a session of each service, which shows whether its lines in the PAM stacks still work.
//!
//! The judge keeps these moments in `meta`, because events are deleted after `history_days`: a quiet host would look
//! like one whose hook is broken.

use std::ops::ControlFlow;

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::SERVICE;
use crate::queue::sql::{SqlResult, each, every, execute};
use crate::queue::{Queue, Row, row};
use crate::text::Field;

/// Services that are remembered and returned; a host rarely hooks more than five.
const SERVICE_LIMIT: usize = 16;

/// Events that are read, newest first, so that a long history doesn't make this slow on a router.
const EVENT_LIMIT: i64 = 10_000;

/// The names of the rows in `meta`, without the service.
const NAME: &str = "recorded:";

/// Those rows. The semicolon follows the colon in ASCII.
const ROWS: &str = "FROM meta WHERE name > 'recorded:' AND name < 'recorded;'";

impl Queue {
    /// The services, each with the moment of its last login or logout, latest first. Empty if no session was ever
    /// recorded.
    pub fn last_sessions(&self) -> Result<Vec<(Field, Stamp)>, Error> {
        self.read(|connection| {
            let sql = format!("SELECT {} FROM event ORDER BY id DESC LIMIT ?", row::columns());
            let mut last: Vec<(Field, Stamp)> = Vec::new();
            each(connection, &sql, params![EVENT_LIMIT], &mut |row| {
                let event = row::read(row)?.event;
                // An event without an action is the program's own notice.
                if event.action().is_some() {
                    add(&mut last, event.facts[SERVICE].clone(), event.at);
                }
                Ok(if last.len() < SERVICE_LIMIT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            let sql = format!("SELECT name, value {ROWS} ORDER BY CAST(value AS INTEGER) DESC");
            let remembered = every(connection, &sql, &[], |row| Ok((row::text(row, 0)?, row::text(row, 1)?)))?;
            for (name, moment) in remembered {
                let service = name.strip_prefix(NAME).unwrap_or_default();
                add(&mut last, Field::new(service.as_bytes()), Stamp::parse(&moment));
            }
            last.truncate(SERVICE_LIMIT);
            Ok(last)
        })
    }
}

fn add(last: &mut Vec<(Field, Stamp)>, service: Field, at: Stamp) {
    if !last.iter().any(|(known, _)| *known == service) {
        last.push((service, at));
    }
}

/// Remembers the last session of each service among these events. If there are too many services, forgets those that
/// have been silent longest.
pub fn remember(connection: &Connection, events: &[Row]) -> SqlResult<()> {
    let mut last = Vec::new();
    for Row { event, .. } in events.iter().rev().filter(|row| row.event.action().is_some()) {
        add(&mut last, event.facts[SERVICE].clone(), event.at.clone());
    }
    for (service, at) in &last {
        let values = params![format!("{NAME}{service}"), at.to_string()];
        execute(connection, "INSERT OR REPLACE INTO meta VALUES (?, ?)", values)?;
    }
    let newest = format!("SELECT name {ROWS} ORDER BY CAST(value AS INTEGER) DESC LIMIT {SERVICE_LIMIT}");
    execute(connection, &format!("DELETE {ROWS} AND name NOT IN ({newest})"), &[]).map(drop)
}
