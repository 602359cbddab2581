//! Matrix: a user of a homeserver writes to a room (spec.matrix.org, client-server API, Sending events to a room).

use std::time::Duration;

use crate::http::{Method, Response, Url};
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, settings};
use crate::rules::Urgency;
use crate::text::{Field, percent_encoded};
use crate::toml::Section;

/// An event holds 65,536 bytes, and JSON can double a text's length. This is as much as a person reads.
pub const CAPACITY: Capacity = Capacity { limit: 16_384, unit: Unit::Bytes, around: 0, per_line: 1 };

/// Bytes in a room's ID.
const ROOM_LIMIT: usize = 255;

/// Error codes about the message.
const ABOUT_MESSAGE: [&str; 3] = ["M_TOO_LARGE", "M_BAD_JSON", "M_NOT_JSON"];

/// Error codes about the target, each with its remedy.
const REMEDIES: [(&[&str], &str); 5] = [
    (&["M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"], "the server does not know the token: log in again and set the new one"),
    (&["M_FORBIDDEN"], "let the user join the room, and give it the right to write there"),
    (&["M_USER_DEACTIVATED", "M_USER_LOCKED", "M_USER_SUSPENDED"], "the user's account is closed: use another one"),
    (&["M_NOT_FOUND", "M_INVALID_PARAM"], "there is no such room: check `room`"),
    (&["M_UNRECOGNIZED"], "check `server_url`: it is the address in /.well-known/matrix/client, without a path"),
];

/// Reads `server_url`, `room` and `token`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let server = settings::server(section, "server_url");
    let room = section.required("room", Section::string).and_then(|found| {
        section.check("room", &found, |room| {
            let is_room = room.len() > 1 && room.len() <= ROOM_LIMIT && room.starts_with('!');
            if is_room { Ok(percent_encoded(room)) } else { Err("must be the room's internal ID, which begins with !") }
        })
    });
    let token = settings::word(section, "token")?;
    let (server, room) = (server?, room?);
    let base = server.path().trim_end_matches('/');
    let address = server.with_path(&format!("{base}/_matrix/client/v3/rooms/{room}/send/m.room.message"));
    Some(Setup { bearer: Some(token), method: Method::Put, ..Setup::new(Service::Matrix, Some(address), Vec::new()) })
}

/// The address for one message. It ends with the transaction ID, by which the server recognises a retry.
pub fn event_url(room: &Url, key: u64) -> Url {
    room.with_path(&format!("{}/{key:016x}", room.path()))
}

/// Writes plain text without mentions. By default, clients make no sound for an `m.notice`.
pub fn render(digest: &Digest<'_>) -> String {
    let kind = match digest.urgency() {
        Urgency::Quiet => "m.notice",
        Urgency::Normal | Urgency::Urgent => "m.text",
    };
    format!(r#"{{"msgtype":"{kind}","body":{},"m.mentions":{{}}}}"#, json::string(&digest.lines("")))
}

/// Reads the server's answer: the event's `event_id`, or an error with an `errcode`.
pub fn read(response: &Response) -> Reading {
    let member = |name| json::member(&response.body, name);
    let code = member("errcode").unwrap_or("");
    let pause = member("retry_after_ms").and_then(|pause| pause.parse().ok()).map(Duration::from_millis);
    Reading {
        is_accepted: member("event_id").is_some(),
        pause,
        is_about_message: ABOUT_MESSAGE.contains(&code),
        error_text: Field::new(member("error").unwrap_or(code).as_bytes()),
        remedy: REMEDIES.iter().find(|(codes, _)| codes.contains(&code)).map_or("", |(_, remedy)| remedy),
        ..Reading::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::notifier::tests::{assert_outcome, mistakes, outcome_of, request_of, target};
    use crate::rules::Urgency;

    const TARGET: &str = "server_url = 'http://matrix.lan'\nroom = '!aB/c:matrix.lan'\ntoken = 'syt_s3cret'";

    #[test]
    fn strangers_text_mentions_nobody_and_a_quiet_notice_makes_no_sound() {
        let text = "@room <!channel> <b>&amp;</b> `@everyone` [x](y) שרת";
        for (urgency, kind) in [(Urgency::Quiet, "m.notice"), (Urgency::Normal, "m.text")] {
            let body = request_of(&target("matrix", TARGET), &[text], urgency, "").body;
            let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(json, serde_json::json!({"msgtype": kind, "body": text, "m.mentions": {}}));
        }
    }

    #[test]
    fn the_same_notices_have_the_same_transaction_id_and_others_have_another() {
        let target = target("matrix", TARGET);
        let url = |texts: &[&str]| request_of(&target, texts, Urgency::Normal, "").url.reveal().to_owned();
        assert!(
            url(&["a"])
                .starts_with("http://matrix.lan/_matrix/client/v3/rooms/%21aB%2Fc%3Amatrix.lan/send/m.room.message/")
        );
        assert_eq!(url(&["a"]), url(&["a"]));
        assert_ne!(url(&["a"]), url(&["a", "b"]));
    }

    /// P4
    #[test]
    fn each_documented_answer_has_its_outcome_and_remedy() {
        let error = |code: &str| format!(r#"{{"errcode":"{code}","error":"said","retry_after_ms":2500}}"#);
        for (status, body, expected) in [
            (200, r#"{"event_id":"$YUwRidLecu:example.com"}"#.into(), "D"),
            (401, error("M_UNKNOWN_TOKEN"), "R the server does not know the token"),
            (401, error("M_MISSING_TOKEN"), "R the server does not know the token"),
            (403, error("M_FORBIDDEN"), "R let the user join"),
            (403, error("M_USER_DEACTIVATED"), "R the user's account"),
            (404, error("M_NOT_FOUND"), "R there is no such room"),
            (404, error("M_UNRECOGNIZED"), "R check `server_url`"),
            (413, error("M_TOO_LARGE"), "X"),
            (400, error("M_BAD_JSON"), "X"),
            (400, error("M_UNKNOWN"), "R check the settings"),
            (429, error("M_LIMIT_EXCEEDED"), "T2.5"),
            (502, String::new(), "F"),
        ] {
            assert_outcome(&outcome_of(&target("matrix", TARGET), status, &body), expected, &body);
        }
    }

    #[test]
    fn a_setting_that_cannot_work_is_a_mistake() {
        let server = "server_url = 'http://h'\n";
        for (settings, mistake) in [
            ("room = '!a:h'", "matrix.token is missing"),
            ("token = 'a'", "matrix.room is missing"),
            ("token = 'a'\nroom = '#a:h'", "matrix.room must be the room's internal ID"),
        ] {
            let why = mistakes("matrix", &format!("{server}{settings}"));
            assert!(why.contains(mistake), "{settings}: {why}");
        }
    }
}
