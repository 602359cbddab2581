//! Imports the Go program's database: its pending events become ours, in the same order.

use std::ops::ControlFlow;

use rusqlite::{Connection, Row, TransactionBehavior};

use crate::clock::Stamp;
use crate::event::{Action, Event, Facts, Kind, REMOTE_HOST, SERVICE, TTY, USER, Uid};
use crate::queue::row::{self, bytes};
use crate::queue::sql::{SqlResult, each, value};
use crate::text::Field;
use crate::tz::days_from_civil;

/// Moves every event, even those that a killed sender had locked, and drops the old tables. Does nothing in a
/// database that the Go program never used.
pub fn import(connection: &mut Connection) -> SqlResult<()> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'session_events')";
    if !value::<bool>(connection, sql, &[])? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql =
        "SELECT event_type, user, remote_host, terminal, service, session_datetime FROM session_events ORDER BY id";
    each(&transaction, sql, &[], &mut |row| {
        if let Some(event) = read(row)? {
            row::insert(&transaction, &event).map_err(|why| *why)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    transaction.execute_batch("DROP TABLE session_events; DROP TABLE IF EXISTS schema_version;")?;
    Ok(transaction.commit()?)
}

/// Reads one row. A time that can't be parsed becomes 1970, which is shown as uncertain.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let action = match bytes(row, 0)? {
        b"open_session" => Action::Open,
        b"close_session" => Action::Close,
        _ => return Ok(None),
    };
    let mut facts = Facts::default();
    for (column, fact) in (1..).zip([USER, REMOTE_HOST, TTY, SERVICE]) {
        facts[fact] = Field::new(bytes(row, column)?);
    }
    let utc_ms = std::str::from_utf8(bytes(row, 5)?).ok().and_then(rfc3339_ms).unwrap_or(0);
    let at = Stamp { utc_ms, ..Stamp::default() };
    Ok(Some(Event { uid: Uid::random(), kind: Kind::Session(action), at, facts }))
}

/// Reads `2026-04-25T10:00:00.123456789+12:00` (RFC 3339 §5.6; a space may stand for the `T`).
fn rfc3339_ms(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let fraction: String = rest[..zone_at].trim_start_matches('.').chars().chain("000".chars()).take(3).collect();
    let offset = match rest[zone_at..].split_at_checked(1)? {
        ("Z", "") => 0,
        (sign, clock) => {
            let (hours, minutes) = clock.split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    Some((days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1000 + fraction.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_go_program_is_read_to_the_millisecond() {
        let rows = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-24T05:38:37.423129945+13:00", Some(1_795_451_917_423)),
            ("2026-11-23T13:08:37.7-03:30", Some(1_795_451_917_700)),
            ("2026-11-23 16:38:37.5+00:00", Some(1_795_451_917_500)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-23T16:38:37", None),
            ("", None),
            ("yesterday, at half past ten", None),
            ("2026-11-2ßT05:38:37Z", None),
        ];
        for (text, expected) in rows {
            assert_eq!(rfc3339_ms(text), expected, "{text}");
        }
    }
}
