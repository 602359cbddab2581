//! Independent targets: a failing one changes nothing for the others and is retried after a wait.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::queue::Target;
use crate::support::server::{Request, Server, hold, reply};

/// Returns the configuration of both services, with a short timeout.
fn both(discord: &Server, ntfy: &Server) -> String {
    format!(
        "[network]\ntimeout = 2\n[notification]\nservice = [\"discord\", \"ntfy\"]\n{}{}",
        discord.discord(),
        ntfy.ntfy()
    )
}

fn only_ntfy(ntfy: &Server) -> String {
    format!("[notification]\nservice = \"ntfy\"\n{}", ntfy.ntfy())
}

/// Returns the users in a server's notices, in the order of the requests.
fn users(server: &Server) -> Vec<String> {
    let bodies = server.requests().into_iter().map(|request| request.body);
    bodies.flat_map(|body| body.split(") logged").filter_map(user).collect::<Vec<_>>()).collect()
}

fn user(before: &str) -> Option<String> {
    let quoted = before.rsplit_once("' (")?.0;
    quoted.rsplit_once('\'').map(|(_, user)| user.into())
}

/// P4
#[test]
fn a_failing_target_neither_delays_nor_changes_what_the_others_get() {
    type Trouble = (&'static str, fn(&mut TcpStream), &'static str);
    let troubles: [Trouble; 5] = [
        ("refuses", |stream| reply(stream, 401, "", ""), "discord: HTTP 401"),
        ("throttles", |stream| reply(stream, 429, "Retry-After: 3000\r\n", ""), "discord: HTTP 429"),
        ("fails", |stream| reply(stream, 500, "", ""), "discord: HTTP 500"),
        ("hangs", hold, "discord: no answer in time"),
        ("breaks off", |_| {}, "discord: "),
    ];
    for (name, trouble, expected) in troubles {
        let answer = move |_: usize, _: &Request, stream: &mut TcpStream| trouble(stream);
        let (ill, well) = (Server::new(answer), Server::well());
        let home = Home::new(&both(&ill, &well));
        home.login("anna");
        home.login("ben");
        let start = Instant::now();
        let output = home.send();
        let whole = start.elapsed();
        output.when(name).fails().says(expected);
        assert_eq!(users(&well), ["anna", "ben"], "{name}");
        assert_eq!(well.requests().len(), 1, "{name}");
        if name == "hangs" {
            let until_well = well.requests()[0].at - start;
            assert!(until_well < whole / 2, "the other target had to wait: {until_well:?} of {whole:?}");
        }
        // While the failing target waits, only the other one gets new events.
        home.login("carl");
        home.send().when(name).succeeds();
        assert_eq!(users(&well), ["anna", "ben", "carl"], "{name}");
        assert_eq!(ill.requests().len(), 1, "{name}");
    }
}

/// P2, P4
#[test]
fn a_target_that_was_down_gets_everything_in_order_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let well = Server::well();
    let home = Home::new(&format!(
        "[notification]\nservice = [\"discord\", \"ntfy\"]\n[notification.discord]\n\
         webhook_url = \"http://127.0.0.1:{port}/api/webhooks/1/s3cret\"\n{}",
        well.ntfy()
    ));
    home.login("anna");
    home.send().fails().says("discord: cannot connect to 127.0.0.1 (127.0.0.1:").says("connection refused");
    home.login("ben");
    home.send().when("the retry is not due").succeeds();
    // The address is corrected.
    let back = Server::well();
    home.configure(&both(&back, &well));
    home.send().succeeds();
    assert_eq!((users(&back), users(&well)), (vec!["anna".into(), "ben".into()], vec!["anna".into(), "ben".into()]));
}

#[test]
fn a_new_target_gets_only_later_events() {
    let (ntfy, discord) = (Server::well(), Server::well());
    let home = Home::new(&only_ntfy(&ntfy));
    home.login("anna");
    home.send().succeeds();
    home.login("ben");
    home.configure(&both(&discord, &ntfy));
    home.send().succeeds();
    home.login("carl");
    home.send().succeeds();
    assert_eq!(users(&ntfy), ["anna", "ben", "carl"]);
    assert_eq!(users(&discord), ["carl"]);
}

