//! Dead letters: each is kept with its reason, reported once, and can be retried or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::queue::Delivery;
use crate::support::server::{Request, Server, reply, taken};

/// Returns the configuration of an ntfy target, after more settings of `[queue]`.
pub fn ntfy(queue: &str, server: &Server) -> String {
    format!("{queue}\n[notification]\nservice = \"ntfy\"\n{}", server.ntfy())
}

/// Starts a service that answers messages about `mallory` with this status, or closes the connection if it is 0.
pub fn picky(status: u16) -> Server {
    Server::new(move |_, request, stream| {
        if request.body.contains("'mallory'") {
            if status == 0 {
                return;
            }
            return reply(stream, status, "", r#"{"code":40011,"error":"it does not please"}"#);
        }
        taken(stream);
    })
}

/// Returns the number of notices in a message, and whether mallory's is among them.
pub fn shape(request: &Request) -> (usize, bool) {
    let message = request.json()["message"].as_str().expect("a message").to_owned();
    (message.lines().count(), message.contains("'mallory'"))
}

/// Records logins of `count` users, one of them `mallory`, all short enough for one message.
pub fn record(home: &Home, count: usize, guilty: usize) {
    home.hook(&[("PAM_SERVICE", "s"), ("PAM_USER", "a"), ("PAM_TYPE", "open_session")]);
    home.queue().multiply_events(count);
    home.queue().rename_users(|id, user| if id == guilty + 1 { "mallory".into() } else { format!("{user}{id}") });
}

/// P4
#[test]
fn a_note_about_a_dead_letter_goes_to_another_target_if_there_is_one() {
    let (ill, well) = (picky(400), Server::well());
    let home =
        Home::new(&format!("[notification]\nservice = [\"ntfy\", \"discord\"]\n{}{}", ill.ntfy(), well.discord()));
    record(&home, 3, 1);
    home.send().fails();
    let has_note = |server: &Server| server.requests().iter().any(|request| request.body.contains("ntfy did not get"));
    assert!(has_note(&well) && !has_note(&ill));
}

/// P2, P4
#[test]
fn a_rejected_event_is_listed_reported_once_and_retried_or_dropped() {
    let server = picky(413);
    let home = Home::new(&ntfy("", &server));
    for user in ["anna", "mallory", "ben"] {
        home.login(user);
    }
    home.send().fails();
    let last = server.requests().pop().expect("a request").json()["message"].as_str().expect("text").to_owned();
    assert!(last.starts_with("ssh-session-notifier on host.example at 20"), "{last}");
    let note = ": ntfy did not get 1 event, kept as dead letters (see `status`): HTTP 413: it does not please";
    assert!(last.ends_with(note), "{last}");
    let so_far = server.requests().len();
    home.send().succeeds();
    assert_eq!(server.requests().len(), so_far, "it was reported twice");
    let status = home.status();
    assert!(status.starts_with("ntfy: 0 pending, 1 dead, last worked 20"), "{status}");
    let listed = "     2  ntfy  'mallory' (192.0.2.7) logged in to host.example via ssh (sshd) at 20";
    assert!(status.contains(listed) && status.contains("        HTTP 413: it does not please\n"), "{status}");
    // Retried, it is rejected, becomes a dead letter and is reported again.
    home.run(&["retry", "2"]).succeeds().prints_only("1 will be sent again\n");
    home.login("carl");
    home.send().fails();
    assert!(server.requests().pop().expect("a request").body.contains("'carl'"), "it delays nobody");
    home.queue().end_waits();
    home.send().fails();
    assert_eq!(home.queue().dead_letters(), [(2, "HTTP 413: it does not please".into())]);
    home.run(&["drop", "2"]).succeeds().prints_only("1 discarded\n");
    let status = home.status();
    assert!(status.contains("ntfy: 0 pending, 0 dead") && !status.contains("mallory"), "{status}");
    for arguments in [&["drop", "2"][..], &["retry", "2"], &["retry", "--all"]] {
        let error = "ssh-session-notifier: there is no such dead letter; `status` lists them\n";
        home.run(arguments).when(format!("{arguments:?}")).fails().says_only(error);
    }
}

/// P2
#[test]
fn a_retried_dead_letter_arrives_once_the_service_accepts_it() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let accepts = Arc::clone(&is_mended);
    let server = Server::new(move |_, request, stream| {
        if request.body.contains("'anna'") && !accepts.load(Ordering::Relaxed) {
            return reply(stream, 422, "", r#"{"code":40011}"#);
        }
        taken(stream);
    });
    let home = Home::new(&ntfy("", &server));
    for user in ["anna", "ben"] {
        home.login(user);
    }
    home.send().fails();
    let dead = home.queue().dead_letters().len();
    assert_eq!(dead, 1);
    is_mended.store(true, Ordering::Relaxed);
    home.run(&["retry", "--all"]).succeeds().prints_only(&format!("{dead} will be sent again\n"));
    home.send().succeeds();
    let arrived: String = server.requests().iter().skip(2).map(|request| request.body.clone()).collect();
    assert!(arrived.contains("'anna'") && arrived.contains("'ben'"), "{arrived}");
    assert_eq!(home.queue().deliveries(), []);
}

/// P2
#[test]
fn an_event_becomes_a_dead_letter_seven_days_after_its_first_attempt() {
    let server = Server::scripted(&[(503, ""), (503, ""), (200, r#"{"id":"1"}"#)]);
    let home = Home::new(&ntfy("", &server));
    home.login("anna");
    home.send().fails();
    home.queue().let_days_pass(6);
    home.send().fails();
    assert_eq!(home.queue().deliveries(), [], "it was given up after six days");
    home.login("ben");
    home.queue().let_days_pass(1);
    let _ = home.send();
    let letters = home.queue().dead_letters();
    assert!(letters.len() == 1 && letters[0].1.starts_with("still failing after 7 days: HTTP 503 ("), "{letters:?}");
    // The later event and a note on the dead letter are delivered.
    let last: String = server.requests().iter().skip(2).map(|request| request.body.clone()).collect();
    assert!(last.contains("'ben'") && !last.contains("'anna'"), "{last}");
    assert!(last.contains(": ntfy did not get 1 event, kept as dead letters (see `status`): still failing after 7"));
}

/// P2
#[test]
fn give_up_days_and_max_waiting_limit_what_waits() {
    let server = Server::scripted(&[(503, ""), (200, r#"{"id":"1"}"#)]);
    let home = Home::new(&ntfy("give_up_days = 1", &server));
    home.login("anna");
    home.send().fails();
    home.queue().let_days_pass(1);
    let _ = home.send();
    let letters = home.queue().dead_letters();
    assert!(letters.len() == 1 && letters[0].1.starts_with("still failing after 1 days: HTTP 503 ("), "{letters:?}");

    let server = Server::scripted(&[(503, ""), (200, r#"{"id":"1"}"#)]);
    let home = Home::new(&ntfy("max_waiting = 5", &server));
    record(&home, 8, 0);
    let _ = home.send();
    home.queue().end_waits();
    let _ = home.send();
    let dead = [1, 2, 3].map(|event| (event, "more than 5 events were pending".into()));
    assert_eq!(home.queue().dead_letters(), dead);
    let last = server.requests().pop().expect("a request").body;
    let note = "ntfy did not get 3 events, kept as dead letters (see `status`): more than 5 events were pending";
    assert!(last.contains(note), "{last}");
    let arrived: usize = server.requests().iter().skip(1).map(|request| shape(request).0).sum();
    assert_eq!(arrived, 5 + 1);
}

/// P2, P6
#[test]
fn a_note_on_dead_letters_makes_no_more_dead_letters() {
    let server = Server::scripted(&[(503, "")]);
    let home = Home::new(&ntfy("max_waiting = 5", &server));
    record(&home, 8, 0);
    for _ in 0..4 {
        home.send().fails();
        home.queue().end_waits();
    }
    assert_eq!(home.queue().count_events(), 9, "eight events and one note");
    assert_eq!(home.queue().dead_letters().len(), 3);
}

/// P2, P4
#[test]
fn if_many_dead_letters_are_retried_only_the_bad_one_stays() {
    let server = picky(422);
    let home = Home::new(&ntfy("", &server));
    record(&home, 20, 11);
    home.queue().rename_users(|id, _| if id == 12 { "mallory".into() } else { format!("number {id}") });
    // All become dead letters, as if the target had been down for a week.
    home.configure(&ntfy("", &Server::scripted(&[(503, "")])));
    home.send().fails();
    home.queue().let_days_pass(7);
    let _ = home.send();
    assert_eq!(home.queue().dead_letters().len(), 20);
    home.configure(&ntfy("", &server));
    home.queue().end_waits();
    home.run(&["retry", "--all"]).succeeds().prints_only("20 will be sent again\n");
    home.send().fails();
    let [Delivery { event: 12, is_dead: true, .. }] = home.queue().deliveries()[..] else {
        panic!("{:?}", home.queue().deliveries())
    };
    let requests = server.requests();
    let taken = requests.iter().filter(|request| !request.body.contains("'mallory'"));
    let mut users: Vec<String> = taken.flat_map(lines).filter(|line| line.starts_with("'number")).collect();
    users.dedup();
    assert_eq!(users.len(), 19, "{users:?}");
    assert!(requests.len() <= 2 * 5 + 1 + 2, "{} requests", requests.len());
}

/// Returns the notices of a message.
pub fn lines(request: &Request) -> Vec<String> {
    request.json()["message"].as_str().expect("a message").lines().map(Into::into).collect()
}

/// P3: the reason is a server's text, and the note goes to other services.
#[test]
fn the_reason_of_a_dead_letter_is_plain_text_in_every_service() {
    const REASON: &str = "```@everyone <@&1> **bold** [x](http://192.0.2.1)```\u{202e}";
    let body = serde_json::json!({ "code": 40011, "error": REASON }).to_string();
    let ntfy =
        Server::new(
            move |_, request, stream| {
                if request.body.contains("'mallory'") { reply(stream, 400, "", &body) } else { taken(stream) }
            },
        );
    let (discord, phone) = (Server::well(), Server::well());
    let services = "[notification]\nservice = [\"ntfy\", \"discord\", \"phone\"]\n";
    let of_phone = phone.ntfy().replace("[notification.ntfy]", "[notification.phone]\nservice = \"ntfy\"");
    let home = Home::new(&format!("{services}{}{}{of_phone}", ntfy.ntfy(), discord.discord()));
    home.login("mallory");
    home.login("anna");
    home.send().fails();
    let shown = "@everyone <@&1> **bold** [x](http://192.0.2.1)";
    let note = "ntfy did not get 1 event, kept as dead letters (see `status`): HTTP 400: ";
    let to_discord = discord.requests().pop().expect("a request").json();
    let content = to_discord["content"].as_str().expect("text");
    let inside = content.strip_prefix("```- ").and_then(|rest| rest.strip_suffix("```")).expect("a code block");
    assert!(inside.ends_with(&format!("{}{shown}\u{fffd}", note.replace('`', ""))), "{inside}");
    assert!(!inside.contains('`') && !inside.contains('\n'), "{inside}");
    assert_eq!(to_discord["allowed_mentions"], serde_json::json!({ "parse": [] }));
    let to_ntfy = phone.requests().pop().expect("a request").json();
    let message = to_ntfy["message"].as_str().expect("text");
    assert!(message.ends_with(&format!("{note}```{shown}```\u{fffd}")), "{message}");
    assert!(to_ntfy["markdown"].is_null() && !message.contains('\n'), "{to_ntfy}");
}
