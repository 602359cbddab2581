//! A fault at every system call that changes something, one run each: the process is killed, or the call fails,
//! once or from then on. Events recorded before are still there, once; the event being recorded is there, or its
//! loss was logged; and the next run works.

use std::fs;
use std::path::Path;

use crate::support::home::{Home, LOGIN, STDOUT, Syslog, copy, hook};
use crate::support::inject::{self, Call, FAULTS, Fault, Where};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, discord_and_ntfy};
use crate::support::{has_mount_namespaces, side_by_side, skip};

/// The priority of a critical message of `LOG_AUTH`.
const CRITICAL: &str = "<34>";

/// The user whose login meets the fault, and the user of the next login.
const VICTIM: &str = "amanda";
const NEXT: &str = "zoe";

/// Whether faults can be injected here; if not, skips `test`.
pub fn is_possible(test: &str) -> bool {
    let can = has_mount_namespaces() && inject::is_possible();
    if !can {
        skip(test, "needs root, mount namespaces and strace");
    }
    can
}

/// Copies a host with its database and spool.
fn copy_of(template: &Home, config: &str) -> Home {
    let home = Home::new(config);
    copy(&template.at("state"), &home.at("state"));
    if template.at("spool").exists() {
        copy(&template.at("spool"), &home.at("spool"));
    }
    home
}

/// Makes a host that has recorded some logins.
fn used_by(count: usize) -> (Home, Vec<String>) {
    let template = Home::new(STDOUT);
    for number in 0..count {
        template.login(&format!("user{number}"));
    }
    (template, (0..count).map(|number| format!("'user{number}'")).collect())
}

fn go_database() -> (Home, Vec<String>) {
    let template = Home::new(STDOUT);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/go-hot-wal"), &template.at("state"));
    // Two of the eight events have the same user, so the texts include the action.
    let sent = ["'amanda' (192.168.1.50) logged in", "'bob' (2001:db8::17) logged in", "'o'brien' ", "'root' "];
    let also = ["'amanda' (192.168.1.50) logged out", "@everyone' ", "'dave' ", "'bob' (2001:db8::17) logged out"];
    (template, sent.into_iter().chain(also).map(Into::into).collect())
}

/// Returns the calls that change something in a login on a copy of `template`.
pub fn calls_of_a_login(template: &Home) -> Vec<Call> {
    let home = copy_of(template, STDOUT);
    let traced = inject::traced(&home, &home.command(&["queue"]), Where::Queue);
    hook(home.in_own_dev(":", &traced), &LOGIN).succeeds();
    let calls = inject::calls(&home);
    assert!(calls.iter().any(|call| format!("{call:?}").contains("fdatasync")), "{calls:?}");
    calls
}

/// Runs `queue` on copies of `template` with each fault at each call. `before` are parts of the notices of the
/// events recorded before.
fn attack_the_hook(template: &Home, before: &[String]) {
    for call in &calls_of_a_login(template) {
        for fault in FAULTS {
            attack_a_login(template, before, call, fault);
        }
    }
}

/// Runs `queue` with one fault and checks what is left. Returns the host.
pub fn attack_a_login(template: &Home, before: &[String], call: &Call, fault: Fault) -> Home {
    let home = copy_of(template, STDOUT);
    let syslog = Syslog::listen(&home);
    let faulty = inject::with_fault(&home, &home.command(&["queue"]), Where::Queue, call, fault);
    let output = hook(home.in_own_dev(":", &faulty), &LOGIN);
    let messages = syslog.lines();
    let case = format!("{fault:?} at {call:?}\n{output:?}\nsyslog: {messages}");
    assert!(inject::came_about(&home.at("trace"), fault), "the fault was not injected: {case}");
    output.when(&case).exits(0);
    let spooled = home.spooled().iter().filter(|name| name.starts_with("event-")).count();

    // The next login works.
    home.record(NEXT, "192.0.2.8", "open_session");
    assert_eq!(home.spooled().iter().filter(|name| name.starts_with("event-")).count(), spooled, "{case}");
    assert_eq!(home.queue().integrity(), "ok", "{case}");
    let sent = home.sent();
    let times = |part: &str| sent.lines().filter(|line| line.contains(part)).count();
    for part in before {
        assert_eq!(times(part), 1, "{part}: {case}\nsent: {sent}");
    }
    assert_eq!(times(&format!("'{NEXT}'")), 1, "{case}\nsent: {sent}");
    let expected = if messages.contains(CRITICAL) { 0..=1 } else { 1..=1 };
    assert!(expected.contains(&times(&format!("'{VICTIM}' (192.0.2.7)"))), "{case}\nsent: {sent}");
    assert_eq!(home.sent(), "", "sent twice: {case}");
    home
}

