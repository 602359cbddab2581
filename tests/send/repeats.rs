//! Repeats: one notice and one summary, even if the sender is killed in between.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::schedule::Running;
use crate::support::home::{Home, LOGIN, STDOUT, copy};
use crate::support::inject::{self, Fault, Where};
use crate::support::outcome::Outcome;
use crate::support::{has_mount_namespaces, skip};

const HOUR: Duration = Duration::from_hours(1);

fn config() -> String {
    format!("{STDOUT}[[rule]]\nuser = ['backup', 'amanda']\nrepeat = '1h'\n")
}

/// Records `times` logins of a user, each by its own process.
fn log_in(home: &Home, user: &str, times: usize) {
    let inner = home.command(&["queue"]);
    let items = LOGIN.map(|(name, value)| format!("{name}={}", if name == "PAM_USER" { user } else { value }));
    let mut shell = Command::new("sh");
    let script = format!("i=0; while [ $i -lt {times} ]; do (\"$@\"; exit $?) || exit 1; i=$((i + 1)); done");
    shell.args(["-c", &script, "sh", "/usr/bin/env", "-i"]).args(items);
    shell.arg(inner.get_program()).args(inner.get_args());
    shell.stdin(Stdio::null()).output().expect("sh starts").succeeds();
}

fn count(text: &str, what: &str) -> usize {
    text.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn a_thousand_logins_become_one_notice_and_one_summary_and_delay_no_other_notice() {
    let home = Home::new(&config());
    let watch = Running::watch(&home);
    log_in(&home, "backup", 1);
    assert!(watch.line(Duration::from_secs(20)).starts_with("'backup' (192.0.2.7) logged in to host.example via ssh"));
    log_in(&home, "backup", 500);
    let start = Instant::now();
    log_in(&home, "amanda", 1);
    let other = watch.line(Duration::from_secs(20));
    assert!(other.starts_with("'amanda' (192.0.2.7) logged in"), "{other}");
    // One second, and time for a login on a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    log_in(&home, "backup", 499);
    log_in(&home, "zoe", 1);
    assert!(watch.line(Duration::from_secs(20)).starts_with("'zoe'"), "the held logins are not reported");
    // The sender wakes by itself when the summary is due.
    home.queue().let_repeats_pass(Duration::from_secs(3598));
    let summary = watch.line(Duration::from_secs(30));
    let expected = "'backup' (192.0.2.7) logged in to host.example (sshd) 999 more times until 20";
    assert!(summary.starts_with(expected) && !summary.contains(';'), "{summary}");
    log_in(&home, "ben", 1);
    assert!(watch.line(Duration::from_secs(20)).starts_with("'ben'"), "only one summary");
    assert_eq!(home.queue().facts("times"), ["999"]);
}

#[test]
fn the_logout_of_a_held_login_is_held_too() {
    let home = Home::new(&config());
    for _ in 0..3 {
        home.record("backup", "192.0.2.7", "open_session");
        home.record("backup", "192.0.2.7", "close_session");
    }
    let sent = home.sent();
    assert_eq!((count(&sent, "logged in to"), count(&sent, "logged out from")), (1, 1), "{sent}");
    home.record("backup", "192.0.2.8", "open_session");
    assert_eq!(count(&home.sent(), "'backup' (192.0.2.8) logged in"), 1, "another source is reported at once");
    home.queue().let_repeats_pass(HOUR);
    let sent = home.sent();
    assert!(sent.starts_with("'backup' (192.0.2.7) logged in to host.example (sshd) 2 more times until 20"), "{sent}");
    assert_eq!(sent.lines().count(), 1, "{sent}");
    assert_eq!(home.sent(), "");
    assert_eq!(home.queue().count_unsettled(), 0);
}

/// P2: kill -9 at each step, while the logins are judged and while the summary is recorded.
#[test]
fn a_sender_killed_at_any_step_leaves_one_summary() {
    let test = "a_sender_killed_at_any_step_leaves_one_summary";
    if !has_mount_namespaces() || !inject::is_possible() {
        return skip(test, "needs root, mount namespaces and strace");
    }
    let (before, after) = (Home::new(&config()), Home::new(&config()));
    log_in(&before, "backup", 3);
    log_in(&after, "backup", 3);
    assert_eq!(after.sent().lines().count(), 1);
    after.queue().let_repeats_pass(HOUR);
    for (template, first) in [(&before, 1..=2), (&after, 0..=0)] {
        let copied = || {
            let home = Home::new(&config());
            copy(&template.at("state"), &home.at("state"));
            home
        };
        let traced = copied();
        inject::traced(&traced, &traced.command(&["send"]), Where::Everywhere).output().expect("strace").succeeds();
        for call in &inject::calls(&traced) {
            let home = copied();
            let mut dying = inject::with_fault(&home, &home.command(&["send"]), Where::Everywhere, call, Fault::Kill);
            let mut sent = dying.output().expect("strace starts").stdout();
            sent += &home.sent();
            if home.queue().facts("times").is_empty() {
                home.queue().let_repeats_pass(HOUR);
            }
            sent += &home.sent();
            assert_eq!(home.queue().facts("times"), ["2"], "{call:?}\n{sent}");
            assert!(first.contains(&count(&sent, " via ssh (sshd) at ")), "{call:?}\n{sent}");
            assert!((1..=2).contains(&count(&sent, "2 more times until")), "{call:?}\n{sent}");
            assert_eq!(home.sent(), "", "{call:?}");
        }
    }
}

/// P2: a login that can't be recorded as held is reported.
#[test]
fn nothing_is_held_while_the_disk_is_full() {
    let test = "nothing_is_held_while_the_disk_is_full";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let home = Home::new(&config());
    log_in(&home, "backup", 1);
    assert_eq!(home.sent().lines().count(), 1);
    log_in(&home, "backup", 2);
    let sent = sent_read_only(&home);
    assert_eq!(count(&sent, "'backup' (192.0.2.7) logged in"), 2, "{sent}");
    home.queue().let_repeats_pass(HOUR);
    let sent = home.sent() + &home.sent();
    assert!(count(&sent, "'backup'") <= 1, "reported before: {sent}");
}

/// P2: even if it stays read-only, as a failing SD card may.
#[test]
fn a_summary_is_reported_once_even_if_the_disk_becomes_read_only() {
    let test = "a_summary_is_reported_once_even_if_the_disk_becomes_read_only";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let home = Home::new(&config());
    log_in(&home, "backup", 3);
    assert_eq!(home.sent().lines().count(), 1);
    home.queue().let_repeats_pass(HOUR);
    let sent = sent_read_only(&home);
    assert_eq!(count(&sent, "2 more times until"), 1, "{sent}");
    let sent = sent_read_only(&home) + &home.sent();
    assert_eq!(count(&sent, "'backup'"), 0, "{sent}");
    assert_eq!(home.queue().facts("times"), ["2"]);
    assert_eq!(home.queue().count_unsettled(), 0);
}

/// The output of `send` while the state directory is read-only.
fn sent_read_only(home: &Home) -> String {
    let inner = home.command(&["send"]);
    let mut command = Command::new("unshare");
    let script = format!("mount --bind {0} {0}; mount -o remount,bind,ro {0}; exec \"$@\"", home.at("state").display());
    command.args(["--mount", "sh", "-ec", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.output().expect("unshare starts").fails().stdout()
}
