//! Notifiers, one for each target. They decide what to say and what an answer means, but send nothing.
//!
//! A service is a file, a row in [`SERVICES`], a variant of [`Service`], and whatever the compiler then asks for.

mod capacity;
#[cfg(feature = "command")]
mod command;
mod digest;
mod discord;
mod draft;
#[cfg(feature = "email")]
mod email;
#[cfg(feature = "gotify")]
mod gotify;
#[cfg(feature = "matrix")]
mod matrix;
mod ntfy;
mod outcome;
#[cfg(feature = "pushover")]
mod pushover;
#[cfg(feature = "report")]
mod report;
#[cfg(any(
    feature = "gotify",
    feature = "matrix",
    feature = "pushover",
    feature = "slack",
    feature = "teams",
    feature = "telegram"
))]
mod settings;
#[cfg(feature = "slack")]
mod slack;
mod stdout;
mod targets;
#[cfg(feature = "teams")]
mod teams;
#[cfg(feature = "telegram")]
mod telegram;
#[cfg(test)]
mod tests;
#[cfg(feature = "webhook")]
mod webhook;
mod words;

pub use capacity::{Capacity, Unit};
#[cfg(feature = "command")]
pub use command::judge as judge_call;
pub use digest::{Digest, Notice};
pub use draft::{Detail, Draft};
#[cfg(feature = "email")]
pub use email::judge as judge_mail;
pub use outcome::Outcome;
pub use targets::{Name, configure};

use std::cmp::Reverse;

use crate::http::{Header, Method, Request, Response, Url};
#[cfg(feature = "email")]
use crate::mail::Mail;
use crate::notice::LONGEST;
use crate::notifier::outcome::{Reading, Sent};
use crate::notifier::words::Words;
#[cfg(feature = "command")]
use crate::program::{self, Call};
use crate::rules::Filter;
use crate::text::Secret;
use crate::toml::Section;

/// Bytes of the shortest secret that is concealed in texts. A shorter one can be guessed, and concealing it would
/// garble ordinary words.
const SHORTEST_SECRET: usize = 6;

/// Every service.
const SERVICES: &[Row] = &[
    Row { name: "discord", capacity: discord::CAPACITY, detail: Detail::Digest, configure: discord::configure },
    Row { name: "ntfy", capacity: ntfy::CAPACITY, detail: Detail::Digest, configure: ntfy::configure },
    #[cfg(feature = "command")]
    Row { name: "command", capacity: command::CAPACITY, detail: Detail::Report, configure: command::configure },
    #[cfg(feature = "email")]
    Row { name: "email", capacity: email::CAPACITY, detail: Detail::Digest, configure: email::configure },
    #[cfg(feature = "gotify")]
    Row { name: "gotify", capacity: gotify::CAPACITY, detail: Detail::Digest, configure: gotify::configure },
    #[cfg(feature = "matrix")]
    Row { name: "matrix", capacity: matrix::CAPACITY, detail: Detail::Digest, configure: matrix::configure },
    #[cfg(feature = "mattermost")]
    Row {
        name: "mattermost",
        capacity: slack::MATTERMOST,
        detail: Detail::Digest,
        configure: slack::configure_mattermost,
    },
    #[cfg(feature = "pushover")]
    Row { name: "pushover", capacity: pushover::CAPACITY, detail: Detail::Digest, configure: pushover::configure },
    #[cfg(feature = "rocketchat")]
    Row {
        name: "rocketchat",
        capacity: slack::ROCKETCHAT,
        detail: Detail::Digest,
        configure: slack::configure_rocketchat,
    },
    #[cfg(feature = "slack")]
    Row { name: "slack", capacity: slack::CAPACITY, detail: Detail::Digest, configure: slack::configure },
    #[cfg(feature = "teams")]
    Row { name: "teams", capacity: teams::CAPACITY, detail: Detail::Digest, configure: teams::configure },
    #[cfg(feature = "telegram")]
    Row { name: "telegram", capacity: telegram::CAPACITY, detail: Detail::Digest, configure: telegram::configure },
    #[cfg(feature = "webhook")]
    Row { name: "webhook", capacity: webhook::CAPACITY, detail: Detail::Report, configure: webhook::configure },
    Row { name: "stdout", capacity: stdout::CAPACITY, detail: Detail::EveryEvent, configure: stdout::configure },
];

/// The services that a build can omit: each is a feature of the same name.
const OPTIONAL: &[&str] = &[
    "command",
    "email",
    "gotify",
    "matrix",
    "mattermost",
    "pushover",
    "rocketchat",
    "slack",
    "teams",
    "telegram",
    "webhook",
];