#[test]
fn a_removed_target_continues_where_it_stopped_when_it_is_back() {
    let (ntfy, discord) = (Server::well(), Server::scripted(&[(500, "")]));
    let home = Home::new(&both(&discord, &ntfy));
    home.login("anna");
    home.login("ben");
    home.send().fails();
    home.configure(&only_ntfy(&ntfy));
    let output = home.send();
    let kept = "discord is no longer a target; 2 deliveries to it are kept for 7 days, should it come back";
    output.exits(0).says(kept);
    home.send().succeeds();
    let status = home.status();
    assert!(status.starts_with("discord (not configured): 2 pending until 20"), "{status}");
    home.run(&["drop", "--target", "ntfy"]).fails().says("that target is in the configuration");
    home.run(&["drop", "--target", "disc"]).fails().says("there is no such target");
    home.queue().end_waits();
    let discord = Server::well();
    home.configure(&both(&discord, &ntfy));
    home.login("carl");
    home.send().succeeds();
    assert_eq!((users(&discord), users(&ntfy).len()), (vec!["anna".into(), "ben".into(), "carl".into()], 3));
    assert!(home.status().starts_with("discord: 0 pending"), "{}", home.status());
}

/// P2
#[test]
fn a_removed_target_is_forgotten_after_seven_days_or_when_it_is_dropped() {
    let (ntfy, discord) = (Server::well(), Server::scripted(&[(500, "")]));
    let home = Home::new(&both(&discord, &ntfy));
    home.login("anna");
    home.send().fails();
    home.configure(&only_ntfy(&ntfy));
    home.send().exits(0).says("discord is no longer a target");
    home.queue().let_targets_be_gone_for(6);
    home.send().succeeds();
    home.queue().let_targets_be_gone_for(1);
    let ended = "discord has not been in the configuration for 7 days; 1 deliveries to it are dropped";
    home.send().exits(0).says(ended);
    home.send().succeeds();
    assert!(!home.status().contains("discord"), "{}", home.status());
    let notes = ntfy.requests().iter().filter(|request| request.body.contains(ended)).count();
    assert_eq!(notes, 1);
    // If it comes back now, it is a new target.
    let discord = Server::well();
    home.configure(&both(&discord, &ntfy));
    home.send().succeeds();
    home.login("carl");
    home.send().succeeds();
    assert_eq!(users(&discord), ["carl"]);

    home.configure(&both(&Server::scripted(&[(500, "")]), &ntfy));
    home.login("dora");
    home.send().fails();
    home.configure(&only_ntfy(&ntfy));
    home.send().exits(0).says("`drop --target discord` forgets them");
    home.run(&["drop", "--target", "discord"]).succeeds().prints_only("1 deliveries discarded\n");
    home.send().succeeds();
    assert!(!home.status().contains("discord"), "{}", home.status());
}

#[test]
fn the_go_programs_configuration_works_unchanged() {
    let server = Server::well();
    let home = Home::new("");
    // The Go program's paths were fixed; everything else is from its README.
    let config = format!(
        "[host]\ntimezone = \"Pacific/Auckland\"\nname = \"example.com\"\n\n[notification]\nservice = \"ntfy\"\n\n\
         [notification.discord]\nwebhook_url = \"https://discord.com/api/webhooks/xyz\"\n\n\
         [notification.ntfy]\ntopic_url = \"http://127.0.0.1:{}/mytopic\"\ntoken = \"\"\n\n\
         [allowlist]\nips = [\"10.0.0.2\"]\n\n[queue]\npath = \"{}\"\nspool = \"{}\"\n",
        server.port,
        home.database().display(),
        home.at("spool").display()
    );
    let config = if cfg!(feature = "tls") { config } else { config.replace("https://discord.com", "http://127.0.0.1") };
    std::fs::write(home.at("config.toml"), config).expect("a configuration");
    home.login("anna");
    home.record("ansible", "10.0.0.2", "open_session");
    home.send().succeeds();
    assert_eq!(users(&server), ["anna"]);
    let request = server.requests()[0].json();
    let message = request["message"].as_str().expect("a message");
    assert!(message.starts_with("'anna' (192.0.2.7) logged in to example.com via ssh (sshd) at 20"), "{message}");
    assert!(message.ends_with("+13:00") || message.ends_with("+12:00"), "{message}");
}

