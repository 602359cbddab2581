//! The requests to Discord and ntfy, and the output of `stdout`, byte for byte.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::home::{Home, LOGIN};
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server, reply, taken};
use crate::support::skip;

/// Host names: ordinary ones, and some that try to be more than a name.
const HOSTS: [&str; 14] = [
    "host.example",
    "Küche 王",
    "\u{1f512}\u{1f512} gateway",
    "שרת",
    "a\"b\\c/d",
    "{\"id\":\"1\"}",
    "%0d%0aX-Injected: yes",
    "=?UTF-8?B?eA==?=",
    "@everyone",
    "<@123> <#456> <@&789>",
    "```",
    "Discord relay of clyde.example",
    "here",
    "null",
];

/// Runs `send` and returns the server's only request.
fn only_request(server: &Server, home: &Home) -> Request {
    home.send().succeeds();
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("not one request: {requests:?}") };
    request.clone()
}

/// Makes a host with one target and one pending login.
fn home(service: &str, config: &str) -> Home {
    let home = Home::new(&format!("[notification]\nservice = \"{service}\"\n{config}"));
    home.login("amanda");
    home
}

/// Returns the time in a notice.
fn moment(body: &str) -> &str {
    body.split(" at ").nth(1).and_then(|rest| rest.split(['`', '"', '\n']).next()).unwrap_or_default()
}

