//! Hands a mail over, to a server (`smtp`) or to a program of this host (`program`), and says what came back. What
//! that means is decided by others.

mod program;
mod reply;
mod smtp;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::{Client, Url};
use crate::text::{Field, Secret};

/// How long handing over may take altogether. A server may look for viruses before it answers, and a mail is sent
/// again if nobody waits for that answer. A run has fifty seconds.
const LIMIT: Duration = Duration::from_secs(40);

/// A mail, and how it is handed over.
#[derive(Clone, Debug)]
pub struct Letter {
    /// How it is handed over.
    pub way: Way,
    /// Whether a server is never reached through a proxy.
    pub is_direct: bool,
    /// What this host calls itself to a server: a domain. `None`: its address.
    pub hello: Option<String>,
    /// Whose mail it is: an address. `None`: the program knows.
    pub from: Option<String>,
    /// Who gets it: addresses. All do, or nobody does.
    pub to: Vec<String>,
    /// Headers and body in ASCII, each line ended by LF. `None`: it is only asked whether it would be taken.
    pub text: Option<String>,
}

/// How a mail is handed over.
#[derive(Clone, Debug)]
pub enum Way {
    /// To a server, by message submission (RFC 6409).
    Server(Server),
    /// To a program that takes sendmail's arguments.
    Program(PathBuf),
}

/// A server that takes mail for others.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name and port.
    pub address: Url,
    /// When TLS begins.
    pub tls: Encryption,
    /// The user's name and password.
    pub login: Option<(String, Secret)>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// At once (RFC 8314 §3.3).
    Implicit,
    /// After a command (RFC 3207), before anything else is said. Without it there is no mail.
    StartTls,
    /// Never.
    None,
}

/// Why a mail was not taken.
#[derive(Debug)]
pub enum Failure {
    /// The conversation didn't come to an end: a sentence.
    Broken(String),
    /// What the settings ask for is impossible there: a sentence with the remedy.
    Impossible(String),
    /// The server replied to a command with an error.
    Said(Said),
    /// The program ended with this status, or was ended, and wrote this.
    Exited(Option<i32>, Field),
}

/// A reply that is an error.
#[derive(Debug)]
pub struct Said {
    /// To what.
    pub stage: Stage,
    /// Its code.
    pub code: u16,
    /// Its text.
    pub text: Field,
}

/// What a reply answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection.
    Connection,
    /// EHLO
    Hello,
    /// STARTTLS
    StartTls,
    /// AUTH
    Login,
    /// MAIL
    From,
    /// RCPT with this address.
    To(String),
    /// DATA
    Data,
    /// The message.
    Message,
}

/// Hands a mail over within `left`, and returns what is said of it.
pub fn send(letter: &Letter, client: &Client<'_>, left: Duration) -> Result<Field, Failure> {
    match &letter.way {
        Way::Server(server) => smtp::submit(server, letter, client, left.min(LIMIT)),
        Way::Program(path) => program::run(path, letter, left.min(LIMIT)),
    }
}

/// The command: `RCPT TO:<amanda@example.com>`
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("the connection"),
            Self::Hello => f.write_str("EHLO"),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Login => f.write_str("AUTH"),
            Self::From => f.write_str("MAIL FROM"),
            Self::To(address) => write!(f, "RCPT TO:<{address}>"),
            Self::Data => f.write_str("DATA"),
            Self::Message => f.write_str("the message"),
        }
    }
}
