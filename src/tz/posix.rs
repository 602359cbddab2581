//! POSIX TZ strings, such as `NZST-12NZDT,M9.5.0,M4.1.0/3` (POSIX.1-2024 §8.3), with the extensions of
//! RFC 9636 §3.3.2: a change may be up to 167 hours from midnight, so daylight saving can last all year.

use std::ops::RangeInclusive;

use crate::tz::civil::{civil_from_days, days_from_civil, is_leap};

const DAY: i64 = 86_400;

/// Bytes in a string. The longest in use is less than half as long.
const LENGTH_LIMIT: usize = 256;

/// Instants are clamped to this many seconds (3.6e10 years) from 1970, so that sums cannot overflow.
const INSTANT_LIMIT: i64 = 1 << 60;

/// A zone's standard time and, if it has any, its daylight saving, the same in every year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Seconds east of UTC in standard time.
    standard: i32,
    daylight: Option<Daylight>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Daylight {
    /// Seconds east of UTC.
    offset: i32,
    start: Change,
    end: Change,
}

/// When the clock changes in each year: a date, and seconds after its midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    date: Date,
    time: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Date {
    /// `Jn`: day 1 to 365; February 29 is never counted.
    Julian(i64),
    /// `n`: day 0 to 365; February 29 is counted.
    Day(i64),
    /// `Mm.w.d`: weekday 0 (Sunday) to 6 in week 1 to 5 (the last) of a month.
    Week { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    /// Parses a whole string. `None` if it is not a POSIX TZ string.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LENGTH_LIMIT {
            return None;
        }
        let (standard, rest) = time(skip_name(text)?, 24)?;
        if rest.is_empty() {
            return Some(Self { standard: -standard, daylight: None });
        }
        let rest = skip_name(rest)?;
        // Daylight saving is one hour ahead unless the string gives its offset. POSIX lets a string omit
        // the dates; RFC 9636 does not, and neither do we.
        let (offset, rest) = if rest.starts_with(',') { (standard - 3600, rest) } else { time(rest, 24)? };
        let (start, rest) = Change::parse(rest.strip_prefix(',')?)?;
        let (end, rest) = Change::parse(rest.strip_prefix(',')?)?;
        let daylight = Some(Daylight { offset: -offset, start, end });
        rest.is_empty().then_some(Self { standard: -standard, daylight })
    }

    /// Returns the seconds east of UTC at an instant (seconds since 1970).
    pub fn offset_at(&self, instant: i64) -> i32 {
        let Some(daylight) = &self.daylight else { return self.standard };
        let instant = instant.clamp(-INSTANT_LIMIT, INSTANT_LIMIT);
        let (year, _, _) = civil_from_days((instant + i64::from(self.standard)).div_euclid(DAY));
        // A change can be up to a week outside its year, so the years around this one count too. Daylight
        // saving that ends when it starts again, or later, lasts all year: such an end is dropped.
        let changes = (year - 2..=year + 1).flat_map(|year| {
            let start = |year| daylight.start.in_year(year) - i64::from(self.standard);
            let end = daylight.end.in_year(year) - i64::from(daylight.offset);
            let is_end = end <= start(year) || end < start(year + 1);
            [Some((start(year), true)), is_end.then_some((end, false))].into_iter().flatten()
        });
        let latest = changes.filter(|(at, _)| *at <= instant).max();
        if latest.is_some_and(|(_, is_daylight)| is_daylight) { daylight.offset } else { self.standard }
    }
}

impl Change {
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (date, rest) = match text.as_bytes().first()? {
            b'J' => number(&text[1..], 1..=365).map(|(day, rest)| (Date::Julian(day), rest))?,
            b'M' => {
                let (month, rest) = number(&text[1..], 1..=12)?;
                let (week, rest) = number(rest.strip_prefix('.')?, 1..=5)?;
                let (weekday, rest) = number(rest.strip_prefix('.')?, 0..=6)?;
                (Date::Week { month, week, weekday }, rest)
            }
            _ => number(text, 0..=365).map(|(day, rest)| (Date::Day(day), rest))?,
        };
        match rest.strip_prefix('/') {
            Some(rest) => time(rest, 167).map(|(time, rest)| (Self { date, time }, rest)),
            None => Some((Self { date, time: 2 * 3600 }, rest)),
        }
    }

    /// Seconds from 1970-01-01 00:00 to the change, both in local time.
    fn in_year(&self, year: i64) -> i64 {
        let first = days_from_civil(year, 1, 1);
        let day = match self.date {
            Date::Julian(day) => first + day - 1 + i64::from(is_leap(year) && day > 59),
            Date::Day(day) => first + day,
            Date::Week { month, week, weekday } => {
                let first = days_from_civil(year, month, 1);
                // 1970-01-01 was a Thursday, which is 4.
                let to_weekday = (weekday - first - 4).rem_euclid(7);
                let next = days_from_civil(year, month + 1, 1);
                let day = first + to_weekday + 7 * (week - 1);
                if day < next { day } else { day - 7 }
            }
        };
        day * DAY + i64::from(self.time)
    }
}

/// Skips a zone's abbreviation: three or more letters; between `<` and `>`, digits and signs too.
fn skip_name(text: &str) -> Option<&str> {
    let is_quoted = |byte: u8| byte.is_ascii_alphanumeric() || b"+-".contains(&byte);
    let (name, rest) = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>').filter(|(name, _)| name.bytes().all(is_quoted))?,
        None => text.split_at(text.bytes().take_while(u8::is_ascii_alphabetic).count()),
    };
    (name.len() >= 3).then_some(rest)
}

/// Reads `[+-]hh[:mm[:ss]]`, up to so many hours, as seconds. Also returns the rest of the text.
fn time(text: &str, hours: i64) -> Option<(i32, &str)> {
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (mut seconds, mut rest) = number(text, 0..=hours).map(|(hours, rest)| (hours * 3600, rest))?;
    for unit in [60, 1] {
        let Some(more) = rest.strip_prefix(':') else { break };
        let (count, after) = number(more, 0..=59)?;
        (seconds, rest) = (seconds + count * unit, after);
    }
    Some((sign * i32::try_from(seconds).ok()?, rest))
}

/// Reads a number of up to four digits that must be in the range. Also returns the rest of the text.
fn number(text: &str, range: RangeInclusive<i64>) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).take(4).count());
    digits.parse().ok().filter(|number| range.contains(number)).map(|number| (number, rest))
}
