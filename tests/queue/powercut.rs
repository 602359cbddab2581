//! A power cut after every step of a login. Data that was not synced may be lost in whole or in part, but an event
//! recorded before the user was let in survives.

use std::path::Path;

use crate::support::home::{Home, LOGIN, STDOUT, copy, hook};
use crate::support::inject::{self, Fault, Where};
use crate::support::outcome::Outcome;
use crate::support::powercut::{self, Disk, Left, WAYS};
use crate::support::skip;

/// The user whose login is interrupted, and the user of the next login.
const VICTIM: &str = "'amanda' (192.0.2.7)";
const NEXT: &str = "zoe";

fn is_possible(test: &str) -> bool {
    let can = inject::is_possible();
    if !can {
        skip(test, "needs strace, and the right to trace");
    }
    can
}

/// Records a login on `home` and replays it on `disk`; calls `after` after each step.
fn login(home: &Home, disk: &mut Disk, after: impl FnMut(&Disk, &str)) {
    let log = home.at("trace");
    hook(powercut::traced(home, &home.command(&["queue"]), &log, &[]), &LOGIN).succeeds();
    disk.replay(&log, &home.at("state"), after);
}

/// Checks the host after a power cut: `before` is sent once each, and the victim's event as often as allowed.
fn check(disk: &Disk, left: Left, before: &[&str], victim: &[usize], case: &str) {
    let home = Home::new(STDOUT);
    disk.leave(left, &home.at("state"));
    let next = [("PAM_SERVICE", "sshd"), ("PAM_USER", NEXT), ("PAM_RHOST", "192.0.2.8"), ("PAM_TYPE", "open_session")];
    let recorded = home.hook(&next);
    recorded.exits(0);
    // On a busy machine the queue may be late; then a copy is in the spool.
    let is_late = recorded.stderr().contains("the queue took too long");
    assert!(is_late || home.spooled().is_empty() && recorded.stderr().is_empty(), "{case}: {recorded:?}");
    assert_eq!(home.queue().integrity(), "ok", "{case}");
    let sent = home.sent();
    let times = |part: &str| sent.lines().filter(|line| line.contains(part)).count();
    for part in before {
        assert_eq!(times(part), 1, "{part} {case}\nsent: {sent}");
    }
    assert_eq!(times(NEXT), 1, "{case}\nsent: {sent}");
    assert!(victim.contains(&times(VICTIM)), "{case}\nsent: {sent}");
}

/// Records a login on a copy of `template`, with a power cut after every step.
fn cut_everywhere(template: &Home, before: &[&str]) {
    let home = Home::new(STDOUT);
    copy(&template.at("state"), &home.at("state"));
    let mut disk = Disk::with(&home.at("state"));
    let mut steps = 0;
    login(&home, &mut disk, |disk, step| {
        steps += 1;
        for left in WAYS {
            check(disk, left, before, &[0, 1], &format!("{left:?} left after step {steps}, {step}"));
        }
    });
    assert!(steps > 2, "the login wrote nothing");
    for left in WAYS {
        check(&disk, left, before, &[1], &format!("{left:?} left after the login"));
    }
}

/// P2
#[test]
fn a_power_cut_while_the_queue_is_made_leaves_a_sound_queue() {
    if is_possible("a_power_cut_while_the_queue_is_made_leaves_a_sound_queue") {
        cut_everywhere(&Home::new(STDOUT), &[]);
    }
}

/// P2
#[test]
fn a_power_cut_at_any_login_leaves_what_was_recorded() {
    if is_possible("a_power_cut_at_any_login_leaves_what_was_recorded") {
        let template = Home::new(STDOUT);
        template.record("bob", "192.0.2.9", "open_session");
        cut_everywhere(&template, &["'bob'"]);
        // Delivered; then another process moved the log into the database and removed it.
        assert_eq!(template.sent().lines().count(), 1);
        template.queue().remove_log();
        template.record("carol", "192.0.2.9", "open_session");
        cut_everywhere(&template, &["'carol'"]);
    }
}

/// P2
#[test]
fn a_power_cut_at_a_login_that_shortens_the_log_leaves_what_was_recorded() {
    if !is_possible("a_power_cut_at_a_login_that_shortens_the_log_leaves_what_was_recorded") {
        return;
    }
    let template = Home::new(STDOUT);
    let parts: Vec<String> = template.grow_log().iter().map(|user| format!("'{user}'")).collect();
    cut_everywhere(&template, &parts.iter().map(String::as_str).collect::<Vec<_>>());
}

/// P2
#[test]
fn a_power_cut_during_a_take_over_leaves_the_go_programs_events() {
    if is_possible("a_power_cut_during_a_take_over_leaves_the_go_programs_events") {
        let template = Home::new(STDOUT);
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/go-hot-wal"), &template.at("state"));
        let sent = ["'amanda' (192.168.1.50) logged in", "'bob' (2001:db8::17) logged in", "'o'brien' ", "'root' "];
        let also = ["'amanda' (192.168.1.50) logged out", "@everyone' ", "'dave' ", "'bob' (2001:db8::17) logged out"];
        cut_everywhere(&template, &[sent, also].concat());
    }
}

/// P2: the killed login left new files whose names may not be on the disk.
#[test]
fn a_login_is_durable_even_after_one_that_was_killed() {
    if !is_possible("a_login_is_durable_even_after_one_that_was_killed") {
        return;
    }
    let before = [("PAM_SERVICE", "sshd"), ("PAM_USER", "bob"), ("PAM_TYPE", "open_session")];
    let first = Home::new(STDOUT);
    hook(inject::traced(&first, &first.command(&["queue"]), Where::Queue), &before).exits(0);
    for call in inject::calls(&first) {
        let home = Home::new(STDOUT);
        let mut disk = Disk::with(&home.at("state"));
        let log = home.at("first");
        let faults = [inject::option(&call, Fault::Kill)];
        let killed = hook(powercut::traced(&home, &home.command(&["queue"]), &log, &faults), &before);
        assert!(inject::came_about(&log, Fault::Kill), "{call:?} {killed:?}");
        disk.replay(&log, &home.at("state"), |_, _| ());
        login(&home, &mut disk, |_, _| ());
        for left in WAYS {
            check(&disk, left, &[], &[1], &format!("{left:?} left, after one that was killed at {call:?}"));
        }
    }
}
