//! Slack: an incoming webhook (docs.slack.dev, Sending messages using incoming webhooks). Mattermost and Rocket.Chat
//! have compatible webhooks, with other rules for the text.

use crate::http::Response;
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, settings};
use crate::text::Field;
use crate::toml::Section;

/// Slack recommends up to 4000 characters and truncates at 40,000. This fits a notice of 900 characters even if all of
/// them are escaped. The code block's fence takes six, a line break one.
pub const CAPACITY: Capacity = Capacity { limit: 4600, unit: Unit::Entities, around: 6, per_line: 1 };

/// Mattermost splits a message after 16,383 characters, or after 4000 with an old database.
#[cfg(feature = "mattermost")]
pub const MATTERMOST: Capacity = Capacity { limit: 4000, unit: Unit::Utf16, around: 8, per_line: 1 };

/// Rocket.Chat accepts 5000 characters by default, often 1000 in practice.
#[cfg(feature = "rocketchat")]
pub const ROCKETCHAT: Capacity = Capacity { limit: 1000, unit: Unit::Characters, around: 8, per_line: 1 };

/// Errors about the message.
const ABOUT_MESSAGE: [&str; 4] = ["invalid_payload", "no_text", "msg_too_long", "error-message-size-exceeded"];

/// Errors about the target, each with its remedy.
const REMEDIES: [(&str, &str); 9] = [
    ("no_service", "the webhook is gone or switched off: make a new one and set its address"),
    ("no_team", "the workspace is gone: check the address"),
    ("no_active_hooks", "the webhook is switched off: switch it on"),
    ("invalid_token", "the address is incomplete: copy it again"),
    ("channel_not_found", "the channel is gone: make a webhook for another"),
    ("channel_is_archived", "the channel is archived: unarchive it, or make a webhook for another"),
    ("action_prohibited", "an administrator of the workspace forbids it"),
    ("posting_to_general_channel_denied", "an administrator forbids it in this channel: make a webhook for another"),
    ("Invalid webhook", "the webhook is gone: make a new one and set its address"),
];

/// The rules for a message's text.
#[derive(Clone, Copy, Debug)]
pub enum Dialect {
    /// `&`, `<` and `>` are escaped.
    Slack,
    /// There are no escapes, and no mentions in a code block.
    #[cfg(feature = "mattermost")]
    Mattermost,
    /// There are no escapes, and a code block can mention people.
    #[cfg(feature = "rocketchat")]
    RocketChat,
}

/// Reads `webhook_url` for Slack.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    setup(section, Dialect::Slack)
}

/// Reads `webhook_url` for Mattermost.
#[cfg(feature = "mattermost")]
pub fn configure_mattermost(section: &mut Section<'_>) -> Option<Setup> {
    setup(section, Dialect::Mattermost)
}

/// Reads `webhook_url` for Rocket.Chat.
#[cfg(feature = "rocketchat")]
pub fn configure_rocketchat(section: &mut Section<'_>) -> Option<Setup> {
    setup(section, Dialect::RocketChat)
}

fn setup(section: &mut Section<'_>, dialect: Dialect) -> Option<Setup> {
    let (url, secrets) = settings::webhook(section, "webhook_url")?;
    Some(Setup::new(Service::Slack(dialect), Some(url), secrets))
}

/// Writes a code block, in which nothing is formatted, with one line for each notice.
pub fn render(digest: &Digest<'_>, dialect: Dialect) -> String {
    // A backquote in a notice could end the block.
    let lines = digest.lines("").replace('`', "'");
    let text = match dialect {
        Dialect::Slack => {
            let lines = lines.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            format!("```{lines}```")
        }
        #[cfg(feature = "mattermost")]
        Dialect::Mattermost => format!("```\n{lines}\n```"),
        #[cfg(feature = "rocketchat")]
        Dialect::RocketChat => format!("```\n{}\n```", lines.replace('@', "\u{ff20}")),
    };
    format!(r#"{{"text":{}}}"#, json::string(&text))
}

/// Reads an answer. Success is the word `ok`, or `"success": true` from Rocket.Chat. An error is a word from Slack, and
/// has a `message` from Mattermost or an `error` from Rocket.Chat.
pub fn read(response: &Response) -> Reading {
    let member = |name| json::member(&response.body, name);
    let text = str::from_utf8(&response.body).unwrap_or("").trim();
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
    let error = if is_word { text } else { member("message").or(member("error")).unwrap_or("") };
    Reading {
        is_accepted: text == "ok" || member("success") == Some("true"),
        is_about_message: ABOUT_MESSAGE.iter().any(|word| error.contains(word)),
        error_text: Field::new(error.as_bytes()),
        remedy: REMEDIES.iter().find(|(words, _)| error.contains(words)).map_or("", |(_, remedy)| remedy),
        ..Reading::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::notifier::tests::{assert_outcome, mistakes, outcome_of, request_of, target};
    use crate::rules::Urgency;

    const TARGET: &str = "webhook_url = 'http://127.0.0.1/services/T0/B0/s3cret-part'";

    fn text(service: &str, text: &str) -> String {
        let body = request_of(&target(service, TARGET), &[text], Urgency::Normal, "").body;
        let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        json["text"].as_str().expect("a text").to_owned()
    }

    #[test]
    fn strangers_text_makes_no_mention_link_or_formatting() {
        for (given, expected) in [
            ("<!channel> & <@U1>", "```&lt;!channel&gt; &amp; &lt;@U1&gt;```"),
            ("``` @everyone *x* ```", "```''' @everyone *x* '''```"),
            ("[x](y) &lt; <https://y|x>", "```[x](y) &amp;lt; &lt;https://y|x&gt;```"),
            ("שרת \u{1f512}", "```שרת \u{1f512}```"),
        ] {
            assert_eq!(text("slack", given), expected);
        }
        #[cfg(feature = "mattermost")]
        assert_eq!(text("mattermost", "```@all <!channel> & [x](y)"), "```\n'''@all <!channel> & [x](y)\n```");
        #[cfg(feature = "rocketchat")]
        assert_eq!(text("rocketchat", "```@all & [x](y)"), "```\n'''＠all & [x](y)\n```");
    }

    #[test]
    fn escapes_count_towards_the_length_of_a_message() {
        let mut room = target("slack", TARGET).capacity.room();
        let line = "&".repeat(100);
        let count = (0..100).take_while(|_| room.take(&line)).count();
        assert_eq!(count, (4600 - 6) / 501);
    }

    /// P4
    #[test]
    fn each_documented_answer_has_its_outcome_and_remedy() {
        for (status, body, expected) in [
            (200, "ok", "D"),
            (200, r#"{"success":true}"#, "D"),
            (200, "Welcome to our hotel", "F"),
            (400, "invalid_payload", "X"),
            (400, "no_text", "X"),
            (400, r#"{"success":false,"error":"error-message-size-exceeded"}"#, "X"),
            (
                400,
                r#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook."}"#,
                "R the webhook is",
            ),
            (403, "action_prohibited", "R an administrator of the workspace"),
            (403, "invalid_token", "R the address is incomplete"),
            (404, "no_service", "R the webhook is gone"),
            (404, "channel_not_found", "R the channel is gone"),
            (410, "channel_is_archived", "R the channel is archived"),
            (404, "<html>", "R nothing is there"),
            (429, "", "T60"),
            (500, "rollup_error", "F"),
        ] {
            assert_outcome(&outcome_of(&target("slack", TARGET), status, body), expected, body);
        }
        assert!(mistakes("slack", "").contains("slack.webhook_url is missing"));
        assert_eq!(target("slack", TARGET).conceal("s3cret-part"), "…");
    }
}
