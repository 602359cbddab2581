//! Events as rows.

use std::collections::HashSet;
use std::fmt;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params, params_from_iter};

use crate::clock::Stamp;
use crate::event::{Action, Event, Fact, Facts, Kind, Spec, Store, Uid, text_form};
use crate::queue::sql::{SqlResult, every};
use crate::rules::Verdict;
use crate::text::Field;

/// An event's place in the queue. It is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

/// One event of the queue.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its place.
    pub id: EventId,
    /// The event.
    pub event: Event,
    /// The sender's verdict on it.
    pub verdict: Verdict,
}

/// The columns in the order that [`read`] expects.
pub fn columns() -> String {
    format!("event.id, judged, {}", stored_columns().join(", "))
}

/// Appends one event.
pub fn insert(connection: &Connection, event: &Event) -> SqlResult<()> {
    let columns = stored_columns();
    let places = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT INTO event ({}) VALUES ({places})", columns.join(", "));
    let (kind, rest) = (event.kind.number(), text_form::write_rest(event));
    let Stamp { utc_ms, boot_ms, boot_id } = &event.at;
    let mut values: Vec<&dyn ToSql> = vec![&kind, utc_ms, boot_ms, boot_id, &rest];
    let facts: Vec<&str> = column_facts().map(|(fact, _)| event.facts[fact].as_str()).collect();
    values.extend(facts.iter().map(|fact| fact as &dyn ToSql));
    connection.prepare(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// The uids of the events recorded at the same moments as these, found in one pass over the table.
pub fn uids_at_the_moments_of(connection: &Connection, events: &[Event]) -> SqlResult<HashSet<Uid>> {
    let moments = || events.iter().map(|event| event.at.utc_ms);
    let sql = format!("SELECT {} FROM event WHERE utc_ms BETWEEN ? AND ?", columns());
    let uids = every(connection, &sql, params![moments().min(), moments().max()], |row| Ok(read(row)?.event.uid))?;
    Ok(uids.into_iter().collect())
}

/// The columns that decide whether a target wants an event, in the order that [`read_briefly`] expects.
pub const BRIEF_COLUMNS: &str = "kind, judged";

/// Reads one row of [`BRIEF_COLUMNS`].
pub fn read_briefly(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Option<Action>, Verdict)> {
    let action = match kind(row, 0) {
        Kind::Session(action) => Some(action),
        Kind::Notice => None,
    };
    Ok((action, Verdict::parse(&String::from_utf8_lossy(bytes(row, 1)?))))
}

/// Reads one row of [`columns`]. Texts are sanitized again, and a value of the wrong type counts as missing: the file
/// may have been edited, or flash may have flipped a bit. One bad row must not stop the others.
pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let text = |column| bytes(row, column).map(String::from_utf8_lossy);
    let number = |column: usize| row.get_ref(column).map(|value| value.as_i64().unwrap_or_default());
    let kind = kind(row, 2);
    let boot_id = Field::new(bytes(row, 5)?).as_str().into();
    let at = Stamp { utc_ms: number(3)?, boot_ms: number(4)?, boot_id };
    let mut facts = Facts::default();
    for (column, (fact, spec)) in (7..).zip(column_facts()) {
        facts[fact] = Field::bounded(bytes(row, column)?, spec.limit);
    }
    let event = text_form::parse_rest(kind, at, facts, &text(6)?);
    Ok(Row { id: row.get(0)?, event, verdict: Verdict::parse(&text(1)?) })
}

/// Reads a kind. An unknown one counts as a notice, whose text is better than nothing.
fn kind(row: &rusqlite::Row<'_>, column: usize) -> Kind {
    let number = row.get_ref(column).ok().and_then(|kind| kind.as_i64().ok());
    Kind::ALL.into_iter().find(|(_, _, known)| Some(*known) == number).map_or(Kind::Notice, |(kind, ..)| kind)
}

/// Reads a text or a blob; anything else counts as empty.
pub fn bytes<'row>(row: &'row rusqlite::Row<'_>, column: usize) -> rusqlite::Result<&'row [u8]> {
    Ok(row.get_ref(column)?.as_bytes_or_null().ok().flatten().unwrap_or_default())
}

/// The same as text, with invalid bytes replaced.
pub fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(bytes(row, column)?).into_owned())
}

/// The columns that a login fills.
fn stored_columns() -> Vec<&'static str> {
    let mut columns = vec!["kind", "utc_ms", "boot_ms", "boot_id", "facts"];
    columns.extend(column_facts().map(|(_, row)| row.name));
    columns
}

fn column_facts() -> impl Iterator<Item = (Fact, &'static Spec)> {
    Fact::all().filter(|(_, row)| row.store == Store::Column)
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ToSql for EventId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for EventId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}
