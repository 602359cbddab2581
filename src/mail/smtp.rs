//! A client of message submission (RFC 6409): SMTP (RFC 5321) with STARTTLS (RFC 3207) and AUTH (RFC 4954).
//!
//! One command after the other, each answered before the next: nothing that comes unasked is ever taken for an answer,
//! least of all what somebody on the way puts before TLS begins.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::http::{Client, NO_TLS, Stream};
use crate::mail::reply::Reply;
use crate::mail::{Encryption, Failure, Letter, Said, Server, Stage};
use crate::text::{Field, Secret, base64};

/// How long a server may take to say good-bye, which changes nothing any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// A conversation.
struct Session {
    stream: Stream,
    /// What has come and was not read yet.
    unread: Vec<u8>,
    /// When it must be over, and how long one answer may take.
    ends: Instant,
    patience: Duration,
    /// What the server can do: the lines of its answer to EHLO, in capitals.
    abilities: Vec<String>,
}

/// Submits a mail, and returns what the server says of it.
pub fn submit(server: &Server, letter: &Letter, client: &Client<'_>, left: Duration) -> Result<Field, Failure> {
    let ends = Instant::now() + left;
    let patience = client.timeout();
    let stream = client.open(&server.address, letter.is_direct, ends.min(Instant::now() + patience));
    let mut session =
        Session { stream: stream.map_err(Failure::Broken)?, unread: Vec::new(), ends, patience, abilities: Vec::new() };
    if server.tls == Encryption::Implicit {
        session = session.secure(server)?;
    }
    session.greeting(server.tls)?;
    session.hello(letter)?;
    if server.tls == Encryption::StartTls {
        session = session.start_tls(server)?;
        session.hello(letter)?;
    }
    let result = session.hand_over(server, letter);
    session.say_good_bye();
    result
}

impl Session {
    fn greeting(&mut self, tls: Encryption) -> Result<(), Failure> {
        let reply = self.reply(self.ends()).map_err(|why| {
            let perhaps = if tls == Encryption::Implicit {
                ""
            } else {
                "; if this port wants TLS at once, set tls = \"implicit\""
            };
            Failure::Broken(format!("no greeting: {why}{perhaps}"))
        })?;
        expect(reply, Stage::Connection, 220).map(drop)
    }

    /// Names this host, and learns what the server can do.
    fn hello(&mut self, letter: &Letter) -> Result<(), Failure> {
        let address = self.stream.local_address().map(|address| match address.ip() {
            // RFC 5321 §4.1.3
            IpAddr::V4(ip) => format!("[{ip}]"),
            IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
        });
        let name = letter.hello.clone().or(address).unwrap_or_else(|| "localhost".into());
        let reply = self.ask(&format!("EHLO {name}"), Stage::Hello, 250)?;
        self.abilities = reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    /// Begins TLS, or there is no mail.
    fn start_tls(mut self, server: &Server) -> Result<Self, Failure> {
        if !self.abilities.iter().any(|line| line.trim() == "STARTTLS") {
            return Err(Failure::Impossible(
                "the server offers no STARTTLS, or somebody on the way hides it, so nothing was sent; its port 465 may \
                 take tls = \"implicit\", and one without any TLS needs tls = \"none\""
                    .into(),
            ));
        }
        self.ask("STARTTLS", Stage::StartTls, 220)?;
        if !self.unread.is_empty() {
            return Err(Failure::Broken("somebody on the way put words before TLS, so nothing was sent".into()));
        }
        self.secure(server)
    }

    fn secure(mut self, server: &Server) -> Result<Self, Failure> {
        self.stream.set_deadline(self.ends());
        let perhaps = |why: String| match server.tls {
            Encryption::Implicit if why.contains(NO_TLS) => {
                format!("{NO_TLS}: correct the port, or set tls = \"starttls\" if it begins without TLS")
            }
            Encryption::Implicit | Encryption::StartTls | Encryption::None => why,
        };
        let stream = self.stream.secure(server.address.host()).map_err(|why| Failure::Broken(perhaps(why)))?;
        Ok(Self { stream, ..self })
    }

    fn hand_over(&mut self, server: &Server, letter: &Letter) -> Result<Field, Failure> {
        if let Some((user, password)) = &server.login {
            self.log_in(user, password)?;
        }
        let from = letter.from.as_deref().unwrap_or_default();
        self.ask(&format!("MAIL FROM:<{from}>"), Stage::From, 250)?;
        for to in &letter.to {
            self.ask(&format!("RCPT TO:<{to}>"), Stage::To(to.clone()), 250)?;
        }
        let Some(text) = &letter.text else { return Ok(Field::new(b"it would take a mail")) };
        self.ask("DATA", Stage::Data, 354)?;
        self.write(&on_the_wire(text))?;
        // Until the server has the message, it may be checked in many ways.
        let reply = self.reply(self.ends).map_err(|why| {
            Failure::Broken(format!("the mail was sent, but whether the server has it is unknown: {why}"))
        })?;
        expect(reply, Stage::Message, 250).map(|reply| reply.text())
    }

    /// Logs in by PLAIN (RFC 4616) or by LOGIN, which was never a standard, but is all that some servers know.
    fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), Failure> {
        // Old servers write `AUTH=LOGIN PLAIN`.
        let lines = self.abilities.iter().filter_map(|line| line.strip_prefix("AUTH"));
        let ways: Vec<String> = lines.flat_map(|line| line.split([' ', '='])).map(Into::into).collect();
        let offers = |way: &str| ways.iter().any(|offered| offered == way);
        if offers("PLAIN") {
            let credentials = base64(format!("\0{user}\0{}", password.reveal()).as_bytes());
            self.ask(&format!("AUTH PLAIN {credentials}"), Stage::Login, 235)?;
        } else if offers("LOGIN") {
            self.ask("AUTH LOGIN", Stage::Login, 334)?;
            self.ask(&base64(user.as_bytes()), Stage::Login, 334)?;
            self.ask(&base64(password.reveal().as_bytes()), Stage::Login, 235)?;
        } else {
            let offered = if ways.is_empty() { "none".into() } else { ways.join(" ") };
            let why = "the server offers no way to log in that this program knows (PLAIN, LOGIN; it offers:";
            let remedy = "remove `user` and `password` if it needs none, or check the port";
            return Err(Failure::Impossible(format!("{why} {}); {remedy}", Field::new(offered.trim().as_bytes()))));
        }
        Ok(())
    }

