//! Moments by two clocks: the wall clock, which may be wrong, and the clock since boot, which can't be set.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::files;

/// 2026-11-01 in UTC. A wall clock before this was never set: the program didn't exist yet.
pub const EARLIEST_MS: i64 = 1_793_491_200_000;

/// 2024-01-01 in UTC. The same for an event without a boot id, such as those of the Go program.
const EARLIEST_WITHOUT_BOOT_MS: i64 = 1_704_067_200_000;

/// If the two clocks differ by more, the wall clock was set in between. Less is drift.
const SLEW_LIMIT_MS: u64 = 10_000;

/// A moment by both clocks, so that its wall-clock time can be corrected if the clock is set later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Milliseconds since 1970 in UTC, by the wall clock.
    pub utc_ms: i64,
    /// Milliseconds since the host booted, suspended time included.
    pub boot_ms: i64,
    /// The boot that `boot_ms` counts from (`/proc/sys/kernel/random/boot_id`); empty without /proc.
    pub boot_id: String,
}

impl Stamp {
    /// The current moment.
    pub fn now() -> Self {
        let boot_id = files::read_proc("/proc/sys/kernel/random/boot_id");
        Self { utc_ms: utc_ms(), boot_ms: boot_ms(), boot_id: boot_id.trim().into() }
    }

    /// Milliseconds from this moment to a later one: by the clock since boot within one boot, else by the wall clock.
    /// `None` if the wall clock went backwards or wasn't set.
    pub fn until(&self, later: &Self) -> Option<i64> {
        if !self.boot_id.is_empty() && self.boot_id == later.boot_id {
            return Some(later.boot_ms.saturating_sub(self.boot_ms));
        }
        let passed = later.utc_ms.saturating_sub(self.utc_ms);
        (self.utc_ms >= EARLIEST_MS && passed >= 0).then_some(passed)
    }

    /// Whether `utc_ms` can't be this moment's wall-clock time, because the clock wasn't set.
    pub fn is_uncertain(&self, utc_ms: i64) -> bool {
        utc_ms < if self.boot_id.is_empty() { EARLIEST_WITHOUT_BOOT_MS } else { EARLIEST_MS }
    }

    /// This moment's time in UTC milliseconds by the wall clock as it is set `now`: a router without a battery learns
    /// the time only after its first logins.
    pub fn corrected(&self, now: &Self) -> i64 {
        if self.boot_id.is_empty() || self.boot_id != now.boot_id {
            return self.utc_ms;
        }
        let corrected = now.utc_ms.saturating_sub(now.boot_ms.saturating_sub(self.boot_ms));
        let was_set = corrected.abs_diff(self.utc_ms) > SLEW_LIMIT_MS;
        if was_set { corrected } else { self.utc_ms }
    }

    /// Parses a stamp as it is printed. Anything else becomes the default, at which neither clock was running.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        let (utc_ms, boot_ms) = (number(), number());
        match (utc_ms, boot_ms, parts.next()) {
            (Some(utc_ms), Some(boot_ms), Some(boot_id)) => Self { utc_ms, boot_ms, boot_id: boot_id.into() },
            _ => Self::default(),
        }
    }
}

/// `UTC_MS BOOT_MS BOOT_ID`
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.utc_ms, self.boot_ms, self.boot_id)
    }
}

/// The wall clock: milliseconds since 1970 in UTC, negative before that.
fn utc_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => milliseconds(since),
        Err(before) => -milliseconds(before.duration()),
    }
}

/// The clock since boot, in milliseconds.
fn boot_ms() -> i64 {
    milliseconds(clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from))
}

/// Converts a duration to whole milliseconds.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_the_clock_was_set_is_corrected_within_one_boot() {
        let stamp = |utc_ms, boot_ms, boot_id: &str| Stamp { utc_ms, boot_ms, boot_id: boot_id.into() };
        let now = stamp(EARLIEST_MS + 90_000, 90_000, "b");
        let rows = [
            (stamp(5_000, 5_000, "b"), EARLIEST_MS + 5_000, Some(85_000)),
            (stamp(EARLIEST_MS + 6_000, 5_000, "b"), EARLIEST_MS + 6_000, Some(85_000)),
            (stamp(5_000, 5_000, "a"), 5_000, None),
            (stamp(5_000, 5_000, ""), 5_000, None),
            (stamp(EARLIEST_MS, 5_000, "a"), EARLIEST_MS, Some(90_000)),
            (stamp(EARLIEST_MS + 95_000, 5_000, "a"), EARLIEST_MS + 95_000, None),
        ];
        for (then, corrected, passed) in rows {
            assert_eq!((then.corrected(&now), then.until(&now)), (corrected, passed), "{then:?}");
        }
    }

    #[test]
    fn a_moment_survives_being_printed_and_parsed() {
        let moment = Stamp { utc_ms: -5, boot_ms: 7, boot_id: "a b".into() };
        assert_eq!(Stamp::parse(&moment.to_string()), moment);
        for text in ["", "1", "1 2", "x 2 b", " 1 2 b"] {
            assert_eq!(Stamp::parse(text), Stamp::default(), "{text}");
        }
    }
}
