//! Databases that the Go program left on real hosts: everything pending in them is sent, whichever command of
//! ours opens them first.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::thread;

use crate::support::home::{Home, LOGIN, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::{is_root, skip};

/// The pending events of each database. Their times are in two zones, so that text order is not time order.
const WAITING: [&str; 6] = [
    "'amanda' (192.168.1.50) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'bob' (2001:db8::17) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'o'brien' (workstation.example.net) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'root' logged in to host.example via /dev/tty1 (login) at 2026-11-23 16:38:37+00:00",
    "'amanda' (192.168.1.50) logged out from host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'müller\u{fffd}@everyone' (::ffff:198.51.100.9) logged in to host.example via ssh (sshd) at 2026-11-23 \
     16:38:37+00:00",
];

/// Events that are only in the third database's write-ahead log.
const IN_THE_LOG: [&str; 2] = [
    "'dave' (203.0.113.5) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:38+00:00",
    "'bob' (2001:db8::17) logged out from host.example via ssh (sshd) at 2026-11-23 16:38:38+00:00",
];

/// Each database, with the number of events that are only in its log.
const DATABASES: [(&str, usize); 3] = [("go-pending.db", 0), ("go-locked.db", 0), ("go-hot-wal/session_events.db", 2)];

/// The tables of a queue.
const TABLES: [&str; 8] = ["attempt", "delivery", "event", "known", "meta", "open", "repeat", "target"];

/// Copies a database, with its log, to where the program looks for it.
fn put(home: &Home, name: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    for suffix in ["", "-wal"] {
        let (from, to) = (format!("{}{suffix}", from.display()), format!("{}{suffix}", home.database().display()));
        if Path::new(&from).exists() {
            fs::copy(from, to).expect("a copy");
        }
    }
}

fn expected(in_log: usize) -> Vec<&'static str> {
    WAITING.iter().chain(&IN_THE_LOG[..in_log]).copied().collect()
}

fn assert_ours(home: &Home) {
    assert_eq!(home.queue().integrity(), "ok");
    assert_eq!(home.queue().journal(), "wal");
    assert_eq!(home.queue().tables(), TABLES);
}

/// P2
#[test]
fn a_first_send_delivers_all_pending_events_in_order_even_locked_rows() {
    for (name, in_log) in DATABASES {
        let home = Home::new(STDOUT);
        put(&home, name);
        let sent = home.sent();
        assert_eq!(sent.lines().collect::<Vec<_>>(), expected(in_log), "{name}");
        assert_eq!(home.sent(), "", "{name}: sent twice");
        assert_ours(&home);
    }
}

/// P2
#[test]
fn a_first_login_is_recorded_and_the_next_send_imports_everything() {
    for (name, in_log) in DATABASES {
        let home = Home::new(STDOUT);
        put(&home, name);
        home.hook(&LOGIN).succeeds().prints_only("");
        assert!(home.spooled().is_empty(), "{name}: {:?}", home.spooled());
        assert_eq!(home.queue().count_events(), 1, "a login imports nothing, because that could take long");
        let sent = home.sent();
        assert_ours(&home);
        let lines: Vec<&str> = sent.lines().collect();
        assert!(lines[0].starts_with("'amanda' (192.0.2.7) logged in"), "{name}: {sent}");
        assert_eq!(lines[1..], expected(in_log), "{name}");
    }
}

/// P2
#[test]
fn ten_first_logins_at_once_take_a_database_over_once() {
    let home = Home::new(STDOUT);
    put(&home, "go-hot-wal/session_events.db");
    let users: Vec<String> = (0..10).map(|number| format!("user{number}")).collect();
    thread::scope(|scope| {
        for user in &users {
            scope.spawn(|| home.login(user));
        }
    });
    let sent = home.sent();
    assert_ours(&home);
    assert_eq!(sent.lines().skip(10).collect::<Vec<_>>(), expected(2));
    for user in &users {
        assert_eq!(sent.matches(&format!("'{user}' ")).count(), 1, "{user} in {sent}");
    }
    assert_eq!(sent.lines().count(), 18, "{sent}");
}

/// P2: the Go program's `send` may still be running.
#[test]
fn a_database_that_another_process_reads_is_taken_over() {
    let home = Home::new(STDOUT);
    put(&home, "go-locked.db");
    let reader = home.queue().outsider();
    reader.begin_reading();
    home.hook(&LOGIN).succeeds().prints_only("");
    assert!(home.spooled().is_empty(), "{:?}", home.spooled());
    reader.commit();
    assert_eq!(home.sent().lines().count(), 7);
}

/// P2
#[test]
fn the_empty_file_that_the_go_programs_installer_leaves_is_a_new_queue() {
    for first in ["queue", "send"] {
        let home = Home::new(STDOUT);
        fs::write(home.database(), "").expect("an empty file");
        if first == "send" {
            assert_eq!(home.sent(), "");
        }
        home.hook(&LOGIN).succeeds().prints_only("");
        assert_ours(&home);
        assert_eq!(home.sent().lines().count(), 1, "{first}");
    }
}

/// P5
#[test]
fn only_its_owner_can_read_a_new_queue() {
    if !is_root() {
        return skip("only_its_owner_can_read_a_new_queue", "needs root");
    }
    for first in ["queue", "send"] {
        let home = Home::of_service(STDOUT);
        fs::set_permissions(home.at("state"), fs::Permissions::from_mode(0o700)).expect("it is ours");
        if first == "send" {
            assert_eq!(home.sent(), "");
        }
        home.hook(&LOGIN).succeeds().prints_only("");
        let entries: Vec<_> = fs::read_dir(home.at("state")).expect("ours").flatten().collect();
        assert!(entries.iter().any(|entry| entry.path() == home.database()), "{entries:?}");
        for entry in entries {
            let metadata = entry.metadata().expect("ours");
            assert_eq!(
                (metadata.mode() & 0o777, metadata.uid()),
                (0o600, SERVICE),
                "{first}: {}",
                entry.path().display()
            );
        }
    }
}

/// P5
#[test]
fn a_go_database_given_to_the_service_user_is_taken_over_by_it() {
    if !is_root() {
        return skip("a_go_database_given_to_the_service_user_is_taken_over_by_it", "needs root");
    }
    let home = Home::of_service(STDOUT);
    put(&home, "go-hot-wal/session_events.db");
    for suffix in ["", "-wal"] {
        chown(format!("{}{suffix}", home.database().display()), Some(SERVICE), Some(SERVICE)).expect("root may");
    }
    home.hook(&LOGIN).succeeds().prints_only("");
    assert!(home.spooled().is_empty(), "{:?}", home.spooled());
    assert_eq!(home.sent().lines().count(), 9);
}
