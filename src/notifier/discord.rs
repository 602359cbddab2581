//! Discord: a webhook's address (docs.discord.com, Execute Webhook).

use crate::http::{Address, Request, Response};
use crate::notifier::outcome::{self, Outcome};
use crate::notifier::{Capacity, Digest, Unit, json};
use crate::text::{FIELD_UTF16, Secret};
use crate::toml::Section;

/// A message holds 2000 characters; the code block's fence takes six, `- ` and the line break three.
/// Discord has said that it counts code points (discord-api-docs, issue 1315); its clients count
/// UTF-16 units, of which there are never fewer. A message that is within both is always taken.
pub const CAPACITY: Capacity = Capacity { limit: 2000, unit: Unit::Utf16, around: 6, per_line: 3 };

/// The longest notice has five fields, and the words between them.
const _: () = assert!(5 * FIELD_UTF16 + 100 + CAPACITY.around + CAPACITY.per_line <= CAPACITY.limit);

/// Hosts that serve webhooks.
const HOSTS: [&str; 4] = ["discord.com", "canary.discord.com", "ptb.discord.com", "discordapp.com"];

/// Length of a webhook's user name, counted like a message's.
const USERNAME_LIMIT: usize = 80;

/// One webhook.
#[derive(Clone, Debug)]
pub struct Discord {
    url: Secret,
    is_secure: bool,
}

impl Discord {
    /// Reads `webhook_url`.
    pub fn configure(section: &mut Section<'_>) -> Option<Self> {
        let found = section.required_secret("webhook_url", "webhook_url_file")?;
        let url = section.address("webhook_url", &found)?;
        let parts = Address::parse(url.reveal()).ok()?;
        let is_webhook = parts.path.starts_with("/api/webhooks/");
        let is_discord = parts.is_secure && HOSTS.contains(&parts.host) && parts.origin.ends_with(parts.host);
        if !is_webhook || !(is_discord || parts.is_loopback()) {
            section.mistake(&found, "webhook_url", "must begin with https://discord.com/api/webhooks/");
            return None;
        }
        let is_secure = parts.is_secure;
        let joint = if parts.path.contains('?') { '&' } else { '?' };
        // Without wait=true Discord answers before it has the message, and says nothing if it is lost.
        Some(Self { url: Secret::new(format!("{}{joint}wait=true", url.reveal())), is_secure })
    }

    /// What lets anybody post: the parts of the address behind the webhook's number.
    pub fn secrets(&self) -> Vec<&str> {
        let path = self.url.reveal().split('?').next().unwrap_or_default();
        let parts = path.split_once("/api/webhooks/").map_or("", |(_, parts)| parts).split('/');
        parts.filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit())).collect()
    }

    /// Whether the webhook is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Writes a code block, in which Discord formats and mentions nothing, one line a notice.
    pub fn render(&self, digest: &Digest<'_>) -> Request {
        let lines: Vec<String> = digest.lines.iter().map(|line| format!("- {}", line.replace('`', ""))).collect();
        let body = format!(
            r#"{{"username":{},"content":{},"allowed_mentions":{{"parse":[]}}}}"#,
            json::string(&username(digest.host.as_str())),
            json::string(&format!("```{}```", lines.join("\n")))
        );
        Request { url: self.url.clone(), bearer: None, body }
    }

    /// A message that was saved is answered with itself, and so with its `id`.
    pub fn judge(response: &Response) -> Outcome {
        let saved = response.status == 204 || json::field(&response.body, "id").is_some();
        let throttled =
            || outcome::retry_after(response).or_else(|| outcome::seconds(json::field(&response.body, "retry_after")?));
        let outcome = outcome::judge(response, saved, throttled, "message");
        match outcome {
            Outcome::Delivered { .. } => Outcome::Delivered { pause: spent(response) },
            other => other,
        }
    }
}

/// How long to wait before the next message when this one was the last that the limit allowed.
fn spent(response: &Response) -> Option<std::time::Duration> {
    let is_spent = response.header("x-ratelimit-remaining")? == "0";
    outcome::seconds(response.header("x-ratelimit-reset-after")?).filter(|_| is_spent)
}

/// A user name that Discord accepts: 1 to 80 characters, none of its reserved words or signs.
fn username(host: &str) -> String {
    let mut name: String =
        host.chars().map(|sign| if matches!(sign, '@' | '#' | ':' | '`') { '-' } else { sign }).collect();
    for (word, split) in [("discord", 4), ("clyde", 3)] {
        while let Some(start) = name.to_ascii_lowercase().find(word) {
            name.insert(start + split, '-');
        }
    }
    if ["everyone", "here"].contains(&name.to_ascii_lowercase().as_str()) {
        name.push('-');
    }
    let mut length = 0;
    let fits = |sign: &char| {
        length += sign.len_utf16();
        length <= USERNAME_LIMIT
    };
    name.chars().take_while(fits).collect::<String>().trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_as_discord_allows() {
        let (long, longer) = ("é".repeat(200), "\u{1f512}".repeat(80));
        let padded = format!("{} b", "a".repeat(79));
        let rows = [
            ("example.com", "example.com"),
            ("Küche 王", "Küche 王"),
            ("discord-relay", "disc-ord-relay"),
            ("MyDISCORDdiscord", "MyDISC-ORDdisc-ord"),
            ("clyde.example", "cly-de.example"),
            ("here", "here-"),
            ("a@b#c:d`e", "a-b-c-d-e"),
            (&long, &long[..160]),
            (&longer, &longer[..160]),
            (&padded, &padded[..79]),
        ];
        for (host, expected) in rows {
            assert_eq!(username(host), expected);
        }
    }
}
