//! Events as rows.

use std::collections::HashSet;

use rusqlite::{Connection, Row, params};

use crate::clock::Stamp;
use crate::event::{Action, Event, Session, What};
use crate::queue::sql::{SqlResult, each, execute};
use crate::text::Field;

/// Columns in the order that [`read`] expects.
pub const COLUMNS: &str = "id, kind, user, remote_host, tty, service, session, utc_ms, boot_ms, boot_id";

/// Values of the column `kind`.
const OPEN: i64 = 0;
const CLOSE: i64 = 1;
/// A note has its text in the column `user`.
pub const NOTE: i64 = 2;

/// Appends one event.
pub fn insert(connection: &Connection, event: &Event) -> SqlResult<()> {
    let nothing = Field::default();
    let (kind, user, session) = match &event.what {
        What::Session(session) => (kind(session.action), &session.user, Some(session)),
        What::Note(text) => (NOTE, text, None),
    };
    let field = |get: fn(&Session) -> &Field| session.map_or(&nothing, get).as_str();
    execute(
        connection,
        "INSERT INTO event (kind, user, remote_host, tty, service, session, utc_ms, boot_ms, boot_id)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            kind,
            user.as_str(),
            field(|session| &session.remote_host),
            field(|session| &session.tty),
            field(|session| &session.service),
            session.map_or("", |session| session.id.as_str()),
            event.at.utc_ms,
            event.at.boot_ms,
            event.at.boot_id
        ],
    )?;
    Ok(())
}

/// Those of the events that are there already: the same session, action and moment. One look through
/// the table, however many they are.
pub fn present<'e>(connection: &Connection, events: &'e [Event]) -> SqlResult<HashSet<&'e Event>> {
    let wanted: HashSet<&Event> = events.iter().collect();
    let moments = || events.iter().map(|event| event.at.utc_ms);
    let sql = format!("SELECT {COLUMNS} FROM event WHERE utc_ms BETWEEN ? AND ?");
    let mut present = HashSet::new();
    each(connection, &sql, params![moments().min(), moments().max()], &mut |row| {
        present.extend(wanted.get(&read(row)?.1));
        Ok(())
    })?;
    Ok(present)
}

/// Reads one row of [`COLUMNS`]. Its texts are made safe again, and what is not of its column's type
/// counts as missing, for the file may have been edited, or flash have changed a bit of it: one bad row
/// must not stop the others.
pub fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Event)> {
    let field = |column: usize| {
        let bytes = row.get_ref(column)?.as_bytes_or_null().ok().flatten();
        Ok::<_, rusqlite::Error>(Field::new(bytes.unwrap_or_default()))
    };
    let number = |column: usize| row.get_ref(column).map(|value| value.as_i64().unwrap_or_default());
    // Nothing else than a note is written with another number; what it says is better than nothing.
    let action = match row.get_ref(1)?.as_i64() {
        Ok(OPEN) => Some(Action::Open),
        Ok(CLOSE) => Some(Action::Close),
        Ok(_) | Err(_) => None,
    };
    let what = match action {
        None => What::Note(field(2)?),
        Some(action) => What::Session(Session {
            action,
            user: field(2)?,
            remote_host: field(3)?,
            tty: field(4)?,
            service: field(5)?,
            id: field(6)?.as_str().into(),
        }),
    };
    let at = Stamp { utc_ms: number(7)?, boot_ms: number(8)?, boot_id: field(9)?.as_str().into() };
    Ok((row.get(0)?, Event { what, at }))
}

fn kind(action: Action) -> i64 {
    match action {
        Action::Open => OPEN,
        Action::Close => CLOSE,
    }
}
