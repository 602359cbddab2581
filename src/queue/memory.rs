//! A copy of the queue in memory, to deliver from while the database can't be written.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use crate::error::Error;
use crate::event::Uid;
use crate::queue::cursors::newest;
use crate::queue::sessions::IS_OPEN;
use crate::queue::sql::{SqlResult, each, execute};
use crate::queue::{Queue, Row, failed, open, row, schema};

/// Pending events that are copied, oldest first. The next run copies later ones.
const PENDING_LIMIT: usize = 10_000;

/// The latest events are copied even if they aren't pending, because second copies are recognized by them.
const LATEST: i64 = 1000;

/// Tables that are copied completely.
const TABLES: [&str; 7] = ["target", "attempt", "delivery", "open", "known", "repeat", "meta"];

impl Queue {
    /// An empty queue in memory that stands in for the one at `path`.
    pub fn in_memory(path: &Path) -> Result<Self, Error> {
        let connection = schema::open_in_memory().map_err(failed("make a copy of", path))?;
        Ok(Self { connection, path: path.into(), is_wal_named: true, is_copy: true, open_lock: None })
    }

    /// Copies the undelivered events from the database, except those that are `is_done`. Changes nothing on the disk.
    pub fn copy(&mut self, is_done: &dyn Fn(Uid) -> bool) -> Result<(), Error> {
        let disk = match Self::open_to_read(&self.path) {
            Ok(Some(disk)) => disk,
            Ok(None) => return Ok(()),
            // Reading without a lock is better than not at all, because other processes write only briefly.
            Err(why) => {
                open::files(&self.path)?;
                open::open_without_locks(&self.path).map_err(|_| why)?
            }
        };
        let copy = || {
            let transaction = self.connection.unchecked_transaction()?;
            for table in TABLES {
                copy_table(&disk.connection, &transaction, table)?;
            }
            copy_events(&disk.connection, &transaction, is_done)?;
            Ok(transaction.commit()?)
        };
        copy().map_err(failed("make a copy of", &self.path))
    }
}

fn copy_table(disk: &Connection, memory: &Connection, table: &str) -> SqlResult<()> {
    // By name, because somebody else may have added a column.
    let statement = memory.prepare(&format!("SELECT * FROM {table}"))?;
    let columns: Vec<&str> = statement.column_names().collect();
    let places = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT OR REPLACE INTO {table} VALUES ({places})");
    each(disk, &format!("SELECT {} FROM {table}", columns.join(", ")), &[], &mut |row| {
        let values = (0..columns.len()).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()?;
        memory.prepare(&insert)?.execute(params_from_iter(values))?;
        Ok(ControlFlow::Continue(()))
    })
}

fn copy_events(disk: &Connection, memory: &Connection, is_done: &dyn Fn(Uid) -> bool) -> SqlResult<()> {
    let newest = newest(disk)?;
    let sql = format!(
        "SELECT {}, id > ifnull((SELECT min(cursor) FROM target), 0)
           OR id IN (SELECT event FROM delivery WHERE dead = 0) AS pending
         FROM event WHERE pending OR id > ? OR {IS_OPEN} OR id IN (SELECT last FROM repeat) ORDER BY id",
        row::columns()
    );
    let mut count = 0;
    each(disk, &sql, params![newest.0 - LATEST], &mut |found| {
        let is_pending: bool = found.get("pending")?;
        let Row { id, event, verdict } = row::read(found)?;
        // The newest event shows how far the cursors may be.
        let is_wanted = if is_pending { !is_done(event.uid) && count < PENDING_LIMIT } else { true };
        if is_wanted || id == newest {
            count += usize::from(is_pending);
            let put = || {
                row::insert(memory, &event)?;
                let sql = "UPDATE event SET id = ?, judged = ? WHERE id = ?";
                execute(memory, sql, params![id, verdict.to_string(), memory.last_insert_rowid()])
            };
            put().map_err(|why| *why)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}
