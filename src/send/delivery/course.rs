//! What a run learns about one target, and its decision after each attempt.

use std::time::Duration;

use crate::error::Health;
use crate::notifier::Outcome;
use crate::queue::{Batch, Cause, EventId, TargetState};
use crate::send::backoff;

/// After this many dead letters in a row without a delivery, the target is at fault.
const REJECTED_LIMIT: u32 = 5;

/// What a run knows about one target.
pub struct Course {
    /// How the target is reached, if not in the usual way.
    pub hint: String,
    /// Whether an event was rejected alone, and it is not yet clear that others would be accepted.
    pub is_in_doubt: bool,
    /// Whether anything failed.
    pub health: Health,
    /// Events in a row that were rejected alone, including earlier runs.
    rejected: u32,
    /// Whether it has accepted something in this run.
    has_accepted: bool,
    /// When it last accepted something in an earlier run, in UTC milliseconds.
    success_ms: Option<i64>,
    /// The last event of the smallest rejected message: an event up to this one is a poison message.
    bisect_end: Option<EventId>,
}

/// What to do with a batch after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Settle it as delivered. The service wants a rest of `pause` before the next message.
    Delivered { pause: Duration },
    /// Send it again after the rest of `pause` that the service wants.
    Throttled { pause: Duration, why: String },
    /// Send it again at once, in smaller messages or one event at a time.
    Divide,
    /// Its only event is a poison message.
    MoveToDeadLetters { why: String },
    /// Keep it, and try again after `pause`.
    Postpone { pause: Duration, why: String, cause: Cause },
}

impl Course {
    /// Starts from the state that earlier runs left.
    pub fn new(state: TargetState) -> Self {
        let TargetState { rejected, hint, success_ms, .. } = state;
        let health = Health::Well;
        Self { hint, is_in_doubt: false, health, rejected, has_accepted: false, success_ms, bisect_end: None }
    }

    /// Remembers a logged failure. The first one stays.
    pub fn note(&mut self, failed: Health) {
        if self.health == Health::Well {
            self.health = failed;
        }
    }

    /// Decides about a batch, and remembers what its outcome shows.
    pub fn decide(&mut self, batch: &Batch, outcome: Outcome) -> Decision {
        match outcome {
            Outcome::Delivered { pause } => {
                self.accepted();
                Decision::Delivered { pause: pause.unwrap_or_default().min(backoff::LONGEST) }
            }
            Outcome::Throttled { pause, why } => Decision::Throttled { pause, why },
            Outcome::Failed { why } => {
                Decision::Postpone { pause: backoff::wait(batch.failures), why, cause: Cause::Target }
            }
            Outcome::Refused { why } | Outcome::Moved { why, .. } => {
                Decision::Postpone { pause: backoff::LONGEST, why, cause: Cause::Target }
            }
            Outcome::Rejected { why } => self.decide_rejected(batch, why),
        }
    }

    /// The service rejects the message. Its event is at fault only if the service surely accepts others.
    fn decide_rejected(&mut self, batch: &Batch, why: String) -> Decision {
        if batch.ids().len() > 1 {
            self.bisect_end = Some(batch.last());
            return Decision::Divide;
        }
        if !self.accepts_others(batch) {
            if !batch.is_exception() && !self.is_in_doubt {
                self.is_in_doubt = true;
                return Decision::Divide;
            }
            let why = format!("it rejects an event, and has accepted no other since: {why}");
            let cause = if batch.is_exception() { Cause::Event } else { Cause::Target };
            return Decision::Postpone { pause: backoff::wait(batch.failures), why, cause };
        }
        if self.rejected + 1 < REJECTED_LIMIT {
            self.rejected += 1;
            return Decision::MoveToDeadLetters { why };
        }
        let why = format!("it rejects one event after another: {why}");
        Decision::Postpone { pause: backoff::LONGEST, why, cause: Cause::Target }
    }

    /// Whether the target surely accepts other events, although it rejects this one.
    fn accepts_others(&self, batch: &Batch) -> bool {
        let since = |tried: i64| self.success_ms.is_some_and(|success| success >= tried);
        self.has_accepted || batch.tried_ms.is_some_and(since)
    }

    /// Remembers that the target has accepted a message.
    pub fn accepted(&mut self) {
        (self.has_accepted, self.is_in_doubt, self.rejected) = (true, false, 0);
    }

    /// How many of these events to put into the next message. If one of them is a poison message, half of them, so
    /// that it is alone after log2(n) messages; otherwise all.
    pub fn bisect(&mut self, ids: &[EventId]) -> usize {
        let Some(end) = self.bisect_end else { return ids.len() };
        match ids.iter().filter(|id| **id <= end).count() {
            0 => {
                self.bisect_end = None;
                ids.len()
            }
            count => count.div_ceil(2).min(count - usize::from(count > 1)),
        }
    }
}
