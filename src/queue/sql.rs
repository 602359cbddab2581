//! The few ways in which the queue runs a statement.
//!
//! rusqlite's own methods are compiled again for every type of parameters and every closure, which makes the binary
//! larger. These share their code.

use std::ops::ControlFlow;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Error, Row, ToSql};

/// The result of a statement. The error is boxed because rusqlite's has 64 bytes, which every `?` would move.
pub type SqlResult<T> = Result<T, Box<Error>>;

/// The values for a statement's parameters: `params![…]`.
pub type Values<'v> = &'v [&'v dyn ToSql];

/// Runs a statement that changes something; returns the number of rows that it changed.
pub fn execute(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<usize> {
    Ok(connection.prepare(sql)?.execute(values)?)
}

/// Calls `take` with each row until it breaks.
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

/// Collects the values that `read` makes of the rows.
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

/// The single value that a statement returns.
pub fn value<T: FromSql>(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<T> {
    Ok(connection.prepare(sql)?.query_row(values, |row| row.get(0))?)
}
