//! The facts: everything that `status` shows, read once, so that the text and the JSON only print it.

use std::path::PathBuf;

use crate::clock::{Stamp, milliseconds};
use crate::config::Config;
use crate::error::Error;
use crate::queue::{self, Counts, DeadLetter, Queue, TargetState, spool};
use crate::rules::{SCHEDULERS, Verdict};
use crate::send::last_run::{self, Record};
use crate::send::{self, notes};
use crate::text::Field;

/// The most dead letters that are shown; the count includes all of them.
pub const SHOWN_LIMIT: i64 = 100;

/// Everything that `status` shows.
pub struct Facts {
    /// When it was read.
    pub now: Stamp,
    /// Whether there is a queue.
    pub place: Place,
    /// Every target that the queue knows.
    pub targets: Vec<Target>,
    /// Events that are pending for the first `send`, after which the queue knows the targets.
    pub unclaimed: i64,
    /// When the newest event happened, in UTC milliseconds.
    pub newest_ms: Option<i64>,
    /// Each service's last login or logout, latest first.
    pub sessions: Vec<(Field, Stamp)>,
    /// How many sessions of schedulers were opened in the last day.
    pub scheduled: i64,
    /// Where logins left events for the next `send`, and how many.
    pub left: Vec<Left>,
    /// Outcomes of each target that are only in the notes.
    pub noted: Vec<NotedOutcomes>,
    /// Why the queue can't be written.
    pub trouble: Option<String>,
    /// The last run of `send`.
    pub last_run: Record,
    /// Whether `send --watch` is running.
    pub is_watching: bool,
    /// Whether a heartbeat is configured.
    pub has_heartbeat: bool,
    /// The newest dead letters, and how many there are.
    pub letters: Vec<DeadLetter>,
    pub dead: i64,
}

/// The state of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing was recorded yet.
    Missing,
    /// A repair was interrupted; the facts include everything readable.
    Repairing,
    /// The queue can be read.
    Ready,
}

/// A target that the queue knows.
pub struct Target {
    pub state: TargetState,
    pub counts: Counts,
    /// Until when its events are kept, in UTC milliseconds, if it is not in the configuration.
    pub kept_until: Option<i64>,
}

/// A directory with events that the queue doesn't have yet.
pub struct Left {
    pub path: PathBuf,
    pub kind: LeftKind,
    pub count: usize,
    /// When the oldest one happened, in UTC milliseconds.
    pub oldest_ms: Option<i64>,
}

/// Why the events are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftKind {
    /// The database couldn't take them.
    Spool,
    /// The configuration couldn't be read or trusted.
    Orphans,
}

/// Outcomes that the queue doesn't know yet.
pub struct NotedOutcomes {
    pub target: String,
    /// Delivered or rejected.
    pub done: usize,
    /// Interrupted, and to be sent again.
    pub unknown: usize,
}

/// Reads everything, then closes the queue. Changes nothing on the disk.
pub fn gather(config: &Config) -> Result<Facts, Error> {
    let now = Stamp::now();
    let database = &config.paths.database;
    let queue = Queue::open_to_read(database)?;
    let place = match &queue {
        _ if Queue::is_being_repaired(database) => Place::Repairing,
        Some(_) => Place::Ready,
        None => Place::Missing,
    };
    let mut facts = Facts {
        place,
        targets: Vec::new(),
        unclaimed: 0,
        newest_ms: None,
        sessions: Vec::new(),
        scheduled: 0,
        left: left(config)?,
        noted: noted(config),
        trouble: queue::disk_trouble(database),
        last_run: last_run::read(config),
        is_watching: send::is_watching(config),
        has_heartbeat: config.network.heartbeat_url.is_some(),
        letters: Vec::new(),
        dead: 0,
        now,
    };
    if let Some(queue) = &queue {
        facts.targets = targets(queue, config, &facts.now)?;
        facts.unclaimed = if facts.targets.is_empty() { queue.count()? } else { 0 };
        facts.newest_ms = queue.newest_ms()?;
        facts.sessions = queue.last_sessions()?;
        facts.scheduled = queue.count_opened(&SCHEDULERS, facts.now.utc_ms - milliseconds(send::DAY))?;
        (facts.letters, facts.dead) = queue.dead_letters(SHOWN_LIMIT)?;
    }
    Ok(facts)
}

/// Every target that the queue knows.
pub fn targets(queue: &Queue, config: &Config, now: &Stamp) -> Result<Vec<Target>, Error> {
    let wants = |name: &str, action, verdict: &Verdict| {
        let target = config.targets.iter().find(|target| target.name.as_str() == name);
        target.is_none_or(|target| target.filter.wants(action, verdict))
    };
    let end = |since: &Stamp| since.corrected(now).saturating_add(milliseconds(config.limits.give_up));
    let target = |(state, counts): (TargetState, Counts)| {
        let kept_until = state.gone.as_ref().map(end);
        Target { state, counts, kept_until }
    };
    Ok(queue.targets(&wants)?.into_iter().map(target).collect())
}

fn left(config: &Config) -> Result<Vec<Left>, Error> {
    let mut left = Vec::new();
    for directory in send::spools(config) {
        let kind = if directory == config.paths.spool { LeftKind::Spool } else { LeftKind::Orphans };
        let (count, oldest_ms) = (spool::count(directory)?, spool::oldest_ms(directory));
        left.push(Left { path: directory.into(), kind, count, oldest_ms });
    }
    Ok(left)
}

fn noted(config: &Config) -> Vec<NotedOutcomes> {
    let all = config.targets.iter().zip(notes::read_all(config));
    let outcomes = all.map(|(target, noted)| NotedOutcomes {
        target: target.name.to_string(),
        done: noted.delivered.len() + noted.rejected.len(),
        unknown: noted.unknown.len(),
    });
    outcomes.filter(|outcomes| outcomes.done + outcomes.unknown > 0).collect()
}
