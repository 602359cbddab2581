//! Email: by message submission to a server (RFC 6409), or through this host's own sendmail.

mod judging;
mod mailbox;
mod message;
mod settings;

pub use judging::judge;
pub use settings::configure;

use crate::mail::{Encryption, Letter, Way};
use crate::notifier::email::mailbox::{Mailbox, is_domain};
use crate::notifier::{Capacity, Digest, Unit};

/// As much as somebody reads, and as a program surely takes.
pub const CAPACITY: Capacity = Capacity { limit: 16_384, unit: Unit::Bytes, around: 0, per_line: 1 };

/// How a target's mail is sent, and to whom.
#[derive(Clone, Debug)]
pub struct Account {
    way: Way,
    from: Option<Mailbox>,
    to: Vec<String>,
}

/// Writes one mail for the whole digest. A retry of the same notices has the same Message-ID, one of more has another.
pub fn render(digest: &Digest<'_>, account: &Account, key: u64, is_direct: bool) -> Letter {
    let host = digest.style.host.as_str();
    let hello = (is_domain(host) && host.contains('.')).then(|| host.to_owned());
    let domain = account.from.as_ref().map_or("", Mailbox::domain);
    let domain = if domain.is_empty() { hello.as_deref().unwrap_or("localhost") } else { domain };
    let text = message::write(digest, account.from.as_ref(), &account.to, &format!("{key:016x}.ssn@{domain}"));
    Letter { text: Some(text), hello, ..probe(account, is_direct) }
}

/// Asks whether a mail would be taken.
pub fn probe(account: &Account, is_direct: bool) -> Letter {
    let Account { way, from, to } = account.clone();
    Letter { way, is_direct, from: from.map(|from| from.address), to, hello: None, text: None }
}

/// Warns of a mail that everybody on the way could read and change.
pub fn doubt(account: &Account) -> Option<(&'static str, &'static str)> {
    let Way::Server(server) = &account.way else { return None };
    let is_open = server.tls == Encryption::None && !server.address.is_near();
    is_open.then_some(("its mail crosses the internet without TLS", "set tls to \"starttls\" or \"implicit\" in"))
}

#[cfg(test)]
mod tests;
