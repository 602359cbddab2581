//! `status`: what waits, what failed and why, when each target last worked.

use std::fmt::Write;

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::Error;
use crate::notice::Style;
use crate::queue::{Queue, Role, TargetState, spool};

/// Dead letters that are shown; the count has all of them.
const SHOWN_LIMIT: usize = 100;

/// Writes one paragraph for all targets and one for the dead letters.
pub fn report(config: &Config) -> Result<String, Error> {
    let queue = Queue::open(&config.paths.database, Role::Sender)?;
    let now = Stamp::now();
    let style = Style { host: &config.host, zone: &config.zone, now: &now };
    let mut text = String::new();
    for target in queue.targets()? {
        line(&mut text, &state(&target, &style));
    }
    if text.is_empty() {
        line(&mut text, &format!("{} waiting for the first `send`", queue.count()?));
    }
    {
        let spool = &config.paths.spool;
        let count = spool::count(spool)?;
        if count > 0 {
            line(&mut text, &format!("{count} in {}, for the next `send` to take in", spool.display()));
        }
    }
    let dead = queue.dead_letters()?;
    if !dead.is_empty() {
        line(&mut text, "\ndead letters (`retry ID` sends one again, `drop ID` forgets it):");
    }
    for letter in dead.iter().take(SHOWN_LIMIT) {
        line(&mut text, &format!("{:>6}  {}  {}", letter.id, letter.target, style.line(&letter.event)));
        line(&mut text, &format!("        {}", letter.error));
    }
    if dead.len() > SHOWN_LIMIT {
        line(&mut text, &format!("        … and {} more", dead.len() - SHOWN_LIMIT));
    }
    Ok(text)
}

/// `discord: 3 waiting, 0 dead, last worked 2026-04-25 10:00:00+12:00; next try in 4 min: HTTP 503`
fn state(target: &TargetState, style: &Style<'_>) -> String {
    let worked =
        target.success_ms.map_or_else(|| "never worked".into(), |ms| format!("last worked {}", style.zone.format(ms)));
    let mut text = format!("{}: {} waiting, {} dead, {worked}", target.name, target.waiting, target.dead);
    if !target.error.is_empty() && target.waiting > 0 {
        let minutes = (target.wait.left(style.now) + 59_999) / 60_000;
        let _ = write!(text, "; next try in {minutes} min: {}", target.error);
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
