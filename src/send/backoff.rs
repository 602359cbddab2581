//! Back-off: how long to wait after a target has failed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// After the first failure. Schedulers run every minute.
const SHORTEST: Duration = Duration::from_mins(1);

/// After any number of failures.
pub const LONGEST: Duration = Duration::from_hours(1);

/// The wait after a failure that followed `failures` others in a row. It doubles from a minute to an hour. Up to a
/// fifth is taken off at random, so that many hosts don't retry at the same moment.
pub fn wait(failures: u32) -> Duration {
    let whole = SHORTEST.saturating_mul(1 << failures.min(6)).min(LONGEST);
    // The standard library seeds each RandomState randomly, which is random enough for this.
    let chance = u32::try_from(RandomState::new().hash_one(failures) >> 32).unwrap_or(0);
    whole.saturating_sub(whole / 5 / (1 << 16) * (chance >> 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_a_minute_to_an_hour_and_varies() {
        for (failures, minutes) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (7, 60), (u32::MAX, 60)] {
            let whole = Duration::from_secs(60 * minutes);
            let waits: Vec<Duration> = (0..200).map(|_| wait(failures)).collect();
            assert!(waits.iter().all(|wait| *wait <= whole && *wait >= whole * 4 / 5), "{failures} {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "no jitter after {failures}");
        }
    }
}
