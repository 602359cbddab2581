//! The judge: decides once about each new event, before any target gets it.

use crate::clock::{Stamp, milliseconds};
use crate::config::Config;
use crate::error::Error;
use crate::event::{ADDRESS, Action, Event, REMOTE_HOST, SERVICE};
use crate::queue::{Context, Judgment, Queue, Row};
use crate::rules::{Items, New, Notify, Part, Rules, Ruling, SCHEDULERS, Session, Urgency, Verdict};
use crate::send::reminder::{DAY, daily};

/// Judges new events, and records summaries of repeats.
pub fn run(queue: &mut Queue, config: &Config, now: &Stamp) -> Result<(), Error> {
    if !queue.has_unjudged(now)? {
        return Ok(());
    }
    let (mut is_scheduled, mut unmatched) = (false, None);
    queue.judge(now, &mut |row, context| {
        let event = &row.event;
        is_scheduled |= event.action() == Some(Action::Open) && SCHEDULERS.contains(&event.facts[SERVICE].as_str());
        unmatched = unmatched.take().or_else(|| unmatched_name(config, event));
        let ruling = ruling(&config.rules, row, &context, now);
        let verdict = Verdict {
            is_held: is_held(&context, ruling),
            is_copy: context.is_copy,
            new: context.new,
            after_ms: context.after_ms,
            // If the configuration has changed since, the allowlist may have covered the login.
            is_unopened: context.unopened_ms.is_some_and(|start| start > config.changed_ms),
            ..ruling.verdict()
        };
        Judgment { verdict, repeat: ruling.repeat }
    })?;
    if is_scheduled {
        let since = now.utc_ms - milliseconds(DAY);
        daily(config, ".said-cron", &scheduled(queue.count_opened(&SCHEDULERS, since)?));
    }
    if let Some(text) = unmatched {
        daily(config, ".said-name", &text);
    }
    Ok(())
}

/// The rules' decision about an event. Without a rule, a login from a new source is urgent. A logout is judged by the
/// facts of its login, because its own can be forged.
fn ruling(rules: &Rules, row: &Row, context: &Context, now: &Stamp) -> Ruling {
    let event = &row.event;
    let at = event.at.corrected(now);
    let is_uncertain = now.is_uncertain(now.utc_ms) || event.at.is_uncertain(at);
    let at_ms = (!is_uncertain).then_some(at);
    let urgency = if context.new == New::default() { Urgency::Normal } else { Urgency::Urgent };
    let base = Ruling { notify: Notify::At(urgency), ..Ruling::default() };
    match (event.action(), &context.login) {
        (None, _) => base,
        (Some(_), _) if context.is_copy => base,
        (Some(Action::Open), _) => {
            rules.judge(&Session { facts: &event.facts, part: Part::Login, new: context.new, at_ms }, base)
        }
        (Some(Action::Close), Some(login)) => {
            let session = Session { facts: &login.event.facts, part: Part::Logout, new: login.verdict.new, at_ms };
            rules.judge(&session, Ruling::of(&login.verdict))
        }
        (Some(Action::Close), None) => {
            rules.judge(&Session { facts: &event.facts, part: Part::LoneLogout, new: New::default(), at_ms }, base)
        }
    }
}

/// Whether a logout is held because its login was. A rule about logouts that decided prevents that.
fn is_held(context: &Context, ruling: Ruling) -> bool {
    context.login.as_ref().is_some_and(|login| login.verdict.is_held && Ruling::of(&login.verdict) == ruling)
}

/// The reminder if the hook is in a scheduler's PAM stack and recorded this many sessions in a day.
pub fn scheduled(count: i64) -> String {
    format!(
        "cron's sessions are reported too, {count} in the last 24 hours: remove the line from /etc/pam.d/cron and from \
         what it includes (common-session-noninteractive, system-auth), or write `services = [\"cron\"]` in [allowlist]"
    )
}

/// Explains why the allowlist doesn't cover a host that sshd reports by name: the owner of the address chooses that
/// name.
fn unmatched_name(config: &Config, event: &Event) -> Option<String> {
    let (name, address) = (&event.facts[REMOTE_HOST], &event.facts[ADDRESS]);
    let items = Items { user: b"", service: b"", remote_host: address.as_str().as_bytes() };
    (!address.is_empty() && config.allowlist.covers(items)).then(|| {
        format!(
            "the allowlist has {address}, but sshd gave PAM the name {name} instead, which the owner of the \
             address chooses: write `UseDNS no` in sshd_config"
        )
    })
}
