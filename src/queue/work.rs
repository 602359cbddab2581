//! What is to be done: one question that `send`, `send --watch` and the heartbeat all ask.

use crate::clock::Stamp;
use crate::error::Error;
use crate::queue::backlog::{Backlog, Due};
use crate::queue::cursors::is_judged;
use crate::queue::dead_letters::{is_reported, overdue};
use crate::queue::roster::Changes;
use crate::queue::{Limits, Queue, repair, repeats};

/// Whether there is anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// When the next thing is due.
    pub due: Due,
    /// Whether something is pending because an attempt failed.
    pub is_failing: bool,
}

impl Queue {
    /// Looks for anything to do for these targets: deliveries that are due, events to judge, summaries to record, dead
    /// letters to make or report, targets that were added or removed, damage to repair.
    pub fn work(&self, targets: &[&str], limits: &Limits, now: &Stamp) -> Result<Work, Error> {
        let mut work = Work { due: Due::Never, is_failing: false };
        if repair::is_unfinished(&self.path) {
            work.due = Due::Now;
        }
        self.read(|connection| {
            let is_changed = !Changes::read(connection, targets, limits, now)?.is_empty();
            if is_changed || !is_judged(connection)? || !is_reported(connection)? {
                work.due = Due::Now;
            }
            work.due = work.due.min(repeats::due(connection, now)?);
            for name in targets {
                let Some(backlog) = Backlog::read(connection, name)? else {
                    work.due = Due::Now;
                    continue;
                };
                // Only `mend_cursors` can repair a cursor beyond the newest event.
                let is_damaged = backlog.state.cursor > backlog.newest;
                let is_at_once = is_damaged || !overdue(connection, &backlog, limits, now)?.is_empty();
                work.due = work.due.min(if is_at_once { Due::Now } else { backlog.due(now) });
                work.is_failing |= backlog.is_failing();
            }
            Ok(work)
        })
    }

    /// When one target has something due.
    pub fn due(&self, target: &str, now: &Stamp) -> Result<Due, Error> {
        let backlog = self.read(|connection| Backlog::read(connection, target))?;
        Ok(backlog.map_or(Due::Never, |backlog| backlog.due(now)))
    }
}
