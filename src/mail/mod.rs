//! Hands a mail over to a server (`smtp`) or to a local program (`program`) and returns the reply. It never decides
//! what a reply means; `notifier::email` does.

mod program;
mod reply;
mod smtp;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::{Client, Url};
use crate::text::{Field, Secret};

/// How long handing over may take in all. A server may scan for viruses before its last reply, and a mail without that
/// reply is sent again. A run has fifty seconds.
const LIMIT: Duration = Duration::from_secs(40);

/// A mail and its transport.
#[derive(Clone, Debug)]
pub struct Mail {
    pub transport: Transport,
    /// Whether the proxy is bypassed.
    pub is_direct: bool,
    /// The domain in EHLO. `None`: this host's address.
    pub hello: Option<String>,
    /// The sender's address. `None`: the program chooses.
    pub from: Option<String>,
    /// The recipients' addresses. If one is refused, none gets the mail.
    pub to: Vec<String>,
    /// Headers and body in ASCII, with LF after each line. `None`: a probe that sends no mail.
    pub text: Option<String>,
}

/// How a mail is handed over.
#[derive(Clone, Debug)]
pub enum Transport {
    /// To a server, by message submission (RFC 6409).
    Server(Server),
    /// To a program that accepts sendmail's arguments.
    Program(PathBuf),
}

/// A submission server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its host and port; the rest is ignored.
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
    /// After STARTTLS (RFC 3207), which the server must offer.
    StartTls,
    /// Never.
    None,
}

/// Why a mail was not accepted.
#[derive(Debug)]
pub enum Failure {
    /// The conversation ended early: a sentence.
    Broken(String),
    /// The server or program cannot do what the settings want: a sentence with the remedy.
    Impossible(String),
    /// The server replied with an error.
    Refused(Refusal),
    /// The program's exit status, if a signal didn't kill it, and its output.
    Exited(Option<i32>, Field),
}

/// An SMTP reply that is an error.
#[derive(Debug)]
pub struct Refusal {
    /// What it answers.
    pub stage: Stage,
    /// Its code, such as 550.
    pub code: u16,
    /// Its text, such as `5.1.1 no such user`.
    pub text: Field,
}

/// A stage of an SMTP session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection, before the first command.
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
    /// The message, after DATA.
    Message,
}

/// Hands a mail over within `left`, and returns the last reply or the program's output.
pub fn send(mail: &Mail, client: &Client<'_>, left: Duration) -> Result<Field, Failure> {
    match &mail.transport {
        Transport::Server(server) => smtp::submit(server, mail, client, left.min(LIMIT)),
        Transport::Program(path) => program::run(path, mail, left.min(LIMIT)),
    }
}

/// The command, as in an error message: `RCPT TO:<amanda@example.com>`
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
