//! A sender with nothing to do only looks at the queue. If there is something to do, the next one sees it, however
//! it got there.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::home::{Home, LOGIN, STDOUT, Syslog, copy, hook};
use crate::support::inject::{self, Fault, Where};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};
use crate::support::{has_mount_namespaces, program, skip, wait_for};

/// The user of [`LOGIN`].
const VICTIM: &str = "'amanda' (192.0.2.7)";

/// Makes a host with two delivered logins, on which the last run had nothing to do.
fn idle() -> Home {
    let home = Home::new(STDOUT);
    for user in ["bob", "carol"] {
        home.login(user);
    }
    assert_eq!(home.sent().lines().count(), 2);
    assert_eq!(home.sent(), "");
    home
}

/// P2: until the write-ahead log has started over twice.
#[test]
fn an_event_recorded_after_an_idle_run_is_sent_by_the_next() {
    let home = idle();
    for number in 0..150 {
        let user = format!("user{number}");
        home.login(&user);
        let sent = home.sent();
        assert!(sent.lines().count() == 1 && sent.contains(&format!("'{user}' ")), "{user}: {sent}");
        assert_eq!(home.sent(), "", "{user}");
    }
}

/// P2
#[test]
fn an_idle_sender_sees_an_event_in_the_spool() {
    let home = idle();
    home.login_into_spool();
    assert!(home.sent().contains(VICTIM));
    assert_eq!(home.sent(), "");
}

/// P2: a sender remembers nothing about the queue's file.
#[test]
fn a_restored_backup_and_another_hosts_queue_are_noticed() {
    let (home, other) = (idle(), idle());
    let (state, older) = (home.at("state"), home.at("older"));
    home.login("dave");
    copy(&state, &older);
    assert!(home.sent().contains("'dave'"));
    assert_eq!(home.sent(), "");
    let newer = home.at("newer");
    copy(&state, &newer);
    copy(&older, &state);
    assert!(home.sent().contains("'dave'"), "in the older copy, his login is pending");
    assert_eq!(home.sent(), "");
    copy(&newer, &state);
    assert_eq!(home.sent(), "", "in the newer copy, nothing is pending");

    other.login("erin");
    fs::rename(&state, home.at("own")).expect("ours");
    fs::rename(other.at("state"), &state).expect("ours");
    fs::rename(home.at("own"), other.at("state")).expect("ours");
    assert!(home.sent().contains("'erin'"));
    assert_eq!((home.sent(), other.sent()), (String::new(), String::new()));
}

/// P2
#[test]
fn a_go_programs_database_in_the_place_of_an_idle_queue_is_taken_over() {
    for (name, waiting) in [("go-pending.db", 6), ("go-locked.db", 6), ("go-hot-wal", 8)] {
        let home = idle();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        fs::remove_dir_all(home.at("state")).expect("ours");
        if from.is_dir() {
            copy(&from, &home.at("state"));
        } else {
            fs::create_dir(home.at("state")).expect("room");
            fs::copy(from, home.database()).expect("room");
        }
        assert_eq!(home.sent().lines().count(), waiting, "{name}");
        assert_eq!(home.sent(), "", "{name}");
    }
}

/// P2
#[test]
fn an_idle_sender_sees_a_due_retry_and_a_dead_letter_to_retry() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let takes_carol = Arc::clone(&is_mended);
    let server = Server::new(move |number, request, stream| match number {
        1 => reply(stream, 503, "", ""),
        _ if request.body.contains("'carol'") && !takes_carol.load(Ordering::Relaxed) => {
            reply(stream, 400, "", r#"{"code":40011}"#);
        }
        _ => taken(stream),
    });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("bob");
    assert_eq!(home.sent(), "");
    home.login("carol");
    home.send().when("the service fails").fails();
    // Instead of waiting for a minute.
    home.queue().set_waits(Duration::from_millis(1500));
    assert_eq!(home.sent(), "");
    assert_eq!(server.requests().len(), 2, "it was retried too early");
    // Now the service rejects the event, accepts the next one, and gets the note on the dead letter.
    home.login("dan");
    let is_tried = || {
        home.send();
        home.queue().dead_letters().len() == 1
    };
    assert!(wait_for(is_tried), "{:?}", server.requests());
    assert_eq!(home.sent(), "");
    is_mended.store(true, Ordering::Relaxed);
    home.run(&["retry", "--all"]).succeeds();
    assert_eq!(home.sent(), "");
    let last = server.requests().pop().expect("a request").body;
    assert!(last.contains("'carol'") && !last.contains("'dan'"), "{last}");
}

/// P2
#[test]
fn an_idle_sender_sees_a_new_target() {
    let (home, server) = (idle(), Server::well());
    home.configure(&format!("[notification]\nservice = [\"stdout\", \"ntfy\"]\n{}", server.ntfy()));
    assert_eq!(home.sent(), "");
    assert_eq!(home.queue().targets(), ["ntfy", "stdout"]);
    home.login("dave");
    assert!(home.sent().contains("'dave'"));
    assert!(server.requests().len() == 1 && server.requests()[0].body.contains("'dave'"));
    assert_eq!(home.sent(), "");
    home.configure(STDOUT);
    home.send().exits(0).says("ntfy is no longer a target");
}