/// P2
#[test]
fn no_fault_while_the_queue_is_made_loses_an_event_or_leaves_a_broken_queue() {
    let test = "no_fault_while_the_queue_is_made_loses_an_event_or_leaves_a_broken_queue";
    if is_possible(test) {
        attack_the_hook(&Home::new(STDOUT), &[]);
    }
}

/// P2
#[test]
fn no_fault_at_an_ordinary_login_loses_an_event() {
    if is_possible("no_fault_at_an_ordinary_login_loses_an_event") {
        let (template, users) = used_by(2);
        attack_the_hook(&template, &users);
    }
}

/// P2: this login moves the write-ahead log into the database.
#[test]
fn no_fault_at_a_login_that_shortens_the_log_loses_an_event() {
    if is_possible("no_fault_at_a_login_that_shortens_the_log_loses_an_event") {
        let template = Home::new(STDOUT);
        let users: Vec<String> = template.grow_log().iter().map(|user| format!("'{user}'")).collect();
        attack_the_hook(&template, &users);
    }
}

/// P2
#[test]
fn no_fault_during_a_take_over_loses_an_event_of_the_go_program() {
    if is_possible("no_fault_during_a_take_over_loses_an_event_of_the_go_program") {
        let (template, parts) = go_database();
        attack_the_hook(&template, &parts);
    }
}

/// P2: the database can't be opened, so the event goes to the spool.
#[test]
fn no_fault_while_the_spool_is_written_loses_an_event() {
    if !is_possible("no_fault_while_the_spool_is_written_loses_an_event") {
        return;
    }
    let blocked = || {
        let home = Home::new(STDOUT);
        fs::create_dir(home.database()).expect("its place is free");
        home
    };
    let home = blocked();
    let output =
        hook(home.in_own_dev(":", &inject::traced(&home, &home.command(&["queue"]), Where::Everywhere)), &LOGIN);
    output.exits(0);
    assert_eq!(home.spooled().len(), 1, "{output:?}");
    // The parent opens other files first, so a fault at the n-th openat (musl: open) would hit it, not the
    // child.
    let is_opening = |call: &&Call| call.is("open") || call.is("openat");
    for call in inject::calls(&home).iter().filter(|call| !is_opening(call)) {
        // Syslog is the last resort and uses write(2) too: with a kill or a lasting failure there, nothing could
        // keep the event.
        let is_the_end = |fault: &&Fault| call.is("write") && !matches!(fault, Fault::Once(_));
        for fault in FAULTS.iter().filter(|fault| !is_the_end(fault)).copied() {
            let home = blocked();
            let syslog = Syslog::listen(&home);
            let faulty = inject::with_fault(&home, &home.command(&["queue"]), Where::Everywhere, call, fault);
            let output = hook(home.in_own_dev(":", &faulty), &LOGIN);
            let messages = syslog.lines();
            let case = format!("{fault:?} at {call:?}\n{output:?}\nsyslog: {messages}");
            assert!(inject::came_about(&home.at("trace"), fault), "the fault was not injected: {case}");
            fs::remove_dir(home.database()).expect("it is empty");
            home.record(NEXT, "192.0.2.8", "open_session");
            let sent = home.sent();
            assert_eq!(sent.matches(&format!("'{NEXT}'")).count(), 1, "{case}\nsent: {sent}");
            let is_logged = messages.contains(CRITICAL) && messages.contains(&format!(" | user {VICTIM} | "));
            let expected = if is_logged { 0..=1 } else { 1..=1 };
            assert!(expected.contains(&sent.matches(&format!("'{VICTIM}'")).count()), "{case}\nsent: {sent}");
        }
    }
}

/// Starts two services and makes a copy of a host with targets on them.
pub fn services(template: &Home) -> (Server, Server, Home) {
    let (discord, ntfy) = (Server::well(), Server::well());
    let config = discord_and_ntfy(&discord, &ntfy);
    let home = copy_of(template, &config);
    (discord, ntfy, home)
}

