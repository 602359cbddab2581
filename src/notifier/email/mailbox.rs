//! Parses mailboxes in the configuration: `amanda@example.com` or `Amanda <amanda@example.com>`.

/// Bytes in an address (RFC 5321 §4.5.3.1.3).
const ADDRESS_LIMIT: usize = 254;

/// Bytes before an address's `@` (RFC 5321 §4.5.3.1.1).
const LOCAL_LIMIT: usize = 64;

/// A display name and an address (RFC 5322 §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name; may be empty.
    pub name: String,
    /// The address, in ASCII that never needs quotes.
    pub address: String,
}

impl Mailbox {
    /// Parses a mailbox. The error continues a sentence about it: `must be …`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, address) = match text.trim().strip_suffix('>').map(|text| text.rsplit_once('<')) {
            Some(Some((name, address))) => (name.trim().trim_matches('"'), address),
            Some(None) => return Err("has a > without a <"),
            None => ("", text.trim()),
        };
        if text.contains(char::is_control) {
            return Err("must be in one line");
        }
        if !address.is_ascii() {
            return Err("must have an address in ASCII: write the domain in the form that begins with xn--");
        }
        if is_address(address) {
            Ok(Self { name: name.into(), address: address.into() })
        } else {
            Err("must be an address such as amanda@example.com, or \"Amanda <amanda@example.com>\"")
        }
    }

    /// The part after the `@`; empty for a local name.
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Whether a text is an address without quotes: a Dot-string and a Domain (RFC 5321 §4.1.2), or a local name alone.
/// A leading hyphen is refused, because sendmail would take it for an option.
fn is_address(text: &str) -> bool {
    let (local, is_complete) = match text.rsplit_once('@') {
        Some((local, domain)) => (local, is_domain(domain)),
        None => (text, true),
    };
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let are_atoms = local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
    is_complete && are_atoms && local.len() <= LOCAL_LIMIT && text.len() <= ADDRESS_LIMIT && !text.starts_with('-')
}

/// Whether a text can be a domain in mail: letters, digits, `-` and `_`, separated by dots.
pub fn is_domain(text: &str) -> bool {
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !part.starts_with('-')
    };
    text.len() <= ADDRESS_LIMIT && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_has_an_address_and_perhaps_a_name() {
        for (text, name, address) in [
            ("amanda@example.com", "", "amanda@example.com"),
            (" amanda+ssh@x.example ", "", "amanda+ssh@x.example"),
            ("Amanda <a@b>", "Amanda", "a@b"),
            ("\"Anna, B.\" <a.b@c-d.example>", "Anna, B.", "a.b@c-d.example"),
            ("<a@b>", "", "a@b"),
            ("Zoë < x <a@b>", "Zoë < x", "a@b"),
            ("root", "", "root"),
        ] {
            let expected = Mailbox { name: name.into(), address: address.into() };
            assert_eq!(Mailbox::parse(text), Ok(expected), "{text}");
        }
    }

    /// P3
    #[test]
    fn anything_beyond_a_name_and_an_address_is_refused() {
        let long = format!("a@{}.example", "b".repeat(64));
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b c",
            "a@b>",
            "a@b\r\nRCPT TO:<c@d>",
            "A <a@b\n>",
            "a@b,c@d",
            "a..b@c",
            "a@b..c",
            "a@-b",
            "-a@b",
            "-oQ/tmp",
            "\"a\"@b",
            "a@[192.0.2.7]",
            "zoë@b",
            "a@zoë.example",
            &long,
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }
}
