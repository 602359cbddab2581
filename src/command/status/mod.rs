//! `status`: pending events, failures with their causes, and when hook, sender and targets last worked.

mod facts;
mod json;
mod problems;
mod text;

use crate::clock::Stamp;
use crate::command::check;
use crate::config::Config;
use crate::error::{Error, Health};
use crate::notice::Style;
use crate::queue::Queue;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a person.
    Text,
    /// For a program, as docs/json.md describes it.
    Json,
}

/// Reports the state of everything. Changes nothing on the disk. `Failed` if something needs attention.
pub fn report(config: &Config, form: Form) -> Result<(String, Health), Error> {
    let facts = facts::gather(config)?;
    let style = Style { host: &config.host, zone: &config.zone, now: &facts.now };
    let problems = problems::find(&facts);
    let findings: Vec<_> = problems.iter().map(problems::Problem::finding).collect();
    let (printed, health) = check::print(&findings);
    let text = match form {
        Form::Text if problems.is_empty() => text::print(&facts, &config.paths.spool, &style),
        Form::Text => format!("{}\n{printed}", text::print(&facts, &config.paths.spool, &style)),
        Form::Json => json::print(&facts, &problems, config, &style),
    };
    Ok((text, health))
}

/// The targets with pending events.
pub fn pending(config: &Config) -> Result<String, Error> {
    let Some(queue) = Queue::open_to_read(&config.paths.database)? else { return Ok(String::new()) };
    let now = Stamp::now();
    let style = Style { host: &config.host, zone: &config.zone, now: &now };
    let targets = facts::targets(&queue, config, &now)?;
    Ok(targets.iter().filter(|target| target.counts.pending > 0).map(|target| text::target(target, &style)).collect())
}
