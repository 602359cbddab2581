//! A date, with or without a time, as written in the configuration.

use crate::tz::{DAY, Zone};

/// A date, with or without a time and an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Days since 1970-01-01.
    pub days: i64,
    /// Seconds since midnight.
    pub seconds: Option<i64>,
    /// Seconds east of UTC.
    pub offset: Option<i64>,
}

impl Written {
    /// The moment when it is over, in UTC milliseconds: for a date without a time, the end of that day. Without an
    /// offset, the time is in `zone`; if its clocks show that time twice, the earlier moment counts.
    pub fn end_ms(self, zone: &Zone) -> i64 {
        let Self { days, seconds, offset } = self;
        let wall = seconds.map_or((days + 1) * DAY, |seconds| days * DAY + seconds);
        offset.map_or_else(|| zone.instant_at(wall), |offset| wall - offset).saturating_mul(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tz::days_from_civil;

    #[test]
    fn a_written_moment_is_over_by_wall_clock_time() {
        let auckland = Zone::open("NZST-12NZDT,M9.5.0,M4.1.0/3").expect("a rule");
        let written = |(year, month, day), time: Option<(i64, i64)>, offset| Written {
            days: days_from_civil(year, month, day),
            seconds: time.map(|(hour, minute)| hour * 3600 + minute * 60),
            offset,
        };
        for (moment, expected) in [
            (written((2027, 1, 31), None, None), "2027-02-01 00:00:00+13:00"),
            (written((2027, 7, 1), Some((8, 30)), None), "2027-07-01 08:30:00+12:00"),
            (written((2027, 7, 1), Some((8, 30)), Some(0)), "2027-07-01 20:30:00+12:00"),
            // Clocks go back from 03:00 to 02:00 on April 4th, and forward from 02:00 to 03:00 on September 26th.
            (written((2027, 4, 4), None, None), "2027-04-05 00:00:00+12:00"),
            (written((2027, 4, 4), Some((2, 30)), None), "2027-04-04 02:30:00+13:00"),
            (written((2027, 9, 26), Some((2, 30)), None), "2027-09-26 03:30:00+13:00"),
        ] {
            assert_eq!(auckland.format(moment.end_ms(&auckland)), expected, "{moment:?}");
        }
    }
}
