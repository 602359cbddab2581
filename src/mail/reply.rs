//! A server's replies (RFC 5321 §4.2), taken from the bytes that have come so far.

use crate::text::Field;

/// Bytes of a whole reply. A line has at most 512 (RFC 5321 §4.5.3.1.5), a reply a dozen lines or so.
pub const LIMIT: usize = 8 * 1024;

/// One reply, perhaps of several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The texts of its lines.
    pub lines: Vec<String>,
}

impl Reply {
    /// Takes a reply from the front of `bytes` when it is whole. `Ok(None)`: more must come.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, &'static str> {
        let (mut reply, mut start) = (Self { code: 0, lines: Vec::new() }, 0);
        loop {
            let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') else {
                let begins_well = bytes[start..].iter().take(3).all(u8::is_ascii_digit);
                return match bytes.len() {
                    _ if !begins_well => Err("what answers speaks no SMTP"),
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

    /// Adds a line, and says whether it is the last one.
    fn add(&mut self, line: &str) -> Result<bool, &'static str> {
        let (code, text) = line.split_at_checked(3).unwrap_or((line, ""));
        let code = code.parse().ok().filter(|code| (200..600).contains(code)).ok_or("what answers speaks no SMTP")?;
        if !self.lines.is_empty() && code != self.code {
            return Err("the lines of the server's reply have different codes");
        }
        self.code = code;
        self.lines.push(text.get(1..).unwrap_or_default().to_owned());
        match text.bytes().next() {
            None | Some(b' ') => Ok(true),
            Some(b'-') => Ok(false),
            Some(_) => Err("what answers speaks no SMTP"),
        }
    }

    /// All that it says, in one safe line: `5.1.1 no such user`
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
    fn a_reply_is_taken_when_it_is_whole_and_what_follows_is_left() {
        for (bytes, code, lines, left) in [
            (GOOD, 250, &["mail.example", "AUTH PLAIN LOGIN", "SIZE"][..], 0),
            (b"220 ready\r\n250 hidden\r\n", 220, &["ready"], 12),
            (b"354\n", 354, &[""], 0),
            (b"550 5.1.1 \xff\r\n", 550, &["5.1.1 \u{fffd}"], 0),
        ] {
            let (reply, rest) = take(bytes).expect("it is one").expect("it is whole");
            assert_eq!((reply.code, rest), (code, left));
            assert_eq!(reply.lines, lines);
        }
    }

    #[test]
    fn every_beginning_of_a_reply_waits_for_more() {
        for length in 0..GOOD.len() {
            assert_eq!(take(&GOOD[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_never_panics_nor_makes_a_reply_of_another_code_than_it_has() {
        for place in 0..GOOD.len() * 8 {
            let mut bytes = GOOD.to_vec();
            bytes[place / 8] ^= 1 << (place % 8);
            if let Ok(Some((reply, _))) = take(&bytes) {
                assert!(bytes.starts_with(reply.code.to_string().as_bytes()), "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_or_has_no_end_is_refused() {
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
