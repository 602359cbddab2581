//! Lets time pass in the database: moves stored moments back, and ends or sets waits.

use std::time::Duration;

use crate::support::queue::{Queue, id};

impl Queue {
    /// Sets the time of an event by the wall clock, since 1970.
    pub fn set_time_of(&self, event: usize, time: Duration) {
        self.change("UPDATE event SET utc_ms = ? WHERE id = ?", [milliseconds(time), id(event)]);
    }

    /// Makes every target that is waiting have waited since this moment (`UTC_MS BOOT_MS BOOT_ID`).
    pub fn begin_waits(&self, moment: &str) {
        self.change("UPDATE target SET since = ? WHERE wait_ms > 0", [moment]);
    }

    /// Makes an event one that was recorded before the last boot.
    pub fn move_to_an_earlier_boot(&self, event: usize) {
        self.change("UPDATE event SET boot_id = 'another' WHERE id = ?", [id(event)]);
    }

    /// Ends every wait after a failure, as if the time had passed.
    pub fn end_waits(&self) {
        self.open().execute_batch("UPDATE target SET wait_ms = 0; UPDATE delivery SET wait_ms = 0").expect("a queue");
    }

    /// Ends every wait and resets the targets' failures, so that the next wait is the shortest again.
    pub fn forget_failures(&self) {
        self.end_waits();
        self.change("UPDATE target SET failures = 0", []);
    }

    /// Sets the wait of every target.
    pub fn set_waits(&self, wait: Duration) {
        self.change("UPDATE target SET wait_ms = ?", [milliseconds(wait)]);
    }

    /// Makes every target wait for an hour from a failure at `moment` (`UTC_MS BOOT_MS BOOT_ID`).
    pub fn wait_an_hour_since(&self, moment: &str) {
        self.change("UPDATE target SET wait_ms = 3600000, failures = 1, error = 'x', since = ?", [moment]);
    }

    /// Moves the beginning of the only target's wait back on the boot clock.
    pub fn let_boot_time_pass(&self, time: Duration) {
        let since = earlier(&self.ask::<String>("SELECT since FROM target", []), Duration::ZERO, time);
        self.change("UPDATE target SET since = ?", [since]);
    }

    /// Moves back the moment when the sender found each missing session to be missing.
    pub fn let_missing_time_pass(&self, time: Duration) {
        for state in self.ask_all("SELECT DISTINCT closed FROM open WHERE closed LIKE 'missing %'") {
            let moment = earlier(state.trim_start_matches("missing "), time, time);
            let values = [format!("missing {moment}"), state];
            self.change("UPDATE open SET closed = ? WHERE closed = ?", values);
        }
    }

    /// Moves back the moment since when repeats are held, on both clocks.
    pub fn let_repeats_pass(&self, time: Duration) {
        for since in self.ask_all("SELECT DISTINCT since FROM repeat") {
            let values = [earlier(&since, time, time), since];
            self.change("UPDATE repeat SET since = ? WHERE since = ?", values);
        }
    }

    /// Moves the moment back since when the queue learns addresses and keys.
    pub fn let_learning_time_pass(&self, time: Duration) {
        let since = earlier(&self.ask::<String>("SELECT value FROM meta WHERE name = 'learning'", []), time, time);
        self.change("UPDATE meta SET value = ? WHERE name = 'learning'", [since]);
    }

    /// Moves every first attempt back by this many days on both clocks, and ends all waits.
    pub fn let_days_pass(&self, days: u32) {
        let time = Duration::from_hours(24) * days;
        for (table, condition) in [("attempt", "1"), ("delivery", "first <> ''")] {
            let sql = format!("SELECT DISTINCT first FROM {table} WHERE {condition}");
            for first in self.ask_all(&sql) {
                let sql = format!("UPDATE {table} SET first = ? WHERE first = ?");
                self.change(&sql, [earlier(&first, time, time), first]);
            }
        }
        self.end_waits();
    }

    /// Makes every event older by both clocks.
    pub fn let_events_be_older_by(&self, time: Duration) {
        let ms = milliseconds(time);
        self.change("UPDATE event SET utc_ms = utc_ms - ?1, boot_ms = boot_ms - ?1", [ms]);
    }

    /// Removes every event, as if `history_days` had passed.
    pub fn forget_history(&self) {
        self.change("DELETE FROM event", []);
    }

    /// Moves back the moment when each target left the configuration.
    pub fn let_targets_be_gone_for(&self, days: u32) {
        let time = Duration::from_hours(24) * days;
        for gone in self.ask_all("SELECT gone FROM target WHERE gone <> ''") {
            self.change("UPDATE target SET gone = ? WHERE gone = ?", [earlier(&gone, time, time), gone]);
        }
    }
}

/// Returns an earlier moment (`UTC_MS BOOT_MS BOOT_ID`).
fn earlier(moment: &str, utc: Duration, boot: Duration) -> String {
    let words: Vec<&str> = moment.splitn(3, ' ').collect();
    let [utc_ms, boot_ms, boot_id] = words[..] else { panic!("no moment: {moment:?}") };
    let back = |ms: &str, time| ms.parse::<i64>().expect("milliseconds") - milliseconds(time);
    format!("{} {} {boot_id}", back(utc_ms, utc), back(boot_ms, boot))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("a short time")
}