/// P2: such as a backup.
#[test]
fn an_idle_sender_sees_changes_by_a_process_that_has_the_queue_open() {
    let home = idle();
    let other = home.queue().outsider();
    other.read();
    assert_eq!(home.sent(), "");
    home.login("dave");
    assert!(home.sent().contains("'dave'"));
    other.record("erin");
    assert!(home.sent().contains("'erin'"), "the outsider wrote this and still has the queue open");
    drop(other);
    assert_eq!(home.sent(), "");
}

/// P2
#[test]
fn an_idle_sender_waits_for_a_queue_that_another_process_has_locked() {
    let home = idle();
    let other = home.queue().outsider();
    other.begin_writing_alone();
    other.set_targets_back();
    let sender = home.command(&["send"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let files = format!("/proc/{}/fd", sender.id());
    let has_open = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|path| path == home.database());
    assert!(wait_for(|| fs::read_dir(&files).is_ok_and(|entries| entries.flatten().any(has_open))), "it looks");
    other.commit();
    drop(other);
    sender.wait_with_output().expect("it ends").succeeds().prints("'carol'");
}

/// P2
#[test]
fn an_idle_sender_sees_damage() {
    for table in ["event", "target", "exception", "delivery"] {
        let home = idle();
        home.queue().damage_table(table);
        // An idle sender doesn't read the dead letters while the index says that there are none.
        if table == "delivery" {
            home.record("yves", "192.0.2.8", "open_session");
        }
        home.send().when(table).fails().says("was damaged");
        home.record("zoe", "192.0.2.8", "open_session");
        assert!(home.sent().contains("'zoe'"), "{table}");
    }
}

/// Whether faults can be injected into this binary here; if not, skips `test`.
fn is_possible(test: &str) -> bool {
    let can = has_mount_namespaces() && inject::is_possible() && program().len() == 1;
    if !can {
        skip(test, "needs root, mount namespaces, strace, and a binary of this machine");
    }
    can
}

/// P2: the sender finds the queue exactly as the killed login left it, with its log.
#[test]
fn the_next_sender_sees_a_login_that_was_killed_anywhere() {
    if !is_possible("the_next_sender_sees_a_login_that_was_killed_anywhere") {
        return;
    }
    let template = idle();
    let host = || {
        let home = Home::new(STDOUT);
        copy(&template.at("state"), &home.at("state"));
        home
    };
    let home = host();
    hook(home.in_own_dev(":", &inject::traced(&home, &home.command(&["queue"]), Where::Queue)), &LOGIN);
    let calls = inject::calls(&home);
    assert!(calls.iter().any(|call| call.is("fdatasync")) && calls.iter().any(|call| call.is("pwrite64")), "{calls:?}");
    for call in &calls {
        let home = host();
        let syslog = Syslog::listen(&home);
        let killed = inject::with_fault(&home, &home.command(&["queue"]), Where::Queue, call, Fault::Kill);
        let output = hook(home.in_own_dev(":", &killed), &LOGIN);
        let case = format!("{call:?}\n{output:?}\n{}", syslog.lines());
        assert!(inject::came_about(&home.at("trace"), Fault::Kill), "{case}");
        let sent = home.sent();
        assert_eq!(sent.matches(VICTIM).count(), 1, "{case}\nsent: {sent}");
        assert_eq!(home.sent(), "", "{case}");
        home.record("zoe", "192.0.2.8", "open_session");
        assert!(home.sent().contains("'zoe'"), "{case}");
        assert_eq!(home.queue().count_waiting(), 0, "{case}");
    }
}

/// P2
#[test]
fn the_next_sender_continues_the_work_of_one_that_was_killed() {
    if !is_possible("the_next_sender_continues_the_work_of_one_that_was_killed") {
        return;
    }
    let template = idle();
    for user in ["dave", "erin"] {
        template.login(user);
    }
    let host = || {
        let home = Home::new(STDOUT);
        copy(&template.at("state"), &home.at("state"));
        home
    };
    let home = host();
    let output = inject::traced(&home, &home.command(&["send"]), Where::Everywhere).output().expect("strace starts");
    assert_eq!(output.succeeds().stdout().lines().count(), 2, "{output:?}");
    let calls = inject::calls(&home);
    assert!(calls.iter().any(|call| call.is("fdatasync")), "{calls:?}");
    for call in &calls {
        let home = host();
        let mut killed = inject::with_fault(&home, &home.command(&["send"]), Where::Everywhere, call, Fault::Kill);
        let killed = killed.output().expect("strace starts");
        assert!(inject::came_about(&home.at("trace"), Fault::Kill), "{call:?} {killed:?}");
        let both = killed.stdout() + &home.sent();
        for user in ["'dave'", "'erin'"] {
            assert!((1..=2).contains(&both.matches(user).count()), "{call:?}: {both}");
        }
        assert_eq!(home.sent(), "", "{call:?}");
        assert_eq!(home.queue().count_waiting(), 0, "{call:?}");
    }
}

/// P2
#[test]
fn a_sender_that_runs_all_the_time_sends_every_login_once() {
    let home = idle();
    let mut sent = String::new();
    let logins = 40;
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            for number in 0..logins {
                home.login(&format!("user{number}"));
                std::thread::sleep(Duration::from_millis(number % 7));
            }
        });
        while !recording.is_finished() {
            sent += &home.sent();
        }
    });
    sent += &home.sent();
    for number in 0..logins {
        assert_eq!(sent.matches(&format!("'user{number}' ")).count(), 1, "user{number} in {sent}");
    }
}
