//! Text that is safe to show: `Field` holds what strangers choose, `Secret` what must never be shown.

use std::borrow::Cow;
use std::fmt;

/// Characters kept of a stranger's string. A host name has at most 253, a user name far fewer.
pub const FIELD_LIMIT: usize = 255;

/// Bytes of UTF-8 kept of it, so that it fits into one syslog packet.
pub const FIELD_BYTES: usize = 600;

/// Replaces the end of a text that was cut.
const CUT: char = '…';

/// One printable line of bounded length, made from any bytes.
///
/// Invalid UTF-8 and control, bidirectional and invisible characters become U+FFFD. Text beyond 255 characters or 600
/// bytes is cut and ends in `…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Field(String);

impl Field {
    /// Makes a field from any bytes, without leading and trailing white space.
    pub fn new(bytes: &[u8]) -> Self {
        Self::bounded(bytes, FIELD_LIMIT)
    }

    /// Makes a field of at most `limit` characters. A limit above [`FIELD_BYTES`] replaces that limit of bytes too.
    pub fn bounded(bytes: &[u8], limit: usize) -> Self {
        let byte_limit = limit.max(FIELD_BYTES);
        // A character takes four bytes at most.
        let head = &bytes[..bytes.len().min(4 * limit + 4)];
        let decoded = String::from_utf8_lossy(head);
        let mut text = String::new();
        for (count, character) in decoded.trim().chars().enumerate() {
            let shown = shown(character);
            if count == limit || text.len() + shown.len_utf8() > byte_limit {
                text.truncate(text.floor_char_boundary(byte_limit - CUT.len_utf8()));
                if count == limit {
                    text.pop();
                }
                text.push(CUT);
                break;
            }
            text.push(shown);
        }
        Self(text)
    }

    /// The text, cut to `width` characters. If it was cut, the last one is `…`.
    pub fn shown(&self, width: usize) -> Cow<'_, str> {
        if self.0.chars().nth(width).is_none() {
            return Cow::Borrowed(&self.0);
        }
        let start = self.0.chars().take(width.saturating_sub(1));
        Cow::Owned(start.chain([CUT]).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Replaces control, bidirectional and invisible characters, line breaks too, by U+FFFD. For texts that are not ours,
/// such as names of files, error messages and values from a database.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(shown).collect())
}

fn shown(character: char) -> char {
    if is_visible(character) { character } else { char::REPLACEMENT_CHARACTER }
}

/// Whether a character shows as itself and doesn't affect its neighbours.
fn is_visible(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{13430}'..='\u{13455}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{10ffff}')
}

/// A token, or an address that contains one. It has no `Display`, and `Debug` doesn't show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a request only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How many letters a misspelt word may differ by.
const NEAR: usize = 2;

/// Suggests the known word that is nearest to a misspelt one, ignoring case. `None` if none is near.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, near) = known.map(|known| (distance(word, known), known)).min()?;
    (distance <= NEAR).then_some(near)
}

/// Counts the letters to replace, insert or delete to turn one word into the other (Levenshtein distance).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.bytes().take(48).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, wanted) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(!letter.eq_ignore_ascii_case(&wanted));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// Percent-encodes a value for a path or a query (RFC 3986 §2.1).
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.extend(format!("%{byte:02X}").chars());
        }
    }
    encoded
}

/// Encodes bytes as base64 (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let byte = |place: usize| usize::from(three.get(place).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |place: usize| char::from(DIGITS[number >> (18 - 6 * place) & 63]);
        [0, 1, 2, 3].map(|place| if place <= three.len() { digit(place) } else { '=' })
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    text.extend(bytes.chunks(3).flat_map(four));
    text
}

/// Decodes padded base64 (RFC 4648 §4). `None` for anything else.
pub fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    };
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in digits.as_bytes().chunks(4) {
        let number = four.iter().try_fold(0, |number, byte| Some(number << 6 | digit(*byte)?))?;
        let number = number << (6 * (4 - four.len()));
        bytes.extend(&number.to_be_bytes()[1..four.len()]);
    }
    (text.len().is_multiple_of(4) && digits.len() + 3 > text.len() && digits.len() % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_visible_line() {
        let rows: [(&[u8], &str); 9] = [
            (b"amanda", "amanda"),
            (b"", ""),
            (b" a b ", "a b"),
            (b"a\nb\tc\x1b[31m", "a\u{fffd}b\u{fffd}c\u{fffd}[31m"),
            ("a\u{202e}b\u{200b}\u{1d173}".as_bytes(), "a\u{fffd}b\u{fffd}\u{fffd}"),
            (b"a\xffb", "a\u{fffd}b"),
            ("Zoë 王".as_bytes(), "Zoë 王"),
            (b"@everyone `x` 'y'", "@everyone `x` 'y'"),
            (b"\x85\x9b", "\u{fffd}\u{fffd}"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Field::new(bytes).as_str(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn invisible_characters_are_replaced_and_a_visible_text_is_not_copied() {
        assert_eq!(visible("a\n\x1b[2J\u{202e}b\tc\u{9b}"), "a\u{fffd}\u{fffd}[2J\u{fffd}b\u{fffd}c\u{fffd}");
        assert!(matches!(visible("/srv/Zoë 王"), Cow::Borrowed("/srv/Zoë 王")));
    }

    #[test]
    fn a_field_is_bounded_and_marked_if_it_was_cut() {
        let whole = "é".repeat(FIELD_LIMIT);
        assert_eq!(Field::new(whole.as_bytes()).as_str(), whole);
        let mixed = "a".repeat(140) + &"\u{1f512}".repeat(200);
        for long in
            ["é".repeat(FIELD_LIMIT + 1), "a".repeat(65_536), "王".repeat(201), "\u{1f512}".repeat(65_536), mixed]
        {
            let cut = Field::new(long.as_bytes());
            assert!(cut.as_str().chars().count() <= FIELD_LIMIT && cut.as_str().len() <= FIELD_BYTES);
            assert!(cut.as_str().ends_with('…') && cut.as_str().len() > FIELD_LIMIT, "{cut}");
        }
    }

    #[test]
    fn a_field_is_shown_within_a_width_and_marked_if_it_was_cut() {
        for (text, width, shown) in [("amanda", 6, "amanda"), ("amanda", 5, "aman…"), ("王王王", 2, "王…"), ("", 3, "")]
        {
            assert_eq!(Field::new(text.as_bytes()).shown(width), shown);
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("tk_1")), "Secret(..)");
    }

    #[test]
    fn base64_agrees_with_the_examples_of_rfc_4648() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), expected);
            assert_eq!(base64_decoded(expected).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn malformed_base64_is_refused() {
        for text in ["Z", "Zg", "Zg=", "Z===", "Zg==Zg==", "Zm9v\n", "====", "Zé==", "Zm-_"] {
            assert_eq!(base64_decoded(text), None, "{text}");
        }
    }
}
