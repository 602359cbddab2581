//! `test`: sends a test notice the same way as any other notice.

use std::path::Path;
#[cfg(feature = "command")]
use std::time::Duration;

use crate::clock::Stamp;
use crate::command::check::{self, Finding};
use crate::config::Config;
use crate::error::{Error, Health, Kind};
use crate::event::Event;
use crate::http;
#[cfg(feature = "email")]
use crate::mail;
use crate::notice::Style;
#[cfg(feature = "command")]
use crate::notifier::judge_call;
use crate::notifier::{Digest, Draft, Message, Notifier, Outcome};
#[cfg(feature = "command")]
use crate::program::Call;
#[cfg(any(feature = "command", feature = "email"))]
use crate::program::Launcher;
use crate::rules::Verdict;
use crate::threads;

/// The text of the notice.
const TEXT: &str = "this is a test; nobody logged in";

/// Sends the notice to one target, or to all at the same time, as the user that `send` runs as. Returns the text to
/// print, and whether every target accepted it.
pub fn report(file: &Path, only: Option<&str>) -> Result<(String, Health), Error> {
    let config = match check::config_of_sender(file) {
        Ok(config) => config,
        Err(findings) => return Ok(check::print(&findings)),
    };
    let is_wanted = |target: &&Notifier| only.is_none_or(|name| name == target.name.as_str());
    let targets: Vec<&Notifier> = config.targets.iter().filter(is_wanted).collect();
    if targets.is_empty() {
        let names = config.target_names().join(", ");
        return Err(Kind::Usage(format!("there is no target {:?}; there is {names}", only.unwrap_or_default())).into());
    }
    if targets.iter().any(|target| target.is_secure()) {
        http::trust(&config.network, &config.paths.spool)?;
    }
    let (config, client) = (&config, &http::Client::new(&config.network));
    let one = |target: &&Notifier| send(config, client, target, "");
    Ok(check::print(&threads::each(&targets, one, one).concat()))
}

/// render → post → judge.
fn send(config: &Config, client: &http::Client<'_>, target: &Notifier, hint: &str) -> Vec<Finding> {
    let (name, event, now) = (&target.name, Event::notice(TEXT), Stamp::now());
    let style = Style { host: &config.host, zone: &config.zone, now: &now };
    let mut draft = Draft::new(target, target.detail, &style);
    draft.add(&event, &Verdict::default());
    let notices = draft.finish();
    let request = match target.render(&Digest { style: &style, notices: &notices }, hint) {
        Message::Post(request) => request,
        Message::Print(text) => return vec![Finding::ok(format!("{name} prints: {}", text.trim_end()))],
        #[cfg(feature = "command")]
        Message::Run(call) => return vec![called(target, &call, config.network.timeout.min(check::PATIENCE))],
        #[cfg(feature = "email")]
        Message::Mail(mail) => {
            let result = mail::send(&mail, client, &Launcher::default(), check::PATIENCE);
            let Ok(reply) = &result else { return vec![check::mailed(target, result)] };
            let text = format!("{name}: the mail was accepted for {}: {reply}", mail.to.join(", "));
            return vec![Finding { remedy: where_to_look(target).into(), ..Finding::ok(target.conceal(&text)) }];
        }
    };
    let response = match client.send(&request, config.network.timeout.min(check::PATIENCE)) {
        Ok(response) => response,
        Err(why) => return vec![check::unreachable(target, &target.conceal(&why))],
    };
    let status = response.status;
    match target.judge(response, &request.url, hint) {
        Outcome::Delivered { .. } => vec![Finding {
            remedy: where_to_look(target).into(),
            ..Finding::ok(format!("{name}: {} accepted the notice (HTTP {status})", target.service))
        }],
        Outcome::Throttled { why, .. } | Outcome::Refused { why } | Outcome::Rejected { why } => {
            with_reason(check::answered(target, status), &why)
        }
        Outcome::Failed { why } if (200..300).contains(&status) => vec![check::unreachable(target, &why)],
        Outcome::Moved { hint, .. } => send(config, client, target, &hint),
        Outcome::Failed { why } => with_reason(check::answered(target, status), &why),
    }
}

/// How the program that got the notice ended.
#[cfg(feature = "command")]
fn called(target: &Notifier, call: &Call, timeout: Duration) -> Finding {
    let (name, result) = (&target.name, Launcher::default().run(call, timeout));
    let said = result.as_ref().map(ToString::to_string).unwrap_or_default();
    match judge_call(result) {
        Outcome::Delivered { .. } => Finding::ok(format!("{name}: the command accepted the notice: {said}")),
        Outcome::Throttled { why, .. }
        | Outcome::Failed { why }
        | Outcome::Refused { why }
        | Outcome::Rejected { why }
        | Outcome::Moved { why, .. } => {
            Finding::problem(format!("{name}: {why}"), format!("correct it, or [notification.{name}]"))
        }
    }
}

/// Adds the service's own words.
fn with_reason(mut finding: Finding, why: &str) -> Vec<Finding> {
    finding.text = format!("{} (it says: {why})", finding.text);
    vec![finding]
}

/// A service that accepts any topic can't detect a misspelt one.
fn where_to_look(target: &Notifier) -> &'static str {
    match target.service {
        "ntfy" => {
            "if it doesn't appear: ntfy takes any topic; compare topic_url letter by letter with the one in the app"
        }
        "discord" => "if it doesn't appear: the webhook belongs to another channel; see Server Settings, Integrations",
        "email" => "if it doesn't appear: look in the spam folder and in the mail server's log",
        _ => "",
    }
}
