//! Parses an SMTP server's replies (RFC 5321 §4.2) from the bytes that have arrived so far.

use crate::text::Field;

/// Bytes in a reply. A line has at most 512 (RFC 5321 §4.5.3.1.5), and a reply about a dozen lines.
const LIMIT: usize = 8 * 1024;

const NOT_SMTP: &str = "the server does not speak SMTP";

/// A reply of one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The texts of its lines.
    pub lines: Vec<String>,
}

impl Reply {
    /// Removes a complete reply from the front of `bytes`. `Ok(None)` if more bytes are needed.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, &'static str> {
        let (mut reply, mut start) = (Self { code: 0, lines: Vec::new() }, 0);
        loop {
            let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') else {
                let is_smtp = bytes[start..].iter().take(3).all(u8::is_ascii_digit);
                return match bytes.len() {
                    _ if !is_smtp => Err(NOT_SMTP),
                    LIMIT.. => Err("the server's reply is too long"),
                    _ => Ok(None),
                };
            };
            let line = String::from_utf8_lossy(&bytes[start..start + length]).trim_end().to_owned();
            start += length + 1;
            let is_last = reply.add(&line)?;
            if start > LIMIT {
                return Err("the server's reply is too long");
            }
            if is_last {
                bytes.drain(..start);
                return Ok(Some(reply));
            }
        }
    }

    /// Adds a line. `true` if it is the last one.
    fn add(&mut self, line: &str) -> Result<bool, &'static str> {
        let (code, text) = line.split_at_checked(3).unwrap_or((line, ""));
        let code = code.parse().ok().filter(|code| (200..600).contains(code)).ok_or(NOT_SMTP)?;
        if !self.lines.is_empty() && code != self.code {
            return Err("the lines of the server's reply have different codes");
        }
        self.code = code;
        self.lines.push(text.get(1..).unwrap_or_default().to_owned());
        match text.bytes().next() {
            None | Some(b' ') => Ok(true),
            Some(b'-') => Ok(false),
            Some(_) => Err(NOT_SMTP),
        }
    }

    /// The texts of all lines, joined: `5.1.1 no such user`
    pub fn text(&self) -> Field {
        Field::new(self.lines.join(" ").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"250-mail.example\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE\r\n";

    fn take(bytes: &[u8]) -> Result<Option<(Reply, usize)>, &'static str> {
        let mut bytes = bytes.to_vec();
        Reply::take(&mut bytes).map(|reply| reply.map(|reply| (reply, bytes.len())))
    }

    #[test]
    fn a_complete_reply_is_removed_and_the_bytes_after_it_stay() {
        for (bytes, code, lines, left) in [
            (GOOD, 250, &["mail.example", "AUTH PLAIN LOGIN", "SIZE"][..], 0),
            (b"220 ready\r\n250 hidden\r\n", 220, &["ready"], 12),
            (b"354\n", 354, &[""], 0),
            (b"550 5.1.1 \xff\r\n", 550, &["5.1.1 \u{fffd}"], 0),
        ] {
            let (reply, rest) = take(bytes).expect("a reply").expect("a complete one");
            assert_eq!((reply.code, rest), (code, left));
            assert_eq!(reply.lines, lines);
        }
    }

    #[test]
    fn every_truncated_reply_waits_for_more() {
        for length in 0..GOOD.len() {
            assert_eq!(take(&GOOD[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn no_flipped_bit_panics_or_gives_a_code_that_the_reply_does_not_have() {
        for place in 0..GOOD.len() * 8 {
            let mut bytes = GOOD.to_vec();
            bytes[place / 8] ^= 1 << (place % 8);
            if let Ok(Some((reply, _))) = take(&bytes) {
                assert!(bytes.starts_with(reply.code.to_string().as_bytes()), "{bytes:?}");
            }
        }
    }

    #[test]
    fn other_protocols_and_endless_replies_are_refused() {
        let endless = b"250-".repeat(LIMIT);
        let lines = b"250-x\r\n".repeat(LIMIT);
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\x15\x03\x01\0\x02\x02\x28", b"250-a\r\n550 b\r\n", b"100 a\r\n"]
                .into_iter()
                .chain([&endless[..], &lines, b"999 a\r\n", b"250_a\r\n", b"25\r\n", b"\r\n", b"+25 x\r\n"])
        {
            assert!(take(bytes).is_err(), "{:?}", String::from_utf8_lossy(&bytes[..20.min(bytes.len())]));
        }
    }
}
