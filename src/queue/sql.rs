//! The few ways in which the queue runs a statement.
//!
//! What these have in common is compiled once. rusqlite's own are compiled again for every kind of
//! parameters and every closure, which makes the binary larger.

use std::ops::ControlFlow;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Error, Row, ToSql};

/// The result of a statement. rusqlite's error has 64 bytes, which every `?` would move.
pub type SqlResult<T> = Result<T, Box<Error>>;

/// The values for a statement's parameters: `params![…]`.
pub type Values<'v> = &'v [&'v dyn ToSql];

/// Runs a statement that changes something; returns how many rows it changed.
pub fn execute(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<usize> {
    Ok(connection.prepare(sql)?.execute(values)?)
}

/// Calls `take` with each row, until it has enough.
pub fn each(
    connection: &Connection,
    sql: &str,
    values: Values<'_>,
    take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
) -> SqlResult<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        if take(row)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Collects what `read` makes of each row.
pub fn every<T>(
    connection: &Connection,
    sql: &str,
    values: Values<'_>,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> SqlResult<Vec<T>> {
    let mut all = Vec::new();
    each(connection, sql, values, &mut |row| {
        all.push(read(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

/// The one value that a statement returns.
pub fn value<T: FromSql>(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<T> {
    Ok(connection.prepare(sql)?.query_row(values, |row| row.get(0))?)
}
