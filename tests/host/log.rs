//! `log`: the last sessions and their notices.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};
use crate::support::sshd::{self, Sshd};
use crate::support::{is_root, skip, wait_for};

/// Clears a terminal's screen, and imitates another line and another JSON member.
const HOSTILE: &str = "\x1b[2J\n\u{202e}\", \"by\": \"root\\";

/// The output of `log` with these options. It must succeed silently.
#[track_caller]
fn log(home: &Home, options: &[&str]) -> String {
    home.run(&[&["log"], options].concat()).succeeds().stdout()
}

/// The same as JSON.
#[track_caller]
fn parsed(home: &Home, options: &[&str]) -> Value {
    let text = log(home, &[&["--json"], options].concat());
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// One member of each session.
#[track_caller]
fn all(home: &Home, options: &[&str], member: &str) -> Vec<Value> {
    let sessions = parsed(home, options)["sessions"].as_array().expect("an array").clone();
    sessions.iter().map(|session| session.get(member).expect("each session has every member").clone()).collect()
}

/// Opens and closes a session by this user.
fn session(home: &Home, user: &str) {
    home.login(user);
    home.record(user, "192.0.2.7", "close_session");
}

/// Runs the sender's two checks for missing processes, and delivers the result.
fn notice_the_end(home: &Home) {
    for _ in 0..2 {
        home.send().succeeds();
        home.queue().let_missing_time_pass(Duration::from_secs(11));
    }
    home.send().succeeds();
}

#[test]
fn real_sessions_are_shown_with_their_duration_key_and_notices() {
    let test = "real_sessions_are_shown_with_their_duration_key_and_notices";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let home = Home::of_service(STDOUT);
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("sleep 1.1");
    sshd.command("su").args(["-c", "true", "eve"]).output().expect("su starts").exits(0);
    let sent = home.sent();
    assert_eq!(sent.lines().count(), 4, "{sent}");
    let mut client = sshd.ssh("cat").stdin(Stdio::piped()).spawn().expect("ssh starts");
    assert!(wait_for(|| home.queue().count_events() == 5), "{:?}", home.queue().events());
    assert_eq!(all(&home, &[], "state"), ["closed", "closed", "open"]);
    assert_eq!(all(&home, &[], "by"), [json!(null), json!("root"), json!(null)]);
    let duration = all(&home, &["-n", "3"], "duration_ms")[0].as_u64().expect("a number");
    assert!((1100..60_000).contains(&duration), "{duration}");
    let key = all(&home, &[], "authentication")[0].as_str().expect("a text").to_owned();
    assert!(key.starts_with("key ED25519 SHA256:") && sent.contains(&format!("; {key}")), "{key}: {sent}");
    let shown = log(&home, &[]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("OPENED ") && lines.len() == 4, "{shown}");
    assert!(lines[1].ends_with(&format!("eve            192.0.2.6  sshd     sent     {key}")), "{shown}");
    assert!(lines[2].contains("  eve (by root)  -          su       sent"), "{shown}");
    assert!(lines[3].contains("  still open  ") && lines[3].contains("pending"), "{shown}");

    let monitor = sshd.sessions().pop().expect("a session");
    Command::new("kill").args(["-9", &monitor]).output().expect("kill starts").exits(0);
    let _ = client.kill();
    let _ = client.wait();
    sshd.wait_for_the_end();
    assert_eq!(all(&home, &["-n1"], "state"), ["unknown"], "its end has not been noticed yet");
    notice_the_end(&home);
    assert_eq!(all(&home, &["-n1"], "state"), ["noticed"]);
    assert!(log(&home, &["-n1"]).contains("; ended, noticed\n"), "{}", log(&home, &["-n1"]));
    assert_eq!(all(&home, &["-n1"], "authentication"), [key.as_str()], "from the login");
    home.queue().move_to_an_earlier_boot(1);
    // Its logout is now a session of its own, which may have begun in the same millisecond.
    let states = all(&home, &[], "state");
    assert!(states[..2].contains(&json!("restarted")) && states.len() == 4, "{states:?}");
}

#[test]
fn a_session_is_the_same_before_and_after_it_is_judged() {
    let home = Home::new(STDOUT);
    session(&home, "amanda");
    session(&home, "amanda");
    home.login("bob");
    for waits in [true, false] {
        assert_eq!(all(&home, &[], "user"), ["amanda", "amanda", "bob"], "{waits}");
        assert_eq!(all(&home, &[], "state"), ["closed", "closed", "open"], "{waits}");
        assert!(all(&home, &[], "duration_ms")[..2].iter().all(|ms| ms.as_u64().is_some_and(|ms| ms < 60_000)));
        let state = if waits { "pending" } else { "sent" };
        assert_eq!(all(&home, &[], "notices"), vec![json!([{"target": "stdout", "state": state}]); 3], "{waits}");
        home.send().succeeds();
    }
}

#[test]
fn the_state_of_a_notice_is_shown_for_each_target_that_wants_it() {
    let server = Server::new(|_, request, stream| {
        if request.body.contains("'mallory'") {
            reply(stream, 400, "", r#"{"code":40011,"error":"no"}"#);
        } else {
            taken(stream);
        }
    });
    let ntfy = server.ntfy();
    let with = |more: &str| format!("[notification]\nservice = [\"stdout\", \"ntfy\"]\n{ntfy}{more}");
    let home = Home::new(&with("events = [\"close\"]\n"));
    home.login("amanda");
    home.record("mallory", "192.0.2.7", "close_session");
    home.record("bob", "192.0.2.7", "close_session");
    home.send().fails();
    let notice = |target: &str, state: &str| json!({"target": target, "state": state});
    assert_eq!(
        all(&home, &[], "notices"),
        [
            json!([notice("stdout", "sent")]),
            json!([notice("stdout", "sent"), notice("ntfy", "dead")]),
            json!([notice("stdout", "sent"), notice("ntfy", "sent")]),
        ]
    );
    assert!(log(&home, &[]).contains("  ntfy dead\n"), "{}", log(&home, &[]));
    home.configure(&with("urgency = \"urgent\"\n[notification.stdout]\nurgency = \"urgent\"\n"));
    home.login("carol");
    assert_eq!(all(&home, &["--user", "carol"], "notices"), [json!([])]);
    assert!(log(&home, &["-n1"]).contains("  silenced\n"), "{}", log(&home, &["-n1"]));
}

#[test]
fn the_newest_sessions_of_a_user_or_since_a_moment_are_shown_with_a_note_if_there_are_more() {
    let home = Home::new(STDOUT);
    let su = [("PAM_SERVICE", "su"), ("PAM_USER", "root"), ("PAM_RUSER", "amanda"), ("PAM_TYPE", "open_session")];
    session(&home, "amanda");
    home.hook(&su).succeeds();
    session(&home, "bob");
    home.record("zoe", "192.0.2.9", "close_session");
    assert_eq!(all(&home, &[], "user"), ["amanda", "root", "bob", "zoe"]);
    assert_eq!(all(&home, &["--user", "amanda"], "user"), ["amanda", "root"]);
    assert_eq!(all(&home, &["-n", "2"], "user"), ["bob", "zoe"]);
    assert_eq!(all(&home, &[], "opened")[3], json!(null));
    assert_eq!(
        (parsed(&home, &[])["complete"].clone(), parsed(&home, &["-n2"])["complete"].clone()),
        (true.into(), false.into())
    );
    assert!(log(&home, &["-n2"]).ends_with("not shown: older sessions; `-n` sets how many are shown\n"));
    assert_eq!(all(&home, &["--since", "2h"], "user").len(), 4);
    assert_eq!(log(&home, &["--since", "2100-01-01"]), "no such session was recorded\n");
    assert_eq!(log(&home, &["--user", "nobody"]), "no such session was recorded\n");
    home.queue().set_time_of(1, Duration::from_hours(493_630));
    home.queue().set_time_of(2, Duration::from_secs(1_777_068_001));
    home.queue().move_to_an_earlier_boot(1);
    home.queue().move_to_an_earlier_boot(2);
    assert_eq!(all(&home, &["--since", "2026-04-25"], "user"), ["root", "bob", "zoe"]);
    assert_eq!(all(&home, &["--since", "2026-04-24 22:00:01"], "user").len(), 4);
    assert!(log(&home, &[]).contains("\n2026-04-24 22:00:00  22:00 ("), "{}", log(&home, &[]));
}

#[test]
fn a_long_history_takes_little_memory_and_its_end_is_mentioned() {
    let home = Home::new(STDOUT);
    home.hook(&[("PAM_SERVICE", "imapd"), ("PAM_USER", "amanda"), ("PAM_TYPE", "open_session")]).succeeds();
    home.queue().multiply_events(100_000);
    let within_memory = |options: &[&str]| {
        let inner = home.command(&[&["log"], options].concat());
        let mut command = Command::new("sh");
        // The program needs a third of this. With all events in memory, it would need three times as much.
        command.args(["-c", "ulimit -v 60000 && exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.output().expect("sh starts").succeeds().stdout()
    };
    assert_eq!(within_memory(&["--user", "nobody"]), "no such session was recorded\n");
    home.login("zoe");
    let cut = "not shown: sessions older than the last 100000 logins and logouts\n";
    assert_eq!(within_memory(&["--user", "nobody"]), format!("no such session was recorded\n{cut}"));
    let text = within_memory(&["-n", "10000"]);
    assert_eq!(text.lines().count(), 10_002, "the heads, the sessions and a note");
    assert!(text.lines().nth(10_000).is_some_and(|line| line.contains("  zoe ")), "the newest comes last");
}

#[test]
fn a_missing_or_empty_queue_is_not_a_failure_and_the_allowlist_is_mentioned() {
    let home = Home::new(STDOUT);
    assert_eq!(log(&home, &[]), "nothing was recorded yet\n");
    assert_eq!(parsed(&home, &[]), json!({"version": 1, "complete": true, "allowlist": false, "sessions": []}));
    home.configure(&format!("{STDOUT}[allowlist]\nusers = [\"backup\"]\n"));
    let note = "not recorded: sessions that the allowlist covers\n";
    assert_eq!(log(&home, &[]), format!("nothing was recorded yet\n{note}"));
    home.login("backup");
    home.login_into_spool();
    let text = log(&home, &[]);
    assert!(text.contains("not shown: 1 in ") && text.ends_with(note), "{text}");
    home.send().succeeds();
    assert_eq!(parsed(&home, &[])["allowlist"], true);
    assert_eq!(all(&home, &[], "user"), ["amanda"]);
}

/// P3
#[test]
fn hostile_names_stay_within_their_line_or_member() {
    let server = Server::well();
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    home.send().succeeds();
    home.login(HOSTILE);
    home.queue().bury_everything();
    home.queue().write_everywhere(HOSTILE);
    let text = log(&home, &[]);
    assert!(!text.chars().any(|sign| sign.is_control() && sign != '\n' || sign == '\u{202e}'), "{text:?}");
    assert_eq!(text.lines().count(), 3, "{text}");
    for (user, by) in all(&home, &[], "user").iter().zip(all(&home, &[], "by")) {
        assert_eq!((user.as_str(), by), (Some("\u{fffd}[2J\u{fffd}\u{fffd}\", \"by\": \"root\\"), json!(null)));
    }
}

#[test]
fn a_bad_value_is_a_usage_error_that_shows_the_right_form() {
    let home = Home::new(STDOUT);
    home.run(&["log", "--since", "yesterday"]).exits(2).says(
        "--since takes a date (2026-04-25), a date and a time (\"2026-04-25 10:00\"), or an age (30m, 2h, 3d), not \
         \"yesterday\"",
    );
    home.run(&["log", "-n", "0"]).exits(2).says("-n takes a number from 1 to 10000, not \"0\"");
    home.run(&["log", "--user", ""]).exits(2).says("--user takes a name");
    home.run(&["send", "-n", "7"]).exits(2).says("cannot do \"send\" with these arguments; see send --help");
}

#[test]
fn another_user_gets_an_error() {
    if !is_root() {
        return skip("another_user_gets_an_error", "needs root");
    }
    let home = Home::of_service(STDOUT);
    home.login("amanda");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "61234", "--regid", "61234", "--clear-groups"]);
    let inner = home.command(&["log"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let output = command.output().expect("setpriv starts");
    output.fails().says("Permission denied");
    assert_eq!(output.stdout(), "");
    fs::metadata(home.database()).expect("it is still there");
}

#[test]
fn silenced_sessions_and_repeats_are_shown_with_their_rule_but_summaries_are_not() {
    let home = Home::new(&format!(
        "{STDOUT}[[rule]]\nuser = 'ansible'\nnotify = 'never'\n[[rule]]\nuser = 'backup'\nrepeat = '1h'\n"
    ));
    for user in ["ansible", "backup", "backup", "amanda"] {
        session(&home, user);
    }
    home.send().succeeds();
    home.queue().let_repeats_pass(Duration::from_hours(1));
    assert!(home.sent().contains(" 1 more time until "));
    assert_eq!(all(&home, &[], "rule"), [json!(1), json!(2), json!(2), Value::Null]);
    assert_eq!(all(&home, &[], "repeat"), [false, false, true, false].map(Value::from));
    assert_eq!(all(&home, &[], "user"), ["ansible", "backup", "backup", "amanda"].map(Value::from));
    let table = log(&home, &[]);
    let details: Vec<&str> =
        table.lines().skip(1).filter_map(|line| line.split("sshd").nth(1)).map(str::trim).collect();
    assert_eq!(details, ["silenced  rule 1", "sent      rule 2", "silenced  rule 2; repeat", "sent"], "{table}");
}
