//! Hostile names: no service finds a mention, a link or formatting in a user's name.

use serde_json::Value;

use super::*;
use crate::event::{Action, Event, Facts, SERVICE, USER};
use crate::rules::Verdict;

/// Text that some service would take for a mention, a link, formatting, an escape or an end.
const NAMES: [&str; 18] = [
    "<!channel> <!here> <@U1>",
    "@everyone @here @all @room",
    "<@&1> <@1> <#1> <at>all</at>",
    "&amp; & &lt;!channel&gt;",
    "`x` ```",
    "```\n@everyone",
    "**b** *i* _u_ ~s~ ||x||",
    "[x](https://y.example)",
    "<https://y.example|x>",
    "https://y.example",
    "<b>x</b><script>",
    "\",\"parse_mode\":\"HTML",
    "\\\"}]}",
    "a\r\nBcc: b@c\r\n\r\nx",
    "=?utf-8?Q?x?=",
    "\u{202e}gnp.exe\u{2066}\u{200f}",
    "שרת \u{1f512}",
    "{user} {{host}} $(id)",
];

/// A service, settings for it, and a check that a message to it has no text that the service interprets.
struct Row {
    service: &'static str,
    settings: &'static str,
    is_plain: fn(&Value) -> bool,
}

const ROWS: &[Row] = &[
    Row { service: "command", settings: "command = '/bin/true'", is_plain: are_reports },
    Row {
        service: "discord",
        settings: "webhook_url = 'http://127.0.0.1/api/webhooks/1/s3cret'",
        is_plain: |json| {
            // A code block is not formatted, and mentions are off.
            json["allowed_mentions"] == serde_json::json!({"parse": []}) && inside(&json["content"], "```").is_some()
        },
    },
    Row {
        service: "email",
        settings: "sendmail = true\nto = 'root'\nfrom = 'a@b'\ntitle = '{user}'",
        is_plain: |mail| {
            let Some((head, body)) = mail.as_str().and_then(|mail| mail.split_once("\n\n")) else { return false };
            let names = head.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(':'));
            let expected = "Date From To Subject Message-ID Auto-Submitted MIME-Version Content-Type \
                            Content-Transfer-Encoding";
            let is_text = head.contains("\nContent-Type: text/plain; charset=utf-8\n");
            is_text && body.is_ascii() && names.map(|(name, _)| name).collect::<Vec<_>>().join(" ") == expected
        },
    },
    Row {
        service: "gotify",
        settings: "server_url = 'http://127.0.0.1'\ntoken = 'a'\ntitle = '{user}'",
        // Markdown would require `extras`.
        is_plain: |json| has_only(json, "message priority title"),
    },
    Row {
        service: "matrix",
        settings: "server_url = 'http://127.0.0.1'\nroom = '!a:b'\ntoken = 'a'",
        is_plain: |json| has_only(json, "body m.mentions msgtype") && json["m.mentions"] == serde_json::json!({}),
    },
    Row {
        service: "mattermost",
        settings: "webhook_url = 'http://127.0.0.1/hooks/a'",
        is_plain: |json| has_only(json, "text") && inside(&json["text"], "```").is_some(),
    },
    Row {
        service: "ntfy",
        settings: "topic_url = 'http://127.0.0.1/t'\ntitle = '{user}'",
        // Markdown would require `markdown`, and a link `click` or `actions`.
        is_plain: |json| has_only(json, "message priority tags title topic"),
    },
    Row {
        service: "pushover",
        settings: "api_base = 'http://127.0.0.1'\ntoken = 'a'\nuser = 'b'\ntitle = '{user}'",
        // HTML would require `html`.
        is_plain: |json| has_only(json, "message priority title token user"),
    },
    Row {
        service: "rocketchat",
        settings: "webhook_url = 'http://127.0.0.1/hooks/a'",
        // It finds mentions even in a code block.
        is_plain: |json| has_only(json, "text") && inside(&json["text"], "```").is_some_and(|text| !text.contains('@')),
    },
    Row {
        service: "slack",
        settings: "webhook_url = 'http://127.0.0.1/services/a'",
        // Mentions and links are in angle brackets, even in a code block.
        is_plain: |json| {
            has_only(json, "text") && inside(&json["text"], "```").is_some_and(|text| !text.contains(['<', '>']))
        },
    },
    Row {
        service: "stdout",
        settings: "",
        is_plain: |text| text.as_str().is_some_and(|text| text.ends_with('\n') && text.lines().count() == 1),
    },
    Row {
        service: "teams",
        settings: "webhook_url = 'http://127.0.0.1/workflows/a?sig=b'",
        is_plain: |json| {
            // A `TextBlock` would be Markdown.
            let block = &json["attachments"][0]["content"]["body"][0];
            let is_run = block["inlines"][0]["type"] == "TextRun" && has_only(&block["inlines"][0], "text type");
            block["type"] == "RichTextBlock" && is_run && !json.to_string().contains("msteams")
        },
    },
    Row {
        service: "telegram",
        settings: "api_base = 'http://127.0.0.1'\ntoken = '1:a'\nchat = '1'",
        is_plain: |json| {
            // All of it is preformatted.
            let length = json["text"].as_str().map(|text| text.encode_utf16().count());
            let whole = serde_json::json!([{"type": "pre", "offset": 0, "length": length}]);
            json["entities"] == whole && json.get("parse_mode").is_none()
        },
    },
    Row { service: "webhook", settings: "url = 'http://127.0.0.1/a'", is_plain: are_reports },
    Row {
        service: "webhook",
        settings: "url = 'http://127.0.0.1/a'\nformat = 'apprise'\ntitle = '{user}'",
        // Behind it may be any service, and the title is a heading for some.
        is_plain: |json| {
            let is_text = has_only(json, "body format title type") && json["format"] == "text";
            is_text && has_no_marks(&json["title"]) && has_no_marks(&json["body"])
        },
    },
    Row {
        service: "webhook",
        settings: "url = 'http://127.0.0.1/a'\nbody = '{\"a\":\"{title}\",\"b\":\"{text}\"}'\ntitle = '{user}'",
        is_plain: |json| has_only(json, "a b") && has_no_marks(&json["a"]) && has_no_marks(&json["b"]),
    },
];

