//! Reports of every event to a generic webhook: their content, and how retries are identified.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server, reply};
#[cfg(feature = "tls")]
use crate::support::tls::{Authority, END, Nginx, PAST, trusting};
use crate::support::{has, is_root, skip};
#[cfg(feature = "tls")]
use crate::tls::GOOD;

const DOCS: &str = include_str!("../../docs/services.md");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver that never answers the first `answers` requests.
fn losing(answers: usize) -> Server {
    Server::new(move |number, _, stream| {
        if number >= answers {
            reply(stream, 204, "", "");
        }
    })
}

fn home(port: u16, settings: &str) -> Home {
    Home::new(&format!(
        "[notification]\nservice = 'webhook'\n[notification.webhook]\nurl = 'http://127.0.0.1:{port}/in/s3cret-path'\n\
         {settings}\n"
    ))
}

fn users(request: &Request) -> Vec<Value> {
    request.json().as_array().expect("an array").iter().map(|event| event["user"].clone()).collect()
}

#[test]
fn a_login_and_its_logout_are_reported_with_exactly_the_documented_members() {
    let server = losing(0);
    let home = home(server.port, "");
    let name = "\"},{\\ {user} <b> \u{202e}שרת";
    home.record(name, "192.0.2.7", "open_session");
    home.record(name, "192.0.2.7", "close_session");
    home.send().succeeds();
    let [request] = &server.requests()[..] else { panic!("not one request: {:?}", server.requests()) };
    assert_eq!((request.target(), request.header("webhook-id")), ("/in/s3cret-path", None));
    let events = request.json();
    let [open, close] = events.as_array().expect("an array").as_slice() else { panic!("not two events: {events}") };
    for (event, kind) in [(open, "open"), (close, "close")] {
        assert_eq!((&event["type"], &event["user"]), (&kind.into(), &name.replace('\u{202e}', "\u{fffd}").into()));
        assert_eq!((&event["host"], &event["remote_host"]), (&"host.example".into(), &"192.0.2.7".into()));
        assert_eq!((&event["by"], &event["service"]), (&Value::Null, &"sshd".into()));
        let text = event["text"].as_str().expect("a sentence");
        assert!(text.contains("(192.0.2.7) logged ") && text.contains("host.example via ssh (sshd)"), "{text}");
        let members: BTreeSet<&str> = event.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, documented(), "docs/services.md and the report differ");
    }
    assert_ne!(open["uid"], close["uid"]);
}

/// The members in the documentation's table.
fn documented() -> BTreeSet<&'static str> {
    let schema = DOCS.split("### The schema").nth(1).and_then(|rest| rest.split("\n### ").next()).expect("a chapter");
    let first = |line: &'static str| line.strip_prefix("| `").and_then(|row| row.split(" |").next());
    let names = schema.lines().filter_map(first).flat_map(|cell| cell.split(", "));
    names.map(|name| name.trim_matches('`')).collect()
}

/// P2
#[test]
fn a_lost_response_loses_nothing_and_a_retry_has_the_same_id_unless_events_were_added() {
    for more in [None, Some("ben")] {
        let server = losing(1);
        let home = home(server.port, &format!("secret = '{SECRET}'"));
        home.login("amanda");
        home.send().fails().says("everything is kept");
        if let Some(user) = more {
            home.login(user);
        }
        home.queue().end_waits();
        home.send().succeeds();
        let [lost, again] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
        let (before, after) = (users(lost), users(again));
        assert_eq!((before.len(), after.len()), (1, 1 + more.iter().len()));
        assert_eq!(lost.json()[0], again.json()[0]);
        for name in ["webhook-id", "idempotency-key"] {
            let (first, second) = (lost.header(name).expect(name), again.header(name).expect(name));
            assert_eq!(first == second, more.is_none(), "{name}: {first} and {second}");
        }
        assert_eq!(home.queue().count_waiting(), 0);
    }
}