/// P4
#[test]
fn each_targets_wait_doubles_from_a_minute_to_an_hour_and_ends_with_a_success() {
    let answer = |number: usize, _: &Request, stream: &mut TcpStream| {
        let status = if number < 9 { 503 } else { 200 };
        reply(stream, status, "", r#"{"id":"1"}"#);
    };
    let (ill, well) = (Server::new(answer), Server::well());
    let home = Home::new(&both(&ill, &well));
    home.login("anna");
    for (failures, minutes) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
        home.send().fails();
        let (wait, whole) = (home.queue().target("discord").wait, Duration::from_mins(minutes));
        assert!(wait <= whole && wait >= whole * 4 / 5, "{wait:?} after {failures} failures");
        let status = home.status();
        assert!(status.contains("discord: 1 pending, 0 dead, never worked; next try in "), "{status}");
        home.send().when("nothing is due").succeeds();
        assert_eq!(ill.requests().len(), failures, "it was retried too early");
        home.queue().end_waits();
    }
    home.send().succeeds();
    let untroubled = Target { failures: 0, wait: Duration::ZERO, error: String::new() };
    assert_eq!((home.queue().target("discord"), well.requests().len()), (untroubled, 1));
}

/// P4
#[test]
fn a_pause_that_a_service_asks_for_is_kept_up_to_an_hour() {
    for (header, least, most) in [
        ("Retry-After: 99999999\r\n", 3600, 3600),
        ("Retry-After: 1200\r\n", 1200, 1200),
        ("Retry-After: -5\r\n", 60, 60),
        ("Retry-After: soon\r\n", 60, 60),
        ("Retry-After: Sun, 06 Nov 1994 08:59:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 600, 600),
        ("", 60, 60),
    ] {
        let server = Server::new(move |_, _, stream| reply(stream, 429, header, ""));
        let home = Home::new(&only_ntfy(&server));
        home.login("anna");
        home.send().when(header).fails();
        let target = home.queue().target("ntfy");
        assert!((least..=most).contains(&target.wait.as_secs()), "{header}: {target:?}");
        assert_eq!((target.failures, server.requests().len()), (0, 1));
    }
}

/// P4
#[test]
fn a_clock_that_is_set_back_postpones_no_delivery() {
    let read = |path: &str| std::fs::read_to_string(path).expect("a file of the kernel's");
    let boot_id = read("/proc/sys/kernel/random/boot_id").trim().to_owned();
    let uptime: f64 = read("/proc/uptime").split(' ').next().and_then(|word| word.parse().ok()).expect("seconds");
    let long_ago = "-9999999";
    // The wall clock was in 2100 when the wait began.
    let far = 4_102_444_800_000_i64;
    for (since, is_due) in [
        (format!("{far} {long_ago} {boot_id}"), true),
        (format!("{far} 1 another-boot"), true),
        (String::new(), true),
        (format!("1 {:.0} {boot_id}", uptime * 1000.0), false),
    ] {
        let server = Server::well();
        let home = Home::new(&only_ntfy(&server));
        home.login("anna");
        home.send().succeeds();
        home.queue().wait_an_hour_since(&since);
        home.login("ben");
        home.send().when(&since).succeeds();
        assert_eq!(users(&server).len(), if is_due { 2 } else { 1 }, "{since}");
    }
}