/// Returns the expected head, with the request's own idempotency key.
fn head(request: &Request, port: u16, target: &str, authorization: Option<&str>) -> String {
    let key = request.header("idempotency-key").expect("each message has a key");
    assert!(key.len() == 18 && key.trim_matches('"').bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    let mut lines = vec![
        format!("POST {target} HTTP/1.1"),
        format!("Host: 127.0.0.1:{port}"),
        concat!("User-Agent: ssh-session-notifier/", env!("CARGO_PKG_VERSION")).to_owned(),
        "Connection: close".to_owned(),
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {}", request.body.len()),
    ];
    lines.extend(authorization.map(|word| format!("Authorization: {word}")));
    lines.push(format!("Idempotency-Key: {key}"));
    lines.join("\r\n") + "\r\n\r\n"
}

#[test]
fn discord_gets_its_documented_request_byte_for_byte() {
    let server = Server::well();
    let request = only_request(&server, &home("discord", &server.discord()));
    let at = moment(&request.body);
    let expected = format!(
        concat!(
            r#"{{"username":"host.example","content":"```- 'amanda' (192.0.2.7) logged in to host.example "#,
            r#"via ssh (sshd) at {at}```","allowed_mentions":{{"parse":[]}}}}"#
        ),
        at = at
    );
    assert_eq!(request.body, expected);
    assert_eq!(request.head, head(&request, server.port, "/api/webhooks/1/s3cret?wait=true", None));
}

#[test]
fn ntfy_gets_its_documented_request_byte_for_byte_with_and_without_a_token() {
    for (token, authorization) in [("", None), ("token = \"tk_s3cret\"\n", Some("Bearer tk_s3cret"))] {
        let server = Server::well();
        let request = only_request(&server, &home("ntfy", &(server.ntfy() + token)));
        let at = moment(&request.body);
        let expected = format!(
            concat!(
                r#"{{"topic":"mytopic","title":"host.example","message":"'amanda' (192.0.2.7) logged in to "#,
                r#"host.example via ssh (sshd) at {at}","priority":5,"tags":["rotating_light"]}}"#
            ),
            at = at
        );
        assert_eq!(request.body, expected);
        assert_eq!(request.head, head(&request, server.port, "/", authorization));
    }
}

/// `printf anna:päss | base64`
const BASIC: &str = "Basic YW5uYTpww6Rzcw==";

#[test]
fn basic_authentication_is_sent_as_the_go_program_sent_it() {
    for (user, token) in [("anna:p%C3%A4ss@", ""), ("", "token = \"anna:päss\"\n")] {
        let server = Server::well();
        let target =
            format!("[notification.ntfy]\ntopic_url = \"http://{user}127.0.0.1:{}/mytopic\"\n{token}", server.port);
        let request = only_request(&server, &home("ntfy", &target));
        assert_eq!(request.head, head(&request, server.port, "/", Some(BASIC)));
    }
}

/// P4: the Go program posted there. The sender finds this out once.
#[test]
fn ntfy_is_reached_if_a_proxy_allows_only_the_topics_path() {
    let server = Server::new(|_, request, stream| match request.target().split('?').next() {
        Some("/push/mytopic") => taken(stream),
        _ => reply(stream, 403, "", "<html>403 Forbidden</html>"),
    });
    let target = format!("[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{}/push/mytopic\"\n", server.port);
    let home = home("ntfy", &target);
    home.rename("Küche & co");
    home.send().exits(0).says("ntfy: HTTP 403 (POST http://127.0.0.1:").says("/push/); ");
    home.login("ben");
    home.send().exits(0).says_only("");
    let requests = server.requests();
    let query = "title=K%C3%BCche%20%26%20co&priority=5&tags=rotating_light";
    let by_path = format!("/push/mytopic?{query}");
    let targets: Vec<&str> = requests.iter().map(Request::target).collect();
    assert_eq!(targets, ["/push/", &by_path, &by_path]);
    let text = &requests[1].body;
    assert!(text.starts_with("'amanda' (192.0.2.7) logged in to Küche & co via ssh (sshd) at 20"), "{text}");
}

/// The Go program posted to any address. A name that ntfy would not accept belongs to another kind of server.
#[test]
fn a_topic_that_ntfy_would_not_accept_is_posted_to_unchanged() {
    let server = Server::well();
    let target = format!("[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{}/my.topic?up=1\"\n", server.port);
    let request = only_request(&server, &home("ntfy", &target));
    assert_eq!(request.target(), "/my.topic?up=1&title=host.example&priority=5&tags=rotating_light");
}

#[test]
fn an_address_is_accepted_or_refused_with_the_remedy() {
    let port = Server::well().port;
    let rows = [
        ("discord", "webhook_url", format!("HTTP://LocalHost:{port}/api/v10/webhooks/1/s3cret"), ""),
        (
            "discord",
            "webhook_url",
            format!("http://127.0.0.1:{port}/api/webhooks/1/s3cret/slack"),
            "remove the part after",
        ),
        (
            "discord",
            "webhook_url",
            format!("http://127.0.0.1:{port}/webhooks/1/s3cret"),
            "must begin with https://discord",
        ),
        (
            "ntfy",
            "topic_url",
            "http://ntfy.example/mytopic/publish".into(),
            "ends with /publish, which is not the topic",
        ),
        ("ntfy", "topic_url", "http://ntfy.example/mytopic/json".into(), "ends with /json, which is not the topic"),
        ("ntfy", "topic_url", "http://ntfy.example/".into(), "must end with a topic"),
        ("ntfy", "topic_url", "http://127.1/mytopic".into(), "must have a host name or an IPv4 address"),
        ("ntfy", "topic_url", "http://küche.example/mytopic".into(), "use the form that begins with xn--"),
        ("ntfy", "topic_url", "http://[2001:db8::1]/mytopic".into(), "has an IPv6 address"),
    ];
    for (service, setting, address, mistake) in rows {
        let home = home(service, &format!("[notification.{service}]\n{setting} = \"{address}\"\n"));
        let output = home.run(&["status"]);
        if mistake.is_empty() {
            output.when(&address).succeeds();
        } else {
            output
                .when(&address)
                .fails()
                .says(&format!("config.toml:9: notification.{service}.{setting} "))
                .says(mistake);
        }
    }
}

#[test]
fn the_query_of_a_webhook_and_the_path_of_a_topic_are_kept() {
    let server = Server::well();
    let webhook = format!(
        "[notification.discord]\nwebhook_url = \"http://127.0.0.1:{}/api/webhooks/1/s3cret?thread_id=7\"\n",
        server.port
    );
    let request = only_request(&server, &home("discord", &webhook));
    assert_eq!(request.target(), "/api/webhooks/1/s3cret?thread_id=7&wait=true");
    let server = Server::well();
    let topic = format!("[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{}/push/mytopic?auth=x\"\n", server.port);
    let request = only_request(&server, &home("ntfy", &topic));
    assert_eq!((request.target(), &request.json()["topic"]), ("/push/?auth=x", &"mytopic".into()));
}

#[test]
fn stdout_gets_the_notice_and_nothing_else() {
    let home = home("stdout", "");
    home.record("amanda", "", "close_session");
    let sent = home.sent();
    let [login, logout] = sent.split_inclusive('\n').collect::<Vec<_>>()[..] else { panic!("not two lines: {sent}") };
    let (first, second) = (moment(login), moment(logout));
    assert_eq!(login, format!("'amanda' (192.0.2.7) logged in to host.example via ssh (sshd) at {first}\n"));
    assert_eq!(logout, format!("'amanda' logged out from host.example via ssh (sshd) at {second}\n"));
    // Go's layout 2006-01-02 15:04:05-07:00, which prints UTC as +00:00.
    let digits: String = first.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect();
    assert_eq!(digits, "0000-00-00 00:00:00+00:00");
    assert!(first.ends_with("+00:00"), "{first}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_an_https_address_is_a_mistake_that_names_the_build_to_use() {
    for (service, setting, address) in [
        ("discord", "webhook_url", "https://discord.com/api/webhooks/1/s3cret"),
        ("ntfy", "topic_url", "https://ntfy.example/mytopic"),
    ] {
        let home = home(service, &format!("[notification.{service}]\n{setting} = \"{address}\"\n"));
        let output = home.send();
        let error = format!(
            "ssh-session-notifier: {}:9: notification.{service}.{setting} begins with https://, and this build has \
             no TLS: use the build with the feature `tls`\n",
            home.at("config.toml").display()
        );
        output.fails().says_only(&error);
    }
}

#[test]
fn ntfy_gets_any_host_name_unchanged() {
    let server = Server::well();
    let home = home("ntfy", &server.ntfy());
    home.send().succeeds();
    for (number, host) in HOSTS.iter().enumerate() {
        home.rename(host);
        let user = format!("amanda{number}");
        home.login(&user);
        home.send().when(host).succeeds();
        let request = server.requests().pop().expect("a request");
        let json = request.json();
        assert_eq!((&json["title"], &json["topic"]), (&(*host).into(), &"mytopic".into()), "{host}");
        let message = json["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("'{user}' (192.0.2.7) logged in to {host} via ssh (sshd) at ")));
        assert!(request.head.is_ascii() && !request.head.contains("X-Injected"), "{}", request.head);
    }
}

/// P3
#[test]
fn discords_own_schema_accepts_every_body_and_discords_rules_every_user_name() {
    let python = "/usr/bin/python3";
    if !Command::new(python).args(["-c", "import jsonschema"]).output().is_ok_and(|run| run.status.success()) {
        let why = "there is no python3-jsonschema";
        return skip("discords_own_schema_accepts_every_body_and_discords_rules_every_user_name", why);
    }
    let bodies = bodies_for_discord();
    for body in &bodies {
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["allowed_mentions", "content", "username"], "{body}");
        assert_eq!(json["allowed_mentions"], serde_json::json!({"parse": []}), "{body}");
        let content = json["content"].as_str().expect("text");
        let inside = content.strip_prefix("```- ").and_then(|rest| rest.strip_suffix("```"));
        assert!(inside.is_some_and(|inside| !inside.contains('`')), "one code block: {content}");
        assert!(content.encode_utf16().count() <= 2000, "{content}");
        assert_is_name(json["username"].as_str().expect("a name"));
    }
    assert_eq!(mistakes(python, &bodies), Vec::<usize>::new());
    // The validator finds mistakes.
    let wrong = [
        serde_json::json!({"username": "x", "content": "é".repeat(2001)}),
        serde_json::json!({"username": "", "content": "x"}),
        serde_json::json!({"username": "x".repeat(81), "content": "x"}),
        serde_json::json!({"content": "x", "allowed_mentions": {"parse": ["all"]}}),
        serde_json::json!({"content": "x", "allowed_mentions": {"parse": []}}),
    ];
    assert_eq!(mistakes(python, &wrong.map(|wrong| wrong.to_string())), [0, 1, 2, 3]);
}

/// Returns the bodies for Discord from many hosts, for one event and for many, with hostile names.
fn bodies_for_discord() -> Vec<String> {
    let server = Server::well();
    let home = home("discord", &server.discord());
    let long = "\u{1f512}".repeat(150);
    let users = ["``` @everyone ```", "\u{1f512}\u{202e}\n\u{7}", "<@&1> **x** [a](b)", &long];
    let hosts = HOSTS.iter().copied().map(str::to_owned);
    let hosts = hosts.chain(["\u{1f512}".repeat(150), "é".repeat(255), format!("{}discord", "a".repeat(77))]);
    for host in hosts {
        home.rename(&host);
        for user in users {
            home.record(user, user, "open_session");
            let mut items = LOGIN;
            items[0].1 = user;
            items[2].1 = user;
            home.hook(&items).when(user).succeeds();
        }
        home.send().when(&host).succeeds();
    }
    let bodies: Vec<String> = server.requests().into_iter().map(|request| request.body).collect();
    assert!(bodies.len() >= HOSTS.len() && bodies.iter().any(|body| body.contains("\\n- ")), "{bodies:?}");
    bodies
}

/// docs.discord.com: Webhook (Create Webhook), User (Usernames and Nicknames).
fn assert_is_name(name: &str) {
    let lower = name.to_lowercase();
    assert!((1..=80).contains(&name.encode_utf16().count()), "{name}");
    assert!(!["discord", "clyde", "@", "#", ":", "```"].iter().any(|part| lower.contains(part)), "{name}");
    assert!(!["everyone", "here"].contains(&lower.as_str()), "{name}");
    assert_eq!(name, name.trim());
}

/// Returns the indices of the bodies that Discord's schema rejects.
fn mistakes(python: &str, bodies: &[String]) -> Vec<usize> {
    const VALIDATE: &str = "
import json, sys, jsonschema
validator = jsonschema.Draft202012Validator(json.load(open(sys.argv[1])))
for number, line in enumerate(sys.stdin):
    if not validator.is_valid(json.loads(line)):
        print(number)
";
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/discord-execute-webhook.schema.json");
    let mut command = Command::new(python);
    command.args(["-c", VALIDATE, schema]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 was there");
    child.stdin.take().expect("it is piped").write_all(bodies.join("\n").as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    output.exits(0).stdout().lines().map(|line| line.parse().expect("a number")).collect()
}
