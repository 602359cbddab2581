//! Reminders: lasting conditions are logged once a day, not at each run.

use std::time::Duration;

use crate::config::Config;
use crate::files;
use crate::log::{self, Level};

/// How often a warning about a lasting condition is repeated.
pub const DAY: Duration = Duration::from_hours(24);

/// Logs a warning about a lasting condition, once a day.
pub fn daily(config: &Config, name: &str, text: &str) {
    let spool = &config.paths.spool;
    // If it can't be created, the warning is logged each time.
    let _ = files::ensure_own_directory(spool);
    if files::is_time_again(spool, name, DAY) {
        log::write(Level::Warning, text);
    }
}
