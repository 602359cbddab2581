//! Repairs a damaged database: saves the readable events, moves the file aside, and starts a new one.
//!
//! The saved events go into a file of their own, and stay there until a new database has them. So the next run can
//! finish a repair that was killed or ran out of disk.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::clock::Stamp;
use crate::error::{Error, Kind};
use crate::event::Event;
use crate::queue::schema::with_suffix;
use crate::queue::sql::{SqlResult, each, value};
use crate::queue::{Queue, Role, Row, failed, open, row};
use crate::text::visible;
use crate::tz::Zone;

/// Events that a repair saves at most: more than may be pending, with room for the history.
const SAVED_LIMIT: usize = 100_000;

/// Whether the file itself is damaged, rather than locked, on a full disk or forbidden. A value of the wrong type
/// counts as damage: flash may have flipped a bit.
pub fn is_damage(why: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    match why {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..) => true,
        why => matches!(why.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)),
    }
}

/// Suffix of the file of saved events.
const SAVED: &str = ".saved";

/// Suffixes of a database's files; the database itself comes last.
const FILES: [&str; 4] = ["-wal", "-shm", "-journal", ""];

impl Queue {
    /// Moves a damaged database aside (the error was [`Kind::Damaged`]) and makes a new one with those unsettled
    /// events that can still be read. Returns it with a report for the administrator. Keeps logins out meanwhile,
    /// because they would write into the old file.
    pub fn repair(path: &Path, why: &str) -> Result<(Self, String), Error> {
        let not_locked = || Kind::Queue { doing: "repair", path: path.into(), why: "it can't be locked".into() };
        let _lock = open::wait_for_lock(path)?.ok_or_else(not_locked)?;
        let events = salvage(path).map_err(failed("save events of", path))?;
        save(&with_suffix(path, SAVED), &events)?;
        let aside = name_aside(path);
        for suffix in FILES {
            let (from, to) = (with_suffix(path, suffix), with_suffix(&aside, suffix));
            if from.exists() {
                fs::rename(&from, &to).map_err(Error::file("move aside", &from))?;
            }
        }
        let mut queue = open::open(path, Role::Sender).map_err(failed("begin again", path))?;
        restore(&mut queue)?;
        let (path, aside, count) = (path.display(), aside.display(), events.len());
        let moved = format!("{path} was damaged ({why}); it was moved to {aside}");
        let report =
            format!("{moved}, and {count} of its events were saved and will be sent, some perhaps a second time");
        Ok((queue, visible(&report).into()))
    }
}

/// Whether an interrupted repair left events that are in no queue.
pub fn is_unfinished(path: &Path) -> bool {
    with_suffix(path, SAVED).exists()
}

/// Imports the events that a repair has saved.
pub fn restore(queue: &mut Queue) -> Result<(), Error> {
    let saved = with_suffix(&queue.path, SAVED);
    if !saved.exists() {
        return Ok(());
    }
    open::files(&saved)?;
    let events = salvage(&saved).map_err(failed("read", &saved))?;
    queue.import(&events)?;
    remove(&saved)
}

/// Adds events to those that an interrupted repair has saved.
fn save(saved: &Path, events: &[Event]) -> Result<(), Error> {
    let save =
        |events: &[Event]| open::open(saved, Role::Sender).map_err(failed("save events in", saved))?.import(events);
    match save(events) {
        Err(why) if matches!(why.kind(), Kind::Damaged { .. }) => {
            let mut all = salvage(saved).map_err(failed("read", saved))?;
            all.extend_from_slice(events);
            remove(saved)?;
            save(&all)
        }
        done => done,
    }
}

fn remove(database: &Path) -> Result<(), Error> {
    for file in FILES.map(|suffix| with_suffix(database, suffix)) {
        if file.exists() {
            fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
    }
    Ok(())
}

/// Reads all events that aren't settled for every target, dead letters included, from a file that may be damaged.
/// Fails only for other reasons than damage, such as a full disk or another process.
fn salvage(path: &Path) -> SqlResult<Vec<Event>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nobody else has the file open, so it needs no shared memory, which a full disk may refuse. `writable_schema`
    // keeps the other tables readable if one table's schema is damaged.
    let settings = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA writable_schema = ON";
    readable(connection.execute_batch(settings).map_err(Into::into))?;
    // Start at 0 if the cursors can't be read, or if one can't be right.
    let cursor = "SELECT ifnull(min(iif(cursor > (SELECT max(id) FROM event), 0, cursor)), 0) FROM target";
    let settled: i64 = readable(value(&connection, cursor, &[]))?.unwrap_or(0);
    // An older version's database lacks some columns.
    let has = |column: &&str| connection.prepare(&format!("SELECT {column} FROM event")).is_ok();
    let columns = row::columns();
    let columns = columns.split(", ").map(|column| if has(&column) { column } else { "''" });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let mut found: Vec<Row> = Vec::new();
    for choice in [
        "id <= ? AND id IN (SELECT event FROM delivery) ORDER BY id",
        // Repeats that no summary has reported yet.
        "id <= ? AND judged LIKE '%held%' AND id NOT IN (SELECT event FROM delivery)
           AND id > (SELECT min(first) FROM repeat WHERE count > 0) ORDER BY id",
        // From both ends, as far as the damage allows.
        "id > ? ORDER BY id",
        "id > ? ORDER BY id DESC",
    ] {
        let after = found.last().map_or(settled, |row| row.id.0.max(settled));
        let sql = format!("SELECT {columns} FROM event WHERE {choice} LIMIT {SAVED_LIMIT}");
        let read = each(&connection, &sql, params![after], &mut |row| {
            found.push(row::read(row)?);
            Ok(ControlFlow::Continue(()))
        });
        readable(read)?;
    }
    found.sort_by_key(|row| row.id);
    Ok(found.into_iter().map(|row| row.event).collect())
}

/// The value, or `None` if it is damaged or missing. Fails if the file may be sound and a later attempt may succeed.
fn readable<T>(result: SqlResult<T>) -> SqlResult<Option<T>> {
    use ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, PermissionDenied, ReadOnly};
    let passing = [CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, PermissionDenied, ReadOnly];
    match result {
        Err(why) if why.sqlite_error_code().is_some_and(|code| passing.contains(&code)) => Err(why),
        result => Ok(result.ok()),
    }
}

/// `session_events.db.damaged-2026-04-25T100000Z`, or `…Z-2` for a second one in the same second.
fn name_aside(path: &Path) -> PathBuf {
    let now = Zone::utc().format(Stamp::now().utc_ms).replace(':', "").replace(' ', "T");
    let stem = now.split_once('+').map_or(now.as_str(), |(stem, _)| stem);
    let name = |number: u32| {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        with_suffix(path, &format!(".damaged-{stem}Z{number}"))
    };
    let is_free = |name: &PathBuf| FILES.iter().all(|suffix| !with_suffix(name, suffix).exists());
    (1..=u32::MAX).map(name).find(is_free).unwrap_or_else(|| name(1))
}