/// The text between two fences, if there are no others.
fn inside<'t>(text: &'t Value, fence: &str) -> Option<&'t str> {
    let text = text.as_str()?.strip_prefix(fence)?.strip_suffix(fence)?;
    (!text.contains('`')).then_some(text)
}

/// Whether an object has exactly these members, in alphabetical order.
fn has_only(json: &Value, members: &str) -> bool {
    let mut names: Vec<&String> = json.as_object().into_iter().flat_map(|object| object.keys()).collect();
    names.sort();
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ") == members
}

/// Whether a text has none of the signs that most services take for mentions, links and code.
fn has_no_marks(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.contains(['<', '>', '`', '@']))
}

fn are_reports(json: &Value) -> bool {
    let is_report = |report: &Value| report["type"] == "open" && report["user"].is_string();
    json.as_array().is_some_and(|reports| reports.len() == 1 && reports.iter().all(is_report))
}

/// The message about a login by a user of this name.
fn message(target: &Notifier, name: &str) -> Value {
    let mut facts = Facts::default();
    (facts[USER], facts[SERVICE]) = (Field::new(name.as_bytes()), Field::new(b"sshd"));
    let event = Event { at: Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() }, ..Event::session(Action::Open, facts) };
    with_style("host.example", |style| {
        let mut draft = Draft::new(target, target.detail, style);
        assert!(draft.add(&event, &Verdict::default()));
        let notices = draft.finish();
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
        match target.render(&Digest { style, notices: &notices }, "") {
            Message::Post(request) => json(&request.body),
            #[cfg(feature = "command")]
            Message::Run(call) => json(&call.input),
            #[cfg(feature = "email")]
            Message::Mail(letter) => letter.text.expect("a mail").into(),
            Message::Print(text) => text.into(),
        }
    })
}

/// P3
#[test]
fn no_service_finds_a_mention_a_link_or_formatting_in_a_name() {
    for service in SERVICES.iter().map(|row| row.name) {
        assert!(ROWS.iter().any(|row| row.service == service), "{service} needs a row here");
        for Row { settings, is_plain, .. } in ROWS.iter().filter(|row| row.service == service) {
            let target = target(service, settings);
            for name in NAMES {
                let message = message(&target, name);
                assert!(is_plain(&message), "{service}: {name:?}: {message}");
                let text = message.as_str().map_or_else(|| message.to_string(), Into::into);
                assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\r']), "{service}: {name:?}: {text}");
            }
        }
    }
}
