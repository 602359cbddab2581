//! Writes a mail's headers (RFC 5322) and text (RFC 2045) in ASCII, whatever the notices contain.

use std::fmt::Write;

use crate::clock::Stamp;
use crate::notifier::Digest;
use crate::notifier::email::mailbox::Mailbox;
use crate::rules::Urgency;
use crate::text::{Field, base64};
use crate::tz::{Zone, days_from_civil};

/// Characters of the first notice in the subject.
const SUBJECT_WIDTH: usize = 150;

/// Bytes of text in an encoded word, which then has at most 64 (RFC 2047 §2 allows 75, and 76 in its line).
const WORD: usize = 39;

/// Characters in a line, where it can be broken (RFC 5322 §2.1.1, RFC 2045 §6.7).
const LINE: usize = 76;

/// Bytes in a line that cannot be broken (RFC 5322 §2.1.1).
const LONGEST_LINE: usize = 998;

/// Writes the message, with LF after each line. `id` is the Message-ID without `<` and `>`.
pub fn write(digest: &Digest<'_>, from: Option<&Mailbox>, to: &[String], id: &str) -> String {
    let mut text = String::new();
    if let Some(date) = date(digest.style.zone, digest.style.now) {
        header(&mut text, "Date", &date);
    }
    if let Some(Mailbox { name, address }) = from {
        let name = if name.is_empty() { digest.style.host.clone() } else { Field::new(name.as_bytes()) };
        header(&mut text, "From", &format!("{} <{address}>", phrase(&name)));
    }
    header(&mut text, "To", &to.join(",\n "));
    header(&mut text, "Subject", &unstructured(&subject(digest)));
    header(&mut text, "Message-ID", &format!("<{id}>"));
    // Keeps automatic replies away (RFC 3834 §5).
    header(&mut text, "Auto-Submitted", "auto-generated");
    if let Some((priority, importance)) = importance(digest.urgency()) {
        header(&mut text, "X-Priority", priority);
        header(&mut text, "Importance", importance);
    }
    header(&mut text, "MIME-Version", "1.0");
    header(&mut text, "Content-Type", "text/plain; charset=utf-8");
    let body = digest.lines("");
    let is_plain = body.lines().all(|line| line.len() <= LONGEST_LINE && is_printable(line));
    header(&mut text, "Content-Transfer-Encoding", if is_plain { "7bit" } else { "quoted-printable" });
    text.push('\n');
    for line in body.lines() {
        text += &if is_plain { line.into() } else { quoted_printable(line) };
        text.push('\n');
    }
    text
}

fn header(text: &mut String, name: &str, value: &str) {
    text.extend([name, ": ", value, "\n"]);
}

/// The values of X-Priority, which every mail program knows, and of Importance, which is specified (RFC 4021 §2.1.54).
fn importance(urgency: Urgency) -> Option<(&'static str, &'static str)> {
    match urgency {
        Urgency::Quiet => Some(("5 (Lowest)", "low")),
        Urgency::Normal => None,
        Urgency::Urgent => Some(("1 (Highest)", "high")),
    }
}

/// `'amanda' (192.0.2.7) logged in to …`, or `3 notices: 'amanda' (192.0.2.7) logged in to …`
fn subject(digest: &Digest<'_>) -> String {
    let first = digest.notices.first().map_or("", |notice| notice.text.as_str());
    // The mark of a cut must not make an ASCII subject need encoding.
    let first = Field::bounded(first.as_bytes(), SUBJECT_WIDTH).as_str().replace('…', "...");
    match digest.notices.len() {
        1 => first,
        count => format!("{count} notices: {first}"),
    }
}

/// Formats a Date: `Sat, 25 Apr 2026 10:00:00 +1200` (RFC 5322 §3.3). `None` if the clock was never set: then the
/// server adds its own time, and the mail isn't sorted below years of others.
fn date(zone: &Zone, now: &Stamp) -> Option<String> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    if now.is_uncertain(now.utc_ms) {
        return None;
    }
    let local = zone.format(now.utc_ms);
    let (date, time) = local.split_once(' ')?;
    let mut numbers = date.split('-').map(|number| number.parse().ok());
    let [year, month, day]: [i64; 3] = [numbers.next()??, numbers.next()??, numbers.next()??];
    // 1970-01-01 was a Thursday, which is 4.
    let weekday = usize::try_from((days_from_civil(year, month, day) + 4).rem_euclid(7)).ok()?;
    let month = MONTHS.get(usize::try_from(month - 1).ok()?)?;
    let (clock, offset) = time.split_at_checked("10:00:00".len())?;
    Some(format!("{}, {day} {month} {year} {clock} {}", DAYS[weekday], offset.replace(':', "")))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Writes a display name: as a quoted string, or as encoded words.
fn phrase(name: &Field) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b" .-_'+".contains(&byte);
    if name.as_str().bytes().all(is_safe) && name.as_str().len() < LINE - 10 {
        format!("\"{name}\"")
    } else {
        encoded_words(name.as_str()) + "\n"
    }
}

/// Writes an unstructured header value: folded at its spaces if it is ASCII, else as encoded words.
fn unstructured(text: &str) -> String {
    let has_long_word = || text.split(' ').any(|word| word.len() > LINE);
    if !is_printable(text) || text.contains("=?") || has_long_word() {
        return encoded_words(text);
    }
    let (mut folded, mut length) = (String::new(), "Subject:".len());
    for (place, word) in text.split(' ').enumerate() {
        // Some programs take a line of spaces for the end of the headers.
        let is_full = length + 1 + word.len() > LINE && !word.is_empty();
        match place {
            0 => {}
            _ if is_full => {
                folded += "\n ";
                length = 0;
            }
            _ => folded.push(' '),
        }
        folded += word;
        length += 1 + word.len();
    }
    folded
}

/// Writes encoded words (RFC 2047 §2), one a line, and never splits a character.
fn encoded_words(text: &str) -> String {
    let (mut words, mut part) = (Vec::new(), String::new());
    for character in text.chars() {
        if part.len() + character.len_utf8() > WORD {
            words.push(std::mem::take(&mut part));
        }
        part.push(character);
    }
    words.push(part);
    let words: Vec<String> = words.iter().map(|part| format!("=?utf-8?B?{}?=", base64(part.as_bytes()))).collect();
    words.join("\n ")
}

/// Encodes a line as quoted-printable (RFC 2045 §6.7), with soft line breaks.
fn quoted_printable(line: &str) -> String {
    let (mut text, mut length) = (String::new(), 0);
    for (place, byte) in line.bytes().enumerate() {
        let is_last = place + 1 == line.len();
        let is_literal = matches!(byte, b'!'..=b'<' | b'>'..=b'~') || (byte == b' ' && !is_last);
        let width = if is_literal { 1 } else { 3 };
        if length + width >= LINE {
            text += "=\n";
            length = 0;
        }
        if is_literal {
            text.push(byte.into());
        } else {
            let _ = write!(text, "={byte:02X}");
        }
        length += width;
    }
    text
}

#[cfg(test)]
mod tests;
