//! Discord: a webhook's address (docs.discord.com, Execute Webhook).

use std::time::Duration;

use crate::http::{Response, Url};
use crate::notifier::outcome::{self, Outcome};
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, json};
use crate::rules::Urgency;
use crate::text::Secret;
use crate::toml::Section;

/// A message holds 2000 characters; the code block's fence takes six, `- ` and the line break three.
/// Discord has said that it counts code points (discord-api-docs, issue 1315); its clients count
/// UTF-16 units, of which there are never fewer. A message that is within both is always taken.
pub const CAPACITY: Capacity = Capacity { limit: 2000, unit: Unit::Utf16, around: 6, per_line: 3 };

/// Hosts that serve webhooks.
const HOSTS: [&str; 4] = ["discord.com", "canary.discord.com", "ptb.discord.com", "discordapp.com"];

/// Path of a webhook, before its number and its token.
const PATH: &str = "/api/webhooks/";

/// Length of a webhook's user name, counted like a message's.
const USERNAME_LIMIT: usize = 80;

/// The message makes no sound (`SUPPRESS_NOTIFICATIONS`).
const SILENT: u32 = 1 << 12;

/// Reads `webhook_url`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let found = section.required("webhook_url", Section::secret)?;
    let url = Url::configure(section, "webhook_url", &found)?;
    let is_discord = url.is_secure() && HOSTS.contains(&url.host()) && url.origin().ends_with(url.host());
    let parts = section.check("webhook_url", &found, |_| {
        let parts = url.path().strip_prefix(PATH).filter(|_| is_discord || url.is_loopback());
        parts.ok_or("must begin with https://discord.com/api/webhooks/")
    })?;
    // The parts after the webhook's number let anybody post.
    let secrets = parts.split('/').filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit()));
    let secrets = secrets.map(Secret::new).collect();
    let joint = if url.query().is_empty() { "" } else { "&" };
    // Without wait=true Discord answers before it has the message, and reports nothing if it is lost.
    let address = url.with_path(&format!("{}?{}{joint}wait=true", url.path(), url.query()));
    Some(Setup { service: Service::Discord, address: Some(address), bearer: None, secrets })
}

/// Writes a code block, in which Discord formats and mentions nothing, one line a notice.
pub fn render(digest: &Digest<'_>) -> String {
    let content = format!("```{}```", digest.lines("- ").replace('`', ""));
    let flags = match digest.urgency() {
        Urgency::Quiet => format!(r#","flags":{SILENT}"#),
        Urgency::Normal | Urgency::Urgent => String::new(),
    };
    format!(
        r#"{{"username":{},"content":{},"allowed_mentions":{{"parse":[]}}{flags}}}"#,
        json::string(&username(digest.host.as_str())),
        json::string(&content)
    )
}

/// Discord answers a message that it saved with that message, which has an `id`.
pub fn judge(response: &Response) -> Outcome {
    let saved = response.status == 204 || json::field(&response.body, "id").is_some();
    let throttled =
        || outcome::retry_after(response).or_else(|| outcome::seconds(json::field(&response.body, "retry_after")?));
    match outcome::judge(response, saved, throttled, "message") {
        Outcome::Delivered { .. } => Outcome::Delivered { pause: spent(response) },
        other => other,
    }
}

/// How long to wait before the next message when this one was the last that the limit allowed.
fn spent(response: &Response) -> Option<Duration> {
    let is_spent = response.header("x-ratelimit-remaining")? == "0";
    outcome::seconds(response.header("x-ratelimit-reset-after")?).filter(|_| is_spent)
}

/// A user name that Discord accepts: 1 to 80 characters, none of its reserved words or signs.
fn username(host: &str) -> String {
    let mut name = host.replace(['@', '#', ':', '`'], "-");
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