    fn say_good_bye(&mut self) {
        if self.write(b"QUIT\r\n").is_ok() {
            let _ = self.reply(self.ends.min(Instant::now() + FAREWELL));
        }
    }

    /// Sends a command. Every reply but one with this code is a failure; 251 will do for 250 (RFC 5321 §4.2.3).
    fn ask(&mut self, line: &str, stage: Stage, code: u16) -> Result<Reply, Failure> {
        if !self.unread.is_empty() {
            return Err(Failure::Broken("the server says more than it was asked".into()));
        }
        self.write(format!("{line}\r\n").as_bytes())?;
        let reply = self.reply(self.ends()).map_err(|why| Failure::Broken(format!("no answer to {stage}: {why}")))?;
        expect(reply, stage, code)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.set_deadline(self.ends());
        self.stream.write(bytes).map_err(Failure::Broken)
    }

    /// Reads one reply before `ends`.
    fn reply(&mut self, ends: Instant) -> Result<Reply, String> {
        self.stream.set_deadline(ends);
        loop {
            if let Some(reply) = Reply::take(&mut self.unread)? {
                return Ok(reply);
            }
            if self.stream.read(&mut self.unread)? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }

    /// When the next answer must be there.
    fn ends(&self) -> Instant {
        self.ends.min(Instant::now() + self.patience)
    }
}

fn expect(reply: Reply, stage: Stage, code: u16) -> Result<Reply, Failure> {
    if reply.code == code || (code, reply.code) == (250, 251) {
        return Ok(reply);
    }
    Err(Failure::Said(Said { stage, code: reply.code, text: reply.text() }))
}

/// The message as it travels: lines end with CRLF, one that begins with a dot has another one before it, and a dot
/// alone ends it (RFC 5321 §4.5.2).
fn on_the_wire(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + text.len() / 16);
    for line in text.lines() {
        if line.starts_with('.') {
            bytes.push(b'.');
        }
        bytes.extend(line.as_bytes());
        bytes.extend(b"\r\n");
    }
    bytes.extend(b".\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_message_ends_it() {
        for (text, expected) in [
            ("a: b\n\n.\n..\n.x\ny.\n", "a: b\r\n\r\n..\r\n...\r\n..x\r\ny.\r\n.\r\n"),
            ("a\r\n.\r\n", "a\r\n..\r\n.\r\n"),
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(on_the_wire(text)).as_deref(), Ok(expected));
        }
    }
}
