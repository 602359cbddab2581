//! Notifiers: one for each target. They decide what to say and what an answer means; they send nothing.
//!
//! A service is a file, a row in [`SERVICES`], a variant of [`Service`], and what the compiler then asks for.

mod capacity;
mod digest;
mod discord;
mod draft;
mod json;
mod ntfy;
mod outcome;
mod stdout;
mod targets;
#[cfg(test)]
mod tests;

pub use capacity::{Capacity, Unit};
pub use digest::{Digest, Notice};
pub use draft::{Detail, Draft};
pub use outcome::Outcome;
pub use targets::{Name, configure};

use std::cmp::Reverse;

use crate::http::{Method, Request, Response, Url};
use crate::notice::LONGEST;
use crate::notifier::outcome::{Asked, Reading};
use crate::rules::Filter;
use crate::text::Secret;
use crate::toml::Section;

/// Bytes of the shortest text that is concealed. A shorter one can be guessed, and is part of ordinary
/// words, which would become unreadable.
const SHORTEST_SECRET: usize = 6;

/// Every service.
const SERVICES: &[Row] = &[
    Row { name: "discord", capacity: discord::CAPACITY, detail: Detail::Digest, configure: discord::configure },
    Row { name: "ntfy", capacity: ntfy::CAPACITY, detail: Detail::Digest, configure: ntfy::configure },
    Row { name: "stdout", capacity: stdout::CAPACITY, detail: Detail::EveryEvent, configure: stdout::configure },
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
    /// Whether its messages may leave out lines of somebody who has many.
    pub detail: Detail,
    /// Whether it never goes through `network.proxy`.
    is_direct: bool,
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
    Ntfy(ntfy::Topic),
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
    /// What a person reads is a digest; what a program reads has every event.
    detail: Detail,
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
            Service::Ntfy(_) => "ntfy",
            Service::Stdout => "stdout",
        }
    }

    /// A request by GET that the service answers with 200 if it knows address and token, and that sends nothing:
    /// Discord's Get Webhook with Token, ntfy's check of access to a topic. `None`: there is nobody to ask.
    pub fn probe(&self) -> Option<Request> {
        let url = match &self.setup.service {
            Service::Ntfy(topic) => topic.access(),
            Service::Discord | Service::Stdout => {
                let url = self.setup.address.as_ref()?;
                url.with_path(url.path())
            }
        };
        let (bearer, is_direct) = (self.setup.bearer.clone(), self.is_direct);
        Some(Request { method: Method::Get, url, bearer, key: None, body: String::new(), is_direct })
    }

    /// Writes the message. `hint` says how the target was reached before, if not as usual.
    pub fn render(&self, digest: &Digest<'_>, hint: &str) -> Message {
        let (body, own) = match &self.setup.service {
            Service::Discord => (discord::render(digest), None),
            Service::Ntfy(topic) => ntfy::render(digest, topic, hint),
            Service::Stdout => (stdout::render(digest), None),
        };
        let Some(url) = own.or_else(|| self.setup.address.clone()) else { return Message::Print(body) };
        let (bearer, key) = (self.setup.bearer.clone(), Some(digest.key(&self.name)));
        Message::Post(Request { method: Method::Post, url, bearer, key, body, is_direct: self.is_direct })
    }

    /// Says what an answer to a request to `url` means. Secrets are taken out first: later one may have been cut,
    /// and the rest of it would not be recognised.
    pub fn judge(&self, mut response: Response, url: &Url, hint: &str) -> Outcome {
        if let Ok(text) = str::from_utf8(&response.body) {
            response.body = self.conceal(text).into_bytes();
        }
        let reading = match &self.setup.service {
            Service::Discord => discord::read(&response),
            Service::Ntfy(_) => ntfy::read(&response, hint),
            Service::Stdout => Reading::default(),
        };
        let has_token = self.setup.bearer.is_some() || url.user().is_some();
        let shown = format!("{}{}", url.origin(), self.path_without_secrets(url));
        outcome::judge(&response, reading, Asked { url, shown: &shown, has_token })
    }

    /// A short secret can't be concealed in a text, but it can in a path.
    fn path_without_secrets(&self, url: &Url) -> String {
        let is_secret = |part: &&str| self.setup.secrets.iter().any(|secret| secret.reveal() == *part);
        let parts = url.path().split('/').map(|part| if is_secret(&part) { "…" } else { part });
        parts.collect::<Vec<_>>().join("/")
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
