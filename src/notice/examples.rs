//! The example notices in the documentation: each is real output, and every kind has one.

use super::*;
use crate::event::{ADDRESS, KEY, METHOD};
use crate::rules::New;
use crate::text::base64;

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const OTHERS: [&str; 2] = [include_str!("../../README.md"), include_str!("../../docs/recipes.md")];

/// 2026-04-25 10:00:00+12:00, in UTC milliseconds.
const TEN: i64 = 1_777_068_000_000;
const MINUTE: i64 = 60_000;

/// An event of this service, `minutes` after ten o'clock.
fn event(action: Action, service: &str, minutes: i64, facts: &[(Fact, &str)]) -> Event {
    let mut event = Event { at: Stamp { utc_ms: TEN + minutes * MINUTE, ..Stamp::default() }, ..session(action) };
    for (fact, text) in facts.iter().chain(&[(SERVICE, service)]) {
        event.facts[*fact] = Field::bounded(text.as_bytes(), fact.row().limit);
    }
    event
}

fn session(action: Action) -> Event {
    Event::session(action, Facts::default())
}

/// A notice of each kind.
fn notices(style: &Style<'_>) -> Vec<String> {
    use Action::{Close, Open};
    let plain = Verdict::default();
    let new = Verdict { new: New { is_address: true, is_key: false }, ..Verdict::default() };
    let after = Verdict { after_ms: Some(3_723_000), ..Verdict::default() };
    let unopened = Verdict { is_unopened: true, ..Verdict::default() };
    let key =
        format!("ssh-ed25519 {}", base64(&[&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[7; 32]].concat()));
    let ssh = |user, host| [(USER, user), (REMOTE_HOST, host), (TTY, "ssh")];
    let by_key = [&ssh("amanda", "192.168.1.50")[..], &[(METHOD, "publickey"), (KEY, &key)]].concat();
    let by_name = [&ssh("bob", "gateway.lan")[..], &[(METHOD, "password"), (ADDRESS, "203.0.113.9")]].concat();
    let noticed = [&ssh("bob", "203.0.113.9")[..], &[(ENDED, "noticed")]].concat();
    let root = [(USER, "root"), (BY, "amanda"), (TTY, "/dev/pts/0")];
    let repeats = |user, host| [(USER, user), (REMOTE_HOST, host), (TIMES, "59")];
    let mut logout = event(Close, "sshd", 62, &ssh("amanda", "192.168.1.50"));
    logout.at.utc_ms += 3000;
    let mut early = event(Open, "login", 0, &[(USER, "dave"), (TTY, "/dev/tty1")]);
    // 2024-06-01 09:00:41+12:00: before this program existed, so it must be wrong.
    early.at = Stamp { utc_ms: 1_717_189_241_000, boot_ms: 41_000, boot_id: "b".into() };
    let own = "the host was restarted, which ended 1 session: 'bob' (203.0.113.9, sshd)";
    let own = Event { at: Stamp { utc_ms: TEN + 100 * MINUTE, ..Stamp::default() }, ..Event::notice(own) };
    let rest = style.add(None, &event(Open, "sshd", 0, &[]));
    let rest = Rest { count: 10_990, ..style.add(Some(rest), &event(Open, "sshd", 90, &[])) };
    vec![
        style.line(&event(Open, "sshd", 0, &by_key), &new),
        style.line(&logout, &after),
        style.line(&event(Open, "su", 60, &root), &plain),
        style.line(&event(Open, "sudo", 60, &root), &plain),
        style.line(&event(Open, "sshd", 5, &by_name), &plain),
        style.line(&event(Close, "sshd", 70, &noticed), &plain),
        style.line(&event(Close, "sshd", 80, &ssh("carol", "203.0.113.9")), &unopened),
        style.line(&early, &plain),
        style.line(&event(Open, "sshd", 91, &repeats("backup", "10.1.0.7")), &plain),
        style.line(&event(Open, "sshd", 91, &repeats("monitor", "10.1.0.7")), &plain),
        style.rest(Some(&Field::new(b"amanda")), &rest),
        style.line(&own, &plain),
    ]
}

#[test]
fn the_documentation_shows_a_real_notice_of_each_kind() {
    let (host, zone) = (Field::new(b"example.com"), Zone::open("Pacific/Auckland").expect("a zone"));
    let now = Stamp { utc_ms: TEN, boot_ms: 0, boot_id: "c".into() };
    // The documents shorten the fingerprint.
    let shorten = |line: String| line.replace("gNSIRW+2Iyiuvsdp/bgjy38bvWHw6wQm3tuoXrl3WjQ", "…");
    let notices: Vec<String> =
        notices(&Style { host: &host, zone: &zone, now: &now }).into_iter().map(shorten).collect();
    let documents = [&[CONFIGURATION][..], &OTHERS].concat().join("\n");
    let is_notice = |line: &&str| line.starts_with('\'') || line.starts_with("ssh-session-notifier on ");
    for line in documents.lines().filter(is_notice) {
        assert!(notices.iter().any(|notice| notice == line), "{line:?} is none of {notices:#?}");
    }
    for notice in notices {
        assert!(documents.lines().any(|line| line == notice), "no document shows {notice:?}");
    }
}
