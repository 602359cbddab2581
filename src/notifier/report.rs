//! Reports: events as JSON, for targets that are programs. docs/services.md describes every member.

use crate::event::authentication;
use crate::event::{Action, ENDED, Event, FACTS, Fact, Kind, Shown};
use crate::json;
use crate::notice::{self, Style};
use crate::notifier::Digest;
use crate::rules::Verdict;
use crate::text::{FIELD_BYTES, FIELD_LIMIT, Field};

/// The schema's version. Adding a member doesn't raise it: receivers must ignore unknown members.
const VERSION: u8 = 1;

/// Bytes of the longest `Field` as a JSON string: each character may need a backslash.
const LONGEST_FIELD: usize = FIELD_BYTES + FIELD_LIMIT;

/// Bytes of the members' names, and of the values that are neither text nor facts.
const WORDS: usize = 600;

/// Bytes of the longest report of one event.
pub const LONGEST: usize = {
    // Two more fields: the host's name, and how the user authenticated.
    let mut length = WORDS + 4 * notice::LONGEST + 2 * LONGEST_FIELD;
    let mut place = 0;
    while place < FACTS.len() {
        if !matches!(FACTS[place].shown, Shown::No) {
            length += "\"\":,".len() + FACTS[place].name.len() + LONGEST_FIELD;
        }
        place += 1;
    }
    length
};

/// Writes the report of one event as a JSON object.
pub fn object(style: &Style<'_>, event: &Event, verdict: &Verdict) -> String {
    let utc_ms = event.at.corrected(style.now);
    let kind = match event.kind {
        Kind::Session(Action::Open) => "open",
        Kind::Session(Action::Close) => "close",
        Kind::Notice => "notice",
    };
    let mut members = vec![
        ("version", VERSION.to_string()),
        ("uid", json::string(&event.uid.to_string())),
        ("type", json::string(kind)),
        ("time", json::string(&style.zone.format(utc_ms).replacen(' ', "T", 1))),
        ("utc_ms", utc_ms.to_string()),
        ("host", json::string(style.host.as_str())),
    ];
    members.extend(facts(event));
    members.extend([
        ("authentication", text(&authentication(event))),
        ("urgency", json::string(verdict.urgency.name())),
        ("new_address", json::boolean(verdict.new.is_address)),
        ("new_key", json::boolean(verdict.new.is_key)),
        ("duration_ms", json::optional(verdict.after_ms.map(|ms| ms.to_string()))),
        ("login_missing", json::boolean(verdict.is_unopened)),
        ("time_uncertain", json::boolean(event.at.is_uncertain(utc_ms))),
        ("ended_noticed", json::boolean(!event.facts[ENDED].is_empty())),
        ("repeats", json::optional(notice::times(&event.facts).map(|times| times.to_string()))),
        ("text", json::string(&style.line(event, verdict))),
    ]);
    json::object(&members)
}

/// Joins a digest's reports into a JSON array. Its notices must be [`object`]s.
pub fn array(digest: &Digest<'_>) -> String {
    json::array(digest.notices.iter().map(|notice| notice.text.clone()))
}

/// One member for each fact that a notice shows, named as in [`FACTS`]. They are all null in the program's own notices.
fn facts(event: &Event) -> impl Iterator<Item = (&'static str, String)> {
    let value = |fact| if event.action().is_some() { text(&event.facts[fact]) } else { json::optional(None) };
    Fact::all().filter(|(_, row)| row.shown != Shown::No).map(move |(fact, row)| (row.name, value(fact)))
}

/// How the user authenticated; empty for a logout, whose environment can be forged.
fn authentication(event: &Event) -> Field {
    match event.action() {
        Some(Action::Open) => Field::new(authentication::describe(&event.facts).as_bytes()),
        Some(Action::Close) | None => Field::default(),
    }
}