/// Every service can carry the longest notice.
const _: () = {
    let mut row = 0;
    while row < SERVICES.len() {
        // A message of the named service can't hold the longest notice.
        assert!(SERVICES[row].capacity.holds(LONGEST), "{}", SERVICES[row].name);
        row += 1;
    }
};

/// A target: a service, its address, and the notices that it gets.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// The target's name in the configuration.
    pub name: Name,
    /// The service that it uses.
    pub service: &'static str,
    /// Which notices it gets.
    pub filter: Filter,
    /// How much text one message holds.
    pub capacity: Capacity,
    /// The administrator's own wording of its notices.
    words: Words,
    /// Whether its messages may sum up the lines of an actor with many events.
    pub detail: Detail,
    /// Whether it bypasses `network.proxy`.
    is_direct: bool,
    setup: Setup,
}

/// A rendered digest, and how it is sent.
#[derive(Debug)]
pub enum Message {
    /// Posted.
    Post(Request),
    /// Mailed.
    #[cfg(feature = "email")]
    Mail(Mail),
    /// Passed to a program.
    #[cfg(feature = "command")]
    Run(Call),
    /// Printed.
    Print(String),
}

/// A service, and the settings that it alone needs.
#[derive(Clone, Debug)]
enum Service {
    Discord,
    Ntfy(ntfy::Topic),
    #[cfg(feature = "command")]
    Command(Call),
    #[cfg(feature = "email")]
    Email(Box<email::Account>),
    #[cfg(feature = "gotify")]
    Gotify,
    #[cfg(feature = "matrix")]
    Matrix,
    #[cfg(feature = "pushover")]
    Pushover(pushover::Keys),
    #[cfg(feature = "slack")]
    Slack(slack::Dialect),
    #[cfg(feature = "teams")]
    Teams,
    #[cfg(feature = "telegram")]
    Telegram(telegram::Chat),
    #[cfg(feature = "webhook")]
    Webhook(Box<webhook::Webhook>),
    Stdout,
}

/// The settings from a target's section.
#[derive(Clone, Debug)]
struct Setup {
    service: Service,
    /// Where messages are posted; if there is none, they are printed.
    address: Option<Url>,
    /// `Authorization: Bearer TOKEN`
    bearer: Option<Secret>,
    method: Method,
    /// Whether its messages have a title that the settings may choose.
    is_titled: bool,
    /// Headers of every message.
    headers: Vec<Header>,
    /// Parts of the address, and everything else that lets anyone read or post.
    secrets: Vec<Secret>,
    /// How detailed a message is, if the settings decide that.
    carries: Option<(Capacity, Detail)>,
}

/// The constant properties of a service.
struct Row {
    name: &'static str,
    capacity: Capacity,
    /// A person gets a digest; a program gets every event.
    detail: Detail,
    /// Reads the section of a target that uses the service. `None` after a mistake, which is recorded.
    configure: fn(&mut Section<'_>) -> Option<Setup>,
}

impl Setup {
    /// Posts to an address, without a token.
    fn new(service: Service, address: Option<Url>, secrets: Vec<Secret>) -> Self {
        let (method, headers) = (Method::Post, Vec::new());
        Self { service, address, bearer: None, method, is_titled: false, headers, secrets, carries: None }
    }
}

impl Notifier {
    /// Whether the target is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.setup.address.as_ref().is_some_and(Url::is_secure)
    }

    /// A request that the service answers well if it knows address and token, but that sends nothing: a GET
    /// (Discord's Get Webhook with Token, ntfy's check of access to a topic), or the envelope of a mail. `None` if
    /// the service has no such request.
    pub fn probe(&self) -> Option<Message> {
        let url = match (&self.setup.service, &self.setup.address) {
            (Service::Ntfy(topic), _) => topic.access(),
            (Service::Discord, Some(url)) => url.with_path(url.path()),
            #[cfg(feature = "email")]
            (Service::Email(account), _) => return Some(Message::Mail(email::probe(account, self.is_direct))),
            // These have no such request.
            _ => return None,
        };
        let (bearer, is_direct) = (self.setup.bearer.clone(), self.is_direct);
        let (headers, body) = (Vec::new(), String::new());
        Some(Message::Post(Request { method: Method::Get, url, bearer, key: None, headers, body, is_direct }))
    }

