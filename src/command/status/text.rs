//! The text of `status`, for a person.

use std::fmt::Write;
use std::path::Path;

use crate::clock::Stamp;
use crate::command::status::facts::{Facts, Left, LeftKind, NotedOutcomes, Place, SHOWN_LIMIT, Target};
use crate::notice::Style;
use crate::queue::Counts;
use crate::send;
use crate::send::last_run::{LastRun, Mode, Record};
use crate::text::visible;

/// The advice if the hook doesn't seem to work.
const LOOK_AT_CHECK: &str = "; if somebody has logged in since, `check` says why the hook is silent\n";

/// Writes a line for each target and for everything else, and a paragraph for the dead letters.
pub fn print(facts: &Facts, spool: &Path, style: &Style<'_>) -> String {
    let mut text: String = facts.targets.iter().map(|one| target(one, style)).collect();
    match facts.place {
        Place::Missing => text.extend(["nothing was recorded yet", LOOK_AT_CHECK]),
        Place::Repairing => text += "a repair of the queue was interrupted; the next `send` finishes it\n",
        Place::Ready => {
            if facts.targets.is_empty() {
                let _ = writeln!(text, "{} pending for the first `send`", facts.unclaimed);
            }
            text += &sessions(facts, style);
        }
    }
    text += &sender(facts, style);
    text.extend(facts.left.iter().filter(|left| left.count > 0).map(left_behind));
    text.extend(facts.noted.iter().map(|outcomes| noted(outcomes, spool)));
    text + &dead_letters(facts, style)
}

/// `discord: 3 pending, 0 dead, last worked DATE; next try in 4 min: HTTP 503; the oldest from 2026-04-25 …`
///
/// `phone (not configured): 3 pending until 2026-04-25 10:00:00+12:00, 0 dead`
pub fn target(Target { state, counts, kept_until }: &Target, style: &Style<'_>) -> String {
    let (name, Counts { pending, dead, oldest }) = (visible(&state.name), counts);
    if let Some(end) = kept_until {
        return format!("{name} (not configured): {pending} pending until {}, {dead} dead\n", style.zone.format(*end));
    }
    let worked =
        state.success_ms.map_or_else(|| "never worked".into(), |ms| format!("last worked {}", style.zone.format(ms)));
    let mut text = format!("{name}: {pending} pending, {dead} dead, {worked}");
    if !state.error.is_empty() && *pending > 0 {
        let minutes = state.wait.left(style.now).saturating_add(59_999) / 60_000;
        let _ = write!(text, "; next try in {minutes} min: {}", state.error);
    }
    if let Some(oldest) = oldest {
        let _ = write!(text, "; the oldest from {}", date(oldest, style));
    }
    text + "\n"
}

fn date(moment: &Stamp, style: &Style<'_>) -> String {
    style.zone.format(moment.corrected(style.now))
}

/// `sessions last recorded: sshd at 2026-04-25 10:00:00+12:00, su at 2026-04-24 09:00:00+12:00`
fn sessions(facts: &Facts, style: &Style<'_>) -> String {
    if facts.sessions.is_empty() {
        return format!("no session was recorded yet{LOOK_AT_CHECK}");
    }
    let all = facts.sessions.iter().map(|(service, moment)| format!("{service} at {}", date(moment, style)));
    let mut text = format!("sessions last recorded: {}\n", all.collect::<Vec<_>>().join(", "));
    if facts.scheduled > 0 {
        let _ = writeln!(text, "{}", send::scheduled(facts.scheduled));
    }
    text
}

/// `send last ran 2026-04-25 10:00:00+12:00: well`, and a line about the heartbeat if there is one.
fn sender(facts: &Facts, style: &Style<'_>) -> String {
    let mut text = match &facts.last_run {
        Record::NotKept(why) => format!("when send last ran is unknown: {why}"),
        Record::Nothing => "send hasn't run since the host started".into(),
        Record::Run(LastRun { at, mode, failure, .. }) => {
            let command = if *mode == Mode::Watch { "send --watch" } else { "send" };
            let result = if failure.is_empty() { "well".into() } else { format!("failed: {failure}") };
            format!("{command} last ran {}: {result}", date(at, style))
        }
    };
    text += if facts.is_watching { "; send --watch is running\n" } else { "\n" };
    if facts.has_heartbeat {
        text += &heartbeat(&facts.last_run, style);
    }
    text
}

/// `heartbeat: failed: HTTP 404: check the address; last worked 2026-04-25 10:00:00+12:00`
fn heartbeat(record: &Record, style: &Style<'_>) -> String {
    let heartbeat = match record {
        Record::NotKept(_) => return "heartbeat: configured; when it last worked is unknown\n".into(),
        Record::Nothing => return "heartbeat: not called since the host started\n".into(),
        Record::Run(run) => &run.heartbeat,
    };
    let worked = heartbeat.success.as_ref().map(|at| format!("last worked {}", date(at, style)));
    let worked = worked.unwrap_or_else(|| "has not worked since the host started".into());
    match heartbeat.failure.as_str() {
        "" => format!("heartbeat: {worked}\n"),
        why => format!("heartbeat: failed: {why}; {worked}\n"),
    }
}

/// `3 in /run/ssh-session-notifier, which the next send imports`
fn left_behind(left: &Left) -> String {
    let (count, path) = (left.count, left.path.to_string_lossy());
    match left.kind {
        LeftKind::Spool => format!("{count} in {}, which the next `send` imports\n", visible(&path)),
        LeftKind::Orphans => format!(
            "{count} orphan{} in {} (recorded while the configuration was broken), which the next `send` imports\n",
            if count == 1 { "" } else { "s" },
            visible(&path)
        ),
    }
}

/// `discord: 3 are done, which is noted in /run/ssh-session-notifier until the queue can be written`
fn noted(NotedOutcomes { target, done, unknown }: &NotedOutcomes, spool: &Path) -> String {
    let (mut text, spool) = (String::new(), spool.to_string_lossy());
    if *done > 0 {
        let spool = visible(&spool);
        let _ = writeln!(text, "{target}: {done} are done, which is noted in {spool} until the queue can be written");
    }
    if *unknown > 0 {
        let _ = writeln!(text, "{target}: {unknown} of unknown outcome (`send` was cut off), which are sent again");
    }
    text
}

fn dead_letters(facts: &Facts, style: &Style<'_>) -> String {
    let mut text = String::new();
    if !facts.letters.is_empty() {
        text += "\ndead letters (`retry ID` sends one again, `drop ID` discards it, `--all` means all):\n";
    }
    for letter in &facts.letters {
        let _ = writeln!(text, "{:>6}  {}  {}", letter.id, letter.target, style.line(&letter.event, &letter.verdict));
        let _ = writeln!(text, "        {}", letter.error);
    }
    if facts.dead > SHOWN_LIMIT {
        let _ = writeln!(text, "        … and {} more", facts.dead - SHOWN_LIMIT);
    }
    text
}
