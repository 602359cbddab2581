//! `log`: the last sessions, how long they lasted, and the fate of their notices.

mod choice;
mod fate;
mod json;
mod session;
mod sessions;
mod since;
mod table;

pub use choice::Choice;

use std::collections::HashMap;
use std::fmt::Write;

use crate::clock::Stamp;
use crate::command::log::fate::{Fate, Target};
use crate::command::log::session::Session;
use crate::command::log::sessions::{Sessions, Wanted};
use crate::command::log::table::Style;
use crate::config::Config;
use crate::error::Error;
use crate::queue::{EventId, Exceptional, Progress, Queue, Row, spool};
use crate::send;
use crate::text::visible;

/// Events that are searched, newest first. A router reads this many in a few seconds.
const EVENT_LIMIT: usize = 100_000;

/// Events read at a time. The queue is closed in between, so that logins don't have to wait.
const BATCH: usize = 1000;

/// The result of the search.
pub struct History<'c> {
    /// The sessions, oldest first.
    sessions: Vec<Session>,
    /// The names of the targets.
    targets: Vec<&'c str>,
    /// Whether no older session matches the choice.
    is_complete: bool,
    /// Whether older events were not searched.
    is_cut: bool,
}

/// Writes the chosen sessions. Changes nothing on the disk.
pub fn report(config: &Config, choice: &Choice) -> Result<String, Error> {
    let now = Stamp::now();
    let history = read(config, choice, &now)?;
    if choice.is_json {
        return Ok(json::write(&history, !config.allowlist.is_empty(), &now));
    }
    let style = Style { zone: &config.zone, now: &now, targets: &history.targets };
    let mut text = match history.sessions.as_slice() {
        [] if Queue::is_being_repaired(&config.paths.database) => {
            "a repair of the queue was interrupted; the next `send` finishes it\n".into()
        }
        [] if choice.since.is_some() || choice.user.is_some() => "no such session was recorded\n".into(),
        [] => "nothing was recorded yet\n".into(),
        sessions => style.table(sessions),
    };
    for directory in send::spools(config) {
        let count = spool::count(directory)?;
        if count > 0 {
            let directory = visible(&directory.to_string_lossy()).into_owned();
            let _ = writeln!(text, "not shown: {count} in {directory}, which the next `send` imports");
        }
    }
    if history.is_cut {
        let _ = writeln!(text, "not shown: sessions older than the last {EVENT_LIMIT} logins and logouts");
    } else if !history.is_complete {
        text += "not shown: older sessions; `-n` sets how many are shown\n";
    }
    if !config.allowlist.is_empty() {
        text += "not recorded: sessions that the allowlist covers\n";
    }
    Ok(text)
}

/// Reads events backwards from the newest, until there are enough sessions.
fn read<'c>(config: &'c Config, choice: &Choice, now: &Stamp) -> Result<History<'c>, Error> {
    let progress = match Queue::open_to_read(&config.paths.database)? {
        Some(queue) => queue.progress()?,
        None => Progress::default(),
    };
    let targets = Target::all(config, &progress);
    let wanted = Wanted {
        count: choice.count,
        since_ms: choice.since.map(|since| since.utc_ms(&config.zone, now)),
        user: choice.user.clone(),
    };
    let mut sessions = Sessions::new(wanted, &progress, now);
    let (mut before, mut count) = (None, 0);
    let is_end = loop {
        let (rows, exceptions) = batch(config, before, &targets)?;
        for row in &rows {
            sessions.take(row, fates(row, &targets, &exceptions));
        }
        count += rows.len();
        before = rows.last().map(|row| row.id);
        let is_end = before.is_none_or(|last| last <= progress.oldest);
        if is_end || sessions.are_complete() || count >= EVENT_LIMIT {
            break is_end;
        }
    };
    let is_cut = !is_end && !sessions.are_complete();
    let is_complete = is_end && !sessions.are_more;
    let mut sessions = sessions.found;
    sessions.reverse();
    sessions.sort_by_key(|session| session.begin().map(|at| at.corrected(now)));
    Ok(History { sessions, targets: targets.iter().map(|target| target.name).collect(), is_complete, is_cut })
}

/// For each target, the events that it did not get in order.
type Exceptions = Vec<HashMap<EventId, Exceptional>>;

/// The next older events, newest first, and their exceptions.
fn batch(config: &Config, before: Option<EventId>, targets: &[Target<'_>]) -> Result<(Vec<Row>, Exceptions), Error> {
    let Some(queue) = Queue::open_to_read(&config.paths.database)? else { return Ok((Vec::new(), Vec::new())) };
    let rows = queue.newest_events(before, BATCH)?;
    let Some((newest, oldest)) = rows.first().zip(rows.last()) else { return Ok((rows, Vec::new())) };
    let exceptions = targets.iter().map(|target| queue.exceptions(target.name, oldest.id, newest.id));
    let exceptions = exceptions.collect::<Result<_, _>>()?;
    Ok((rows, exceptions))
}

fn fates(row: &Row, targets: &[Target<'_>], exceptions: &Exceptions) -> Vec<Option<Fate>> {
    targets.iter().zip(exceptions).map(|(target, exceptions)| target.fate(row, exceptions)).collect()
}
