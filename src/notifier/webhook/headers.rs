//! Headers from the configuration, mostly tokens, which every request of a target carries.

use crate::http::Header;
use crate::text::Secret;
use crate::toml::Section;

/// The most headers of one target, more than any known server needs.
const MOST: usize = 32;

/// The most bytes of a value. Servers accept about 8 KiB of headers in total.
const LONGEST: usize = 4096;

/// Headers that this program sets itself, or that change how a server parses the request.
const RESERVED: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Reads `headers` and `headers_file`, which has one header per line. Adds their values to `secrets`.
pub fn configure(section: &mut Section<'_>, secrets: &mut Vec<Secret>) -> Option<Vec<Header>> {
    let mut headers = Vec::new();
    for found in section.members("headers") {
        section.check("headers", &found, |(name, value)| add(&mut headers, name, value))?;
    }
    if let Some(found) = section.secret_file("headers_file") {
        section.check("headers_file", &found, |text| {
            let lines = (1..).zip(text.reveal().lines()).filter(|(_, line)| !line.trim().is_empty());
            for (number, line) in lines {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                add(&mut headers, name.trim(), value.trim())
                    .map_err(|why| format!("{why} (line {number} of the file)"))?;
            }
            Ok::<(), String>(())
        })?;
    }
    for (_, value) in &headers {
        secrets.push(value.clone());
        // The token in `Bearer TOKEN` is a secret without its prefix too.
        secrets.extend(value.reveal().split_once(' ').map(|(_, token)| Secret::new(token)));
    }
    Some(headers)
}

/// Checks and adds a header. Errors quote nothing, because a secret may be in the place of the name.
fn add(headers: &mut Vec<Header>, name: &str, value: &str) -> Result<(), &'static str> {
    let is_same = |known: &str| known.eq_ignore_ascii_case(name);
    // RFC 9110 §5.6.2 and §5.5.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_value = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let is_ours = RESERVED.into_iter().any(is_same) || name.to_ascii_lowercase().starts_with("webhook-");
    if name.is_empty() || !name.bytes().all(is_token) || value.is_empty() {
        return Err("must have headers as `Name: value`");
    }
    if value.len() > LONGEST || !value.bytes().all(is_value) || value.trim() != value {
        return Err("has a header whose value is not one line of at most 4096 ASCII characters");
    }
    if is_ours {
        return Err("has a header that this program sets itself");
    }
    if headers.iter().any(|(known, _)| is_same(known)) {
        return Err("has the same header twice");
    }
    if headers.len() == MOST {
        return Err("has more than 32 headers");
    }
    headers.push((name.to_owned().into(), Secret::new(value)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::tests::mistakes;

    #[test]
    fn a_header_is_one_line_and_cannot_change_how_the_request_is_parsed() {
        for (name, value, expected) in [
            ("Authorization", "Bearer s3cret", Ok(())),
            ("X-Api_Key.1", "a: b; c=\"d\"", Ok(())),
            ("", "a", Err("must have headers as")),
            ("X Y", "a", Err("must have headers as")),
            ("X:", "a", Err("must have headers as")),
            ("Ünicode", "a", Err("must have headers as")),
            ("X", "", Err("must have headers as")),
            ("X", "a\r\nY: b", Err("has a header whose value")),
            ("X", "a\nb", Err("has a header whose value")),
            ("X", "a\0", Err("has a header whose value")),
            ("X", "é", Err("has a header whose value")),
            ("X", " a", Err("has a header whose value")),
            ("X", &"a".repeat(LONGEST + 1), Err("has a header whose value")),
            ("host", "a", Err("has a header that this program")),
            ("CONTENT-LENGTH", "1", Err("has a header that this program")),
            ("Webhook-Id", "1", Err("has a header that this program")),
        ] {
            let result = add(&mut Vec::new(), name, value);
            let begins =
                result.as_ref().map_err(|why| expected.as_ref().err().is_some_and(|words| why.starts_with(words)));
            assert!(begins == Ok(&()) && expected.is_ok() || begins == Err(true), "{name}: {value}: {result:?}");
        }
        let mut headers = Vec::new();
        assert!((0..MOST).all(|number| add(&mut headers, &format!("X-{number}"), "a").is_ok()));
        assert_eq!(add(&mut headers, "x-0", "b"), Err("has the same header twice"));
        assert_eq!(add(&mut headers, "X-Last", "b"), Err("has more than 32 headers"));
    }

    /// P7
    #[test]
    fn a_mistake_in_a_header_is_reported_with_its_line_but_not_its_value() {
        for (settings, expected) in [
            ("headers = { 'X Y' = 's3cret' }", "c:4: webhook.headers must have headers as `Name: value`"),
            ("[webhook.headers]\nA = 'a'\nHost = 's3cret'", "c:6: webhook.headers has a header that this program"),
            ("headers = { A = ['s3cret'] }", "c:4: webhook.headers.A must be a string, a whole number, true or false"),
            ("headers = 's3cret'", "c:4: webhook.headers must be a section"),
            ("headers_file = 's3cret'", "c:4: webhook.headers_file must be the absolute path of a file"),
        ] {
            let why = mistakes("webhook", &format!("url = 'http://h'\n{settings}"));
            assert!(why.contains(expected) && !why.contains("s3cret"), "{settings}: {why}");
        }
    }
}
