//! Repeats: a source's first login is reported at once, and those that follow within its window in one summary.
//!
//! The summary is an event of its own, recorded in the transaction that ends the window, so a killed sender neither
//! loses nor repeats it. While the database can't be written, a copy in memory reports the logins held before.

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::event::{Action, BY, Event, Fact, Facts, Kind, REMOTE_HOST, SERVICE, TIMES, USER, Uid, authentication};
use crate::queue::backlog::Due;
use crate::queue::sql::{SqlResult, every, execute, value};
use crate::queue::{EventId, Row, row};
use crate::rules::Verdict;
use crate::text::Field;

/// Sources whose repeats are held at the same time. Logins from further sources are reported.
const LIMIT: i64 = 1000;

/// The facts that identify a source, apart from the keys.
const SOURCE: [Fact; 4] = [USER, BY, REMOTE_HOST, SERVICE];

/// The time during which a source's repeats are held.
struct Window {
    /// The source, as [`key`] writes it. Not text if somebody has edited the database.
    key: Value,
    /// When it began.
    since: Stamp,
    /// How long it lasts, in milliseconds.
    ms: i64,
    /// How many logins were held.
    count: i64,
    /// The last held login.
    last: EventId,
}

impl Window {
    /// Milliseconds that are left; 0 if no clock can measure them.
    fn left(&self, now: &Stamp) -> i64 {
        self.since.until(now).map_or(0, |passed| self.ms.saturating_sub(passed).max(0))
    }

    /// Closes the window, and records the summary of the held logins.
    fn end(&self, connection: &Connection) -> SqlResult<()> {
        execute(connection, "DELETE FROM repeat WHERE key = ?", params![self.key])?;
        if self.count == 0 {
            return Ok(());
        }
        let sql = format!("SELECT {} FROM event WHERE id = ?", row::columns());
        let last = every(connection, &sql, params![self.last], row::read)?.pop();
        let (at, urgency) = last.map_or_else(
            || (self.since.clone(), Verdict::default().urgency),
            |last| (last.event.at, last.verdict.urgency),
        );
        let mut facts = Facts::default();
        let key = if let Value::Text(key) = &self.key { key.as_str() } else { "" };
        for (fact, text) in SOURCE.into_iter().zip(key.lines()) {
            facts[fact] = Field::new(text.as_bytes());
        }
        facts[TIMES] = Field::new(self.count.to_string().as_bytes());
        // A copy of the queue in memory may report it first. With the same uid, the noted outcome counts for both.
        let uid = Uid::of(&format!("{key}\n{}", self.since));
        let event = Event { uid, kind: Kind::Session(Action::Open), at, facts };
        row::insert(connection, &event)?;
        let verdict = Verdict { urgency, ..Verdict::default() }.to_string();
        let id = connection.last_insert_rowid();
        execute(connection, "UPDATE event SET judged = ? WHERE id = ?", params![verdict, id]).map(drop)
    }
}

/// Whether a login repeats a reported one, and so is held and counted. If not, holds its repeats for `ms`
/// milliseconds.
pub fn hold(connection: &Connection, row: &Row, ms: i64) -> SqlResult<bool> {
    let (key, at) = (key(&row.event), &row.event.at);
    if let Some(mut window) = windows(connection, "key = ?", &key)?.pop() {
        // The configuration may have shortened it since.
        window.ms = window.ms.min(ms);
        if window.left(at) > 0 {
            let sql = "UPDATE repeat SET count = count + 1, last = ? WHERE key = ?";
            execute(connection, sql, params![row.id, key])?;
            return Ok(true);
        }
        window.end(connection)?;
    }
    if value::<i64>(connection, "SELECT count(*) FROM repeat", &[])? < LIMIT {
        let sql = "INSERT INTO repeat VALUES (?, ?, ?, 0, ?, ?)";
        execute(connection, sql, params![key, at.to_string(), ms, row.id, row.id])?;
    }
    Ok(false)
}

/// Makes room for new sources if the limit is reached: drops the windows that were over at a moment and held nothing.
pub fn make_room(connection: &Connection, at: &Stamp) -> SqlResult<()> {
    if value::<i64>(connection, "SELECT count(*) FROM repeat", &[])? < LIMIT {
        return Ok(());
    }
    let windows = windows(connection, "count = 0 AND key > ?", "")?;
    windows.iter().filter(|window| window.left(at) == 0).try_for_each(|window| window.end(connection))
}

/// Ends every window that is over.
pub fn end(connection: &Connection, now: &Stamp) -> SqlResult<()> {
    let windows = windows(connection, "key > ?", "")?;
    windows.iter().filter(|window| window.left(now) == 0).try_for_each(|window| window.end(connection))
}

/// When the next summary is due.
pub fn due(connection: &Connection, now: &Stamp) -> SqlResult<Due> {
    let windows = windows(connection, "count > 0 AND key > ?", "")?;
    let left = windows.iter().map(|window| window.left(now)).min();
    Ok(left.map_or(Due::Never, |ms| if ms > 0 { Due::After(ms) } else { Due::Now }))
}

fn windows(connection: &Connection, choice: &str, key: &str) -> SqlResult<Vec<Window>> {
    let sql = format!("SELECT key, since, ms, count, last FROM repeat WHERE {choice} ORDER BY last LIMIT {LIMIT}");
    every(connection, &sql, params![key], |row| {
        // A value that isn't a number counts as 0, which ends the window.
        let number = |column: usize| row.get_ref(column).map(|value| value.as_i64().unwrap_or_default());
        Ok(Window {
            key: row.get(0)?,
            since: Stamp::parse(&row::text(row, 1)?),
            ms: number(2)?,
            count: number(3)?,
            last: EventId(number(4)?),
        })
    })
}

/// The source of a login: its facts and keys, one per line.
fn key(event: &Event) -> String {
    let facts = SOURCE.map(|fact| event.facts[fact].as_str().to_owned());
    let keys = authentication::fingerprints(&event.facts);
    facts.into_iter().chain(keys).collect::<Vec<_>>().join("\n")
}
