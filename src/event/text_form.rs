//! The text form of an event: `name value` lines, ended by `end`.
//!
//! Files in the spool and records in syslog have this form; the queue keeps the lines for which it has no column.
//! Values are [`Field`]s, so they have no line breaks. An unknown fact has no line. Lines with unknown names are
//! kept for a newer version.

use std::fmt::Write;

use crate::clock::Stamp;
use crate::event::{Event, Fact, Facts, Kind, Store, Uid};
use crate::text::Field;

/// The last line, which proves that a file is complete.
const END: &str = "end\n";

/// Lines with unknown names that are kept of one event.
const UNKNOWN_LINES: usize = 32;

/// Bytes in all those lines.
const UNKNOWN_BYTES: usize = 2048;

/// Characters in a name.
const NAME_LIMIT: usize = 32;

/// Names of lines that aren't facts.
const HEAD: [&str; 5] = ["uid", "action", "utc_ms", "boot_ms", "boot_id"];

/// Writes an event:
///
/// ```text
/// uid 00f3a8b2c4d5e6f7
/// action open
/// utc_ms 1795758639470
/// boot_ms 2788352
/// boot_id 295c187d-2d9e-4c59-a2a9-93d694b9557f
/// user amanda
/// …
/// end
/// ```
pub fn write(event: &Event) -> String {
    format!("uid {}\n{}{END}", event.uid, body(event))
}

/// Writes an event in one line, for syslog:
///
/// `uid 00f3a8b2c4d5e6f7 | action open | … | end`
///
/// A `|` or `\` in a value is escaped with `\`, so that no value can look like another line.
pub fn write_line(event: &Event) -> String {
    let escape = |line: &str| line.replace('\\', "\\\\").replace('|', "\\|");
    write(event).lines().map(escape).collect::<Vec<_>>().join(" | ")
}

/// Writes the lines for which the queue has no column.
pub fn write_rest(event: &Event) -> String {
    let mut text = format!("uid {}\n", event.uid);
    push_facts(&mut text, &event.facts, &[Store::Text]);
    text
}

/// Parses the text that [`write`] makes. `None` unless it is a complete event.
pub fn parse(text: &str) -> Option<Event> {
    let text = text.strip_suffix(END)?;
    let name = value(text, "action")?;
    let (kind, ..) = Kind::ALL.into_iter().find(|(_, known, _)| *known == name)?;
    let boot_id = value(text, "boot_id").unwrap_or_default();
    let at = Stamp {
        utc_ms: value(text, "utc_ms")?.parse().ok()?,
        boot_ms: value(text, "boot_ms")?.parse().ok()?,
        boot_id: Field::new(boot_id.as_bytes()).as_str().into(),
    };
    Some(assemble(kind, at, Facts::default(), text, &[Store::Column, Store::Text]))
}

/// Makes an event from the queue's columns and the lines that [`write_rest`] makes.
pub fn parse_rest(kind: Kind, at: Stamp, columns: Facts, text: &str) -> Event {
    assemble(kind, at, columns, text, &[Store::Text])
}

fn assemble(kind: Kind, at: Stamp, mut facts: Facts, text: &str, stores: &[Store]) -> Event {
    for (fact, row) in Fact::all().filter(|(_, row)| stores.contains(&row.store)) {
        facts[fact] = Field::bounded(value(text, row.name).unwrap_or_default().as_bytes(), row.limit);
    }
    facts.unknown = unknown(text);
    let mut event = Event { uid: Uid(0), kind, at, facts };
    event.uid = value(text, "uid").and_then(Uid::parse).unwrap_or_else(|| Uid::of(&body(&event)));
    event
}

/// Writes everything except uid and end. The uid of an old event is a hash of this.
fn body(event: &Event) -> String {
    let Stamp { utc_ms, boot_ms, boot_id } = &event.at;
    let name = event.kind.name();
    let mut text = format!("action {name}\nutc_ms {utc_ms}\nboot_ms {boot_ms}\nboot_id {boot_id}\n");
    push_facts(&mut text, &event.facts, &[Store::Column, Store::Text]);
    text
}

fn push_facts(text: &mut String, facts: &Facts, stores: &[Store]) {
    for (fact, row) in Fact::all().filter(|(fact, row)| stores.contains(&row.store) && !facts[*fact].is_empty()) {
        let _ = writeln!(text, "{} {}", row.name, facts[fact]);
    }
    for (name, value) in &facts.unknown {
        let _ = writeln!(text, "{name} {value}");
    }
}

fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')))
}

fn unknown(text: &str) -> Vec<(String, Field)> {
    let is_name = |name: &str| {
        (1..=NAME_LIMIT).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let is_known = |name: &str| HEAD.contains(&name) || Fact::find(name).is_some();
    let mut bytes = 0;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(name, _)| is_name(name) && !is_known(name))
        .take_while(|(name, value)| {
            bytes += name.len() + value.len() + 2;
            bytes <= UNKNOWN_BYTES
        })
        .take(UNKNOWN_LINES)
        .map(|(name, value)| (name.into(), Field::new(value.as_bytes())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, BY, REMOTE_HOST, USER};

    fn event(user: &[u8]) -> Event {
        let mut facts = Facts::default();
        facts[USER] = Field::new(user);
        facts[REMOTE_HOST] = Field::new(b"192.0.2.6");
        facts[BY] = Field::new(b"amanda");
        let at = Stamp { utc_ms: -1, boot_ms: 2, boot_id: "b".into() };
        Event { uid: Uid(0x1234), kind: Kind::Session(Action::Close), at, facts }
    }

    /// P3
    #[test]
    fn in_one_line_no_value_looks_like_another_line() {
        let mut event = Event::session(Action::Open, Facts::default());
        event.facts[USER] = Field::new(br"a | user root \| end \");
        let line = write_line(&event);
        assert!(line.contains(r" | user a \| user root \\\| end \\ | end"), "{line}");
        let lines: Vec<_> = line.split(" | ").map(|line| line.replace(r"\|", "|").replace(r"\\", r"\")).collect();
        assert_eq!(lines.join("\n") + "\n", write(&event));
    }

    #[test]
    fn an_event_with_any_user_name_survives_the_text_form() {
        for user in [&b"amanda"[..], b"", b"a\nend\n", b"user root\naction open", b"\xff\x00", &vec![b'x'; 70_000]] {
            let event = event(user);
            assert_eq!(parse(&write(&event)), Some(event.clone()));
            let mut columns = Facts::default();
            for (fact, _) in Fact::all().filter(|(_, row)| row.store == Store::Column) {
                columns[fact] = event.facts[fact].clone();
            }
            assert_eq!(parse_rest(event.kind, event.at.clone(), columns, &write_rest(&event)), event);
        }
        let notice = Event { uid: Uid(7), ..Event::notice("two events") };
        assert_eq!(parse(&write(&notice)), Some(notice));
    }

    #[test]
    fn every_fact_survives_the_text_form() {
        for (fact, row) in Fact::all() {
            let mut event = event(b"amanda");
            event.facts[fact] = Field::bounded("é".repeat(row.limit).as_bytes(), row.limit);
            assert_eq!(parse(&write(&event)), Some(event), "{}", row.name);
        }
    }

    #[test]
    fn two_copies_of_an_event_without_a_uid_get_the_same_one() {
        let old =
            "utc_ms 5\nboot_ms 6\nboot_id b\naction open\nuser a\nremote_host \ntty \nservice sshd\nsession 1-2\nend\n";
        let event = parse(old).expect("an event of the first version");
        let columns = event.facts.clone();
        assert_eq!(parse_rest(event.kind, event.at.clone(), columns, "").uid, event.uid);
        let other = parse(&old.replace("user a", "user b")).expect("another one");
        assert_ne!(other.uid, event.uid);
    }

    #[test]
    fn unknown_lines_of_a_newer_version_are_kept_within_bounds() {
        let text = write(&event(b"amanda")).replace("end\n", "colour green\nUser root\nend\n");
        let newer = parse(&text).expect("it is whole");
        assert_eq!(newer.facts.unknown, [("colour".to_string(), Field::new(b"green"))]);
        assert_eq!(write(&newer), text.replace("User root\n", ""));
        let many = (0..1000).map(|number| format!("x{number} y\n")).collect::<Vec<_>>().concat();
        let bounded = parse(&text.replace("colour green\n", &many)).expect("it is whole");
        assert_eq!(bounded.facts.unknown.len(), UNKNOWN_LINES);
        let large = format!("colour {}\n", "x".repeat(UNKNOWN_BYTES));
        assert!(parse(&text.replace("colour green\n", &large)).expect("it is whole").facts.unknown.is_empty());
    }

    #[test]
    fn every_truncated_text_is_refused_and_no_flipped_bit_panics() {
        let whole = write(&event(b"amanda"));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
