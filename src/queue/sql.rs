//! Statements: the few ways in which the queue asks `SQLite` something.
//!
//! Each is in the program once, where rusqlite's own are there once for every kind of parameters and
//! every closure.

use rusqlite::{Connection, Error, Row, ToSql};

/// What a statement comes to. rusqlite's error has 64 bytes, which every `?` would move.
pub type SqlResult<T> = Result<T, Box<Error>>;

/// The values for a statement's parameters: `params![…]`.
type Values<'v> = &'v [&'v dyn ToSql];

/// Runs a statement that changes something; answers how many rows.
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
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

/// What `read` makes of each row.
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

/// The number that a statement always answers.
pub fn number(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<i64> {
    first(connection, sql, values)?.ok_or_else(|| Box::new(Error::QueryReturnedNoRows))
}

/// The same, where the number says yes (1) or no (0).
pub fn is(connection: &Connection, sql: &str, values: Values<'_>) -> SqlResult<bool> {
    number(connection, sql, values).map(|number| number != 0)
}
