//! Events that a service rejects: the sender finds them, and they delay nothing else. Errors that concern the
//! whole target make no dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::letters::{lines, ntfy, picky, record, shape};
use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a small number"))
}

/// P4
#[test]
fn the_event_that_a_service_rejects_is_found_in_two_log_n_plus_one_requests() {
    for (count, guilties) in
        [(2_usize, &[0, 1][..]), (3, &[0, 1, 2]), (8, &[0, 3, 7]), (13, &[0, 6, 12]), (50, &[0, 1, 24, 25, 48, 49])]
    {
        for guilty in guilties {
            let server = picky(400);
            let home = Home::new(&ntfy("", &server));
            record(&home, count, *guilty);
            home.send().fails().says("ntfy rejects an event, which becomes a dead letter: HTTP 400: it does");
            let shapes: Vec<(usize, bool)> = server.requests().iter().map(shape).collect();
            assert_eq!(shapes[0], (count, true), "the first message does not have all events: {shapes:?}");
            let found = shapes.iter().position(|shape| *shape == (1, true)).expect("it was sent alone") + 1;
            assert!(
                number(found) <= 2.0 * number(count).log2() + 1.0,
                "{count} events, number {guilty} bad, {found} requests: {shapes:?}"
            );
            // The others arrive once each, followed by the note on the dead letter.
            let arrived: usize = shapes.iter().filter(|(_, is_bad)| !is_bad).map(|(count, _)| count).sum();
            assert_eq!(arrived, count - 1 + 1, "{shapes:?}");
            assert_eq!(home.queue().dead_letters(), [(guilty + 1, "HTTP 400: it does not please".into())]);
        }
    }
}

/// P2, P4
#[test]
fn a_lone_rejected_event_becomes_a_dead_letter_only_after_another_is_accepted() {
    let server = picky(400);
    let home = Home::new(&ntfy("", &server));
    record(&home, 1, 0);
    for _ in 0..7 {
        home.send().fails().says("it rejects an event, and has accepted no other since: HTTP 400: it does not please");
        home.queue().end_waits();
    }
    assert_eq!(home.queue().dead_letters(), [], "the target has never worked");
    home.login("anna");
    home.send().fails();
    assert_eq!(home.queue().dead_letters(), [(1, "HTTP 400: it does not please".into())]);
    assert!(server.requests().iter().any(|request| request.body.contains("'anna'")));
}

/// P4: answers of a proxy, a firewall or the service about the target, not about an event.
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
fn a_target_that_rejects_everything_keeps_its_events() {
    // The target accepts only the first message.
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
    assert!(home.status().starts_with("ntfy: 19 pending, 0 dead"), "{}", home.status());
}

/// P3, P4
#[test]
fn events_that_make_a_service_fail_delay_only_themselves() {
    // A filter in front of the service rejects the name, or closes the connection because of it.
    for (status, kept) in [(500, "HTTP 500"), (403, "HTTP 403"), (0, "the server closed the connection")] {
        let server = picky(status);
        let home = Home::new(&ntfy("", &server));
        // The logout has the same name, so it fails too.
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
            assert!(runs <= 5, "{status}: anna's login is stuck");
            home.send().fails();
            home.queue().end_waits();
        }
        // They are quarantined: retried alone, after everything else.
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
fn a_target_that_recovers_gets_everything_in_order_and_nothing_is_quarantined() {
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
