//! A client of message submission (RFC 6409): SMTP (RFC 5321) with STARTTLS (RFC 3207) and AUTH (RFC 4954).
//!
//! There is no pipelining: each command is answered before the next. So an unexpected reply is never mistaken for an
//! answer, above all not one that somebody injects before TLS begins.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::http::{Client, NO_TLS, Stream};
use crate::mail::reply::Reply;
use crate::mail::{Encryption, Failure, Mail, Refusal, Server, Stage};
use crate::text::{Field, Secret, base64};

/// How long to wait for the reply to QUIT, which changes nothing.
const QUIT_LIMIT: Duration = Duration::from_secs(1);

/// An SMTP session.
struct Session {
    stream: Stream,
    /// Bytes that were received but not parsed.
    unread: Vec<u8>,
    deadline: Instant,
    reply_timeout: Duration,
    /// The service extensions in the reply to EHLO, in upper case, such as `AUTH PLAIN LOGIN`.
    extensions: Vec<String>,
}

/// Submits a mail within `left`, and returns the server's last reply. A probe stops before DATA.
pub fn submit(server: &Server, mail: &Mail, client: &Client<'_>, left: Duration) -> Result<Field, Failure> {
    let deadline = Instant::now() + left;
    let reply_timeout = client.timeout();
    let stream = client.open(&server.address, mail.is_direct, deadline.min(Instant::now() + reply_timeout));
    let mut session = Session {
        stream: stream.map_err(Failure::Broken)?,
        unread: Vec::new(),
        deadline,
        reply_timeout,
        extensions: Vec::new(),
    };
    if server.tls == Encryption::Implicit {
        session = session.secure(server)?;
    }
    session.greeting(server.tls)?;
    session.hello(mail)?;
    if server.tls == Encryption::StartTls {
        session = session.start_tls(server)?;
        session.hello(mail)?;
    }
    let result = session.transfer(server, mail);
    session.quit();
    result
}

impl Session {
    fn greeting(&mut self, tls: Encryption) -> Result<(), Failure> {
        let reply = self.reply(self.reply_deadline()).map_err(|why| {
            let hint = if tls == Encryption::Implicit {
                ""
            } else {
                "; if this port wants TLS at once, set tls = \"implicit\""
            };
            Failure::Broken(format!("no greeting: {why}{hint}"))
        })?;
        expect(reply, Stage::Connection, 220).map(drop)
    }