/// P2
#[test]
fn no_fault_at_any_step_of_send_loses_a_delivery_or_repeats_it_more_than_once() {
    let test = "no_fault_at_any_step_of_send_loses_a_delivery_or_repeats_it_more_than_once";
    if !is_possible(test) {
        return;
    }
    // Enough for the sender to move the log into the database, and one in the spool.
    let (template, mut users) = used_by(34);
    template.login_into_spool();
    users.push(format!("'{VICTIM}'"));

    let (_discord, _ntfy, home) = services(&template);
    inject::traced(&home, &home.command(&["send"]), Where::Everywhere).output().expect("strace starts").succeeds();
    let calls = inject::calls(&home);
    for name in ["unlink", "pwrite64", "fdatasync", "connect", "recvfrom"] {
        assert!(calls.iter().any(|call| call.is(name)), "no {name} in {calls:?}");
    }
    // Most wait for an answer that they can't read until its time limit.
    let cases: Vec<(&Call, Fault)> = calls.iter().flat_map(|call| FAULTS.map(|fault| (call, fault))).collect();
    let came_about = side_by_side(&cases, |(call, fault)| send_case(&template, &users, call, *fault));
    let (some, all) = (came_about.iter().filter(|came_about| **came_about).count(), cases.len());
    // Which thread makes the n-th call differs from run to run.
    assert!(some * 10 >= all * 9, "only {some} of {all} faults were injected");
}

/// Runs `send` with a fault, then without. Returns whether the fault was injected.
fn send_case(template: &Home, users: &[String], call: &Call, fault: Fault) -> bool {
    let (discord, ntfy, home) = services(template);
    let output = inject::with_fault(&home, &home.command(&["send"]), Where::Everywhere, call, fault)
        .output()
        .expect("strace starts");
    let came_about = inject::came_about(&home.at("trace"), fault);
    let case = format!("{fault:?} at {call:?}\n{output:?}");
    assert_eq!(home.queue().integrity(), "ok", "{case}");
    // A failed delivery is retried after a wait, an unsettled one at once.
    for _ in 0..2 {
        home.queue().end_waits();
        home.send().when(format!("after {case}")).succeeds();
    }
    for (name, server) in [("discord", &discord), ("ntfy", &ntfy)] {
        let bodies: String = server.requests().iter().map(|request| request.body.clone()).collect();
        for user in users {
            let times = bodies.matches(user.as_str()).count();
            assert!((1..=2).contains(&times), "{name} got {user} {times} times: {case}\n{bodies}");
        }
    }
    assert!(home.spooled().is_empty(), "{case}\n{:?}", home.spooled());
    assert_eq!(home.queue().count_unsettled(), 0, "{case}");
    assert_eq!(home.queue().count_events(), users.len(), "{case}");
    came_about
}

/// P2: everything readable in a damaged database is sent, however often the repair is interrupted.
#[test]
fn no_fault_during_a_repair_loses_what_could_be_read() {
    if !is_possible("no_fault_during_a_repair_loses_what_could_be_read") {
        return;
    }
    let (template, users) = used_by(20);
    template.queue().damage_table("target");

    let home = copy_of(&template, STDOUT);
    inject::traced(&home, &home.command(&["send"]), Where::Everywhere)
        .output()
        .expect("strace starts")
        .says("20 of its events were saved");
    for call in &inject::calls(&home) {
        for fault in [Fault::Kill, Fault::FromThenOn("ENOSPC")] {
            let home = copy_of(&template, STDOUT);
            let mut faulty = inject::with_fault(&home, &home.command(&["send"]), Where::Everywhere, call, fault);
            let output = faulty.output().expect("strace starts");
            // The next run may have to finish the repair, which counts as a failure.
            let next = home.send();
            home.queue().end_waits();
            let outputs = [output, next, home.send()];
            let case = format!("{fault:?} at {call:?}\n{outputs:#?}");
            outputs[2].when(&case).succeeds();
            let sent: String = outputs.iter().map(Outcome::stdout).collect();
            for user in &users {
                assert!((1..=2).contains(&sent.matches(user.as_str()).count()), "{user}: {case}");
            }
            home.record(NEXT, "192.0.2.8", "open_session");
            assert_eq!(home.sent().lines().count(), 1, "{case}");
            assert_eq!(home.queue().integrity(), "ok", "{case}");
        }
    }
}
