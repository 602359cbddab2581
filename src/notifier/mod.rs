//! Notifiers: one for each target. They decide what to say and what an answer means; they send nothing.
//!
//! A service is a file, a row in [`SERVICES`], a variant of [`Service`], and what the compiler then asks for.

mod capacity;
mod digest;
mod discord;
mod json;
mod ntfy;
mod outcome;
mod stdout;
mod targets;
#[cfg(test)]
mod tests;

pub use capacity::{Capacity, Unit};
pub use digest::{Digest, Notice};
pub use outcome::Outcome;
pub use targets::{Name, configure};

use std::cmp::Reverse;

use crate::http::{Request, Response, Url};
use crate::notice::LONGEST;
use crate::rules::Filter;
use crate::text::Secret;
use crate::toml::Section;

/// Bytes of the shortest text that is concealed. A shorter one can be guessed, and is part of ordinary
/// words, which would become unreadable.
const SHORTEST_SECRET: usize = 6;

/// Every service.
const SERVICES: &[Row] = &[
    Row { name: "discord", capacity: discord::CAPACITY, configure: discord::configure },
    Row { name: "ntfy", capacity: ntfy::CAPACITY, configure: ntfy::configure },
    Row { name: "stdout", capacity: stdout::CAPACITY, configure: stdout::configure },
];

/// Every service can carry every notice.
const _: () = {
    let mut row = 0;
    while row < SERVICES.len() {
        assert!(SERVICES[row].capacity.holds(LONGEST), "a notice is too long for a service");
        row += 1;
    }
};

/// A target: a service, where it is reached, and which notices it gets.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// What the target is called, in the configuration and everywhere else.
    pub name: Name,
    /// Which notices it gets.
    pub filter: Filter,
    /// How much text one message holds.
    pub capacity: Capacity,
    setup: Setup,
}

/// What a notifier makes of a digest.
#[derive(Debug)]
pub enum Message {
    /// To be posted.
    Post(Request),
    /// To be printed.
    Print(String),
}

/// A service, and what it alone needs.
#[derive(Clone, Debug)]
enum Service {
    Discord,
    Ntfy { topic: Secret },
    Stdout,
}

/// What a service makes of a target's section.
#[derive(Clone, Debug)]
struct Setup {
    service: Service,
    /// Where messages are posted; without it they are printed.
    address: Option<Url>,
    /// `Authorization: Bearer TOKEN`
    bearer: Option<Secret>,
    /// Parts of the address, and whatever else lets anybody read or post.
    secrets: Vec<Secret>,
}

/// What is known of a service before anything is configured.
struct Row {
    name: &'static str,
    capacity: Capacity,
    /// Reads the section of a target that uses the service. `None`: it is incomplete, which was noted.
    configure: fn(&mut Section<'_>) -> Option<Setup>,
}

impl Notifier {
    /// Whether the target is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.setup.address.as_ref().is_some_and(Url::is_secure)
    }

    /// The name of the service that the target uses.
    pub fn service(&self) -> &'static str {
        match &self.setup.service {
            Service::Discord => "discord",
            Service::Ntfy { .. } => "ntfy",
            Service::Stdout => "stdout",
        }
    }

    /// A request by GET that the service answers with 200 if it knows address and token, and that sends nothing:
    /// Discord's Get Webhook with Token, ntfy's check of access to a topic. `None`: there is nobody to ask.
    pub fn probe(&self) -> Option<Request> {
        let url = self.setup.address.as_ref()?;
        let url = match &self.setup.service {
            Service::Ntfy { topic } => {
                let query = if url.query().is_empty() { String::new() } else { format!("?{}", url.query()) };
                url.with_path(&format!("{}{}/auth{query}", url.path(), topic.reveal()))
            }
            Service::Discord | Service::Stdout => url.with_path(url.path()),
        };
        Some(Request { url, bearer: self.setup.bearer.clone(), key: None, body: String::new() })
    }

    /// Writes the message.
    pub fn render(&self, digest: &Digest<'_>) -> Message {
        let body = match &self.setup.service {
            Service::Discord => discord::render(digest),
            Service::Ntfy { topic } => ntfy::render(digest, topic),
            Service::Stdout => stdout::render(digest),
        };
        let Some(url) = self.setup.address.clone() else { return Message::Print(body) };
        let (bearer, key) = (self.setup.bearer.clone(), Some(digest.key(&self.name)));
        Message::Post(Request { url, bearer, key, body })
    }

    /// Says what an answer means. Secrets are taken out first: later one may have been cut, and the rest of
    /// it would not be recognised.
    pub fn judge(&self, mut response: Response) -> Outcome {
        if let Ok(text) = str::from_utf8(&response.body) {
            response.body = self.conceal(text).into_bytes();
        }
        match &self.setup.service {
            Service::Discord => discord::judge(&response),
            Service::Ntfy { .. } => ntfy::judge(&response),
            Service::Stdout => Outcome::Delivered { pause: None },
        }
    }

    /// The same text without this target's secrets, in case a service repeated one.
    pub fn conceal(&self, text: &str) -> String {
        let secrets = self.setup.bearer.iter().chain(&self.setup.secrets).map(Secret::reveal);
        let mut secrets: Vec<&str> = secrets.filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
        // One may be a part of another, the rest of which would be left.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.into_iter().fold(text.into(), |text, secret| text.replace(secret, "…"))
    }
}
