//! Notifiers: one for each service. They decide what to say and what an answer means; they send nothing.

mod discord;
mod json;
mod ntfy;
mod outcome;
#[cfg(test)]
mod tests;

pub use discord::Discord;
pub use ntfy::Ntfy;
pub use outcome::Outcome;

use crate::http::{Request, Response};
use crate::text::Field;
use crate::toml::Section;

/// Bytes of the shortest text that is concealed. A shorter one can be guessed, and is part of ordinary
/// words, which would be spoilt.
const SHORTEST_SECRET: usize = 6;

/// A target: one service, and where it is reached.
#[derive(Clone, Debug)]
pub enum Notifier {
    /// A Discord webhook.
    Discord(Discord),
    /// An ntfy topic.
    Ntfy(Ntfy),
    /// Standard output, for a look, a pipe or a demonstration.
    Stdout,
}

/// Several notices that share one message, oldest first.
pub struct Digest<'a> {
    /// What the host is called.
    pub host: &'a Field,
    /// One notice a line, none with a line break; never empty.
    pub lines: &'a [String],
}

/// What a notifier makes of a digest.
#[derive(Debug)]
pub enum Message {
    /// To be posted.
    Post(Request),
    /// To be printed.
    Print(String),
}

/// How much text fits into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The service's limit.
    pub limit: usize,
    /// What the service counts.
    pub unit: Unit,
    /// What stands around all lines, in units.
    pub around: usize,
    /// What each line costs beyond itself, in units.
    pub per_line: usize,
}

/// What a length is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// UTF-16 units: two for a character beyond U+FFFF.
    Utf16,
    /// Bytes of UTF-8.
    Bytes,
}

impl Notifier {
    /// Reads the section `notification`: the targets that it names, as far as they are complete.
    pub fn configure(mut section: Section<'_>) -> Vec<Self> {
        let mut discord = section.section("discord");
        let mut ntfy = section.section("ntfy");
        let names = section.strings("service");
        if names.is_none() || names.as_ref().is_some_and(Vec::is_empty) {
            let _ = section.required("service");
        }
        let mut targets: Vec<Self> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for found in names.iter().flatten() {
            let name = found.value.as_str();
            if seen.contains(&name) {
                section.mistake(found, "service", format_args!("names {name:?} twice"));
                continue;
            }
            seen.push(name);
            match name {
                "discord" => targets.extend(Discord::configure(&mut discord).map(Self::Discord)),
                "ntfy" => targets.extend(Ntfy::configure(&mut ntfy).map(Self::Ntfy)),
                "stdout" => targets.push(Self::Stdout),
                other => {
                    // An address in the wrong place is a secret too.
                    let what = if other.contains('/') { String::new() } else { format!("is {other:?}; it ") };
                    section.mistake(found, "service", format!("{what}can be \"discord\", \"ntfy\" or \"stdout\""));
                }
            }
        }
        // A service that isn't chosen may be configured, and must be as right as if it were.
        if discord.is_there() && !seen.contains(&"discord") {
            let _ = Discord::configure(&mut discord);
        }
        if ntfy.is_there() && !seen.contains(&"ntfy") {
            let _ = Ntfy::configure(&mut ntfy);
        }
        discord.finish();
        ntfy.finish();
        section.finish();
        targets
    }

    /// The same text without this target's secrets, should a service have repeated one.
    pub fn conceal(&self, text: &str) -> String {
        let secrets = match self {
            Self::Discord(discord) => discord.secrets(),
            Self::Ntfy(ntfy) => ntfy.secrets(),
            Self::Stdout => Vec::new(),
        };
        let secrets = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET);
        secrets.fold(text.into(), |text, secret| text.replace(secret, "…"))
    }

    /// What the target is called, in the configuration and everywhere else.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Discord(_) => "discord",
            Self::Ntfy(_) => "ntfy",
            Self::Stdout => "stdout",
        }
    }

    /// Whether it is reached over TLS.
    pub fn is_secure(&self) -> bool {
        match self {
            Self::Discord(discord) => discord.is_secure(),
            Self::Ntfy(ntfy) => ntfy.is_secure(),
            Self::Stdout => false,
        }
    }

    /// How many of these lines, from the first on, one message can carry: at least one, for every
    /// notice is shorter than every service's limit.
    pub fn fitting(&self, lines: &[String]) -> usize {
        let capacity = match self {
            Self::Discord(_) => discord::CAPACITY,
            Self::Ntfy(_) => ntfy::CAPACITY,
            Self::Stdout => return lines.len(),
        };
        capacity.fitting(lines)
    }

    /// Writes the message.
    pub fn render(&self, digest: &Digest<'_>) -> Message {
        match self {
            Self::Discord(discord) => Message::Post(discord.render(digest)),
            Self::Ntfy(ntfy) => Message::Post(ntfy.render(digest)),
            Self::Stdout => Message::Print(digest.lines.join("\n") + "\n"),
        }
    }

    /// Says what an answer means. Secrets are taken out first: later, a secret may have been cut, and
    /// what is left of it would not be recognised.
    pub fn judge(&self, mut response: Response) -> Outcome {
        if let Ok(text) = str::from_utf8(&response.body) {
            response.body = self.conceal(text).into_bytes();
        }
        match self {
            Self::Discord(_) => Discord::judge(&response),
            Self::Ntfy(_) => Ntfy::judge(&response),
            Self::Stdout => Outcome::Delivered { pause: None },
        }
    }
}

impl Capacity {
    fn fitting(self, lines: &[String]) -> usize {
        let mut used = self.around;
        let fits = |line: &&String| {
            used += self.per_line
                + match self.unit {
                    Unit::Utf16 => line.encode_utf16().count(),
                    Unit::Bytes => line.len(),
                };
            used <= self.limit
        };
        lines.iter().take_while(fits).count().max(1)
    }
}
