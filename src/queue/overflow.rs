//! Overflow: when too many events are pending for a target, the actors with the most lose their oldest.
//!
//! If the oldest of all were given up, one local user's flood would push out everybody else's events.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

use rusqlite::Connection;

use crate::queue::backlog::each_pending;
use crate::queue::sql::SqlResult;
use crate::queue::{EventId, Row};

/// Actors are counted in this many groups, so that memory is bounded. Nobody can choose a victim to share a group
/// with, because the hash differs in every process.
const GROUPS: usize = 4096;

/// Rows changed in one transaction, because a login must not wait long.
pub const BATCH: usize = 2000;

/// The events to give up for one target.
pub struct Overflow<'a> {
    target: &'a str,
    wants: &'a dyn Fn(&Row) -> bool,
    hash: RandomState,
    /// How many wanted events of each group are pending.
    pending: Vec<usize>,
    /// How many a group may keep.
    keep: usize,
    /// How many are still to be given up.
    excess: usize,
    /// The last event that was looked at.
    after: EventId,
}

impl<'a> Overflow<'a> {
    /// Counts the events after `after`, the cursor of `target`. Notices don't count: a notice about a given-up event
    /// would push out the next event, which would cause another notice, and so on.
    pub fn count(
        connection: &Connection,
        target: &'a str,
        after: EventId,
        wants: &'a dyn Fn(&Row) -> bool,
        most: usize,
    ) -> SqlResult<Self> {
        let (hash, pending) = (RandomState::new(), vec![0; GROUPS]);
        let mut all = Self { target, wants, hash, pending, keep: 0, excess: 0, after };
        each_pending(connection, target, after, &mut |row| {
            if let Some(group) = all.group(&row) {
                all.pending[group] += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        all.excess = all.pending.iter().sum::<usize>().saturating_sub(most);
        all.keep = level(&all.pending, all.excess);
        Ok(all)
    }

    /// The next events to give up, oldest first; none once few enough are left.
    pub fn next(&mut self, connection: &Connection) -> SqlResult<Vec<EventId>> {
        let mut chosen = Vec::new();
        if self.excess == 0 {
            return Ok(chosen);
        }
        each_pending(connection, self.target, self.after, &mut |row| {
            self.after = row.id;
            if let Some(group) = self.group(&row).filter(|group| self.pending[*group] > self.keep) {
                self.pending[group] -= 1;
                self.excess -= 1;
                chosen.push(row.id);
            }
            let is_enough = self.excess == 0 || chosen.len() == BATCH;
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(chosen)
    }

    /// The group of an event that counts.
    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
    fn group(&self, row: &Row) -> Option<usize> {
        let actor = row.event.actor().filter(|_| (self.wants)(row))?;
        Some(self.hash.hash_one(actor) as usize % GROUPS)
    }
}

/// How many events a group may keep so that the larger ones lose `excess` in all, or a few more.
fn level(pending: &[usize], excess: usize) -> usize {
    let beyond = |keep: usize| pending.iter().map(|count| count.saturating_sub(keep)).sum::<usize>();
    let (mut low, mut high) = (0, pending.iter().max().copied().unwrap_or(0));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if beyond(middle) >= excess { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actors_with_the_most_events_lose_some_first() {
        for (pending, excess, keep) in [
            (&[11, 1][..], 2, 9),
            (&[11, 9, 1], 2, 9),
            (&[11, 9, 1], 3, 8),
            (&[1, 1, 1], 2, 0),
            (&[5, 5], 0, 5),
            (&[], 0, 0),
        ] {
            assert_eq!(level(pending, excess), keep, "{pending:?} {excess}");
        }
    }
}
