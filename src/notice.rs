//! The notice: the text of an event for a person, the same for every target whose settings don't replace it.

#[cfg(test)]
mod examples;
mod fields;

pub use fields::{FIELDS, width};

use std::borrow::Cow;
use std::fmt::Write;

use crate::clock::Stamp;
use crate::event::authentication;
use crate::event::{Action, BY, ENDED, Event, FACTS, Fact, Facts, Kind, REMOTE_HOST, SERVICE, Shown, TIMES, TTY, USER};
use crate::rules::Verdict;
use crate::text::{FIELD_LIMIT, Field};
use crate::tz::Zone;

/// Characters shown of the host's name.
const HOST_WIDTH: usize = 128;

/// Characters of the longest time: a year may have nine digits and a sign, and the time may be uncertain.
const TIME_WIDTH: usize = "-123456789-04-25 10:00:00+12:00; time uncertain".len();

/// Characters shown of how the user authenticated.
const AUTHENTICATION_WIDTH: usize = 160;

/// What follows the facts, in this order.
const NEW_ADDRESS: &str = "; new address";
const NEW_KEY: &str = "; new key";
const NOTICED: &str = "; ended, noticed at ";
const AFTER: &str = "; after ";
const UNOPENED: &str = "; no login was recorded";

/// Characters of the longest duration.
const DURATION_WIDTH: usize = "106751991167d 23h 59m 59s".len();
/// Characters shown of an actor's name, as of a user's.
const ACTOR_WIDTH: usize = 64;

/// Follows a time that is surely wrong.
const DOUBT: &str = "; time uncertain";

/// Characters of a session's notice apart from the facts, the host and the time.
const SESSION_WORDS: usize = "'' (by '') () logged out from  via  () at ".len();

/// Characters of the program's own notice apart from its text, the host and the time.
const OWN_WORDS: usize = "ssh-session-notifier on  at : ".len();

/// Characters of the line for the rest of an actor's events apart from the actor, the host and the times.
const REST_WORDS: usize =
    "ssh-session-notifier on : 18446744073709551615 more notices of its own from  to ; see `status`".len();

/// Characters of everything after the facts except the time. A login has the first part, a logout the others.
const VERDICT_WIDTH: usize = {
    let opens = "; ".len() + AUTHENTICATION_WIDTH + NEW_ADDRESS.len() + NEW_KEY.len();
    let closes = NOTICED.len() + AFTER.len() + DURATION_WIDTH + UNOPENED.len();
    if opens > closes { opens } else { closes }
};

/// Characters of the longest notice. Each service's limit is checked against it at compile time.
pub const LONGEST: usize = {
    let own = OWN_WORDS + HOST_WIDTH + TIME_WIDTH + FIELD_LIMIT;
    let mut session = SESSION_WORDS + HOST_WIDTH + TIME_WIDTH + VERDICT_WIDTH;
    let mut place = 0;
    while place < FACTS.len() {
        session += FACTS[place].shown.longest();
        place += 1;
    }
    if session > own { session } else { own }
};
const _: () = assert!(REST_WORDS + ACTOR_WIDTH + HOST_WIDTH + 2 * TIME_WIDTH <= LONGEST);

/// The settings and the moment that all notices of a message share.
pub struct Style<'a> {
    /// The host's name.
    pub host: &'a Field,
    /// The time zone of all times.
    pub zone: &'a Zone,
    /// The present moment, which may correct an event's clock.
    pub now: &'a Stamp,
}

/// Events of one actor that share a line.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// How many there are.
    pub count: usize,
    /// When the first and the last one happened, in UTC milliseconds.
    span: (i64, i64),
    /// Whether one of their times is surely wrong.
    is_uncertain: bool,
}

