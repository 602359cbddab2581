//! Mailboxes: `amanda@example.com`, or `Amanda <amanda@example.com>`, as they stand in the configuration.

/// Bytes of an address, and of what stands before its `@` (RFC 5321 §4.5.3.1).
const ADDRESS_LIMIT: usize = 254;
const LOCAL_LIMIT: usize = 64;

/// Somebody who writes or gets mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// What a person reads; may be empty.
    pub name: String,
    /// An address of plain ASCII, which needs no quotes anywhere.
    pub address: String,
}

impl Mailbox {
    /// Reads a mailbox, or says what is wrong with it.
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
            return Err("must have an address in ASCII; a domain is written in the form that begins with xn--");
        }
        if is_address(address) {
            Ok(Self { name: name.into(), address: address.into() })
        } else {
            Err("must be an address such as amanda@example.com, or \"Amanda <amanda@example.com>\"")
        }
    }

    /// What stands behind the `@`; empty if there is none.
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Whether a text is an address without quotes: a Dot-string and a Domain (RFC 5321 §4.1.2), or a local name alone.
/// It is never taken for an option of a program.
fn is_address(text: &str) -> bool {
    let (local, is_complete) = match text.rsplit_once('@') {
        Some((local, domain)) => (local, is_domain(domain)),
        None => (text, true),
    };
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let are_atoms = local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
    is_complete && are_atoms && local.len() <= LOCAL_LIMIT && text.len() <= ADDRESS_LIMIT && !text.starts_with('-')
}

/// Whether a text can be a host's name in mail: parts of letters, digits, `-` and `_`, with dots between.
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
    fn what_is_more_than_an_address_is_refused() {
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
