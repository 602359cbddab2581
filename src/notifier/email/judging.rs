//! Decides what a mail server's reply (RFC 5321 §4.2, RFC 3463) or a program's exit status (sysexits.h) means.

use crate::mail::{Failure, Refusal, Stage};
use crate::notifier::Outcome;
use crate::text::Field;

/// Exit statuses of wrong settings or addresses: `EX_USAGE`, `EX_NOUSER`, `EX_NOHOST`, `EX_NOPERM`, `EX_CONFIG`.
const WRONG: [i32; 5] = [64, 67, 68, 77, 78];

/// Turns the result of `mail::send` into an outcome.
pub fn judge(result: Result<Field, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Delivered { pause: None },
        Err(Failure::Broken(why)) => Outcome::Failed { why },
        Err(Failure::Impossible(why)) => Outcome::Refused { why },
        Err(Failure::Exited(status, output)) => exited(status, &output),
        Err(Failure::Refused(refusal)) => refused(&refusal),
    }
}

fn exited(status: Option<i32>, output: &Field) -> Outcome {
    let output = if output.is_empty() { String::new() } else { format!(": {output}") };
    match status {
        Some(status) if WRONG.contains(&status) => Outcome::Refused {
            why: format!("sendmail exited with status {status}{output}; check `to` and its settings"),
        },
        Some(status) => Outcome::Failed { why: format!("sendmail exited with status {status}{output}") },
        None => Outcome::Failed { why: format!("sendmail was killed{output}") },
    }
}

fn refused(refusal: &Refusal) -> Outcome {
    let why = format!("SMTP {} to {}: {}", refusal.code, refusal.stage, refusal.text);
    match refusal.code {
        500..600 if is_about_message(refusal) => Outcome::Rejected { why },
        500..600 => Outcome::Refused { why: format!("{why}; {}", remedy(refusal)) },
        _ => Outcome::Failed { why },
    }
}

/// Whether the server rejects this message, not its sender or recipients: it is too long, or its content is not
/// supported (RFC 3463 §3.3, §3.4, §3.7). A spam filter's verdict is not that clear.
fn is_about_message(refusal: &Refusal) -> bool {
    let text = refusal.text.as_str();
    refusal.stage == Stage::Message && ["5.2.3 ", "5.3.4 ", "5.6."].iter().any(|code| text.starts_with(code))
}

fn remedy(refusal: &Refusal) -> &'static str {
    let wants_tls = || refusal.text.as_str().to_ascii_uppercase().contains("TLS");
    match (refusal.code, &refusal.stage) {
        (530 | 538, _) if wants_tls() => "it wants TLS: set tls to \"starttls\" or \"implicit\"",
        (530, _) => "it wants a login: set `user` and `password`",
        (534, Stage::Login) => "it wants an app password instead of the account's own: create one there",
        (_, Stage::Login) => {
            "it does not accept user and password; many providers want an app password instead of the account's own"
        }
        (_, Stage::From) => "it does not accept mail from that address: set `from` to one that the user may use",
        (_, Stage::To(_)) => {
            "it does not accept mail for that address, so no recipient got any: check `to`, `user` and `password`"
        }
        (_, Stage::Connection | Stage::Hello | Stage::StartTls) => "it refuses to talk to this host: check `server`",
        (_, Stage::Data | Stage::Message) => {
            "ask the server's administrator, or check `from`, `to` and the server's limits"
        }
    }
}
