//! What to do with a damaged database: keep it aside, save what can be read, begin anew.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::Error;
use crate::event::{Event, Stamp};
use crate::queue::schema::beside;
use crate::queue::{Queue, Role, failed, rows};
use crate::tz::Zone;

/// Events that are saved at most: the bound of what may wait, with room for the history.
const SAVED_LIMIT: usize = 100_000;

/// Whether the file itself is at fault, and not a lock, the disk or the permissions.
pub fn is_damage(why: &rusqlite::Error) -> bool {
    matches!(why.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Moves the database aside and makes a new one with the events that wait and can still be read.
/// Answers the new queue and what to tell.
pub fn repair(path: &Path, why: &str) -> Result<(Queue, String), Error> {
    let saved = salvage(path);
    let aside = name_aside(path);
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let (from, to) = (beside(path, suffix), beside(&aside, suffix));
        if from.exists() {
            fs::rename(&from, &to).map_err(Error::file("move aside", &from))?;
        }
    }
    let mut queue = Queue::try_open(path, Role::Sender).map_err(failed("begin anew", path))?;
    queue.append(&saved)?;
    let said = format!(
        "{} was damaged ({why}); it was moved to {}, and {} events of it were saved and will be sent, perhaps again",
        path.display(),
        aside.display(),
        saved.len()
    );
    Ok((queue, said))
}

/// Reads what waits in a file that may be damaged.
fn salvage(path: &Path) -> Vec<Event> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    connection.map_or_else(|_| Vec::new(), |connection| waiting(&connection).1)
}

/// The last event that every target is done with, and those behind it: read from both ends until
/// damage stops it. Everything, if it can't be told what waits.
pub fn waiting(connection: &Connection) -> (i64, Vec<Event>) {
    let cursor = "SELECT ifnull(min(cursor), 0) FROM target";
    let settled: i64 = connection.query_row(cursor, [], |row| row.get(0)).unwrap_or(0);
    let mut found = Vec::new();
    for order in ["ASC", "DESC"] {
        let sql = format!("SELECT {} FROM event WHERE id > ? ORDER BY id {order} LIMIT {SAVED_LIMIT}", rows::COLUMNS);
        let Ok(mut statement) = connection.prepare(&sql) else { break };
        let Ok(events) = statement.query_map([settled], rows::read) else { break };
        found.extend(events.map_while(Result::ok));
    }
    found.sort_by_key(|(id, _)| *id);
    found.dedup_by_key(|(id, _)| *id);
    (settled, found.into_iter().map(|(_, event)| event).collect())
}

/// `session_events.db.damaged-2026-04-25T100000Z`
fn name_aside(path: &Path) -> PathBuf {
    let now = Zone::utc().format(Stamp::now().utc_ms).replace(':', "").replace(' ', "T");
    let stem = now.split_once('+').map_or(now.as_str(), |(stem, _)| stem);
    beside(path, &format!(".damaged-{stem}Z"))
}
