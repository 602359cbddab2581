//! The judge: decides once about each new event, before anybody gets it.
//!
//! Today it finds second copies: a login that was late leaves one in the spool, and may still record its
//! event in the queue afterwards.

use crate::error::Error;
use crate::queue::Queue;
use crate::rules::Verdict;

/// Events among which the first copy is looked for. The second one follows within half a minute.
const WINDOW: i64 = 1000;

/// Judges what is new.
pub fn run(queue: &mut Queue) -> Result<(), Error> {
    if !queue.has_unjudged()? {
        return Ok(());
    }
    let mut seen = queue.judged_uids(WINDOW)?;
    queue.judge(&mut |row| Verdict { is_copy: !seen.insert(row.event.uid), ..Verdict::default() })
}
