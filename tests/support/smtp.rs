//! aiosmtpd, a mail server that others wrote, and the configuration of a target that uses it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::home::Home;
use crate::support::tls::{Pair, Process};

/// The interpreter that sees Debian's Python packages.
const PYTHON: &str = "/usr/bin/python3";

/// The settings for the server's user and password, which isn't ASCII.
pub const LOGIN: &str = "user = \"amanda@host.example\"\npassword = \"pass wörd\"\n";

/// Whether aiosmtpd is installed.
pub fn is_possible() -> bool {
    Command::new(PYTHON).args(["-c", "import aiosmtpd"]).output().is_ok_and(|done| done.status.success())
}

/// A server on a free port. It ends with its test.
pub struct Smtpd {
    #[expect(dead_code, reason = "it runs as long as this lives")]
    process: Process,
    log: PathBuf,
    /// The port that it listens on.
    pub port: u16,
}

impl Smtpd {
    /// Starts a server; `words` say how it behaves (see smtpd.py).
    pub fn start(home: &Home, words: &[&str]) -> Self {
        let log = home.at("mail.log");
        let mut command = Command::new(PYTHON);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/smtpd.py")).arg(&log).args(words);
        command.env("LC_ALL", "C.UTF-8").stdout(Stdio::piped());
        let mut process = Process(command.spawn().expect("python3 was there"));
        let mut port = String::new();
        let output = process.0.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut port).expect("it prints its port");
        Self { process, log, port: port.trim().parse().expect("a port") }
    }

    /// Starts a server with a certificate.
    pub fn with_tls(home: &Home, pair: &Pair, words: &[&str]) -> Self {
        let certificate = format!("certificate={}", pair.certificate.display());
        let key = format!("key={}", pair.key.display());
        Self::start(home, &[&[certificate.as_str(), &key], words].concat())
    }

    /// Returns the log-ins and mails so far.
    pub fn arrived(&self) -> Vec<Value> {
        let lines = fs::read_to_string(&self.log).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Returns the mails so far.
    pub fn mails(&self) -> Vec<Value> {
        self.arrived().into_iter().filter(|one| one.get("data").is_some()).collect()
    }
}

/// Returns the configuration of one target with these settings, and these of `[network]`.
pub fn email(settings: &str, network: &str) -> String {
    format!(
        "[network]\ntimeout = 5\n{network}\n[notification]\nservice = \"email\"\n[notification.email]\n\
         from = \"Router <router@host.example>\"\nto = [\"amanda@host.example\", \"bob@host.example\"]\n{settings}\n"
    )
}