#[test]
fn the_documented_python_check_accepts_the_signature_and_rejects_another_body() {
    let test = "the_documented_check_in_python_finds_the_signature_right_and_another_body_wrong";
    if !has("python3") {
        return skip(test, "needs python3");
    }
    let server = losing(0);
    let home = home(server.port, &format!("secret = '{SECRET}'"));
    home.login("amanda שרת");
    home.send().succeeds();
    let request = &server.requests()[0];
    let check = DOCS.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a check");
    let script = format!(
        "import base64, hmac, os\nsecret, body = os.environ['SECRET'], os.environ['BODY'].encode()\n\
         headers = {{name: os.environ[name] for name in ('webhook-id', 'webhook-timestamp', 'webhook-signature')}}\n\
         {check}\nprint(is_ours)"
    );
    for (body, expected) in [(request.body.clone(), "True\n"), (format!("{} ", request.body), "False\n")] {
        let mut python = Command::new("python3");
        python.args(["-c", &script]).env("SECRET", SECRET).env("BODY", body).env("LC_ALL", "C.UTF-8");
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            python.env(name, request.header(name).expect(name));
        }
        python.output().expect("it was there").succeeds().prints(expected);
    }
}

/// P7
#[test]
fn headers_from_a_file_are_sent_and_never_shown() {
    let server = Server::new(|_, _, stream| reply(stream, 403, "", "no: t0ken-s3cret and s3cret-path"));
    let home = home(server.port, "");
    // Root reads no secrets from a directory that everybody can write to.
    let parent = if is_root() { PathBuf::from("/run") } else { home.at("") };
    let file = parent.join(format!("ssn-headers-{}", std::process::id()));
    fs::write(&file, "Authorization: Bearer t0ken-s3cret\n\n  X-Origin :  router: 1 \n").expect("a file");
    let settings = |file: &str| {
        let url = format!("url = 'http://127.0.0.1:{}/in/s3cret-path'", server.port);
        format!("[notification]\nservice = 'webhook'\n[notification.webhook]\n{url}\nheaders_file = '{file}'\n")
    };
    home.configure(&settings(&file.display().to_string()));
    home.login("amanda");
    let errors = home.send().fails().says("HTTP 403: no: … and …").stderr();
    let request = &server.requests()[0];
    assert_eq!(request.header("authorization"), Some("Bearer t0ken-s3cret"));
    assert_eq!(request.header("x-origin"), Some("router: 1"));
    assert!(!format!("{errors}{}", home.status()).contains("s3cret"), "{errors}");
    fs::write(&file, "X-Origin: router\nt0ken-s3cret\n").expect("a file");
    let errors = home
        .send()
        .fails()
        .says("webhook.headers_file must have headers as `Name: value` (line 2 of the file)")
        .stderr();
    assert!(!errors.contains("s3cret"), "{errors}");
    fs::remove_file(&file).expect("it is ours");
}

/// P2, P6
#[test]
fn a_thousand_events_of_one_user_each_arrive_once_in_messages_within_the_limit() {
    const LIMIT: usize = 5000;
    let server = Server::new(|_, request, stream| {
        reply(stream, if request.body.len() > LIMIT { 413 } else { 200 }, "", "");
    });
    let home = home(server.port, "");
    home.login("amanda");
    home.send().succeeds();
    home.queue().multiply_events(1000);
    home.send().succeeds();
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.body.len() <= 20_000), "a message is too long");
    let taken = requests.iter().filter(|request| request.body.len() <= LIMIT).map(Request::json);
    let uids: Vec<Value> =
        taken.flat_map(|events| events.as_array().cloned().expect("an array")).map(|one| one["uid"].clone()).collect();
    assert_eq!(uids.len(), home.queue().count_events());
    assert_eq!((home.queue().count_waiting(), home.queue().dead_letters().len()), (0, 0));
}

#[cfg(feature = "tls")]
#[test]
fn reports_are_sent_over_tls_and_kept_if_the_authority_is_not_trusted() {
    let test = "reports_travel_over_tls_and_an_authority_that_is_not_trusted_keeps_them";
    if !crate::support::tls::is_possible() {
        return skip(test, "needs nginx and openssl");
    }
    let home = Home::as_installed("");
    let (authority, other) = (Authority::new(&home, "authority"), Authority::new(&home, "other"));
    let server = losing(0);
    let nginx = Nginx::start(&home, server.port, "", &[authority.issue("good", GOOD, PAST, END)]);
    home.login("amanda");
    let settings = |trusted: &Authority| {
        let url = format!("https://localhost:{}/in/s3cret-path", nginx.ports[0]);
        let target = format!("[notification]\nservice = 'webhook'\n[notification.webhook]\nurl = '{url}'\n");
        format!("[network]\n{}\n{target}secret = '{SECRET}'\n", trusting(trusted))
    };
    home.configure(&settings(&other));
    home.send().fails().says("unknown authority");
    assert!(server.requests().is_empty());
    home.configure(&settings(&authority));
    home.send().succeeds();
    assert_eq!(users(&server.requests()[0]), ["amanda"]);
}
