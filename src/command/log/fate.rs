//! The fate of an event, for each target.

use std::collections::HashMap;

use crate::config::Config;
use crate::event::Event;
use crate::notifier::Notifier;
use crate::queue::{EventId, Exceptional, Noted, Progress, Row};
use crate::rules::{Filter, Verdict};
use crate::send::notes;

/// The fate of an event at a target that wants it. For several events, the last one in this order is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It was delivered.
    Sent,
    /// It has not been delivered yet.
    Pending,
    /// It is a dead letter.
    Dead,
}

/// A configured target and its progress.
pub struct Target<'c> {
    /// Its name.
    pub name: &'c str,
    filter: Filter,
    /// The last settled event; `None` for a new target, which gets only later events.
    cursor: Option<EventId>,
    /// Outcomes that the queue doesn't have yet.
    noted: Noted,
}

impl Fate {
    /// The word in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Pending => "pending",
            Self::Dead => "dead",
        }
    }
}

impl<'c> Target<'c> {
    /// The configured targets.
    pub fn all(config: &'c Config, progress: &Progress) -> Vec<Self> {
        // The very first targets get every pending event.
        let first = progress.cursors.is_empty().then(EventId::default);
        let target = |(target, noted): (&'c Notifier, Noted)| {
            let name = target.name.as_str();
            let cursor = progress.cursors.get(name).copied().or(first);
            Self { name, filter: target.filter, cursor, noted }
        };
        config.targets.iter().zip(notes::read_all(config)).map(target).collect()
    }

    /// The fate of an event at this target; `None` if it doesn't want the event. `exceptions` are the events that it
    /// did not get in order.
    pub fn fate(&self, row: &Row, exceptions: &HashMap<EventId, Exceptional>) -> Option<Fate> {
        let Row { id, event, verdict } = row;
        let exception = exceptions.get(id);
        if exception == Some(&Exceptional::Dead) || self.noted.rejected.contains(&event.uid) {
            return Some(Fate::Dead);
        }
        let cursor = self.cursor.filter(|_| self.wants(event, verdict))?;
        Some(match exception {
            _ if self.noted.delivered.contains(&event.uid) => Fate::Sent,
            Some(Exceptional::Pending) => Fate::Pending,
            None if *id > cursor => Fate::Pending,
            Some(Exceptional::Settled | Exceptional::Dead) | None => Fate::Sent,
        })
    }

    fn wants(&self, event: &Event, verdict: &Verdict) -> bool {
        self.filter.wants(event.action(), verdict)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::{Action, Facts, Uid};
    use crate::rules::Urgency;

    fn target(filter: Filter, cursor: Option<i64>) -> Target<'static> {
        Target { name: "a", filter, cursor: cursor.map(EventId), noted: Noted::default() }
    }

    fn row(action: Action, verdict: Verdict) -> Row {
        Row { id: EventId(5), event: Event { uid: Uid(7), ..Event::session(action, Facts::default()) }, verdict }
    }

    #[test]
    fn cursor_filter_verdict_and_exception_decide_the_fate_of_an_event() {
        let (all, open) = (Filter::default(), row(Action::Open, Verdict::default()));
        let opens = Filter { closes: false, ..all };
        let close = row(Action::Close, Verdict::default());
        let quiet = row(Action::Open, Verdict { urgency: Urgency::Quiet, ..Verdict::default() });
        let normal = Filter { least: Urgency::Normal, ..all };
        for (target, row, exception, expected) in [
            (target(all, Some(5)), &open, None, Some(Fate::Sent)),
            (target(all, Some(4)), &open, None, Some(Fate::Pending)),
            (target(all, None), &open, None, None),
            (target(opens, Some(5)), &close, None, None),
            (target(opens, Some(4)), &close, None, None),
            (target(normal, Some(4)), &quiet, None, None),
            (target(all, Some(5)), &open, Some(Exceptional::Pending), Some(Fate::Pending)),
            (target(all, Some(5)), &open, Some(Exceptional::Dead), Some(Fate::Dead)),
            (target(opens, Some(5)), &close, Some(Exceptional::Dead), Some(Fate::Dead)),
            (target(opens, Some(5)), &close, Some(Exceptional::Pending), None),
            (target(all, Some(4)), &open, Some(Exceptional::Settled), Some(Fate::Sent)),
        ] {
            let exceptions = exception.map(|exception| (row.id, exception)).into_iter().collect();
            assert_eq!(target.fate(row, &exceptions), expected, "{:?} {exception:?}", target.cursor);
        }
    }

    #[test]
    fn a_noted_outcome_counts_before_the_queue_has_it() {
        let mut target = target(Filter::default(), Some(4));
        let open = row(Action::Open, Verdict::default());
        target.noted.delivered = HashSet::from([Uid(7)]);
        assert_eq!(target.fate(&open, &HashMap::new()), Some(Fate::Sent));
        target.noted = Noted { rejected: HashSet::from([Uid(7)]), ..Noted::default() };
        assert_eq!(target.fate(&open, &HashMap::new()), Some(Fate::Dead));
    }
}
