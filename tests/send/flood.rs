//! A flood: one local user opens thousands of sessions, but can't hide anybody else's.

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server, discord_and_ntfy, reply, taken};

/// PAM's items when mallory runs `su`.
const SU: [(&str, &str); 5] = [
    ("PAM_RUSER", "mallory"),
    ("PAM_SERVICE", "su"),
    ("PAM_TTY", "/dev/pts/0"),
    ("PAM_USER", "mallory"),
    ("PAM_TYPE", "open_session"),
];

/// Records `count` sessions of mallory, with one of `victim` in the middle.
fn flood(home: &Home, count: usize, victim: &str) {
    home.hook(&SU).succeeds();
    home.queue().multiply_events(count);
    home.queue().rename_users(|id, user| if id == count / 2 { victim } else { user }.into());
}

fn text(request: &Request) -> String {
    let json = request.json();
    json["content"].as_str().or(json["message"].as_str()).expect("text").to_owned()
}

/// P2, P3
#[test]
fn a_login_in_the_middle_of_a_flood_is_in_the_first_or_second_message() {
    let (discord, ntfy) = (Server::well(), Server::well());
    let targets = discord_and_ntfy(&discord, &ntfy);
    let home = Home::new(&targets);
    flood(&home, 11_000, "amanda");
    home.send().succeeds();
    for server in [&discord, &ntfy] {
        let texts: Vec<String> = server.requests().iter().map(text).collect();
        let place = texts.iter().position(|text| text.contains("'amanda' logged in")).expect("it is reported");
        assert!(place < 2 && texts.len() <= 3, "message {place} of {}", texts.len());
        let first: Vec<&str> = texts[0].lines().filter(|line| line.contains("'mallory'")).collect();
        assert_eq!(first.len(), 11, "{}", texts[0]);
        // A thousand events exceed `max_waiting`.
        assert!(first[10].contains("'mallory': 9989 more logins and logouts on host.example from 20"), "{}", first[10]);
        assert!(texts.iter().any(|text| text.contains("did not get 1000 events, kept as dead letters")), "{texts:?}");
    }
    assert_eq!(home.queue().count_waiting(), 0);
}

/// P3: a service's daily limit is not spent on a flood. ntfy takes 250 messages a day without an account.
#[test]
fn a_flood_leaves_most_of_a_services_daily_limit_to_others() {
    const DAILY: usize = 250;
    const QUOTA: &str = r#"{"code":42908,"http":429,"error":"limit reached: daily message quota reached"}"#;
    let ntfy = Server::new(|number, _, stream| match number {
        0..DAILY => taken(stream),
        _ => reply(stream, 429, "", QUOTA),
    });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", ntfy.ntfy()));
    flood(&home, 1001, "amanda");
    home.send().succeeds();
    let texts: Vec<String> = ntfy.requests().iter().map(text).collect();
    let place = texts.iter().position(|text| text.contains("'amanda' logged in")).expect("it is reported");
    assert!(place < 2 && texts.len() <= 2, "message {place} of {}", texts.len());
    assert!(texts.concat().contains("'mallory': 990 more logins and logouts"), "{texts:?}");
}

/// P2, P3: reports have every event, and use little of such a limit too.
#[cfg(feature = "webhook")]
#[test]
fn a_flood_of_reports_fits_into_a_services_daily_limit() {
    let server = Server::new(|number, _, stream| reply(stream, if number < 250 { 204 } else { 429 }, "", ""));
    let url = format!("http://127.0.0.1:{}/events", server.port);
    let home = Home::new(&format!("[notification]\nservice = 'webhook'\n[notification.webhook]\nurl = '{url}'\n"));
    flood(&home, 1001, "amanda");
    home.send().succeeds();
    let requests = server.requests();
    let users: Vec<String> = requests
        .iter()
        .flat_map(|request| request.json().as_array().expect("an array").clone())
        .filter_map(|report| report["user"].as_str().map(Into::into))
        .collect();
    let count = |name: &str| users.iter().filter(|user| *user == name).count();
    assert_eq!((count("mallory"), count("amanda")), (1000, 1));
    assert!(requests.len() <= 60, "{} requests", requests.len());
    assert_eq!(home.queue().count_waiting(), 0);
}

/// P2, P3: even while nothing can be delivered.
#[test]
fn a_flood_pushes_nobody_elses_login_out_of_the_queue() {
    let server = Server::scripted(&[(503, ""), (200, r#"{"id":"1"}"#)]);
    let home = Home::new(&format!("max_waiting = 50\n[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    flood(&home, 4000, "rene");
    home.login("amanda");
    home.send().fails();
    let status = home.status();
    assert!(status.starts_with("ntfy: 52 pending, 1000 dead"), "not fifty events and two notes: {status}");
    home.queue().end_waits();
    home.send().succeeds();
    let last: String = server.requests().iter().skip(1).map(text).collect();
    for note in [
        "'amanda' (192.0.2.7) logged in",
        "'rene' ",
        "ntfy did not get 3951 events, kept as dead letters (see `status`): more than 50 events were pending",
        "ntfy did not get 2951 events; their dead letters were too many or 90 days old, and are now discarded",
    ] {
        assert!(last.contains(note), "{note}: {last}");
    }
    home.run(&["retry", "--all"]).succeeds().prints_only("1000 will be sent again\n");
    home.run(&["drop", "--all"]).fails().says("there is no such dead letter");
    home.send().succeeds();
    assert!(home.status().starts_with("ntfy: 0 pending, 0 dead"), "{}", home.status());
    let last = text(&server.requests().pop().expect("a request"));
    assert_eq!(last.lines().count(), 11, "{last}");
}

/// P4
#[test]
fn a_rejected_event_is_found_in_a_flood() {
    let server = Server::new(|_, request, stream| {
        let status = if request.body.contains("'eve'") { 400 } else { 200 };
        if status == 200 { taken(stream) } else { reply(stream, status, "", r#"{"code":40011,"error":"no"}"#) }
    });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    flood(&home, 3000, "eve");
    home.send().fails().says("ntfy rejects an event, which becomes a dead letter: HTTP 400: no");
    assert_eq!(home.queue().dead_letters(), [(1500, "HTTP 400: no".into())]);
    assert_eq!(home.queue().count_waiting(), 0);
    let requests = server.requests().len();
    assert!(requests <= 2 * 12 + 2, "{requests} requests");
}

/// P2: a program may read it, so nothing is combined.
#[test]
fn stdout_gets_every_event_of_a_flood() {
    let home = Home::new(STDOUT);
    flood(&home, 100, "amanda");
    assert_eq!(home.sent().lines().count(), 100);
}