    /// Sends EHLO and reads the server's extensions.
    fn hello(&mut self, mail: &Mail) -> Result<(), Failure> {
        let address = self.stream.local_address().map(|address| match address.ip() {
            // RFC 5321 §4.1.3
            IpAddr::V4(ip) => format!("[{ip}]"),
            IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
        });
        let name = mail.hello.clone().or(address).unwrap_or_else(|| "localhost".into());
        let reply = self.ask(&format!("EHLO {name}"), Stage::Hello, 250)?;
        self.extensions = reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    fn start_tls(mut self, server: &Server) -> Result<Self, Failure> {
        if !self.extensions.iter().any(|line| line.trim() == "STARTTLS") {
            return Err(Failure::Impossible(
                "the server does not offer STARTTLS, or somebody in between hides it, so nothing was sent: try port \
                 465 with tls = \"implicit\"; a server without any TLS needs tls = \"none\""
                    .into(),
            ));
        }
        self.ask("STARTTLS", Stage::StartTls, 220)?;
        if !self.unread.is_empty() {
            return Err(Failure::Broken("somebody in between injected a reply before TLS, so nothing was sent".into()));
        }
        self.secure(server)
    }

    fn secure(mut self, server: &Server) -> Result<Self, Failure> {
        self.stream.set_deadline(self.reply_deadline());
        let hint = |why: String| match server.tls {
            Encryption::Implicit if why.contains(NO_TLS) => {
                format!("{NO_TLS}: correct the port, or set tls = \"starttls\" if it begins without TLS")
            }
            Encryption::Implicit | Encryption::StartTls | Encryption::None => why,
        };
        let stream = self.stream.secure(server.address.host()).map_err(|why| Failure::Broken(hint(why)))?;
        Ok(Self { stream, ..self })
    }

    fn transfer(&mut self, server: &Server, mail: &Mail) -> Result<Field, Failure> {
        if let Some((user, password)) = &server.login {
            self.log_in(user, password)?;
        }
        let from = mail.from.as_deref().unwrap_or_default();
        self.ask(&format!("MAIL FROM:<{from}>"), Stage::From, 250)?;
        for to in &mail.to {
            self.ask(&format!("RCPT TO:<{to}>"), Stage::To(to.clone()), 250)?;
        }
        let Some(text) = &mail.text else { return Ok(Field::new(b"the server would accept a mail")) };
        self.ask("DATA", Stage::Data, 354)?;
        self.write(&dot_stuffed(text))?;
        // The server may scan the mail before it replies, so this reply may take longer than others.
        let reply = self.reply(self.deadline).map_err(|why| {
            Failure::Broken(format!("the mail was sent, but the server may or may not have it: {why}"))
        })?;
        expect(reply, Stage::Message, 250).map(|reply| reply.text())
    }

    /// Logs in by PLAIN (RFC 4616), or by LOGIN, which is not a standard, but all that some servers have.
    fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), Failure> {
        // Old servers write `AUTH=LOGIN PLAIN`.
        let lines = self.extensions.iter().filter_map(|line| line.strip_prefix("AUTH"));
        let mechanisms: Vec<String> = lines.flat_map(|line| line.split([' ', '='])).map(Into::into).collect();
        let offers = |mechanism: &str| mechanisms.iter().any(|offered| offered == mechanism);
        if offers("PLAIN") {
            let credentials = base64(format!("\0{user}\0{}", password.reveal()).as_bytes());
            self.ask(&format!("AUTH PLAIN {credentials}"), Stage::Login, 235)?;
        } else if offers("LOGIN") {
            self.ask("AUTH LOGIN", Stage::Login, 334)?;
            self.ask(&base64(user.as_bytes()), Stage::Login, 334)?;
            self.ask(&base64(password.reveal().as_bytes()), Stage::Login, 235)?;
        } else {
            let offered = if mechanisms.is_empty() { "none".into() } else { mechanisms.join(" ") };
            let offered = Field::new(offered.trim().as_bytes());
            return Err(Failure::Impossible(format!(
                "the server offers no log-in mechanism that this program supports (PLAIN, LOGIN; offered: {offered}): \
                 remove `user` and `password` if it needs no login, or check the port"
            )));
        }
        Ok(())
    }

    fn quit(&mut self) {
        if self.write(b"QUIT\r\n").is_ok() {
            let _ = self.reply(self.deadline.min(Instant::now() + QUIT_LIMIT));
        }
    }

    /// Sends a command and returns the reply, which must have this code (or 251 for 250, RFC 5321 §4.2.3).
    fn ask(&mut self, line: &str, stage: Stage, code: u16) -> Result<Reply, Failure> {
        if !self.unread.is_empty() {
            return Err(Failure::Broken("the server sent an unexpected reply".into()));
        }
        self.write(format!("{line}\r\n").as_bytes())?;
        let reply =
            self.reply(self.reply_deadline()).map_err(|why| Failure::Broken(format!("no answer to {stage}: {why}")))?;
        expect(reply, stage, code)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.set_deadline(self.reply_deadline());
        self.stream.write(bytes).map_err(Failure::Broken)
    }

    /// Reads one reply.
    fn reply(&mut self, deadline: Instant) -> Result<Reply, String> {
        self.stream.set_deadline(deadline);
        loop {
            if let Some(reply) = Reply::take(&mut self.unread)? {
                return Ok(reply);
            }
            if self.stream.read(&mut self.unread)? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }

    fn reply_deadline(&self) -> Instant {
        self.deadline.min(Instant::now() + self.reply_timeout)
    }
}

fn expect(reply: Reply, stage: Stage, code: u16) -> Result<Reply, Failure> {
    if reply.code == code || (code, reply.code) == (250, 251) {
        return Ok(reply);
    }
    Err(Failure::Refused(Refusal { stage, code: reply.code, text: reply.text() }))
}

/// Encodes a message for DATA: CRLF after each line, another dot before a leading dot, and a dot alone at the end
/// (RFC 5321 §4.5.2).
fn dot_stuffed(text: &str) -> Vec<u8> {
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
    fn no_line_within_a_message_ends_it() {
        for (text, expected) in [
            ("a: b\n\n.\n..\n.x\ny.\n", "a: b\r\n\r\n..\r\n...\r\n..x\r\ny.\r\n.\r\n"),
            ("a\r\n.\r\n", "a\r\n..\r\n.\r\n"),
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(dot_stuffed(text)).as_deref(), Ok(expected));
        }
    }
}
