//! `status`: what waits, what failed and why, when each target last worked.

use std::fmt::Write;

use crate::clock::{Stamp, milliseconds};
use crate::config::Config;
use crate::error::{Error, Health};
use crate::notice::Style;
use crate::queue::{self, Counts, Queue, TargetState, spool};
use crate::rules::{SCHEDULERS, Verdict};
use crate::send::{self, notes};
use crate::text::visible;

/// Dead letters that are shown; the count has all of them.
const SHOWN_LIMIT: i64 = 100;

/// What to do where the hook seems to be silent.
const LOOK_AT_CHECK: &str = "; if somebody has logged in since, `check` says why the hook is silent\n";

/// Writes one paragraph for all targets and one for the dead letters. Nothing on the disk is changed. The health says
/// whether the queue's disk can be written.
pub fn report(config: &Config) -> Result<(String, Health), Error> {
    let now = Stamp::now();
    let style = Style { host: &config.host, zone: &config.zone, now: &now };
    let queue = Queue::open_to_read(&config.paths.database)?;
    let is_being_repaired = Queue::is_being_repaired(&config.paths.database);
    let mut text = match &queue {
        Some(queue) => targets(queue, config, &style)?,
        None if is_being_repaired => String::new(),
        None => format!("nothing was recorded yet{LOOK_AT_CHECK}"),
    };
    if let Some(queue) = &queue {
        text += &recorded(queue, &style)?;
    }
    if is_being_repaired {
        text += "a repair of the queue was cut off; the next `send` finishes it\n";
    }
    for directory in send::spools(config) {
        let count = spool::count(directory)?;
        if count > 0 {
            let _ =
                writeln!(text, "{count} in {}, which the next `send` imports", visible(&directory.to_string_lossy()));
        }
    }
    text += &noted(config);
    let trouble = queue::disk_trouble(&config.paths.database);
    if let Some(why) = &trouble {
        let _ = writeln!(text, "the queue can't be written: {why}");
    }
    if let Some(queue) = &queue {
        text += &dead_letters(queue, &style)?;
    }
    Ok((text, trouble.map_or(Health::Well, Health::Failed)))
}

/// `sessions last recorded: sshd at 2026-04-25 10:00:00+12:00, su at 2026-04-24 09:00:00+12:00`
fn recorded(queue: &Queue, style: &Style<'_>) -> Result<String, Error> {
    let mut text = String::new();
    for (service, stamp) in queue.last_sessions()? {
        text += if text.is_empty() { "sessions last recorded: " } else { ", " };
        let _ = write!(text, "{service} at {}", style.zone.format(stamp.corrected(style.now)));
    }
    if text.is_empty() {
        return Ok(format!("no session is in the queue{LOOK_AT_CHECK}"));
    }
    text += "\n";
    let count = queue.count_opened(&SCHEDULERS, style.now.utc_ms - milliseconds(send::DAY))?;
    if count > 0 {
        let _ = writeln!(text, "{}", send::scheduled(count));
    }
    Ok(text)
}

/// `discord: 3 are done, which is noted in /run/ssh-session-notifier until the queue can be written`
fn noted(config: &Config) -> String {
    let (mut text, spool) = (String::new(), config.paths.spool.display());
    for (target, noted) in config.targets.iter().zip(notes::read_all(config)) {
        let name = &target.name;
        let (done, unknown) = (noted.delivered.len() + noted.rejected.len(), noted.unknown.len());
        if done > 0 {
            let _ = writeln!(text, "{name}: {done} are done, which is noted in {spool} until the queue can be written");
        }
        if unknown > 0 {
            let _ = writeln!(text, "{name}: {unknown} of unknown outcome (`send` was cut off), which are sent again");
        }
    }
    text
}

/// The targets that something waits for.
pub fn waiting(config: &Config) -> Result<String, Error> {
    let Some(queue) = Queue::open_to_read(&config.paths.database)? else { return Ok(String::new()) };
    let style = Style { host: &config.host, zone: &config.zone, now: &Stamp::now() };
    let text = targets(&queue, config, &style)?;
    Ok(text.split_inclusive('\n').filter(|line| !line.contains(": 0 waiting")).collect())
}

fn targets(queue: &Queue, config: &Config, style: &Style<'_>) -> Result<String, Error> {
    let mut text = String::new();
    let wants = |name: &str, action, verdict: &Verdict| {
        let target = config.targets.iter().find(|target| target.name.as_str() == name);
        target.is_none_or(|target| target.filter.wants(action, verdict))
    };
    for (state, counts) in queue.targets(&wants)? {
        text += &match &state.gone {
            None => target(&state, counts, style),
            Some(since) => {
                let end = since.corrected(style.now).saturating_add(milliseconds(config.limits.give_up));
                gone(&state.name, end, counts, style)
            }
        };
    }
    if text.is_empty() {
        text = format!("{} waiting for the first `send`\n", queue.count()?);
    }
    Ok(text)
}

/// `discord: 3 waiting, 0 dead, last worked DATE; next try in 4 min: HTTP 503; the oldest from 2026-04-25 …`
fn target(state: &TargetState, Counts { waiting, dead, oldest }: Counts, style: &Style<'_>) -> String {
    let worked =
        state.success_ms.map_or_else(|| "never worked".into(), |ms| format!("last worked {}", style.zone.format(ms)));
    let mut text = format!("{}: {waiting} waiting, {dead} dead, {worked}", visible(&state.name));
    if !state.error.is_empty() && waiting > 0 {
        let minutes = (state.wait.left(style.now) + 59_999) / 60_000;
        let _ = write!(text, "; next try in {minutes} min: {}", state.error);
    }
    if let Some(oldest) = oldest {
        let _ = write!(text, "; the oldest from {}", style.zone.format(oldest.corrected(style.now)));
    }
    text + "\n"
}

/// `phone (not configured): 3 waiting until 2026-04-25 10:00:00+12:00, 0 dead`
fn gone(name: &str, end_ms: i64, Counts { waiting, dead, .. }: Counts, style: &Style<'_>) -> String {
    let (name, end) = (visible(name), style.zone.format(end_ms));
    format!("{name} (not configured): {waiting} waiting until {end}, {dead} dead\n")
}

fn dead_letters(queue: &Queue, style: &Style<'_>) -> Result<String, Error> {
    let (letters, count) = queue.dead_letters(SHOWN_LIMIT)?;
    let mut text = String::new();
    if !letters.is_empty() {
        text += "\ndead letters (`retry ID` sends one again, `drop ID` discards it, `--all` means all):\n";
    }
    for letter in &letters {
        let _ = writeln!(text, "{:>6}  {}  {}", letter.id, letter.target, style.line(&letter.event, &letter.verdict));
        let _ = writeln!(text, "        {}", letter.error);
    }
    if count > SHOWN_LIMIT {
        let _ = writeln!(text, "        … and {} more", count - SHOWN_LIMIT);
    }
    Ok(text)
}
