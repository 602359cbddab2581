//! The few ways in which the queue runs a statement.
//!
//! Each of these is compiled once. rusqlite's own are compiled again for every kind of parameters and every
//! closure, which makes the binary larger.

use std::ops::ControlFlow;

use rusqlite::{Connection, Error, Row, ToSql};

/// The result of a statement. rusqlite's error has 64 bytes, which every `?` would move.
pub type SqlResult<T> = Result<T, Box<Error>>;

/// The values for a statement's parameters: `params![…]`.
type Values<'v> = &'v [&'v dyn ToSql];

/// Runs a statement that changes something; returns how many rows it changed.
pub fn execute(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<usize> {
    Ok(connection.prepare(sql)?.execute(values)?)
}

/// Calls `take` with each row, until it fails.
pub fn each(
    connection: &Connection,
    sql: &str,
    values: Values<'_>,
    take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> SqlResult<()> {
    until(connection, sql, values, &mut |row| {
        take(row)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Calls `take` with each row, until it says that it has enough.
pub fn until(
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
        Ok(())
    })?;
    Ok(all)
}

/// The number in the first column of the first row, if there is a row.
pub fn first(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<Option<i64>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(values)?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

/// The number that a statement always returns.
pub fn number(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<i64> {
    first(connection, sql, values)?.ok_or_else(|| Box::new(Error::QueryReturnedNoRows))
}

/// Whether there is a table of this name.
pub fn has_table(connection: &Connection, name: &str) -> SqlResult<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?)";
    is(connection, sql, &[&name])
}

/// The same, where the number means yes (1) or no (0).
pub fn is(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<bool> {
    number(connection, sql, values).map(|number| number != 0)
}
