//! Discord: a webhook (docs.discord.com, Execute Webhook).

use std::time::Duration;

use crate::http::{Response, Url};
use crate::json;
use crate::notifier::outcome::{self, Reading};
use crate::notifier::{Capacity, Digest, Service, Setup, Unit};
use crate::rules::Urgency;
use crate::text::{Field, Secret};
use crate::toml::Section;

/// A message holds 2000 characters. The code block's fence takes six, `- ` and the line break three. Discord counts
/// code points (discord-api-docs, issue 1315), its clients UTF-16 units, of which there are never fewer.
pub const CAPACITY: Capacity = Capacity { limit: 2000, unit: Unit::Utf16, around: 6, per_line: 3 };

/// Hosts that serve webhooks.
const HOSTS: [&str; 4] = ["discord.com", "canary.discord.com", "ptb.discord.com", "discordapp.com"];

/// RFC 9110 §4.2.2
const HTTPS_PORT: u16 = 443;

/// UTF-16 units in a webhook's user name.
const USERNAME_LIMIT: usize = 80;

/// The error code of an invalid form. `errors` names the field.
const INVALID_FORM: u32 = 50_035;

/// Error codes about the message: explicit content, too large, not JSON, blocked by moderation, a harmful link.
const ABOUT_MESSAGE: [u32; 5] = [20_009, 40_005, 50_109, 200_000, 240_000];

/// Error codes about the target, each with its remedy.
const REMEDIES: [(&[u32], &str); 6] = [
    (&[10_003, 10_015, 50_027], "the webhook or its channel is gone: make a new webhook and set its address"),
    (&[220_001], "the channel is a forum: add ?thread_id=NUMBER to the address"),
    (&[220_003], "the channel is not a forum: remove thread_id and thread_name from the address"),
    (&[50_083, 160_005], "the thread is archived or locked: open it again, or use another"),
    (&[50_001, 50_013], "the webhook may not post there: check the channel's permissions"),
    (&[50_006], "the address must end with the webhook's token: remove the part after it, such as /slack"),
];

/// The flag of a message without sound (`SUPPRESS_NOTIFICATIONS`).
const SILENT: u32 = 1 << 12;

/// Reads `webhook_url`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let found = section.required("webhook_url", Section::secret)?;
    let url = Url::configure(section, "webhook_url", &found)?;
    let is_discord = url.is_secure() && HOSTS.contains(&url.host()) && url.port() == HTTPS_PORT;
    let token = section.check("webhook_url", &found, |_| {
        if !is_discord && !url.is_loopback() {
            return Err("must begin with https://discord.com/api/webhooks/");
        }
        token(url.path())
    })?;
    // The token is all that it takes to post.
    let secrets = vec![Secret::new(token)];
    let joint = if url.query().is_empty() { "" } else { "&" };
    // Without wait=true, Discord answers before it saves the message, and doesn't report its loss.
    let path = url.path().trim_end_matches('/');
    let address = url.with_path(&format!("{path}?{}{joint}wait=true", url.query()));
    Some(Setup::new(Service::Discord, Some(address), secrets))
}

/// Finds the token in `/api/webhooks/NUMBER/TOKEN`, or with a version in `/api/v10/webhooks/NUMBER/TOKEN`. The number
/// may be missing, because the Go program accepted any path that began like this.
fn token(path: &str) -> Result<&str, &'static str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = path.strip_prefix("/api/").unwrap_or("");
    let (version, after) = rest.split_once('/').unwrap_or(("", ""));
    let rest = if version.strip_prefix('v').is_some_and(is_number) { after } else { rest };
    let rest = rest.strip_prefix("webhooks/").ok_or("must begin with https://discord.com/api/webhooks/")?;
    let token =
        rest.trim_end_matches('/').trim_start_matches(|digit: char| digit.is_ascii_digit()).trim_start_matches('/');
    if token.ends_with("/slack") || token.ends_with("/github") {
        return Err("must end with the webhook's token: remove the part after it, such as /slack");
    }
    Ok(token)
}

/// Writes a code block with one line for each notice. Discord formats and mentions nothing in it.
pub fn render(digest: &Digest<'_>) -> String {
    let content = format!("```{}```", digest.lines("- ").replace('`', ""));
    let flags = match digest.urgency() {
        Urgency::Quiet => format!(r#","flags":{SILENT}"#),
        Urgency::Normal | Urgency::Urgent => String::new(),
    };
    format!(
        r#"{{"username":{},"content":{},"allowed_mentions":{{"parse":[]}}{flags}}}"#,
        json::string(&username(digest.style.host.as_str())),
        json::string(&content)
    )
}

/// Reads Discord's answer: the saved message, which has an `id`, or an error with a `code` (docs.discord.com, JSON
/// Error Codes).
pub fn read(response: &Response) -> Reading {
    let member = |name| json::member(&response.body, name);
    let errors = member("errors").unwrap_or("");
    let code = member("code").and_then(|code| code.parse().ok()).unwrap_or(0);
    let is_invalid = code == INVALID_FORM;
    let error_text = match (member("message"), json::first_string(errors, "message")) {
        (Some(_), Some(why)) if is_invalid => format!("{}: {why}", json::first_key(errors)),
        (message, _) => message.unwrap_or("").into(),
    };
    Reading {
        is_accepted: response.status == 204 || member("id").is_some(),
        limit_reset: limit_reset(response),
        pause: member("retry_after").and_then(outcome::seconds),
        // A form's other fields (thread_id, username) come from the settings.
        is_about_message: ABOUT_MESSAGE.contains(&code) || is_invalid && json::first_key(errors) == "content",
        error_text: Field::new(error_text.as_bytes()),
        remedy: REMEDIES.iter().find(|(codes, _)| codes.contains(&code)).map_or("", |(_, remedy)| remedy),
        hint: None,
    }
}

/// How long to wait before the next message if this one used up the rate limit.
fn limit_reset(response: &Response) -> Option<Duration> {
    let is_spent = response.header("x-ratelimit-remaining")? == "0";
    outcome::seconds(response.header("x-ratelimit-reset-after")?).filter(|_| is_spent)
}

/// Turns a host's name into a user name that Discord accepts: 1 to 80 characters, without its reserved words and signs.
fn username(host: &str) -> String {
    let mut name = host.replace('`', "").replace(['@', '#', ':'], "-");
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
    let name: String = name.chars().take_while(fits).collect();
    match name.trim() {
        "" => "ssh-session-notifier".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_name_is_one_that_discord_accepts() {
        let (long, longer) = ("é".repeat(200), "\u{1f512}".repeat(80));
        let padded = format!("{} b", "a".repeat(79));
        let rows = [
            ("example.com", "example.com"),
            ("Küche 王", "Küche 王"),
            ("discord-relay", "disc-ord-relay"),
            ("MyDISCORDdiscord", "MyDISC-ORDdisc-ord"),
            ("clyde.example", "cly-de.example"),
            ("here", "here-"),
            ("a@b#c:d`e", "a-b-c-de"),
            (&long, &long[..160]),
            (&longer, &longer[..160]),
            (&padded, &padded[..79]),
            ("```", "ssh-session-notifier"),
        ];
        for (host, expected) in rows {
            assert_eq!(username(host), expected);
        }
    }
}
