//! The fields of a notice's template, each shown as in the default notice.

use std::borrow::Cow;

use crate::event::{Action, BY, Event, FACTS, Fact, Shown, USER};
use crate::notice::{HOST_WIDTH, Style, TIME_WIDTH, VERDICT_WIDTH, shown, times};
use crate::rules::{Urgency, Verdict};
use crate::template::Template;

/// The fields that a template can use. docs/services.md explains those that aren't facts.
pub const FIELDS: [&str; 11] =
    ["user", "by", "host", "remote_host", "address", "service", "tty", "action", "time", "urgency", "details"];

/// The values of `action`.
const OPENED: &str = "logged in";
const CLOSED: &str = "logged out";

/// Characters of a field's longest value.
pub fn width(field: &str) -> usize {
    let urgencies = Urgency::ALL.into_iter().map(|urgency| urgency.name().len());
    match field {
        "host" => HOST_WIDTH,
        "action" => CLOSED.len(),
        "time" => TIME_WIDTH,
        "urgency" => urgencies.max().unwrap_or_default(),
        "details" => {
            let after = FACTS.iter().filter(|row| matches!(row.shown, Shown::After(..)));
            TIME_WIDTH + VERDICT_WIDTH + after.map(|row| row.shown.longest()).sum::<usize>()
        }
        fact => Fact::find(fact).map_or(0, |fact| fact.row().shown.width()),
    }
}

