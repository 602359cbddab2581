use super::*;
use crate::notifier::Notice;
use crate::notifier::tests::with_style;
use crate::text::base64_decoded;

fn message(host: &str, from: &str, texts: &[&str], urgency: Urgency) -> String {
    let notices: Vec<Notice> =
        (1..).zip(texts).map(|(uid, text)| Notice { uid, urgency, text: (*text).into() }).collect();
    let (from, to) = (Mailbox::parse(from).expect("a mailbox"), ["a@b".to_owned(), "c@d".to_owned()]);
    with_style(host, |style| write(&Digest { style, notices: &notices }, Some(&from), &to, "1.ssn@b"))
}

#[test]
fn an_ascii_mail_is_not_encoded() {
    let text = "'amanda' (192.168.1.50) logged in to host.example via ssh (sshd) at 2026-04-25 10:00:00+12:00";
    let expected = format!(
        "Date: Sun, 1 Nov 2026 00:00:00 +0000\n\
         From: \"host.example\" <r@b>\n\
         To: a@b,\n c@d\n\
         Subject: 'amanda' (192.168.1.50) logged in to host.example via ssh (sshd) at\n 2026-04-25 10:00:00+12:00\n\
         Message-ID: <1.ssn@b>\n\
         Auto-Submitted: auto-generated\n\
         MIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 7bit\n\
         \n\
         {text}\n"
    );
    assert_eq!(message("host.example", "r@b", &[text], Urgency::Normal), expected);
}

#[test]
fn urgency_is_marked_in_both_directions() {
    let of = |urgency| message("h", "r@b", &["x"], urgency);
    assert!(!of(Urgency::Normal).contains("Importance") && !of(Urgency::Normal).contains("X-Priority"));
    assert!(of(Urgency::Urgent).contains("\nX-Priority: 1 (Highest)\nImportance: high\n"));
    assert!(of(Urgency::Quiet).contains("\nX-Priority: 5 (Lowest)\nImportance: low\n"));
}

/// Decodes encoded words.
fn decoded(value: &str) -> String {
    let words = value.split("\n ").map(|word| {
        let inner = word.strip_prefix("=?utf-8?B?").and_then(|word| word.strip_suffix("?="));
        assert!(word.len() <= 75, "{word}");
        let bytes = base64_decoded(inner.expect("an encoded word")).expect("base 64");
        String::from_utf8(bytes).expect("no character is divided")
    });
    words.collect()
}

/// P3
#[test]
fn every_text_becomes_one_header_and_can_be_decoded() {
    for text in ["Zoë שרת 王", "=?utf-8?Q?x?=", "a\r\nBcc: x", "\u{1f512}", &"x".repeat(100), &"王\u{1f512}".repeat(99)]
    {
        let value = unstructured(text);
        assert_eq!(decoded(&value), text);
        assert!(value.is_ascii() && value.lines().skip(1).all(|line| line.starts_with(' ')), "{value}");
    }
    for text in ["", "a", "a  b", "  a", "a ", "a b", &"abcd ".repeat(60), &("a".to_owned() + &" ".repeat(200) + "b")] {
        let value = unstructured(text);
        assert_eq!(value.replace('\n', ""), *text);
        for line in value.split('\n') {
            assert!(line.is_empty() == text.is_empty() && !(line.len() > 1 && line.trim().is_empty()), "{value}");
            assert!(line.len() <= LINE + 1 || line.contains("  "), "{value}");
        }
    }
}

#[test]
fn quoted_printable_encodes_and_breaks_lines_as_rfc_2045_says() {
    for (line, expected) in [
        ("a=b", "a=3Db"),
        ("a b ", "a b=20"),
        (" ", "=20"),
        ("ë\t", "=C3=AB=09"),
        (&"x".repeat(75), &"x".repeat(75)),
        (&"x".repeat(77), &format!("{}=\nxx", "x".repeat(75))),
        (&format!("{}é", "x".repeat(73)), &format!("{}=\n=C3=A9", "x".repeat(73))),
    ] {
        assert_eq!(quoted_printable(line), *expected);
        assert!(quoted_printable(line).split('\n').all(|line| line.len() <= LINE));
    }
}

#[test]
fn the_date_has_the_hosts_offset_and_is_omitted_if_the_clock_was_never_set() {
    let at = |utc_ms| Stamp { utc_ms, ..Stamp::default() };
    let zone = |name| Zone::open(name).expect("a zone");
    for (name, utc_ms, expected) in [
        ("Etc/UTC", 1_777_068_000_000, Some("Fri, 24 Apr 2026 22:00:00 +0000")),
        ("Pacific/Auckland", 1_777_068_000_000, Some("Sat, 25 Apr 2026 10:00:00 +1200")),
        ("America/St_Johns", 1_777_068_000_000, Some("Fri, 24 Apr 2026 19:30:00 -0230")),
        ("Etc/UTC", 5_000, None),
        ("Etc/UTC", -5_000, None),
    ] {
        assert_eq!(date(&zone(name), &at(utc_ms)).as_deref(), expected, "{name} {utc_ms}");
    }
}

#[test]
fn the_subject_is_the_first_notice_with_the_number_of_notices() {
    let subject = |texts: &[&str]| {
        let text = message("h", "r@b", texts, Urgency::Normal);
        let (_, rest) = text.split_once("\nSubject: ").expect("a subject");
        rest.split_once("\nMessage-ID").expect("it follows").0.replace("\n ", " ")
    };
    assert_eq!(subject(&["a b"]), "a b");
    assert_eq!(subject(&["a b", "c", "d"]), "3 notices: a b");
    assert_eq!(subject(&[&"abcd ".repeat(200)]), format!("{}abcd...", "abcd ".repeat(29)));
}

#[test]
fn the_sender_has_the_name_in_the_settings_or_the_hosts() {
    for (host, from, expected) in [
        ("host.example", "Router <r@b>", "\"Router\" <r@b>"),
        ("host.example", "r@b", "\"host.example\" <r@b>"),
        ("Zoë", "r@b", "=?utf-8?B?Wm/Dqw==?=\n <r@b>"),
        ("a\" <eve@c>,", "r@b", "=?utf-8?B?YSIgPGV2ZUBjPiw=?=\n <r@b>"),
    ] {
        let text = message(host, from, &["x"], Urgency::Normal);
        assert!(text.contains(&format!("\nFrom: {expected}\nTo: ")), "{text}");
    }
}
