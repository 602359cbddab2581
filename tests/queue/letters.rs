//! Dead letters: what no service will have is found, kept aside with its reason, told of once, and
//! left to the operator; nothing else waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::queue::Delivery;
use crate::support::server::{Request, Server, reply, taken};

/// Configuration of one ntfy target, behind more settings of `[queue]`.
fn ntfy(queue: &str, server: &Server) -> String {
    format!("{queue}\n[notification]\nservice = \"ntfy\"\n{}", server.ntfy())
}

/// A service that will not have a message which names `mallory`; with status 0 it breaks off.
fn picky(status: u16) -> Server {
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

/// What a message says of whom: `(number of notices, whether the bad one is among them)`.
fn shape(request: &Request) -> (usize, bool) {
    let message = request.json()["message"].as_str().expect("a message").to_owned();
    (message.lines().count(), message.contains("'mallory'"))
}

/// Records `count` logins of as many users, one of them `mallory`, all short enough for one message.
fn record(home: &Home, count: usize, guilty: usize) {
    home.hook(&[("PAM_SERVICE", "s"), ("PAM_USER", "a"), ("PAM_TYPE", "open_session")]);
    home.queue().multiply_events(count);
    home.queue().rename_users(|id, user| if id == guilty + 1 { "mallory".into() } else { format!("{user}{id}") });
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a small number"))
}

/// P4
#[test]
fn the_one_event_that_a_service_rejects_is_found_within_two_log_n_requests_and_one() {
    for (count, guilties) in
        [(2_usize, &[0, 1][..]), (3, &[0, 1, 2]), (8, &[0, 3, 7]), (13, &[0, 6, 12]), (50, &[0, 1, 24, 25, 48, 49])]
    {
        for guilty in guilties {
            let server = picky(400);
            let home = Home::new(&ntfy("", &server));
            record(&home, count, *guilty);
            home.send().fails().says("ntfy rejects an event, which becomes a dead letter: HTTP 400: it does");
            let shapes: Vec<(usize, bool)> = server.requests().iter().map(shape).collect();
            assert_eq!(shapes[0], (count, true), "all in one message: {shapes:?}");
            let found = shapes.iter().position(|shape| *shape == (1, true)).expect("it is alone at last") + 1;
            assert!(
                number(found) <= 2.0 * number(count).log2() + 1.0,
                "{count} events, number {guilty} bad, {found} requests: {shapes:?}"
            );
            // The others arrive in their order, each once, and behind them the note on the dead letter.
            let arrived: usize = shapes.iter().filter(|(_, is_bad)| !is_bad).map(|(count, _)| count).sum();
            assert_eq!(arrived, count - 1 + 1, "{shapes:?}");
            assert_eq!(home.queue().dead_letters(), [(guilty + 1, "HTTP 400: it does not please".into())]);
        }
    }
}

/// P2, P4
#[test]
fn one_event_alone_is_no_dead_letter_before_another_one_is_taken() {
    let server = picky(400);
    let home = Home::new(&ntfy("", &server));
    record(&home, 1, 0);
    for _ in 0..7 {
        home.send()
            .fails()
            .says("it rejects an event, and has accepted no other one since: HTTP 400: it does not please");
        home.queue().end_waits();
    }
    assert_eq!(home.queue().dead_letters(), [], "a target that has never worked makes no dead letters");
    home.login("anna");
    home.send().fails();
    assert_eq!(home.queue().dead_letters(), [(1, "HTTP 400: it does not please".into())]);
    assert!(server.requests().iter().any(|request| request.body.contains("'anna'")));
}

/// What a proxy, a firewall or the service says of the target keeps every event, however long it lasts.
///
/// P4
#[test]
fn an_answer_about_the_target_makes_no_dead_letters() {
    for (status, body) in [
        (400, "<html>The plain HTTP request was sent to HTTPS port</html>"),
        (400, "<html>No required SSL certificate was sent</html>"),
        (413, "<html>413 Request Entity Too Large</html>"),
        (422, ""),
        (400, r#"{"code":40010,"http":400,"error":"topic name is not allowed"}"#),
        (400, r#"{"code":220001,"message":"Webhooks posted to forum channels must have a thread_name or thread_id"}"#),
    ] {
        let server = Server::new(
            move |number, _, stream| {
                if number < 3 { reply(stream, status, "", body) } else { taken(stream) }
            },
        );
        let home = Home::new(&ntfy("", &server));
        record(&home, 6, 0);
        while server.requests().len() < 3 {
            home.send().when(body).fails();
            home.queue().end_waits();
        }
        home.send().when(body).succeeds();
        let arrived: usize = server.requests().iter().skip(3).map(|request| shape(request).0).sum();
        assert_eq!((arrived, home.queue().dead_letters()), (6, vec![]), "{status} {body}");
    }
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
fn a_rejected_event_is_listed_told_of_once_and_retried_or_dropped() {
    let server = picky(413);
    let home = Home::new(&ntfy("", &server));
    for user in ["anna", "mallory", "ben"] {
        home.login(user);
    }
    home.send().fails();
    let last = server.requests().pop().expect("a request").json()["message"].as_str().expect("text").to_owned();
    assert!(last.starts_with("ssh-session-notifier on host.example at 20"), "{last}");
    let told = ": ntfy did not get 1 event, kept as dead letters (see `status`): HTTP 413: it does not please";
    assert!(last.ends_with(told), "{last}");
    let so_far = server.requests().len();
    home.send().when("nothing is left to say").succeeds();
    assert_eq!(server.requests().len(), so_far, "nobody is told twice");
    let status = home.status();
    assert!(status.starts_with("ntfy: 0 waiting, 1 dead, last worked 20"), "{status}");
    let listed = "     2  ntfy  'mallory' (192.0.2.7) logged in to host.example via ssh (sshd) at 20";
    assert!(status.contains(listed) && status.contains("        HTTP 413: it does not please\n"), "{status}");
    // Sent again, it is rejected again, and is a dead letter again, of which somebody is told again.
    home.run(&["retry", "2"]).succeeds().prints_only("1 will be sent again\n");
    home.login("carl");
    home.send().fails();
    assert!(server.requests().pop().expect("a request").body.contains("'carl'"), "it delays nobody");
    home.queue().end_waits();
    home.send().fails();
    assert_eq!(home.queue().dead_letters(), [(2, "HTTP 413: it does not please".into())]);
    home.run(&["drop", "2"]).succeeds().prints_only("1 discarded\n");
    let status = home.status();
    assert!(status.contains("ntfy: 0 waiting, 0 dead") && !status.contains("mallory"), "{status}");
    for arguments in [&["drop", "2"][..], &["retry", "2"], &["retry", "--all"]] {
        let said = "ssh-session-notifier: there is no such dead letter; `status` lists them\n";
        home.run(arguments).when(format!("{arguments:?}")).fails().says_only(said);
    }
}

/// P2
#[test]
fn a_dead_letter_that_is_retried_arrives_once_the_service_takes_it() {
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

/// P4
#[test]
fn a_target_that_rejects_everything_is_taken_for_ill_and_keeps_its_events() {
    // It takes the first message only, and then finds fault with each.
    let server = Server::new(|number, _, stream| match number {
        0 => taken(stream),
        _ => reply(stream, 400, "", r#"{"code":40011,"error":"no"}"#),
    });
    let home = Home::new(&ntfy("", &server));
    home.login("anna");
    home.send().succeeds();
    record(&home, 20, 0);
    for _ in 0..9 {
        home.send().fails();
        home.queue().end_waits();
    }
    assert_eq!(home.queue().dead_letters(), []);
    assert!(home.status().starts_with("ntfy: 19 waiting, 0 dead"), "{}", home.status());
}

/// P2
#[test]
fn what_fails_for_seven_days_after_its_first_attempt_becomes_a_dead_letter() {
    let server = Server::scripted(&[(503, ""), (503, ""), (200, r#"{"id":"1"}"#)]);
    let home = Home::new(&ntfy("", &server));
    home.login("anna");
    home.send().fails();
    home.queue().let_days_pass(6);
    home.send().fails();
    assert_eq!(home.queue().deliveries(), [], "six days are not seven");
    home.login("ben");
    home.queue().let_days_pass(1);
    let _ = home.send();
    let letters = home.queue().dead_letters();
    assert!(letters.len() == 1 && letters[0].1.starts_with("still failing after 7 days: HTTP 503 ("), "{letters:?}");
    // What came later, and a note on what was given up, are delivered.
    let last: String = server.requests().iter().skip(2).map(|request| request.body.clone()).collect();
    assert!(last.contains("'ben'") && !last.contains("'anna'"), "{last}");
    assert!(last.contains(": ntfy did not get 1 event, kept as dead letters (see `status`): still failing after 7"));
}

/// P2
#[test]
fn how_long_and_how_much_may_wait_can_be_set() {
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
    let dead = [1, 2, 3].map(|event| (event, "more than 5 events were waiting".into()));
    assert_eq!(home.queue().dead_letters(), dead);
    let last = server.requests().pop().expect("a request").body;
    let told = "ntfy did not get 3 events, kept as dead letters (see `status`): more than 5 events were waiting";
    assert!(last.contains(told), "{last}");
    let arrived: usize = server.requests().iter().skip(1).map(|request| shape(request).0).sum();
    assert_eq!(arrived, 5 + 1);
}

/// P2, P6
#[test]
fn a_note_on_dead_letters_pushes_no_more_events_out() {
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

/// P3, P4
#[test]
fn events_over_which_a_service_fails_in_any_way_delay_only_themselves() {
    // Something before the service forbids what a stranger is called, or breaks off over it.
    for (status, kept) in [(500, "HTTP 500"), (403, "HTTP 403"), (0, "the server closed the connection")] {
        let server = picky(status);
        let home = Home::new(&ntfy("", &server));
        // What is wrong with a log-in is wrong with its log-out too.
        for (user, kind) in [("mallory", "open_session"), ("mallory", "close_session"), ("anna", "open_session")] {
            home.record(user, "192.0.2.7", kind);
        }
        let has_arrived = |user: &str| {
            let is_good = |body: &String| body.contains(&format!("'{user}'")) && !body.contains("'mallory'");
            server.requests().into_iter().map(|request| request.body).any(|body| is_good(&body))
        };
        let mut runs = 0;
        while !has_arrived("anna") {
            runs += 1;
            assert!(runs <= 5, "{status}: anna waits for ever");
            home.send().fails();
            home.queue().end_waits();
        }
        // They are kept, and tried again alone, behind everything else.
        let apart = home.queue().deliveries();
        assert!(
            apart.iter().map(|delivery| (delivery.event, delivery.is_dead)).eq([(1, false), (2, false)]),
            "{apart:?}"
        );
        assert!(apart.iter().all(|delivery| delivery.error.contains(kept)), "{apart:?}");
        home.login("ben");
        let _ = home.send();
        assert!(has_arrived("ben"), "{status}");
        home.queue().let_days_pass(7);
        let _ = home.send();
        let dead = home.queue().dead_letters();
        assert!(dead.iter().map(|(event, _)| event).eq(&[1, 2]), "{dead:?}");
        assert!(dead.iter().all(|(_, why)| why.starts_with("still failing after 7 days: ")), "{dead:?}");
    }
}

/// P4
#[test]
fn a_target_that_is_back_after_long_gets_everything_in_order_and_nothing_is_set_apart() {
    let is_back = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&is_back);
    let server = Server::new(
        move |_, _, stream| {
            if is_up.load(Ordering::Relaxed) { taken(stream) } else { reply(stream, 503, "", "") }
        },
    );
    let home = Home::new(&ntfy("", &server));
    record(&home, 20, 0);
    home.queue().rename_users(|id, _| format!("number {id}"));
    for _ in 0..12 {
        home.send().fails();
        home.queue().end_waits();
    }
    let so_far = server.requests().len();
    assert!(so_far <= 2 * 12, "{so_far} requests in 12 runs to a target that is down");
    is_back.store(true, Ordering::Relaxed);
    home.send().succeeds();
    let arrived: Vec<String> = server.requests()[so_far..].iter().flat_map(lines).collect();
    let users = arrived.iter().map(|line| line.split('\'').nth(1).unwrap_or_default());
    assert!(users.eq((1..=20).map(|number| format!("number {number}"))), "{arrived:?}");
    assert_eq!(home.queue().deliveries(), []);
}

/// P2, P4
#[test]
fn of_dead_letters_that_are_retried_together_only_the_bad_one_stays() {
    let server = picky(422);
    let home = Home::new(&ntfy("", &server));
    record(&home, 20, 11);
    home.queue().rename_users(|id, _| if id == 12 { "mallory".into() } else { format!("number {id}") });
    // All were given up, as when a target was down for a week.
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

/// The notices of a message.
fn lines(request: &Request) -> Vec<String> {
    request.json()["message"].as_str().expect("a message").lines().map(Into::into).collect()
}

/// P3: what a server says of an event goes to other services, too.
#[test]
fn the_reason_of_a_dead_letter_is_plain_text_for_every_service_that_is_told_of_it() {
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
    let told = "ntfy did not get 1 event, kept as dead letters (see `status`): HTTP 400: ";
    let to_discord = discord.requests().pop().expect("a request").json();
    let content = to_discord["content"].as_str().expect("text");
    let inside = content.strip_prefix("```- ").and_then(|rest| rest.strip_suffix("```")).expect("a code block");
    assert!(inside.ends_with(&format!("{}{shown}\u{fffd}", told.replace('`', ""))), "{inside}");
    assert!(!inside.contains('`') && !inside.contains('\n'), "{inside}");
    assert_eq!(to_discord["allowed_mentions"], serde_json::json!({ "parse": [] }));
    let to_ntfy = phone.requests().pop().expect("a request").json();
    let message = to_ntfy["message"].as_str().expect("text");
    assert!(message.ends_with(&format!("{told}```{shown}```\u{fffd}")), "{message}");
    assert!(to_ntfy["markdown"].is_null() && !message.contains('\n'), "{to_ntfy}");
}