    /// Writes the message. `hint` is how the target was reached before, if not in the usual way.
    pub fn render(&self, digest: &Digest<'_>, hint: &str) -> Message {
        let key = digest.key(&self.name);
        let (body, own) = match &self.setup.service {
            Service::Discord => (discord::render(digest), None),
            Service::Ntfy(topic) => ntfy::render(digest, topic, hint),
            #[cfg(feature = "command")]
            Service::Command(call) => return Message::Run(command::render(digest, call)),
            #[cfg(feature = "email")]
            Service::Email(account) => return Message::Mail(email::render(digest, account, key, self.is_direct)),
            #[cfg(feature = "gotify")]
            Service::Gotify => (gotify::render(digest), None),
            #[cfg(feature = "matrix")]
            Service::Matrix => {
                (matrix::render(digest), self.setup.address.as_ref().map(|room| matrix::event_url(room, key)))
            }
            #[cfg(feature = "pushover")]
            Service::Pushover(keys) => (pushover::render(digest, keys), None),
            #[cfg(feature = "slack")]
            Service::Slack(dialect) => (slack::render(digest, *dialect), None),
            #[cfg(feature = "teams")]
            Service::Teams => (teams::render(digest), None),
            #[cfg(feature = "telegram")]
            Service::Telegram(chat) => (telegram::render(digest, chat, hint), None),
            #[cfg(feature = "webhook")]
            Service::Webhook(webhook) => {
                let body = webhook.render(digest, key);
                let signature = webhook.sign(digest, key, &body);
                return self.post(None, key, body, signature);
            }
            Service::Stdout => (stdout::render(digest), None),
        };
        self.post(own, key, body, Vec::new())
    }

    /// A message for this address or the target's own, with additional headers; printed if there is no address.
    fn post(&self, own: Option<Url>, key: u64, body: String, more: Vec<Header>) -> Message {
        let Some(url) = own.or_else(|| self.setup.address.clone()) else { return Message::Print(body) };
        let Setup { method, bearer, mut headers, .. } = self.setup.clone();
        headers.extend(more);
        let is_direct = self.is_direct;
        Message::Post(Request { method, url, bearer, key: Some(key), headers, body, is_direct })
    }

    /// Judges an answer to a request to `url`. Secrets are removed first: once the text is cut, the rest of a secret
    /// would not be recognized.
    pub fn judge(&self, mut response: Response, url: &Url, hint: &str) -> Outcome {
        if let Ok(text) = str::from_utf8(&response.body) {
            response.body = self.conceal(text).into_bytes();
        }
        let reading = match &self.setup.service {
            Service::Discord => discord::read(&response),
            Service::Ntfy(_) => ntfy::read(&response, hint),
            // The answers of programs and mail servers aren't HTTP.
            #[cfg(feature = "command")]
            Service::Command(_) => Reading::default(),
            #[cfg(feature = "email")]
            Service::Email(_) => Reading::default(),
            #[cfg(feature = "gotify")]
            Service::Gotify => gotify::read(&response),
            #[cfg(feature = "matrix")]
            Service::Matrix => matrix::read(&response),
            #[cfg(feature = "pushover")]
            Service::Pushover(_) => pushover::read(&response),
            #[cfg(feature = "slack")]
            Service::Slack(_) => slack::read(&response),
            #[cfg(feature = "teams")]
            Service::Teams => teams::read(&response),
            #[cfg(feature = "telegram")]
            Service::Telegram(chat) => telegram::read(&response, chat),
            #[cfg(feature = "webhook")]
            Service::Webhook(webhook) => webhook.read(&response),
            Service::Stdout => Reading::default(),
        };
        let has_token = self.setup.bearer.is_some() || !self.setup.headers.is_empty() || url.user().is_some();
        let shown = format!("{}{}", url.origin(), self.path_without_secrets(url));
        outcome::judge(&response, reading, Sent { method: self.setup.method, url, shown: &shown, has_token })
    }

    /// A doubtful setting that works nevertheless, with the remedy.
    pub fn doubt(&self) -> Option<(&'static str, &'static str)> {
        match &self.setup.service {
            #[cfg(feature = "email")]
            Service::Email(account) => email::doubt(account),
            _ => None,
        }
    }

    /// Why the program that gets its messages can't be started, with the remedy.
    pub fn obstacle(&self) -> Option<(String, String)> {
        match &self.setup.service {
            #[cfg(feature = "command")]
            Service::Command(call) => program::check(&call.path).err().map(|why| (why.what, why.remedy)),
            #[cfg(feature = "email")]
            Service::Email(account) => email::obstacle(account),
            _ => None,
        }
    }

    /// A secret too short to be concealed in a text can still be concealed in a path.
    fn path_without_secrets(&self, url: &Url) -> String {
        let is_secret = |part: &&str| self.setup.secrets.iter().any(|secret| secret.reveal() == *part);
        let parts = url.path().split('/').map(|part| if is_secret(&part) { "…" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }

    /// The text without this target's secrets, in case a service repeated one.
    pub fn conceal(&self, text: &str) -> String {
        let secrets = self.setup.bearer.iter().chain(&self.setup.secrets).map(Secret::reveal);
        let mut secrets: Vec<&str> = secrets.filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
        // Longest first, because one secret may be part of another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.into_iter().fold(text.into(), |text, secret| text.replace(secret, "…"))
    }
}
