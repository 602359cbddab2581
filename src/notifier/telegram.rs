//! Telegram: a bot writes to a chat (core.telegram.org/bots/api, sendMessage).

use crate::http::Response;
use crate::json;
use crate::notifier::outcome::{self, Reading};
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, settings};
use crate::rules::Urgency;
use crate::text::{Field, Secret};
use crate::toml::Section;

/// A message holds 4096 UTF-16 units.
pub const CAPACITY: Capacity = Capacity { limit: 4096, unit: Unit::Utf16, around: 0, per_line: 1 };

/// Telegram's API. Some countries block it, and it can be self-hosted, so a setting can name another.
const API: &str = "https://api.telegram.org";

/// The largest number of a topic, which is that of its first message.
const LAST_THREAD: i64 = i32::MAX as i64;

/// Errors about the message.
const ABOUT_MESSAGE: [&str; 4] =
    ["message is too long", "text is too long", "text is empty", "must be encoded in UTF-8"];

/// Errors about the target, each with its remedy. The first that matches counts.
const REMEDIES: [(&str, &str); 13] = [
    ("Unauthorized", "Telegram does not know the token: set the one that @BotFather shows"),
    ("Not Found", "Telegram does not know the token: set the one that @BotFather shows"),
    ("chat not found", "check `chat`; a person must write to the bot first, and a group must have it as a member"),
    ("thread not found", "the group has no such topic: check `thread`"),
    ("TOPIC_CLOSED", "the topic is closed: open it again, or set another `thread`"),
    ("TOPIC_DELETED", "the topic is gone: set another `thread`"),
    ("upgraded to a supergroup", "the group has become a supergroup, which has another number: set that as `chat`"),
    ("blocked by the user", "unblock the bot in Telegram"),
    ("initiate conversation", "write to the bot first: it may not start a conversation"),
    ("can't send messages to bots", "`chat` is a bot: set the number of a person, a group or a channel"),
    ("user is deactivated", "that person's account is gone: set another `chat`"),
    ("deactivated", "the group is gone: set another `chat`"),
    ("bot", "add the bot to the chat again"),
];

/// Errors of a bot that may not write.
const NO_RIGHTS: [&str; 4] =
    ["not enough rights", "have no rights", "need administrator rights", "CHAT_WRITE_FORBIDDEN"];

/// A chat, and how messages are posted to it.
#[derive(Clone, Debug)]
pub struct Chat {
    /// A number, or the `@name` of a channel or a public group.
    id: String,
    /// A topic in a forum.
    thread: Option<i64>,
    /// Whether even urgent messages make no sound.
    is_silent: bool,
}

/// Reads `token`, `chat`, `thread`, `silent` and `api_base`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let base = settings::base(section, "api_base", API);
    let (thread, is_silent) = (section.integer("thread", 1..=LAST_THREAD), section.boolean("silent") == Some(true));
    let id = section.required("chat", Section::string).and_then(|found| {
        let mistake = "must be a chat's number, such as \"-1001234567890\", or a channel's @name";
        section.check("chat", &found, |chat| if is_chat(chat) { Ok(chat.clone()) } else { Err(mistake) })
    });
    let token = section.required("token", Section::secret).and_then(|found| {
        let mistake = "must be a bot's token, such as 123456:ABC-def, as @BotFather shows it";
        section.check("token", &found, |token| if is_token(token) { Ok(token.clone()) } else { Err(mistake) })
    })?;
    let base = base?;
    let bot = Secret::new(format!("bot{}", token.reveal()));
    let path = format!("{}/{}/sendMessage", base.path().trim_end_matches('/'), bot.reveal());
    let chat = Chat { id: id?, thread, is_silent };
    Some(Setup::new(Service::Telegram(chat), Some(base.with_path(&path)), vec![bot, token]))
}

fn is_chat(text: &str) -> bool {
    let is_word =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.parse::<i64>().is_ok() || text.strip_prefix('@').is_some_and(is_word)
}

/// Whether a token is `NUMBER:LETTERS`, and so safe as a part of the path.
fn is_token(token: &Secret) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let Some((number, rest)) = token.reveal().split_once(':') else { return false };
    number.parse::<u64>().is_ok() && !rest.is_empty() && rest.bytes().all(is_part)
}