fn text(field: &Field) -> String {
    json::optional(Some(field.as_str()).filter(|text| !text.is_empty()).map(json::string))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::{EARLIEST_MS, Stamp};
    use crate::event::{BY, Facts, KEY, METHOD, REMOTE_HOST, SERVICE, TIMES, TTY, USER, Uid};
    use crate::rules::{New, Urgency};
    use crate::tz::Zone;

    fn event(kind: Kind, values: &[(Fact, &str)]) -> Event {
        let mut facts = Facts::default();
        for (fact, value) in values {
            facts[*fact] = Field::bounded(value.as_bytes(), fact.row().limit);
        }
        Event { uid: Uid(0xf3), kind, at: Stamp { utc_ms: EARLIEST_MS + 7, ..Stamp::default() }, facts }
    }

    fn report(event: &Event, verdict: &Verdict) -> Value {
        let (host, zone) = (Field::new(b"example.com"), Zone::open("NZST-12NZDT,M9.5.0,M4.1.0/3").expect("a rule"));
        let style = Style { host: &host, zone: &zone, now: &Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() } };
        serde_json::from_str(&object(&style, event, verdict)).expect("JSON")
    }

    #[test]
    fn a_report_has_every_known_fact_of_each_kind_of_event() {
        let values = [(USER, "root"), (BY, "amanda"), (REMOTE_HOST, "gateway"), (TTY, "pts/0"), (SERVICE, "su")];
        let open = event(Kind::Session(Action::Open), &[&values[..], &[(METHOD, "password")]].concat());
        let new = New { is_address: true, is_key: false };
        let verdict = Verdict { urgency: Urgency::Urgent, new, ..Verdict::default() };
        let text = "'root' (by 'amanda') (gateway) logged in to example.com via pts/0 (su) at \
                    2026-11-01 13:00:00+13:00; password; new address";
        let mut expected = json!({
            "version": 1, "uid": "00000000000000f3", "type": "open", "time": "2026-11-01T13:00:00+13:00",
            "utc_ms": EARLIEST_MS + 7, "host": "example.com", "user": "root", "remote_host": "gateway", "tty": "pts/0",
            "service": "su", "by": "amanda", "address": null, "authentication": "password", "urgency": "urgent",
            "new_address": true, "new_key": false, "duration_ms": null, "login_missing": false, "time_uncertain": false,
            "ended_noticed": false, "repeats": null, "text": text
        });
        assert_eq!(report(&open, &verdict), expected);

        let close = event(Kind::Session(Action::Close), &[(USER, "root"), (METHOD, "password"), (ENDED, "noticed")]);
        let verdict = Verdict { after_ms: Some(1500), is_unopened: true, ..Verdict::default() };
        for (name, value) in [("remote_host", Value::Null), ("tty", Value::Null), ("by", Value::Null)] {
            expected[name] = value;
        }
        expected["service"] = Value::Null;
        expected["authentication"] = Value::Null;
        (expected["type"], expected["urgency"]) = (json!("close"), json!("normal"));
        (expected["new_address"], expected["login_missing"]) = (json!(false), json!(true));
        (expected["duration_ms"], expected["ended_noticed"]) = (json!(1500), json!(true));
        expected["text"] = json!(
            "'root' logged out from example.com (); ended, noticed at 2026-11-01 13:00:00+13:00; after 1s; \
             no login was recorded"
        );
        assert_eq!(report(&close, &verdict), expected);

        let own = report(&event(Kind::Notice, &[(USER, "a dead letter")]), &Verdict::default());
        assert_eq!((&own["type"], &own["user"], &own["duration_ms"]), (&json!("notice"), &Value::Null, &Value::Null));
        assert_eq!(own["text"], "ssh-session-notifier on example.com at 2026-11-01 13:00:00+13:00: a dead letter");
    }

    #[test]
    fn a_summary_of_repeats_has_the_number_of_logins() {
        let summary = report(&event(Kind::Session(Action::Open), &[(TIMES, "59")]), &Verdict::default());
        assert_eq!(summary["repeats"], 59);
    }

    #[test]
    fn an_impossible_time_is_marked_as_uncertain() {
        let mut early = event(Kind::Session(Action::Open), &[]);
        early.at.utc_ms = 5000;
        let early = report(&early, &Verdict::default());
        assert_eq!((&early["time_uncertain"], &early["utc_ms"]), (&json!(true), &json!(5000)));
        assert_eq!(early["time"], "1970-01-01T13:00:05+13:00");
    }

    /// P3
    #[test]
    fn a_fact_is_not_cut_as_in_the_text_and_cannot_break_out_of_its_string() {
        let name = format!("\"}},{{\\{{user}}\u{1b}\u{202e}{}", "x".repeat(200));
        let report = report(&event(Kind::Session(Action::Open), &[(USER, &name)]), &Verdict::default());
        let shown = name.replace(['\u{1b}', '\u{202e}'], "\u{fffd}");
        assert_eq!(report["user"], shown);
        assert!(report["text"].as_str().is_some_and(|text| text.len() < 200), "{report}");
    }

    #[test]
    fn no_report_exceeds_the_length_that_services_are_checked_against() {
        let longest = |character: &str| {
            let host = Field::new(character.repeat(300).as_bytes());
            let now = Stamp { utc_ms: i64::MAX, boot_ms: 1, boot_id: "b".into() };
            let mut longest = event(Kind::Session(Action::Open), &[]);
            longest.at = Stamp { utc_ms: i64::MIN, boot_ms: 1, boot_id: "a".into() };
            for (fact, row) in Fact::all() {
                longest.facts[fact] = Field::bounded(character.repeat(4000).as_bytes(), row.limit);
            }
            longest.facts[BY] = Field::new(format!("y{}", character.repeat(300)).as_bytes());
            longest.facts[METHOD] = Field::new("publickey,".repeat(20).as_bytes());
            longest.facts[KEY] = Field::default();
            let new = New { is_address: true, is_key: true };
            let verdict = Verdict { after_ms: Some(i64::MAX), new, is_unopened: true, ..Verdict::default() };
            object(&Style { host: &host, zone: &Zone::utc(), now: &now }, &longest, &verdict).len()
        };
        for character in ["\"", "\u{1f512}", "\"\u{1f512}"] {
            assert!(longest(character) <= LONGEST, "{} of {LONGEST}", longest(character));
        }
        assert!(longest("\"\u{1f512}") > LONGEST / 2, "{} of {LONGEST}", longest("\"\u{1f512}"));
    }
}