impl Style<'_> {
    /// Adds an event to those that share a line, or starts a new line with it.
    pub fn add(&self, rest: Option<Rest>, event: &Event) -> Rest {
        let utc_ms = event.at.corrected(self.now);
        let Rest { count, span, is_uncertain } =
            rest.unwrap_or(Rest { count: 0, span: (utc_ms, utc_ms), is_uncertain: false });
        let span = (span.0.min(utc_ms), span.1.max(utc_ms));
        let more = times(&event.facts).map_or(1, |times| usize::try_from(times).unwrap_or(usize::MAX));
        Rest { count: count.saturating_add(more), span, is_uncertain: is_uncertain || event.at.is_uncertain(utc_ms) }
    }

    /// Writes the shared line; `actor` is `None` for the program's own notices:
    ///
    /// `'amanda': 10990 more logins and logouts on example.com from 2026-04-25 10:00:00+12:00 to 2026-…`
    pub fn rest(&self, actor: Option<&Field>, rest: &Rest) -> String {
        let (host, count) = (self.host.shown(HOST_WIDTH), rest.count);
        let (first, last) = (self.zone.format(rest.span.0), self.zone.format(rest.span.1));
        let time = format!("from {first} to {last}{}", if rest.is_uncertain { DOUBT } else { "" });
        match actor {
            Some(actor) => {
                format!("'{}': {count} more logins and logouts on {host} {time}", actor.shown(ACTOR_WIDTH))
            }
            None => format!("ssh-session-notifier on {host}: {count} more notices of its own {time}; see `status`"),
        }
    }

    /// Writes one line, without a line break:
    ///
    /// `'root' (by 'amanda') logged in to example.com via /dev/pts/0 (su) at 2026-04-25 10:00:00+12:00`
    pub fn line(&self, event: &Event, verdict: &Verdict) -> String {
        let host = self.host.shown(HOST_WIDTH);
        match event.kind {
            Kind::Session(action) => {
                let mut text = sentence(action, &event.facts, &host);
                let time = self.time(event);
                let _ = match times(&event.facts) {
                    Some(1) => write!(text, " 1 more time until {time}"),
                    Some(times) => write!(text, " {times} more times until {time}"),
                    // Nobody knows when it ended.
                    None if !event.facts[ENDED].is_empty() => Ok(()),
                    None => write!(text, " at {time}"),
                };
                text + &self.details(event, verdict)
            }
            Kind::Notice => {
                format!("ssh-session-notifier on {host} at {}{}: {}", self.time(event), self.doubt(event), event.text())
            }
        }
    }

    fn time(&self, event: &Event) -> String {
        self.zone.format(event.at.corrected(self.now))
    }

    fn doubt(&self, event: &Event) -> &'static str {
        if event.at.is_uncertain(event.at.corrected(self.now)) { DOUBT } else { "" }
    }

    /// Everything after the sentence, each part preceded by `; `.
    fn details(&self, event: &Event, verdict: &Verdict) -> String {
        let mut text = String::new();
        if event.action() == Some(Action::Open) && times(&event.facts).is_none() {
            text.push_str(&authentication(&event.facts));
        }
        text.push_str(&additions(&event.facts));
        for (said, is_so) in [(NEW_ADDRESS, verdict.new.is_address), (NEW_KEY, verdict.new.is_key)] {
            if is_so {
                text.push_str(said);
            }
        }
        if !event.facts[ENDED].is_empty() {
            let _ = write!(text, "{NOTICED}{}", self.time(event));
        }
        if let Some(ms) = verdict.after_ms {
            let _ = write!(text, "{AFTER}{}", duration(ms));
        }
        if verdict.is_unopened {
            text.push_str(UNOPENED);
        }
        text + self.doubt(event)
    }
}

fn sentence(action: Action, facts: &Facts, host: &str) -> String {
    let doing = match action {
        Action::Open => "logged in to",
        Action::Close => "logged out from",
    };
    let mut text = format!("'{}'", shown(facts, USER));
    if !facts[BY].is_empty() && facts[BY] != facts[USER] {
        let _ = write!(text, " (by '{}')", shown(facts, BY));
    }
    if !facts[REMOTE_HOST].is_empty() {
        let _ = write!(text, " ({})", shown(facts, REMOTE_HOST));
    }
    let _ = write!(text, " {doing} {host}");
    if !facts[TTY].is_empty() {
        let _ = write!(text, " via {}", shown(facts, TTY));
    }
    let _ = write!(text, " ({})", shown(facts, SERVICE));
    text
}

/// How many logins it stands for, if it is a summary of repeats.
pub fn times(facts: &Facts) -> Option<u64> {
    facts[TIMES].as_str().parse().ok()
}

/// How the user authenticated, preceded by `; `.
fn authentication(facts: &Facts) -> String {
    match Field::new(authentication::describe(facts).as_bytes()) {
        said if said.is_empty() => String::new(),
        said => format!("; {}", said.shown(AUTHENTICATION_WIDTH)),
    }
}

