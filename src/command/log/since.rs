//! The start of the time to show: a date with or without a time, or an age.

use crate::clock::Stamp;
use crate::tz::{Zone, days_from_civil};

/// The most digits of an age. A thousand years have 6 digits in days, and 9 in minutes.
const AGE_DIGITS: usize = 9;

/// The units of an age, in milliseconds.
const UNITS: [(char, i64); 3] = [('m', 60_000), ('h', 3_600_000), ('d', 86_400_000)];

/// The start of the time to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This many milliseconds ago.
    Age(i64),
    /// Wall-clock time, in seconds since 1970-01-01 00:00.
    Wall(i64),
}

impl Since {
    /// Parses `2h`, `3d`, `2026-04-25`, `2026-04-25 10:00` or `2026-04-25 10:00:30`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let age = |(unit, ms): (char, i64)| {
            let digits = text.strip_suffix(unit).filter(|digits| digits.len() <= AGE_DIGITS)?;
            number(digits).map(|count| Self::Age(count * ms))
        };
        UNITS.into_iter().find_map(age).or_else(|| wall(text).map(Self::Wall))
    }

    /// The moment in UTC milliseconds, with dates in `zone` and ages counted back from `now`.
    pub fn utc_ms(self, zone: &Zone, now: &Stamp) -> i64 {
        match self {
            Self::Age(ms) => now.utc_ms.saturating_sub(ms),
            Self::Wall(seconds) => zone.instant_at(seconds).saturating_mul(1000),
        }
    }
}

fn wall(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T']).map_or((text, "00:00"), |(date, time)| (date, time));
    let [year, month, day] = parts(date, '-', [4, 2, 2])?;
    let (first, next) = (days_from_civil(year, month, 1), days_from_civil(year, month + 1, 1));
    let is_date = (1..=12).contains(&month) && (1..=next - first).contains(&day);
    let time = parts(time, ':', [2, 2, 2]).or_else(|| parts(&format!("{time}:00"), ':', [2, 2, 2]))?;
    seconds(time).filter(|_| is_date).map(|time| (first + day - 1) * 86_400 + time)
}

fn seconds([hour, minute, second]: [i64; 3]) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Three numbers of these lengths, separated by `sign`.
fn parts(text: &str, sign: char, lengths: [usize; 3]) -> Option<[i64; 3]> {
    let parts: Vec<&str> = text.split(sign).collect();
    let is_long = parts.iter().map(|part| part.len()).eq(lengths);
    let numbers: Vec<i64> = parts.into_iter().map(number).collect::<Option<_>>()?;
    numbers.try_into().ok().filter(|_| is_long)
}

fn number(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_the_zone_and_an_age_from_now() {
        let zone = Zone::open("NZST-12NZDT,M9.5.0,M4.1.0/3").expect("a rule");
        let now = Stamp { utc_ms: 1_777_068_000_500, ..Stamp::default() };
        for (text, expected) in [
            ("2026-04-25", "2026-04-25 00:00:00+12:00"),
            ("2026-04-25 10:00", "2026-04-25 10:00:00+12:00"),
            ("2026-04-25T10:00", "2026-04-25 10:00:00+12:00"),
            (" 2026-01-25 23:59:59 ", "2026-01-25 23:59:59+13:00"),
            ("2024-02-29", "2024-02-29 00:00:00+13:00"),
            ("2025-12-31", "2025-12-31 00:00:00+13:00"),
            // The clock goes back from 03:00 to 02:00 on April 5th, and forward from 02:00 to 03:00 on September
            // 27th.
            ("2026-04-05 02:30", "2026-04-05 02:30:00+13:00"),
            ("2026-04-05 03:00", "2026-04-05 03:00:00+12:00"),
            ("2026-09-27 02:30", "2026-09-27 03:30:00+13:00"),
            ("0m", "2026-04-25 10:00:00+12:00"),
            ("30m", "2026-04-25 09:30:00+12:00"),
            ("2h", "2026-04-25 08:00:00+12:00"),
            ("3d", "2026-04-22 10:00:00+12:00"),
        ] {
            let since = Since::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(zone.format(since.utc_ms(&zone, &now)), expected, "{text}");
        }
    }

    #[test]
    fn anything_but_a_date_or_an_age_is_refused() {
        for text in [
            "",
            "h",
            "2",
            "-2h",
            "+2h",
            "2 h",
            "2w",
            "1.5h",
            "9999999999d",
            "yesterday",
            "2026-04",
            "26-04-25",
            "2026-4-25",
            "2026-04-31",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-00",
            "2026-04-25 10",
            "2026-04-25 24:00",
            "2026-04-25 10:60",
            "2026-04-25 10:00:60",
            "2026-04-25 1:000",
            "2026-04-25 10:00:00+12:00",
            "2026-04-25  10:00",
            "+026-04-25",
            "2026-04-25 10:é",
        ] {
            assert_eq!(Since::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_longest_age_does_not_overflow() {
        let now = Stamp { utc_ms: i64::MIN + 1, ..Stamp::default() };
        let since = Since::parse("999999999d").expect("an age");
        assert_eq!(since.utc_ms(&Zone::utc(), &now), i64::MIN);
    }
}
