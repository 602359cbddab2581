//! The problems for which `status` exits with 1, each with its remedy.

use std::time::Duration;

use crate::clock::{Stamp, milliseconds};
use crate::command::check::Finding;
use crate::command::status::facts::{Facts, Left, Target};
use crate::send::last_run::{LastRun, Record};
use crate::text::visible;

/// A healthy `send` runs and delivers every minute, and an outage of a service needs attention only after this time.
const PATIENCE: Duration = Duration::from_mins(10);

/// A newer event may just be waiting for the scheduler's next minute.
const GRACE: Duration = Duration::from_mins(2);

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Something that needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name, for a program.
    pub code: &'static str,
    /// Its text, for a person.
    pub text: String,
    /// Its remedy.
    pub remedy: &'static str,
}

impl Problem {
    /// The problem as a finding to print.
    pub fn finding(&self) -> Finding {
        Finding::problem(self.text.as_str(), self.remedy)
    }
}

/// Finds every problem.
pub fn find(facts: &Facts) -> Vec<Problem> {
    let mut problems: Vec<Problem> = facts.targets.iter().filter_map(|target| late(target, &facts.now)).collect();
    problems.extend(unclaimed(facts));
    problems.extend(facts.left.iter().filter_map(|left| left_behind(left, &facts.now)));
    if facts.dead > 0 {
        let text = if facts.dead == 1 { "1 dead letter".into() } else { format!("{} dead letters", facts.dead) };
        let remedy = "`retry --all` sends them again, `drop --all` discards them";
        problems.push(Problem { code: "dead", text, remedy });
    }
    problems.extend(unwell(facts));
    problems.extend(stopped(facts));
    if let Some(why) = &facts.trouble {
        let text = format!("the queue can't be written: {why}");
        let remedy = "everything is still delivered, as long as the spool can hold the notes";
        problems.push(Problem { code: "unwritable", text, remedy });
    }
    problems
}

/// A target with an event that has been pending for too long. Events for a target that left the configuration may
/// wait.
fn late(target: &Target, now: &Stamp) -> Option<Problem> {
    let age = age(target, now).filter(|_| target.kept_until.is_none())?;
    let text = format!("{}: the oldest event has been pending for {}", visible(&target.state.name), duration(age));
    let remedy = "`check --network` shows the cause; after fixing it, `send --now` retries at once";
    is_long(age).then_some(Problem { code: "late", text, remedy })
}

/// The same before the first `send`.
fn unclaimed(facts: &Facts) -> Option<Problem> {
    let age = age_of_unclaimed(facts)?;
    let text =
        format!("{} events have been pending for the first `send` for at least {}", facts.unclaimed, duration(age));
    is_long(age).then_some(Problem { code: "late", text, remedy: "`check` shows how to schedule it" })
}

/// The same for events that the sender has not imported yet.
fn left_behind(left: &Left, now: &Stamp) -> Option<Problem> {
    let (path, age) = (left.path.to_string_lossy(), age_of_left(left, now)?);
    let text = format!("{} events in {} have been pending for up to {}", left.count, visible(&path), duration(age));
    let remedy = "`send` reports why it can't import them; if it can, `check` shows how to schedule it";
    is_long(age).then_some(Problem { code: "late", text, remedy })
}

/// The failures of the last run.
fn unwell(facts: &Facts) -> Vec<Problem> {
    let Record::Run(LastRun { failure, heartbeat, .. }) = &facts.last_run else { return Vec::new() };
    let mut problems = Vec::new();
    if !failure.is_empty() {
        let text = format!("the last run of `send` failed: {failure}");
        let remedy = "after fixing that, `send --now` retries at once";
        problems.push(Problem { code: "failed", text, remedy });
    }
    if facts.has_heartbeat && !heartbeat.failure.is_empty() {
        let text = format!("the heartbeat failed: {}", heartbeat.failure);
        let remedy = "compare network.heartbeat_url with the address that the monitor shows";
        problems.push(Problem { code: "heartbeat", text, remedy });
    }
    problems
}

/// Whether `send` does not run.
fn stopped(facts: &Facts) -> Option<Problem> {
    if facts.is_watching {
        return None;
    }
    let text = match &facts.last_run {
        Record::Run(run) => {
            // If no clock can measure that, the record is from an earlier boot, because /run was not emptied.
            let age = run.at.until(&facts.now).unwrap_or(facts.now.boot_ms);
            Some(format!("`send` last ran {} ago: the scheduler has stopped", duration(age))).filter(|_| is_long(age))
        }
        Record::Nothing if is_anything_overdue(facts) && is_long(facts.now.boot_ms) => {
            Some("`send` hasn't run since the host started, although something is pending".into())
        }
        Record::Nothing | Record::NotKept(_) => None,
    };
    text.map(|text| Problem { code: "stopped", text, remedy: "`check` shows how to schedule it" })
}

/// Whether something is pending that a running scheduler would have handled.
fn is_anything_overdue(facts: &Facts) -> bool {
    let configured = facts.targets.iter().filter(|target| target.kept_until.is_none());
    let left = facts.left.iter().filter_map(|left| age_of_left(left, &facts.now));
    let ages = configured.filter_map(|target| age(target, &facts.now)).chain(age_of_unclaimed(facts)).chain(left);
    ages.max().is_some_and(|age| age > milliseconds(GRACE))
}

/// How long the target's oldest event has been pending. If no clock can measure that, it is from an earlier boot.
fn age(target: &Target, now: &Stamp) -> Option<i64> {
    target.counts.oldest.as_ref().map(|oldest| oldest.until(now).unwrap_or(now.boot_ms))
}

/// How long the newest event has been pending for the first `send`.
fn age_of_unclaimed(facts: &Facts) -> Option<i64> {
    let newest = facts.newest_ms.filter(|_| facts.unclaimed > 0);
    newest.map(|newest| facts.now.utc_ms.saturating_sub(newest))
}

/// How long the oldest event has waited to be imported.
fn age_of_left(left: &Left, now: &Stamp) -> Option<i64> {
    left.oldest_ms.map(|oldest| now.utc_ms.saturating_sub(oldest))
}

fn is_long(ms: i64) -> bool {
    ms > milliseconds(PATIENCE)
}

/// `25 min`
fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    match ms {
        _ if ms < 2 * HOUR => format!("{} min", ms / MINUTE),
        _ if ms < 2 * DAY => format!("{} h", ms / HOUR),
        _ => format!("{} days", ms / DAY),
    }
}
