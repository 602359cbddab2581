//! What a mail server's reply means (RFC 5321 §4.2, RFC 3463), and the status that a program ends with (sysexits.h).

use crate::mail::{Failure, Said, Stage};
use crate::notifier::Outcome;
use crate::text::Field;

/// The statuses with which sendmail says that its settings or the addresses are wrong: usage, nobody of that name,
/// no such host, not permitted, configuration.
const WRONG: [i32; 5] = [64, 67, 68, 77, 78];

/// Judges what became of a mail.
pub fn judge(result: Result<Field, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Delivered { pause: None },
        Err(Failure::Broken(why)) => Outcome::Failed { why },
        Err(Failure::Impossible(why)) => Outcome::Refused { why },
        Err(Failure::Exited(status, said)) => exited(status, &said),
        Err(Failure::Said(said)) => replied(&said),
    }
}

fn exited(status: Option<i32>, said: &Field) -> Outcome {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match status {
        Some(status) if WRONG.contains(&status) => {
            Outcome::Refused { why: format!("sendmail ended with status {status}{said}; check `to`, and its settings") }
        }
        Some(status) => Outcome::Failed { why: format!("sendmail ended with status {status}{said}") },
        None => Outcome::Failed { why: format!("sendmail was killed{said}") },
    }
}

fn replied(said: &Said) -> Outcome {
    let why = format!("SMTP {} to {}: {}", said.code, said.stage, said.text);
    match said.code {
        500..600 if is_about_message(said) => Outcome::Rejected { why },
        500..600 => Outcome::Refused { why: format!("{why}; {}", remedy(said)) },
        _ => Outcome::Failed { why },
    }
}

/// Whether the server says that this message is wrong, and not who sends it or to whom: it is too long, or what is in
/// it can't be taken (RFC 3463 §3.3, §3.4, §3.7). What looks like spam to a filter is not that clear.
fn is_about_message(said: &Said) -> bool {
    let text = said.text.as_str();
    said.stage == Stage::Message && ["5.2.3 ", "5.3.4 ", "5.6."].iter().any(|code| text.starts_with(code))
}

fn remedy(said: &Said) -> &'static str {
    let wants_tls = || said.text.as_str().to_ascii_uppercase().contains("TLS");
    match (said.code, &said.stage) {
        (530 | 538, _) if wants_tls() => "it wants TLS: set tls to \"starttls\" or \"implicit\"",
        (530, _) => "it wants a login: set `user` and `password`",
        (534, Stage::Login) => "it wants another password than the account's own: make an app password there",
        (_, Stage::Login) => {
            "it does not accept user and password; many providers want an app password instead of the account's own"
        }
        (_, Stage::From) => "it takes no mail from that address: set `from` to one that the user may use",
        (_, Stage::To(_)) => {
            "it takes no mail for that address, and so nobody got any: check `to`, `user` and `password`"
        }
        (_, Stage::Connection | Stage::Hello | Stage::StartTls) => "it does not talk to this host: check `server`",
        (_, Stage::Data | Stage::Message) => {
            "ask the server's administrator, or check `from`, `to` and the server's limits"
        }
    }
}
