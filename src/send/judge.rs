//! The judge: decides once about each new event, before anybody gets it.

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::Error;
use crate::queue::Queue;
use crate::rules::{New, Urgency, Verdict};

/// Judges what is new.
pub fn run(queue: &mut Queue, config: &Config, now: &Stamp) -> Result<(), Error> {
    if !queue.has_unjudged()? {
        return Ok(());
    }
    queue.judge(now, &mut |_, context| Verdict {
        urgency: if context.new == New::default() { Urgency::Normal } else { Urgency::Urgent },
        is_copy: context.is_copy,
        new: context.new,
        after_ms: context.after_ms,
        // The allowlist may have covered the login, before somebody changed the configuration.
        is_unopened: context.unopened_ms.is_some_and(|start| start > config.changed_ms),
    })
}
