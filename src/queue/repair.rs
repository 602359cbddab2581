//! Repairs a damaged database: saves what can be read, moves the file aside, begins a new one.
//!
//! What is saved goes into a file of its own first, and stays there until a new database has it: a
//! repair that is cut off, or runs out of disk, is finished by the next run.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::clock::Stamp;
use crate::error::{Error, Kind};
use crate::event::Event;
use crate::queue::schema::beside;
use crate::queue::sql::{SqlResult, each, value};
use crate::queue::{Queue, Role, Row, failed, open, row};
use crate::text::visible;
use crate::tz::Zone;

/// Events that are saved at most: the bound of what may wait, with room for the history.
const SAVED_LIMIT: usize = 100_000;

/// Whether the file itself is at fault, and not a lock, the disk or the permissions. A value that can't be
/// one of its column is damage too: flash has changed a bit of it.
pub fn is_damage(why: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    match why {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..) => true,
        why => matches!(why.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)),
    }
}

/// What the file of saved events is called, behind the name of the database.
const SAVED: &str = ".saved";

/// The files of a database, behind its name: the database itself comes last.
const FILES: [&str; 4] = ["-wal", "-shm", "-journal", ""];

impl Queue {
    /// Moves a damaged database aside (the error was [`Kind::Damaged`]), makes a new one with the events that wait
    /// and can still be read, and returns that and what to report to the administrator. No login is let in
    /// meanwhile: it would write into the file that is moved aside.
    pub fn repair(path: &Path, why: &str) -> Result<(Self, String), Error> {
        let not_locked = || Kind::Queue { doing: "repair", path: path.into(), why: "it can't be locked".into() };
        let _lock = open::wait_for_lock(path)?.ok_or_else(not_locked)?;
        let events = salvage(path).map_err(failed("save events of", path))?;
        save(&beside(path, SAVED), &events)?;
        let aside = name_aside(path);
        for suffix in FILES {
            let (from, to) = (beside(path, suffix), beside(&aside, suffix));
            if from.exists() {
                fs::rename(&from, &to).map_err(Error::file("move aside", &from))?;
            }
        }
        let mut queue = open::open(path, Role::Sender).map_err(failed("begin again", path))?;
        restore(&mut queue)?;
        let (path, aside, count) = (path.display(), aside.display(), events.len());
        let moved = format!("{path} was damaged ({why}); it was moved to {aside}");
        let report = format!("{moved}, and {count} events of it were saved and will be sent, perhaps again");
        Ok((queue, visible(&report).into()))
    }
}

/// Whether a repair was cut off, and left events that are in no queue.
pub fn is_unfinished(path: &Path) -> bool {
    beside(path, SAVED).exists()
}

/// Imports what a repair has saved.
pub fn restore(queue: &mut Queue) -> Result<(), Error> {
    let saved = beside(&queue.path, SAVED);
    if !saved.exists() {
        return Ok(());
    }
    open::files(&saved)?;
    let events = salvage(&saved).map_err(failed("read", &saved))?;
    queue.import(&events)?;
    remove(&saved)
}

/// Adds events to those that a repair which was cut off has saved before.
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
    for file in FILES.map(|suffix| beside(database, suffix)) {
        if file.exists() {
            fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
    }
    Ok(())
}

/// Reads the events that aren't settled for every target, dead letters too, from a file that may be damaged.
/// Fails only if something else than damage is in the way (a full disk, another process).
fn salvage(path: &Path) -> SqlResult<Vec<Event>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nobody else has it open, so the shared memory that a full disk may refuse isn't needed. And one table
    // in the schema that can't be understood doesn't make the others unreadable then.
    let settings = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA writable_schema = ON";
    readable(connection.execute_batch(settings).map_err(Into::into))?;
    // Everything, if the cursors can't be read, or one can't be right.
    let cursor = "SELECT ifnull(min(iif(cursor > (SELECT max(id) FROM event), 0, cursor)), 0) FROM target";
    let settled: i64 = readable(value(&connection, cursor, &[]))?.unwrap_or(0);
    // A database of an older version lacks some columns.
    let has = |column: &&str| connection.prepare(&format!("SELECT {column} FROM event")).is_ok();
    let columns = row::columns();
    let columns = columns.split(", ").map(|column| if has(&column) { column } else { "''" });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let mut found: Vec<Row> = Vec::new();
    for choice in [
        "id <= ? AND id IN (SELECT event FROM delivery) ORDER BY id",
        // From both ends, until damage stops it.
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

/// What could be read; `None` if it is damaged or missing. Fails if it may be whole, and another time is
/// better.
fn readable<T>(result: SqlResult<T>) -> SqlResult<Option<T>> {
    use ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, PermissionDenied, ReadOnly};
    let passing = [CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, PermissionDenied, ReadOnly];
    match result {
        Err(why) if why.sqlite_error_code().is_some_and(|code| passing.contains(&code)) => Err(why),
        result => Ok(result.ok()),
    }
}

/// `session_events.db.damaged-2026-04-25T100000Z`, and the second one within a second `…Z-2`.
fn name_aside(path: &Path) -> PathBuf {
    let now = Zone::utc().format(Stamp::now().utc_ms).replace(':', "").replace(' ', "T");
    let stem = now.split_once('+').map_or(now.as_str(), |(stem, _)| stem);
    let name = |number: u32| {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        beside(path, &format!(".damaged-{stem}Z{number}"))
    };
    let is_free = |name: &PathBuf| FILES.iter().all(|suffix| !beside(name, suffix).exists());
    (1..=u32::MAX).map(name).find(is_free).unwrap_or_else(|| name(1))
}