/// The facts that follow the sentence, each preceded by `; ` and its word.
fn additions(facts: &Facts) -> String {
    let mut text = String::new();
    for (fact, row) in Fact::all().filter(|(fact, _)| !facts[*fact].is_empty()) {
        if let Shown::After(word, width) = row.shown {
            let _ = write!(text, "; {word} {}", facts[fact].shown(width));
        }
    }
    text
}

/// `1h 2m 3s`, from the first unit that isn't zero.
pub fn duration(ms: i64) -> String {
    let seconds = ms / 1000;
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let words = units[first..].iter().map(|(count, unit)| format!("{count}{unit}"));
    words.collect::<Vec<_>>().join(" ")
}

/// A fact, cut to its display width.
fn shown(facts: &Facts, fact: Fact) -> Cow<'_, str> {
    facts[fact].shown(fact.row().shown.width())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EARLIEST_MS;
    use crate::event::{METHOD, Uid};
    use crate::rules::New;

    fn facts(values: &[(Fact, &str)]) -> Facts {
        let mut facts = Facts::default();
        facts[SERVICE] = Field::new(b"sshd");
        for (fact, value) in values {
            facts[*fact] = Field::new(value.as_bytes());
        }
        facts
    }

    fn event(action: Action, values: &[(Fact, &str)], at: Stamp) -> Event {
        Event { uid: Uid(1), kind: Kind::Session(action), at, facts: facts(values) }
    }

    #[test]
    fn a_notice_begins_like_the_go_programs_and_further_facts_follow() {
        let (host, zone) = (Field::new(b"example.com"), Zone::utc());
        let now = Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() };
        let style = Style { host: &host, zone: &zone, now: &now };
        let at = Stamp { utc_ms: 1_777_068_000_000, ..Stamp::default() };
        let amanda = [(USER, "amanda"), (REMOTE_HOST, "192.168.1.50"), (TTY, "ssh")];
        let address = Fact::find("address").expect("a fact");
        let rows = [
            (Action::Open, &amanda[..], "'amanda' (192.168.1.50) logged in to example.com via ssh (sshd) at TIME"),
            (Action::Close, &amanda, "'amanda' (192.168.1.50) logged out from example.com via ssh (sshd) at TIME"),
            (Action::Open, &[(USER, "root"), (TTY, "tty1")], "'root' logged in to example.com via tty1 (sshd) at TIME"),
            (Action::Open, &[(USER, "root")], "'root' logged in to example.com (sshd) at TIME"),
            (
                Action::Open,
                &[(USER, "root"), (BY, "amanda"), (TTY, "/dev/pts/0"), (SERVICE, "su")],
                "'root' (by 'amanda') logged in to example.com via /dev/pts/0 (su) at TIME",
            ),
            (Action::Open, &[(USER, "root"), (BY, "root")], "'root' logged in to example.com (sshd) at TIME"),
            (
                Action::Open,
                &[(USER, "amanda"), (REMOTE_HOST, "gateway"), (address, "203.0.113.9")],
                "'amanda' (gateway) logged in to example.com (sshd) at TIME; from 203.0.113.9",
            ),
        ];
        for (action, values, expected) in rows {
            let expected = expected.replace("TIME", "2026-04-24 22:00:00+00:00");
            assert_eq!(style.line(&event(action, values, at.clone()), &Verdict::default()), expected);
        }
        let backup = [(USER, "backup"), (REMOTE_HOST, "10.1.0.7"), (METHOD, "password")];
        for (times, said) in [("59", "59 more times"), ("1", "1 more time")] {
            let summary = event(Action::Open, &[&backup[..], &[(TIMES, times)]].concat(), at.clone());
            assert_eq!(
                style.line(&summary, &Verdict::default()),
                format!("'backup' (10.1.0.7) logged in to example.com (sshd) {said} until 2026-04-24 22:00:00+00:00")
            );
        }
        let own = Event { at, ..Event::notice("all is well") };
        assert_eq!(
            style.line(&own, &Verdict::default()),
            "ssh-session-notifier on example.com at 2026-04-24 22:00:00+00:00: all is well"
        );
    }

    #[test]
    fn a_summary_counts_among_the_rest_of_an_actor_as_the_logins_that_it_stands_for() {
        let (host, zone, now) = (Field::new(b"h"), Zone::utc(), Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() });
        let style = Style { host: &host, zone: &zone, now: &now };
        let login = |times: &str| event(Action::Open, &[(USER, "a"), (TIMES, times)], now.clone());
        let rest = ["", "59", "1"].iter().fold(None, |rest, times| Some(style.add(rest, &login(times))));
        assert_eq!(rest.map(|rest| rest.count), Some(61));
    }

    #[test]
    fn an_impossible_time_is_marked_as_uncertain() {
        let (host, zone) = (Field::new(b"h"), Zone::utc());
        let stamp = |utc_ms, boot_ms, boot_id: &str| Stamp { utc_ms, boot_ms, boot_id: boot_id.into() };
        let now = stamp(EARLIEST_MS + 60_000, 60_000, "b");
        let style = Style { host: &host, zone: &zone, now: &now };
        let line = |at| style.line(&event(Action::Open, &[(USER, "a")], at), &Verdict::default());
        assert!(line(stamp(5_000, 5_000, "a")).ends_with("at 1970-01-01 00:00:05+00:00; time uncertain"));
        assert!(line(stamp(5_000, 5_000, "b")).ends_with("at 2026-11-01 00:00:05+00:00"));
    }

    #[test]
    fn a_logout_shows_how_long_the_session_was_or_that_its_end_was_only_noticed() {
        let (host, zone) = (Field::new(b"h"), Zone::utc());
        let now = Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() };
        let style = Style { host: &host, zone: &zone, now: &now };
        for (ms, expected) in [
            (0, "0s"),
            (999, "0s"),
            (61_000, "1m 1s"),
            (3_723_000, "1h 2m 3s"),
            (3_600_000, "1h 0m 0s"),
            (90_061_000, "1d 1h 1m 1s"),
        ] {
            assert_eq!(duration(ms), expected);
        }
        let close = |values: &[(Fact, &str)]| event(Action::Close, values, now.clone());
        let verdict = Verdict { after_ms: Some(62_000), ..Verdict::default() };
        let line = style.line(&close(&[(USER, "a")]), &verdict);
        assert_eq!(line, "'a' logged out from h (sshd) at 2026-11-01 00:00:00+00:00; after 1m 2s");
        let verdict = Verdict { is_unopened: true, ..Verdict::default() };
        let line = style.line(&close(&[(USER, "a")]), &verdict);
        assert_eq!(line, "'a' logged out from h (sshd) at 2026-11-01 00:00:00+00:00; no login was recorded");
        let line = style.line(&close(&[(USER, "a"), (ENDED, "noticed")]), &Verdict::default());
        assert_eq!(line, "'a' logged out from h (sshd); ended, noticed at 2026-11-01 00:00:00+00:00");
    }

    #[test]
    fn no_notice_is_longer_than_the_length_that_services_are_checked_for() {
        let (host, zone) = (Field::new("h".repeat(300).as_bytes()), Zone::utc());
        let now = Stamp { utc_ms: i64::MAX, boot_ms: 1, boot_id: "b".into() };
        let style = Style { host: &host, zone: &zone, now: &now };
        let mut longest = event(Action::Close, &[], Stamp { utc_ms: i64::MIN, boot_ms: 1, boot_id: "a".into() });
        for (fact, row) in Fact::all() {
            longest.facts[fact] = Field::bounded("x".repeat(4000).as_bytes(), row.limit);
        }
        longest.facts[BY] = Field::new(b"y".repeat(300).as_slice());
        let verdict = Verdict { after_ms: Some(i64::MAX), is_unopened: true, ..Verdict::default() };
        let length = style.line(&longest, &verdict).chars().count();
        let method = Field::new("publickey,".repeat(20).as_bytes());
        let mut open = Event { kind: Kind::Session(Action::Open), ..longest.clone() };
        (open.facts[METHOD], open.facts[ENDED]) = (method, Field::default());
        let verdict = Verdict { new: New { is_address: true, is_key: true }, ..Verdict::default() };
        let length = length.max(style.line(&open, &verdict).chars().count());
        assert!((LONGEST - 20..=LONGEST).contains(&length), "{length} of {LONGEST}");
        open.facts[TIMES] = Field::new(u64::MAX.to_string().as_bytes());
        assert!(style.line(&open, &verdict).chars().count() <= LONGEST);
        let own = Event { at: longest.at, ..Event::notice(&"x".repeat(4000)) };
        assert!(style.line(&own, &Verdict::default()).chars().count() <= LONGEST);
    }
}
