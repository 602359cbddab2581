//! The way to each target: names, routes, TLS, and whether the service knows the token. No notice is sent.

use std::time::Duration;

use crate::command::check::finding::Finding;
use crate::config::Config;
use crate::http;
#[cfg(feature = "email")]
use crate::mail;
use crate::notifier::{Message, Notifier};
#[cfg(feature = "email")]
use crate::notifier::{Outcome, judge_mail};
#[cfg(feature = "email")]
use crate::program::Launcher;
#[cfg(feature = "email")]
use crate::text::Field;
use crate::threads;

/// The most time for one target, whatever `network.timeout` says, because a command ends within a minute.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks every target, in parallel.
pub fn examine(config: &Config) -> Vec<Finding> {
    if config.is_secure()
        && let Err(why) = http::trust(&config.network, &config.paths.spool)
    {
        return vec![Finding::problem(format!("network: {why}"), "edit network.ca_file in the configuration")];
    }
    let client = &http::Client::new(&config.network);
    let one = |target: &Notifier| ask(config, client, target);
    threads::each(&config.targets, one, one)
}

fn ask(config: &Config, client: &http::Client<'_>, target: &Notifier) -> Finding {
    let name = &target.name;
    match target.probe() {
        None | Some(Message::Print(_)) => Finding::ok(format!("network: {name} needs none")),
        Some(Message::Post(request)) => match client.send(&request, config.network.timeout.min(PATIENCE)) {
            Err(why) => unreachable(target, &target.conceal(&why)),
            Ok(response) => answered(target, response.status),
        },
        #[cfg(feature = "command")]
        Some(Message::Run(_)) => Finding::ok(format!("network: {name} needs none")),
        #[cfg(feature = "email")]
        Some(Message::Mail(mail)) => mailed(target, mail::send(&mail, client, &Launcher::default(), PATIENCE)),
    }
}

/// The result of a mail, or of its envelope alone.
#[cfg(feature = "email")]
pub fn mailed(target: &Notifier, result: Result<Field, mail::Failure>) -> Finding {
    let said = result.as_ref().map(ToString::to_string).unwrap_or_default();
    match judge_mail(result) {
        Outcome::Delivered { .. } => Finding::ok(format!("network: {}: {}", target.name, target.conceal(&said))),
        Outcome::Throttled { why, .. }
        | Outcome::Failed { why }
        | Outcome::Refused { why }
        | Outcome::Rejected { why }
        | Outcome::Moved { why, .. } => {
            let text = format!("network: {}: {}", target.name, target.conceal(&why));
            Finding::problem(
                text,
                format!("correct the settings in [notification.{}], or this host's network", target.name),
            )
        }
    }
}

/// The meaning of an answer to a probe or a notice, in plain words.
pub fn answered(target: &Notifier, status: u16) -> Finding {
    let name = &target.name;
    let (what, remedy) = match status {
        200..300 => return Finding::ok(format!("network: {name} can be reached, and {} knows it", target.service)),
        300..400 => ("it redirects, and redirects are not followed", "put the address that it leads to into"),
        401 | 403 => ("the service refuses the token, or there is none", "put a valid token or webhook into"),
        404 | 410 => ("the service doesn't know this address", "make a new webhook, or correct the address, in"),
        429 => ("too many requests", "nothing is wrong with the settings; wait a minute, then try again:"),
        400 | 413 | 422 => ("the service doesn't accept what was sent", "compare the service's documentation with"),
        _ => ("the service is out of order, or something else answered", "nothing to do if it passes; else correct"),
    };
    let text = format!("network: {name}: HTTP {status}: {what}");
    Finding::problem(text, format!("{remedy} [notification.{name}]"))
}

/// There was no answer.
pub fn unreachable(target: &Notifier, why: &str) -> Finding {
    let text = format!("network: {}: {why}", target.name);
    Finding::problem(text, format!("correct the address in [notification.{}], or this host's network", target.name))
}
