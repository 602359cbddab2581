//! The last run of `send`, as `send` recorded it.

use crate::clock::Stamp;
use crate::command::check::finding::Finding;
use crate::config::Config;
use crate::send::last_run::{self, Record};

/// Reports when `send` last ran and how it went; `None` if that isn't recorded.
pub fn examine(config: &Config) -> Option<Finding> {
    let run = match last_run::read(config) {
        Record::Run(run) => run,
        Record::Nothing => return Some(Finding::ok("sender: `send` has not run since the host started")),
        Record::NotKept(_) => return None,
    };
    let time = config.zone.format(run.at.corrected(&Stamp::now()));
    if run.failure.is_empty() {
        return Some(Finding::ok(format!("sender: `send` last ran at {time}, without an error")));
    }
    // Only a warning: a lasting cause is a problem of its own elsewhere, and any other is already over.
    let text = format!("sender: `send` last ran at {time}, and failed: {}", run.failure);
    Some(Finding::warning(text, "ssh-session-notifier status # shows what is pending"))
}
