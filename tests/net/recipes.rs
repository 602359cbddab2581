//! The recipes of docs/services.md: the real binary sends each one to a server that answers like the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply};

const DOCS: &str = include_str!("../../docs/services.md");

/// The expected request of a recipe, and the service's responses.
struct Row {
    /// The target's name in the recipe.
    name: &'static str,
    /// The path and query.
    path: &'static str,
    /// The body; `TEXT` stands for the notice, `KEY64` for the message's key.
    body: fn() -> Value,
    /// The responses to an accepted and to a refused message.
    taken: (u16, &'static str),
    refused: (u16, &'static str),
}

const ROWS: [Row; 10] = [
    // github.com/caronc/apprise-api, README, "API Details", and its responses for /notify
    Row {
        name: "apprise",
        path: "/notify/KEY",
        body: || json!({"title": "host.example", "body": "TEXT", "type": "info", "format": "text", "tag": "admins"}),
        taken: (200, "Notification(s) sent."),
        refused: (424, r#"{"error":"One or more notification could not be sent."}"#),
    },
    // open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
    Row {
        name: "feishu",
        path: "/open-apis/bot/v2/hook/KEY",
        body: || json!({"msg_type": "text", "content": {"text": "TEXT"}}),
        taken: (200, r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#),
        refused: (200, r#"{"code":19024,"data":{},"msg":"Key Words Not Found"}"#),
    },
    // open.dingtalk.com/document/orgapp/custom-robots-send-group-messages
    Row {
        name: "dingtalk",
        path: "/robot/send?access_token=TOKEN",
        body: || json!({"msgtype": "text", "text": {"content": "TEXT"}}),
        taken: (200, r#"{"errcode":0,"errmsg":"ok"}"#),
        refused: (200, r#"{"errcode":310000,"errmsg":"keywords not in content"}"#),
    },
    // developer.work.weixin.qq.com/document/path/91770
    Row {
        name: "wecom",
        path: "/cgi-bin/webhook/send?key=KEY",
        body: || json!({"msgtype": "text", "text": {"content": "TEXT"}}),
        taken: (200, r#"{"errcode":0,"errmsg":"ok"}"#),
        refused: (200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#),
    },
    // bark.day.app/#/tutorial, POST JSON
    Row {
        name: "bark",
        path: "/push",
        body: || json!({"device_key": "KEY", "title": "host.example", "body": "TEXT", "group": "sessions"}),
        taken: (200, r#"{"code":200,"message":"success","timestamp":1795824000}"#),
        refused: (200, r#"{"code":400,"message":"failed to get device token","timestamp":1795824000}"#),
    },
    // zulip.com/integrations/doc/slack_incoming, zulip.com/api/rest-error-handling
    Row {
        name: "zulip",
        path: "/api/v1/external/slack_incoming?api_key=KEY&stream=CHANNEL&topic=sessions",
        body: || json!({"text": "```\nTEXT\n```"}),
        taken: (200, r#"{"result":"success","msg":""}"#),
        refused: (401, r#"{"result":"error","msg":"Invalid API key","code":"INVALID_API_KEY"}"#),
    },
    // bbernhard.github.io/signal-cli-rest-api, /v2/send
    Row {
        name: "signal",
        path: "/v2/send",
        body: || json!({"number": "+43NUMBER", "recipients": ["+43RECIPIENT"], "message": "TEXT"}),
        taken: (201, r#"{"timestamp":"1795824000000"}"#),
        refused: (400, r#"{"error":"Unregistered user \"+43RECIPIENT\""}"#),
    },
    // developers.home-assistant.io/docs/api/rest, POST /api/services/<domain>/<service>
    Row {
        name: "homeassistant",
        path: "/api/services/notify/mobile_app_PHONE",
        body: || json!({"title": "host.example", "message": "TEXT"}),
        taken: (200, "[]"),
        refused: (401, "401: Unauthorized"),
    },
    // developer.pagerduty.com/docs/send-alert-event
    Row {
        name: "pagerduty",
        path: "/v2/enqueue",
        body: || {
            let payload = json!({"summary": "TEXT", "source": "host.example", "severity": "warning"});
            json!({"routing_key": "KEY", "event_action": "trigger", "dedup_key": "KEY64", "payload": payload})
        },
        taken: (202, r#"{"status":"success","message":"Event processed","dedup_key":"0"}"#),
        refused: (400, r#"{"status":"invalid event","message":"Event object is invalid","errors":["'routing_key'"]}"#),
    },
    // developers.google.com/workspace/chat/quickstart/webhooks
    Row {
        name: "chat",
        path: "/v1/spaces/SPACE/messages?key=KEY&token=TOKEN",
        body: || json!({"text": "```\nTEXT\n```"}),
        taken: (200, r#"{"name":"spaces/SPACE/messages/1","text":"x"}"#),
        refused: (404, r#"{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND"}}"#),
    },
];

/// The recipes: the name of each target, and its section.
fn recipes() -> Vec<(&'static str, &'static str)> {
    let blocks = DOCS.split("```toml\n").skip(1).map(|rest| rest.split("\n```\n").next().expect("an end"));
    let recipe = |block: &'static str| {
        let name = block.strip_prefix("[notification.")?.split(']').next()?;
        block.contains("service = \"webhook\"").then_some((name, block))
    };
    blocks.filter_map(recipe).collect()
}

/// The section with its address changed to this port.
fn here(recipe: &str, port: u16) -> String {
    let moved = |line: &str| {
        let (scheme, rest) = line.strip_prefix("url = \"")?.split_once("://")?;
        assert!(["http", "https"].contains(&scheme), "{line}");
        Some(format!("url = \"http://127.0.0.1:{port}/{}", rest.split_once('/').expect("a path").1))
    };
    let lines = recipe.lines().map(|line| moved(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

/// P4
#[test]
fn each_documented_recipe_sends_the_right_request_and_understands_the_response() {
    let names: Vec<&str> = recipes().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ROWS.map(|row| row.name), "a recipe without a row, or a row without a recipe");
    for (row, (name, recipe)) in ROWS.iter().zip(recipes()) {
        let (taken, refused) = (row.taken, row.refused);
        let is_ready = Arc::new(AtomicBool::new(false));
        let ready = Arc::clone(&is_ready);
        let server = Server::new(move |_, _, stream| {
            let (status, body) = if ready.load(Ordering::Relaxed) { taken } else { refused };
            reply(stream, status, "", body);
        });
        let home = Home::new(&format!("[notification]\nservice = '{name}'\n{}\n", here(recipe, server.port)));
        home.login("aman\"da\\ `@all` <b> שרת");
        let reason = refused.1.split('"').max_by_key(|part| part.len()).expect("a part");
        home.send().when(name).fails().says(&format!("HTTP {}", refused.0)).says(reason).says("everything is kept");
        is_ready.store(true, Ordering::Relaxed);
        home.queue().end_waits();
        home.send().when(name).succeeds();
        assert_eq!(home.queue().count_waiting(), 0, "{name}");
        for request in server.requests() {
            assert_eq!((request.method(), request.target()), ("POST", row.path), "{name}");
            let at = request.body.split(" at ").nth(1).and_then(|rest| rest.get(.."2026-04-25 10:00:00+12:00".len()));
            let text = format!(
                "'aman\"da\\ '＠all' ‹b› שרת' (192.0.2.7) logged in to host.example via ssh (sshd) at {}",
                at.unwrap_or_else(|| panic!("{name}: no time: {}", request.body))
            );
            let key = request.header("idempotency-key").expect("each message has a key").trim_matches('"');
            let escaped = json!(text).to_string();
            let expected = (row.body)().to_string().replace("TEXT", &escaped[1..escaped.len() - 1]);
            let expected: Value = serde_json::from_str(&expected.replace("KEY64", key)).expect("JSON");
            assert_eq!(request.json(), expected, "{name}");
        }
    }
    let token = recipes().into_iter().find(|(name, _)| *name == "homeassistant").expect("a recipe").1;
    assert!(token.contains("Authorization = \"Bearer TOKEN\""), "{token}");
}
