//! The Go program's databases, as it left them on real hosts: whichever command of ours meets one
//! first, everything that waited in it is sent.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::thread;

use crate::support::home::{Home, LOGIN, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::{is_root, skip};

/// What waits in each of the databases: the clocks of two zones, the newer one with a smaller text.
const WAITING: [&str; 6] = [
    "'amanda' (192.168.1.50) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'bob' (2001:db8::17) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'o'brien' (workstation.example.net) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'root' logged in to host.example via /dev/tty1 (login) at 2026-11-23 16:38:37+00:00",
    "'amanda' (192.168.1.50) logged out from host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
    "'müller\u{fffd}@everyone' (::ffff:198.51.100.9) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:37+00:00",
];

/// What waits in the write-ahead log of the third one besides.
const IN_THE_LOG: [&str; 2] = [
    "'dave' (203.0.113.5) logged in to host.example via ssh (sshd) at 2026-11-23 16:38:38+00:00",
    "'bob' (2001:db8::17) logged out from host.example via ssh (sshd) at 2026-11-23 16:38:38+00:00",
];

/// Each database, with the number of events that are only in its log.
const DATABASES: [(&str, usize); 3] = [("go-pending.db", 0), ("go-locked.db", 0), ("go-hot-wal/session_events.db", 2)];

/// The tables of a queue.
const TABLES: [&str; 8] = ["attempt", "delivery", "event", "known", "meta", "open", "repeat", "target"];

/// Puts a database where the program looks for it, with its log.
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
fn a_first_send_delivers_all_that_waited_in_order_of_recording_and_locked_rows_too() {
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
        assert_eq!(home.queue().count_events(), 1, "a login imports nothing: that could take long");
        let sent = home.sent();
        assert_ours(&home);
        let lines: Vec<&str> = sent.lines().collect();
        assert!(lines[0].starts_with("'amanda' (192.0.2.7) logged in"), "{name}: {sent}");
        assert_eq!(lines[1..], expected(in_log), "{name}");
    }
}

/// P2: the first logins after the exchange of the binary may come all at once.
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

/// P2: a `send` of the Go program that still runs has the database open, and may be reading.
#[test]
fn a_database_that_another_process_reads_is_taken_over_all_the_same() {
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
fn a_new_queue_is_its_owners_alone() {
    if !is_root() {
        return skip("a_new_queue_is_its_owners_alone", "needs root");
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

/// P5: the state directory isn't there: it is made, for its owner alone.
#[test]
fn a_state_directory_that_is_missing_is_made_for_its_owner_alone() {
    if !is_root() {
        return skip("a_state_directory_that_is_missing_is_made_for_its_owner_alone", "needs root");
    }
    let home = Home::new(STDOUT);
    fs::remove_dir(home.at("state")).expect("it is empty");
    home.hook(&LOGIN).succeeds().prints_only("");
    assert_eq!(fs::metadata(home.at("state")).expect("made").mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(home.database()).expect("made").mode() & 0o777, 0o600);
    assert_eq!(home.sent().lines().count(), 1);
}

/// P5: a database that root owned, in a directory that was given to the service user since.
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
