//! Reminders: what lasts is said once a day, not at each run.

use std::time::Duration;

use crate::config::Config;
use crate::files;
use crate::log::{self, Level};

/// How often a warning of something that lasts is repeated.
pub const DAY: Duration = Duration::from_hours(24);

/// Warns of something that lasts, once a day.
pub fn daily(config: &Config, name: &str, text: &str) {
    let spool = &config.paths.spool;
    // Where it can't be made, the warning comes each time.
    let _ = files::ensure_own_directory(spool);
    if files::is_time_again(spool, name, DAY) {
        log::write(Level::Warning, text);
    }
}