impl Style<'_> {
    /// Fills a template for a session. `None` keeps the default text: for the program's own notices, for summaries of
    /// repeats, and if the result would be blank.
    pub fn fill(&self, template: &Template, event: &Event, verdict: &Verdict) -> Option<String> {
        let action = event.action().filter(|_| times(&event.facts).is_none())?;
        let text = template.render(|field| match field {
            "by" if event.facts[BY] == event.facts[USER] => Cow::Borrowed(""),
            "host" => self.host.shown(HOST_WIDTH),
            "action" => Cow::Borrowed(match action {
                Action::Open => OPENED,
                Action::Close => CLOSED,
            }),
            "time" => Cow::Owned(self.time(event)),
            "urgency" => Cow::Borrowed(verdict.urgency.name()),
            "details" => Cow::Owned(self.details(event, verdict)),
            fact => Fact::find(fact).map_or(Cow::Borrowed(""), |fact| shown(&event.facts, fact)),
        });
        (!text.trim().is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{EARLIEST_MS, Stamp};
    use crate::event::{ADDRESS, ENDED, Facts, KEY, METHOD, REMOTE_HOST, SERVICE, TIMES, TTY};
    use crate::rules::New;
    use crate::text::Field;
    use crate::tz::Zone;

    fn session(action: Action, values: &[(Fact, &str)]) -> Event {
        let mut facts = Facts::default();
        for (fact, value) in values {
            facts[*fact] = Field::bounded(value.as_bytes(), fact.row().limit);
        }
        Event { at: Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() }, ..Event::session(action, facts) }
    }

    fn filled(template: &str, host: &str, event: &Event, verdict: &Verdict) -> Option<String> {
        let (host, zone) = (Field::new(host.as_bytes()), Zone::utc());
        let now = Stamp { utc_ms: EARLIEST_MS, boot_ms: 1, boot_id: "b".into() };
        let template = Template::parse(template, &FIELDS).expect("a template");
        Style { host: &host, zone: &zone, now: &now }.fill(&template, event, verdict)
    }

    #[test]
    fn each_field_shows_the_same_as_the_default_notice() {
        let values =
            [(USER, "root"), (BY, "amanda"), (REMOTE_HOST, "gateway"), (ADDRESS, "203.0.113.9"), (TTY, "pts/0")];
        let values = [&values[..], &[(SERVICE, "su"), (METHOD, "password")]].concat();
        let opened = session(Action::Open, &values);
        let verdict = Verdict { new: New { is_address: true, is_key: false }, ..Verdict::default() };
        for (field, expected) in FIELDS.into_iter().zip([
            "root",
            "amanda",
            "example.com",
            "gateway",
            "203.0.113.9",
            "su",
            "pts/0",
            "logged in",
            "2026-11-01 00:00:00+00:00",
            "normal",
            "; password; from 203.0.113.9; new address",
        ]) {
            let text = filled(&format!("{{{field}}}"), "example.com", &opened, &verdict);
            assert_eq!(text.as_deref(), Some(expected), "{field}");
        }
        let closed = session(Action::Close, &[(USER, "root"), (BY, "root"), (ENDED, "noticed")]);
        let verdict = Verdict { urgency: Urgency::Urgent, after_ms: Some(61_000), ..Verdict::default() };
        let text = filled("{urgency}: {user}{by}{tty} {action}{details}", "h", &closed, &verdict);
        let expected = "urgent: root logged out; ended, noticed at 2026-11-01 00:00:00+00:00; after 1m 1s";
        assert_eq!(text.as_deref(), Some(expected));
    }

    #[test]
    fn the_default_notice_can_be_written_as_a_template() {
        let values =
            [(USER, "amanda"), (REMOTE_HOST, "192.0.2.7"), (TTY, "ssh"), (SERVICE, "sshd"), (METHOD, "password")];
        let event = session(Action::Open, &values);
        let template = "'{user}' ({remote_host}) {action} to {host} via {tty} ({service}) at {time}{details}";
        let (host, zone) = (Field::new(b"h"), Zone::utc());
        let usual = Style { host: &host, zone: &zone, now: &event.at }.line(&event, &Verdict::default());
        assert_eq!(filled(template, "h", &event, &Verdict::default()), Some(usual));
    }

    /// P3
    #[test]
    fn untrusted_values_are_cut_as_in_the_notice_and_never_expanded() {
        let all: Vec<(Fact, &str)> = Fact::all().map(|(fact, _)| (fact, "{host}")).collect();
        let text = filled(
            "{user} {remote_host} {tty} {service} {address}",
            "h",
            &session(Action::Open, &all),
            &Verdict::default(),
        );
        assert_eq!(text.as_deref(), Some("{host} {host} {host} {host} {host}"));
        let long = "x".repeat(4000);
        let all: Vec<(Fact, &str)> = Fact::all().map(|(fact, _)| (fact, long.as_str())).collect();
        let text = filled("{user}", "h", &session(Action::Open, &all), &Verdict::default()).expect("a session");
        assert_eq!(text, "x".repeat(63) + "…");
        let breaks = session(Action::Open, &[(USER, "a\r\nb\u{202e}c\u{2028}d")]);
        assert_eq!(filled("{user}", "h", &breaks, &Verdict::default()).as_deref(), Some("a��b�c�d"));
    }

    #[test]
    fn no_field_exceeds_the_width_that_templates_are_checked_against() {
        let (host, long, by) = ("h".repeat(300), "x".repeat(4000), "y".repeat(300));
        let all: Vec<(Fact, &str)> = Fact::all().map(|(fact, _)| (fact, long.as_str())).chain([(BY, &*by)]).collect();
        let new = New { is_address: true, is_key: true };
        let verdict = Verdict { after_ms: Some(i64::MAX), is_unopened: true, ..Verdict::default() };
        let methods = "publickey,".repeat(20);
        let opened = session(Action::Open, &[&all[..], &[(METHOD, &methods), (KEY, ""), (ENDED, "")]].concat());
        let closed = session(Action::Close, &all);
        for field in FIELDS {
            let length = |event: &Event, verdict: &Verdict| {
                let event = Event { at: Stamp { utc_ms: i64::MIN, boot_ms: 1, boot_id: "a".into() }, ..event.clone() };
                filled(&format!("{{{field}}}"), &host, &event, verdict).expect("a session").chars().count()
            };
            let (opened, closed) = (length(&opened, &Verdict { new, ..Verdict::default() }), length(&closed, &verdict));
            // A login has no second time, and "time uncertain" is one of the details.
            let slack = if ["time", "details"].contains(&field) { 40 } else { 0 };
            let (length, width) = (opened.max(closed), width(field));
            assert!((width - slack..=width).contains(&length), "{field}: {length} of {width}");
        }
    }

    #[test]
    fn the_programs_own_notices_and_blank_results_keep_the_default_text() {
        let nameless = session(Action::Open, &[]);
        for template in ["", " ", "{user} {by}"] {
            assert_eq!(filled(template, "h", &nameless, &Verdict::default()), None, "{template:?}");
        }
        assert_eq!(filled("{user}", "h", &Event::notice("all is well"), &Verdict::default()), None);
    }

    /// P2: no field has the number of logins.
    #[test]
    fn a_summary_of_repeats_keeps_the_default_text() {
        let summary = session(Action::Open, &[(USER, "backup"), (SERVICE, "sshd"), (TIMES, "59")]);
        assert_eq!(filled("{user} {action}", "h", &summary, &Verdict::default()), None);
    }
}
