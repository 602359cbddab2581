//! Email: through a submission server (RFC 6409) or the host's own sendmail.

mod judging;
mod mailbox;
mod message;
mod settings;

pub use judging::judge;
pub use settings::configure;

use crate::mail::{Encryption, Mail, Transport};
use crate::notifier::email::mailbox::{Mailbox, is_domain};
use crate::notifier::{Capacity, Digest, Unit};

/// As much as a person reads; every mail server and program accepts that.
pub const CAPACITY: Capacity = Capacity { limit: 16_384, unit: Unit::Bytes, around: 0, per_line: 1 };

/// A target's transport, sender and recipients.
#[derive(Clone, Debug)]
pub struct Account {
    transport: Transport,
    from: Option<Mailbox>,
    to: Vec<String>,
}

/// Writes one mail for the whole digest. `key` becomes its Message-ID, so a retry of the same notices has the same.
pub fn render(digest: &Digest<'_>, account: &Account, key: u64, is_direct: bool) -> Mail {
    let host = digest.style.host.as_str();
    let hello = (is_domain(host) && host.contains('.')).then(|| host.to_owned());
    let domain = account.from.as_ref().map_or("", Mailbox::domain);
    let domain = if domain.is_empty() { hello.as_deref().unwrap_or("localhost") } else { domain };
    let text = message::write(digest, account.from.as_ref(), &account.to, &format!("{key:016x}.ssn@{domain}"));
    Mail { text: Some(text), hello, ..probe(account, is_direct) }
}

/// Asks whether a mail would be accepted, without sending one.
pub fn probe(account: &Account, is_direct: bool) -> Mail {
    let Account { transport, from, to } = account.clone();
    Mail { transport, is_direct, from: from.map(|from| from.address), to, hello: None, text: None }
}

/// Warns of mail without TLS on the internet. Returns the problem and the remedy, which a section's name completes.
pub fn doubt(account: &Account) -> Option<(&'static str, &'static str)> {
    let Transport::Server(server) = &account.transport else { return None };
    let is_open = server.tls == Encryption::None && !server.address.is_near();
    is_open.then_some(("its mail crosses the internet without TLS", "set tls to \"starttls\" or \"implicit\" in"))
}

#[cfg(test)]
mod tests;
