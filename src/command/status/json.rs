//! The JSON of `status`. docs/json.md describes every member.

use crate::clock::Stamp;
use crate::command::status::facts::{Facts, Left, LeftKind, NotedOutcomes, Place, Target};
use crate::command::status::problems::Problem;
use crate::config::Config;
use crate::json::{array, boolean, object, optional, string};
use crate::notice::Style;
use crate::queue::DeadLetter;
use crate::send::last_run::{Mode, Record};
use crate::text::Field;
use crate::tz::rfc3339;

/// Raised when a member changes its meaning or is removed, but not when one is added.
const VERSION: u32 = 1;

/// Writes one object on one line.
pub fn print(facts: &Facts, problems: &[Problem], config: &Config, style: &Style<'_>) -> String {
    let place = match facts.place {
        Place::Missing => "missing",
        Place::Repairing => "repairing",
        Place::Ready => "ready",
    };
    let now = &facts.now;
    let queue = object(&[
        ("path", string(&config.paths.database.to_string_lossy())),
        ("state", string(place)),
        ("unwritable", optional(facts.trouble.as_deref().map(string))),
    ]);
    let letters = object(&[
        ("count", facts.dead.to_string()),
        ("newest", array(facts.letters.iter().map(|letter| dead_letter(letter, style)))),
    ]);
    let all = object(&[
        ("version", VERSION.to_string()),
        ("host", string(config.host.as_str())),
        ("time", utc(now.utc_ms)),
        ("well", boolean(problems.is_empty())),
        ("problems", array(problems.iter().map(problem))),
        ("queue", queue),
        ("targets", array(facts.targets.iter().map(|one| target(one, now)))),
        ("unclaimed", facts.unclaimed.to_string()),
        ("services", array(facts.sessions.iter().map(|(name, at)| service(name, at, now)))),
        ("cron_sessions", facts.scheduled.to_string()),
        ("send", send(facts)),
        ("heartbeat", heartbeat(facts)),
        ("spools", array(facts.left.iter().map(left))),
        ("noted", array(facts.noted.iter().map(noted))),
        ("dead_letters", letters),
    ]);
    all + "\n"
}

fn service(name: &Field, at: &Stamp, now: &Stamp) -> String {
    object(&[("service", string(name.as_str())), ("last", moment(at, now))])
}

/// A moment, corrected if the clock was set after it.
fn moment(at: &Stamp, now: &Stamp) -> String {
    utc(at.corrected(now))
}

fn utc(ms: i64) -> String {
    optional(rfc3339(ms).as_deref().map(string))
}

fn problem(Problem { code, text, remedy }: &Problem) -> String {
    object(&[("code", string(code)), ("text", string(text)), ("remedy", string(remedy))])
}

fn target(Target { state, counts, kept_until }: &Target, now: &Stamp) -> String {
    let failure = Some(state.error.as_str()).filter(|error| !error.is_empty());
    let left = state.wait.left(now);
    object(&[
        ("name", string(&state.name)),
        ("configured", boolean(kept_until.is_none())),
        ("pending", counts.pending.to_string()),
        ("oldest", optional(counts.oldest.as_ref().map(|oldest| moment(oldest, now)))),
        ("dead", counts.dead.to_string()),
        ("last_success", optional(state.success_ms.map(utc))),
        ("error", optional(failure.map(string))),
        ("failures", state.failures.to_string()),
        ("next_try_ms", left.to_string()),
        ("kept_until", optional(kept_until.map(utc))),
    ])
}

fn send(facts: &Facts) -> String {
    let (state, run) = match &facts.last_run {
        Record::NotKept(_) => ("unknown", None),
        Record::Nothing => ("never", None),
        Record::Run(run) if run.failure.is_empty() => ("well", Some(run)),
        Record::Run(run) => ("failed", Some(run)),
    };
    let mode = run.map(|run| match run.mode {
        Mode::Once => string("once"),
        Mode::Watch => string("watch"),
    });
    object(&[
        ("result", string(state)),
        ("last", optional(run.map(|run| moment(&run.at, &facts.now)))),
        ("mode", optional(mode)),
        ("error", optional(run.map(|run| run.failure.as_str()).filter(|why| !why.is_empty()).map(string))),
        ("watching", boolean(facts.is_watching)),
    ])
}

/// `null` if none is configured.
fn heartbeat(facts: &Facts) -> String {
    if !facts.has_heartbeat {
        return optional(None);
    }
    let known = match &facts.last_run {
        Record::Run(run) => Some(&run.heartbeat),
        Record::NotKept(_) | Record::Nothing => None,
    };
    let success = known.and_then(|known| known.success.as_ref()).map(|at| moment(at, &facts.now));
    let failure = known.map(|known| known.failure.as_str()).filter(|why| !why.is_empty());
    object(&[("last_success", optional(success)), ("error", optional(failure.map(string)))])
}

fn left(left: &Left) -> String {
    let kind = match left.kind {
        LeftKind::Spool => "spool",
        LeftKind::Orphans => "orphans",
    };
    object(&[
        ("path", string(&left.path.to_string_lossy())),
        ("kind", string(kind)),
        ("events", left.count.to_string()),
        ("oldest", optional(left.oldest_ms.map(utc))),
    ])
}

fn noted(NotedOutcomes { target, done, unknown }: &NotedOutcomes) -> String {
    object(&[("target", string(target)), ("done", done.to_string()), ("unknown", unknown.to_string())])
}

fn dead_letter(letter: &DeadLetter, style: &Style<'_>) -> String {
    object(&[
        ("id", letter.id.to_string()),
        ("target", string(&letter.target)),
        ("error", string(&letter.error)),
        ("time", moment(&letter.event.at, style.now)),
        ("notice", string(&style.line(&letter.event, &letter.verdict))),
    ])
}