/// Writes one block of preformatted text, in which Telegram finds no mention, link or command. `hint` may have the
/// chat's new number.
pub fn render(digest: &Digest<'_>, chat: &Chat, hint: &str) -> String {
    let text = digest.lines("");
    let id = new_number(hint, chat).unwrap_or(&chat.id);
    let is_silent = chat.is_silent || digest.urgency() == Urgency::Quiet;
    let thread = chat.thread.map(|thread| format!(r#""message_thread_id":{thread},"#)).unwrap_or_default();
    let length = text.encode_utf16().count();
    format!(
        concat!(
            r#"{{"chat_id":{},{}"text":{},"#,
            r#""entities":[{{"type":"pre","offset":0,"length":{}}}],"disable_notification":{}}}"#
        ),
        json::string(id),
        thread,
        json::string(&text),
        length,
        is_silent
    )
}

/// Reads Telegram's answer: `"ok": true`, or an error with a `description`.
pub fn read(response: &Response, chat: &Chat) -> Reading {
    let member = |name| json::member(&response.body, name);
    let parameter = |name| member("parameters").and_then(|object| json::member(object.as_bytes(), name));
    let description = member("description").unwrap_or("");
    let remedy = if NO_RIGHTS.iter().any(|words| description.contains(words)) {
        "let the bot write there: give it the right, or make it an administrator"
    } else {
        REMEDIES.iter().find(|(words, _)| description.contains(words)).map_or("", |(_, remedy)| remedy)
    };
    let number = parameter("migrate_to_chat_id").filter(|number| number.parse::<i64>().is_ok());
    Reading {
        is_accepted: member("ok") == Some("true"),
        pause: parameter("retry_after").and_then(outcome::seconds),
        is_about_message: ABOUT_MESSAGE.iter().any(|words| description.contains(words)),
        hint: number.map(|number| format!("chat {number} instead of {}", chat.id)),
        error_text: Field::new(description.as_bytes()),
        remedy,
        limit_reset: None,
    }
}

/// Reads the number in `chat NEW instead of OLD`. `None` if the configuration no longer has the old one.
fn new_number<'h>(hint: &'h str, chat: &Chat) -> Option<&'h str> {
    let (new, old) = hint.strip_prefix("chat ")?.split_once(" instead of ")?;
    (old == chat.id).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::tests::{outcome_of, request_of, target};

    const TARGET: &str = "token = '123:s3cret-token'\nchat = '-100'\napi_base = 'http://127.0.0.1'\n";

    fn body(settings: &str, text: &str, urgency: Urgency, hint: &str) -> serde_json::Value {
        let request = request_of(&target("telegram", settings), &[text], urgency, hint);
        serde_json::from_str(&request.body).expect("JSON")
    }

    #[test]
    fn strangers_text_makes_no_mention_link_or_formatting() {
        for text in
            ["<!channel> & <b>x</b>", "```@everyone``` @victim", "[x](https://y.example) /start #tag", "שרת \u{1f512}"]
        {
            let json = body(TARGET, text, Urgency::Normal, "");
            let length = text.encode_utf16().count();
            assert_eq!(json["text"], text);
            assert_eq!(json["entities"], serde_json::json!([{"type": "pre", "offset": 0, "length": length}]));
            assert_eq!(json.get("parse_mode"), None);
        }
    }

    #[test]
    fn topic_and_silence_follow_the_settings_and_a_quiet_notice_is_always_silent() {
        let all = format!("{TARGET}thread = 7\nsilent = true");
        for (settings, urgency, thread, is_silent) in [
            (TARGET, Urgency::Normal, None, false),
            (TARGET, Urgency::Quiet, None, true),
            (&all, Urgency::Urgent, Some(7), true),
        ] {
            let json = body(settings, "x", urgency, "");
            assert_eq!(json.get("message_thread_id").and_then(serde_json::Value::as_i64), thread);
            assert_eq!(json["disable_notification"], is_silent);
        }
    }

    #[test]
    fn a_supergroups_new_number_is_used_until_the_setting_changes() {
        let answer = concat!(
            r#"{"ok":false,"error_code":400,"#,
            r#""description":"Bad Request: group chat was upgraded to a supergroup chat","#,
            r#""parameters":{"migrate_to_chat_id":-10023}}"#
        );
        let moved = outcome_of(&target("telegram", TARGET), 400, answer);
        let outcome::Outcome::Moved { hint, why } = moved else { panic!("{moved:?}") };
        assert_eq!(hint, "chat -10023 instead of -100");
        let remedy = "the group has become a supergroup, which has another number: set that as `chat`";
        assert!(why.ends_with(&format!("(POST http://127.0.0.1/…/sendMessage); {remedy}")), "{why}");
        assert_eq!(body(TARGET, "x", Urgency::Normal, &hint)["chat_id"], "-10023");
        assert_eq!(body(&TARGET.replace("-100", "-7"), "x", Urgency::Normal, &hint)["chat_id"], "-7");
        let other = answer.replace("-10023", "\"x\\\"}\"");
        assert!(matches!(outcome_of(&target("telegram", TARGET), 400, &other), outcome::Outcome::Refused { .. }));
    }

    /// P4
    #[test]
    fn each_documented_answer_has_its_outcome_and_remedy() {
        let rows = [
            (200, "", "D"),
            (400, "Bad Request: message is too long", "X"),
            (400, "Bad Request: message text is empty", "X"),
            (400, "Bad Request: strings must be encoded in UTF-8", "X"),
            (400, "Bad Request: chat not found", "R check `chat`"),
            (400, "Bad Request: message thread not found", "R the group has no such topic"),
            (400, "Bad Request: TOPIC_CLOSED", "R the topic is closed"),
            (400, "Bad Request: not enough rights to send text messages to the chat", "R let the bot write there"),
            (400, "Bad Request: something new", "R check the settings"),
            (401, "Unauthorized", "R Telegram does not know the token"),
            (404, "Not Found", "R Telegram does not know the token"),
            (403, "Forbidden: bot was blocked by the user", "R unblock the bot"),
            (403, "Forbidden: bot can't initiate conversation with a user", "R write to the bot first"),
            (403, "Forbidden: bot can't send messages to bots", "R `chat` is a bot"),
            (403, "Forbidden: user is deactivated", "R that person's account"),
            (403, "Forbidden: the group chat was deactivated", "R the group is gone"),
            (403, "Forbidden: bot was kicked from the supergroup chat", "R add the bot to"),
            (403, "Forbidden: bot is not a member of the channel chat", "R add the bot to"),
            (429, "Too Many Requests: retry after 35", "T35"),
            (502, "Bad Gateway", "F"),
        ];
        for (status, description, expected) in rows {
            let (is_ok, rest) = (status == 200, r#""parameters":{"retry_after":35}"#);
            let answer = format!(r#"{{"ok":{is_ok},"error_code":{status},"description":"{description}",{rest}}}"#);
            let outcome = outcome_of(&target("telegram", TARGET), status, &answer);
            crate::notifier::tests::assert_outcome(&outcome, expected, description);
        }
    }

    #[test]
    fn a_setting_that_cannot_work_is_a_mistake() {
        for (settings, mistake) in [
            ("chat = '1'", "telegram.token is missing"),
            ("token = '1:a'\nchat = '1'\nx = 1", "telegram.x is not a setting"),
            ("token = '1:a'", "telegram.chat is missing"),
            ("token = 'abc'\nchat = '1'", "telegram.token must be a bot's token"),
            ("token = '1:a/../x'\nchat = '1'", "telegram.token must be a bot's token"),
            ("token = '1:a'\nchat = 'my group'", "telegram.chat must be a chat's number"),
            ("token = '1:a'\nchat = '1'\nthread = 0", "telegram.thread must be a whole number from 1"),
            ("token = '1:a'\nchat = '1'\nsilent = 'yes'", "telegram.silent must be true or false"),
            ("token = '1:a'\nchat = '1'\napi_base = 'ftp://x'", "telegram.api_base must begin with https://"),
            ("token = '1:a'\nchat = '1'\napi_base = 'http://x/?y'", "telegram.api_base must have no query"),
        ] {
            let why = crate::notifier::tests::mistakes("telegram", settings);
            assert!(why.contains(mistake), "{settings}: {why}");
        }
        if cfg!(feature = "tls") {
            let public = request_of(&target("telegram", "token = '1:a'\nchat = '1'"), &["x"], Urgency::Normal, "");
            assert_eq!(public.url.reveal(), "https://api.telegram.org/bot1:a/sendMessage");
        }
        let own = request_of(
            &target("telegram", "token = '1:a'\nchat = '@name'\napi_base = 'http://relay.lan/tg/'"),
            &["x"],
            Urgency::Normal,
            "",
        );
        assert_eq!(own.url.reveal(), "http://relay.lan/tg/bot1:a/sendMessage");
    }
}
