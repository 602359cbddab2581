//! The requests to each optional service, byte for byte, as its documentation has them.

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply};

/// A service, and how a login is posted to it.
struct Row {
    service: &'static str,
    /// Settings; `BASE` stands for the server's address.
    settings: &'static str,
    /// The service's answer to a message that it accepts.
    answer: (u16, &'static str),
    /// Method and target; `KEY` stands for the message's key.
    line: &'static str,
    /// The header that authorizes the request, or one that must be missing.
    header: (&'static str, Option<&'static str>),
    /// `TEXT` stands for the notice, `UNITS` for its length.
    body: &'static str,
}

const ROWS: &[Row] = &[
    // gotify.net/api-docs#/message/createMessage
    #[cfg(feature = "gotify")]
    Row {
        service: "gotify",
        settings: "server_url = 'BASE'\ntoken = 'AbC.dEf'\n",
        answer: (200, r#"{"id":25,"appid":5,"message":"x"}"#),
        line: "POST /message",
        header: ("x-gotify-key", Some("AbC.dEf")),
        body: r#"{"title":"host.example","message":"TEXT","priority":5}"#,
    },
    // spec.matrix.org/v1.11/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
    #[cfg(feature = "matrix")]
    Row {
        service: "matrix",
        settings: "server_url = 'BASE'\nroom = '!a:host.example'\ntoken = 'syt_s3cret'\n",
        answer: (200, r#"{"event_id":"$1"}"#),
        line: "PUT /_matrix/client/v3/rooms/%21a%3Ahost.example/send/m.room.message/KEY",
        header: ("authorization", Some("Bearer syt_s3cret")),
        body: r#"{"msgtype":"m.text","body":"TEXT","m.mentions":{}}"#,
    },
    // developers.mattermost.com/integrate/webhooks/incoming
    #[cfg(feature = "mattermost")]
    Row {
        service: "mattermost",
        settings: "webhook_url = 'BASE/hooks/s3cret'\n",
        answer: (200, "ok"),
        line: "POST /hooks/s3cret",
        header: ("authorization", None),
        body: r#"{"text":"```\nTEXT\n```"}"#,
    },
    // pushover.net/api#messages
    #[cfg(feature = "pushover")]
    Row {
        service: "pushover",
        settings: "api_base = 'BASE'\ntoken = 'azGDORePK8gMaC0'\nuser = 'uQiRzpo4DXghDm'\n",
        answer: (200, r#"{"status":1,"request":"647d2300-702c"}"#),
        line: "POST /1/messages.json",
        header: ("authorization", None),
        body: concat!(
            r#"{"token":"azGDORePK8gMaC0","user":"uQiRzpo4DXghDm","title":"host.example","#,
            r#""message":"TEXT","priority":0}"#
        ),
    },
    // docs.rocket.chat/docs/integrations
    #[cfg(feature = "rocketchat")]
    Row {
        service: "rocketchat",
        settings: "webhook_url = 'BASE/hooks/1/s3cret'\n",
        answer: (200, r#"{"success":true}"#),
        line: "POST /hooks/1/s3cret",
        header: ("authorization", None),
        body: r#"{"text":"```\nTEXT\n```"}"#,
    },
    // docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    #[cfg(feature = "slack")]
    Row {
        service: "slack",
        settings: "webhook_url = 'BASE/services/T0/B0/s3cret'\n",
        answer: (200, "ok"),
        line: "POST /services/T0/B0/s3cret",
        header: ("authorization", None),
        body: r#"{"text":"```TEXT```"}"#,
    },
    // learn.microsoft.com/connectors/teams: Post card in a chat or channel; adaptivecards.io/explorer
    #[cfg(feature = "teams")]
    Row {
        service: "teams",
        settings: "webhook_url = 'BASE/workflows/1/triggers/manual/paths/invoke?api-version=1&sig=s3cret'\n",
        answer: (202, ""),
        line: "POST /workflows/1/triggers/manual/paths/invoke?api-version=1&sig=s3cret",
        header: ("authorization", None),
        body: concat!(
            r#"{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","#,
            r#""content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","#,
            r#""version":"1.2","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"TEXT"}]}]}}]}"#
        ),
    },
    // core.telegram.org/bots/api#sendmessage
    #[cfg(feature = "telegram")]
    Row {
        service: "telegram",
        settings: "api_base = 'BASE'\ntoken = '123:s3cret-token'\nchat = '@mychannel'\nthread = 7\n",
        answer: (200, r#"{"ok":true,"result":{"message_id":1}}"#),
        line: "POST /bot123:s3cret-token/sendMessage",
        header: ("authorization", None),
        body: concat!(
            r#"{"chat_id":"@mychannel","message_thread_id":7,"text":"TEXT","#,
            r#""entities":[{"type":"pre","offset":0,"length":UNITS}],"disable_notification":false}"#
        ),
    },
];

/// P4
#[test]
fn each_service_gets_its_documented_request_byte_for_byte() {
    for row in ROWS {
        let (status, answer) = row.answer;
        let server = Server::new(move |_, _, stream| reply(stream, status, "", answer));
        let base = format!("http://127.0.0.1:{}", server.port);
        let settings = row.settings.replace("BASE", &base);
        let home = Home::new(&format!("[notification]\nservice = '{0}'\n[notification.{0}]\n{settings}", row.service));
        home.login("amanda");
        home.send().when(row.service).succeeds();
        let requests = server.requests();
        let [request] = requests.as_slice() else { panic!("{}: not one request: {requests:?}", row.service) };
        let at = request.body.split(" at ").nth(1).and_then(|rest| rest.get(.."2026-04-25 10:00:00+12:00".len()));
        let text = format!(
            "'amanda' (192.0.2.7) logged in to host.example via ssh (sshd) at {}",
            at.unwrap_or_else(|| panic!("{}: no time: {}", row.service, request.body))
        );
        let body = row.body.replace("TEXT", &text).replace("UNITS", &text.len().to_string());
        assert_eq!(request.body, body, "{}", row.service);
        let key = request.header("idempotency-key").expect("each message has a key").trim_matches('"');
        let line = format!("{} HTTP/1.1", row.line.replace("KEY", key));
        assert_eq!(request.head.lines().next(), Some(line.as_str()), "{}", row.service);
        assert_eq!(request.header(row.header.0), row.header.1, "{}", row.service);
        assert_eq!(request.header("content-type"), Some("application/json"), "{}", row.service);
    }
}

#[test]
fn every_service_that_a_build_can_lack_has_a_row() {
    let default = include_str!("../../Cargo.toml").lines().find(|line| line.starts_with("default = ")).expect("a list");
    // They have files of their own.
    let others = ["tls", "command", "email", "webhook"];
    for name in default.split('"').skip(1).step_by(2).filter(|name| !others.contains(name)) {
        // A row whose feature is off is not in `ROWS`.
        let has_row = include_str!("services.rs").contains(&format!("        service: \"{name}\","));
        assert!(has_row, "{name} needs a row here");
    }
}

/// P4: only the first message goes to the old number, even in later runs.
#[cfg(feature = "telegram")]
#[test]
fn a_group_that_became_a_supergroup_is_followed_and_reported_once() {
    const MOVED: &str = concat!(
        r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","#,
        r#""parameters":{"migrate_to_chat_id":-10023}}"#
    );
    let server = Server::new(|_, request, stream| match request.json()["chat_id"].as_str() {
        Some("-10023") => reply(stream, 200, "", r#"{"ok":true,"result":{"message_id":1}}"#),
        _ => reply(stream, 400, "", MOVED),
    });
    let home = Home::new(&format!(
        "[notification]\nservice = 'telegram'\n[notification.telegram]\napi_base = 'http://127.0.0.1:{}'\n\
         token = '123:s3cret-token'\nchat = '-567'\n",
        server.port
    ));
    home.login("amanda");
    home.send().exits(0).says("set that as `chat`; reached chat -10023 instead of -567");
    home.login("ben");
    home.send().succeeds();
    let chats: Vec<String> = server.requests().iter().map(|request| request.json()["chat_id"].to_string()).collect();
    assert_eq!(chats, ["\"-567\"", "\"-10023\"", "\"-10023\""]);
}
