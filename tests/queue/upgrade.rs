//! Queues of other versions of this program: an older one is taken over whole, whichever command opens it first; a
//! newer one is refused and not changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::crash;
use crate::support::cost;
use crate::support::home::{Home, LOGIN, PATIENCE, STDOUT, copy, hook};
use crate::support::inject::{Call, Fault};
use crate::support::outcome::Outcome;
use crate::support::queue::Target;
use crate::support::server::{Server, discord_and_ntfy};

/// A queue of the first schema from a real host (tests/data/README.md).
const FIRST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/v1");

/// The events pending for its target `ntfy`, in order; the last is in the spool. `discord` has got them up to
/// `carol`'s logout.
const PENDING: [&str; 5] = [
    "'carol' (2001:db8::7) logged in",
    "'dave' (2001:db8::7) logged in",
    "'carol' (2001:db8::7) logged out",
    "'erin' logged in",
    "'spooled' (203.0.113.9) logged in",
];

/// The number of these events that `discord` has got.
const GOT: usize = 3;

/// The queue's dead letter.
const POISON: (usize, &str) = (2, "HTTP 400: bad");

/// The queue's first failed attempt.
const ATTEMPT: &str = "ntfy 8 1795758639454 2788336 295c187d-2d9e-4c59-a2a9-93d694b9557f";

/// The version of the schema.
const VERSION: usize = 2;

/// More rows than a real queue is likely to have.
const MANY: usize = 100_000;

/// The number of bytes that the first login after an upgrade may write.
const UPGRADE_BYTES: u64 = 64 * 1024;

/// Makes a host with the queue of the first schema and its spool.
fn first(config: &str) -> Home {
    let home = Home::new(config);
    copy(&Path::new(FIRST).join("spool"), &home.at("spool"));
    for name in ["session_events.db", "session_events.db-wal"] {
        fs::copy(Path::new(FIRST).join(name), home.at("state").join(name)).expect("a copy");
    }
    home
}

/// Makes the same host with `stdout` in place of `ntfy` as the only target.
fn first_for_stdout() -> Home {
    let home = first(STDOUT);
    home.queue().leave_only("ntfy", "stdout");
    home
}

/// Makes the same host with a hundred thousand rows.
fn many() -> Home {
    let home = first_for_stdout();
    home.queue().multiply_first_events(MANY);
    home
}

/// Starts two services and makes a host with the queue and targets on them.
fn services() -> (Server, Server, Home) {
    let (discord, ntfy) = (Server::well(), Server::well());
    let config = discord_and_ntfy(&discord, &ntfy);
    let home = first(&config);
    (discord, ntfy, home)
}

fn bodies(server: &Server) -> String {
    server.requests().iter().map(|request| request.body.clone() + "\n").collect()
}

/// Checks that a text has these notices once each, in this order, and no others.
#[track_caller]
fn assert_in_order(text: &str, expected: &[&str]) {
    let places: Vec<usize> = expected
        .iter()
        .map(|part| {
            assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
            text.find(part).expect("it is there")
        })
        .collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(text.matches(" logged ").count(), expected.len(), "{text}");
}

fn state_of_ntfy() -> Target {
    Target { failures: 1, wait: Duration::from_millis(54_326), error: "HTTP 503".into() }
}

/// P2: the login changes only the schema; the next send delivers everything that was pending.
#[test]
fn a_first_login_takes_over_a_whole_queue_of_the_first_schema() {
    let (discord, ntfy, home) = services();
    let before = first(STDOUT).queue().rows();
    home.login("amanda");
    assert!(home.spooled().len() == 1, "{:?}", home.spooled());
    let after = home.queue().rows();
    assert_eq!((before.len(), &after[..9], after.len()), (9, &before[..], 10));
    assert_eq!((home.queue().target("ntfy"), home.queue().attempts()), (state_of_ntfy(), vec![ATTEMPT.to_owned()]));
    assert_taken_over(&home);

    home.sent();
    let mut expected = PENDING.to_vec();
    expected.insert(4, "'amanda' (192.0.2.7) logged in");
    assert_in_order(&bodies(&ntfy), &expected);
    assert_in_order(&bodies(&discord), &expected[GOT..]);
    assert_eq!((home.sent(), home.spooled().len()), (String::new(), 0));
    assert_eq!((bodies(&ntfy).matches(" logged ").count(), bodies(&discord).matches(" logged ").count()), (6, 3));
    assert_eq!(home.queue().count_events(), 11);
    home.run(&["retry", "2"]).succeeds();
    home.sent();
    assert_eq!(bodies(&ntfy).matches("'poison' (192.168.1.50) logged in").count(), 1);
}

/// P2
#[test]
fn a_first_send_takes_over_a_whole_queue_of_the_first_schema() {
    let (discord, ntfy, home) = services();
    home.sent();
    assert_taken_over(&home);
    assert_in_order(&bodies(&discord), &PENDING[GOT..]);
    assert_in_order(&bodies(&ntfy), &PENDING);
    home.sent();
    assert_eq!((discord.requests().len(), bodies(&ntfy).matches(" logged ").count()), (1, PENDING.len()));
}

/// P2, P4: and it delays no other target.
#[test]
fn a_back_off_of_the_first_schema_is_kept() {
    let (discord, ntfy, home) = services();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis();
    home.queue().begin_waits(&format!("{now} 0 "));
    home.sent();
    assert_in_order(&bodies(&discord), &PENDING[GOT..]);
    assert_eq!(ntfy.requests().len(), 0, "{}", bodies(&ntfy));
    assert_eq!((home.queue().target("ntfy"), home.queue().attempts()), (state_of_ntfy(), vec![ATTEMPT.to_owned()]));
    home.queue().end_waits();
    home.sent();
    assert_in_order(&bodies(&ntfy), &PENDING);
    assert_eq!(discord.requests().len(), 1);
}

/// P1, P2, P6
#[test]
fn the_first_login_on_a_hundred_thousand_old_rows_takes_a_second_and_writes_64_kib_at_most() {
    let test = "the_first_login_on_a_hundred_thousand_old_rows_takes_a_second_and_writes_64_kib_at_most";
    let template = many();
    let before = template.queue().rows();
    let copy_of_many = || {
        let home = Home::new(STDOUT);
        copy(&template.at("state"), &home.at("state"));
        home
    };
    let home = copy_of_many();
    let started = Instant::now();
    home.hook(&LOGIN).succeeds();
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    assert_eq!(home.spooled(), [""; 0]);
    let after = home.queue().rows();
    assert!(after.len() == MANY + 1 && after[..MANY] == before, "{} rows", after.len());
    assert_eq!(home.queue().version(), VERSION);
    let sent = home.sent();
    assert_in_order(&sent, &[&PENDING[..4], &["'amanda' (192.0.2.7) logged in"]].concat());

    if cost::is_possible(test) {
        let home = copy_of_many();
        let cost = cost::traced(&home, |command| hook(command, &LOGIN), &["queue"]);
        assert!((1..=UPGRADE_BYTES).contains(&cost.bytes), "{cost:?}");
        assert_eq!(home.queue().count_events(), MANY + 1);
    }
}

/// Returns the notices that must be sent whatever happens to the first login.
fn pending() -> Vec<String> {
    PENDING.map(Into::into).into()
}

/// Runs a first login with a fault. Checks that every row is there once, and that the victim's event is sent once.
fn attack(template: &Home, rows: &[String], pending: &[String], call: &Call, fault: Fault) {
    let home = crash::attack_a_login(template, pending, call, fault);
    let after = home.queue().rows();
    assert_eq!(after[..rows.len()], *rows, "{fault:?} at {call:?}");
    // The victim's event, the next one, and those in the spool.
    let more = after.len() - rows.len();
    assert!((1..=4).contains(&more), "{more} more rows: {fault:?} at {call:?}");
    assert_eq!(home.queue().dead_letters(), [(POISON.0, POISON.1.to_owned())], "{fault:?} at {call:?}");
}

/// P2
#[test]
fn no_fault_at_the_first_login_on_an_old_queue_loses_or_repeats_a_row() {
    if !crash::is_possible("no_fault_at_the_first_login_on_an_old_queue_loses_or_repeats_a_row") {
        return;
    }
    let template = first_for_stdout();
    let rows = first(STDOUT).queue().rows();
    for call in &crash::calls_of_a_login(&template) {
        for fault in [Fault::Kill, Fault::Once("EIO"), Fault::FromThenOn("ENOSPC")] {
            attack(&template, &rows, &pending(), call, fault);
        }
    }
}

/// P2: at some of the calls only, because each run takes long.
#[test]
fn no_fault_at_the_first_login_on_a_hundred_thousand_old_rows_loses_or_repeats_one() {
    if !crash::is_possible("no_fault_at_the_first_login_on_a_hundred_thousand_old_rows_loses_or_repeats_one") {
        return;
    }
    let template = many();
    let rows = template.queue().rows();
    let calls = crash::calls_of_a_login(&template);
    let writes: Vec<&Call> = calls.iter().filter(|call| call.is("pwrite64") || call.is("fdatasync")).collect();
    assert!(writes.len() >= 5, "{calls:?}");
    for place in 0..5 {
        let call = writes[place * (writes.len() - 1) / 4];
        for fault in [Fault::Kill, Fault::Once("EIO")] {
            attack(&template, &rows, &pending(), call, fault);
        }
    }
}

/// Returns the files of a directory with their contents, without `-shm`, which every process makes again.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let read =
        |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into(), fs::read(entry.path()).expect("a file"));
    let of_the_queue = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().ends_with("-shm");
    entries.filter(of_the_queue).map(read).collect()
}

/// P2
#[test]
fn a_queue_of_a_newer_version_is_refused_and_left_as_it_is() {
    const NEWER: &str = "newer version";
    for (case, prepare) in [
        ("in the log", (|_| ()) as fn(&Home)),
        ("without a log", |home| home.queue().remove_log()),
        ("with a rollback journal", |home| home.queue().do_without_wal()),
    ] {
        let home = Home::new(STDOUT);
        home.login("bob");
        home.queue().set_version(99);
        prepare(&home);
        let before = contents(&home.at("state"));
        home.hook(&LOGIN).when(case).exits(0).says(NEWER).says("the event waits in");
        assert_eq!(home.spooled().len(), 1, "{case}");
        for command in ["send", "status"] {
            home.run(&[command]).when(format!("{command} {case}")).fails().says(NEWER).prints_only("");
        }
        let after = contents(&home.at("state"));
        for (name, bytes) in &before {
            assert!(after.get(name) == Some(bytes), "{name} was changed {case}");
        }
        // Empty lock files may have been made.
        let is_lock = |name: &String| before.contains_key(name) || after[name].is_empty();
        assert!(after.keys().all(is_lock), "{case}: {:?}", after.keys());
        home.queue().set_version(VERSION);
        assert_in_order(&home.sent(), &["'bob' (192.0.2.7) logged in", "'amanda' (192.0.2.7) logged in"]);
    }
}

/// P2: with a send at the same time.
#[test]
fn ten_first_logins_at_once_take_an_old_queue_over_once() {
    for with_send in [false, true] {
        let home = first_for_stdout();
        let rows = first(STDOUT).queue().rows();
        let users: Vec<String> = (0..10).map(|number| format!("user{number}")).collect();
        let mut sent = String::new();
        thread::scope(|scope| {
            for user in &users {
                scope.spawn(|| home.login(user));
            }
            if with_send {
                sent = home.sent();
            }
        });
        sent += &home.sent();
        assert_eq!(home.sent(), "");
        assert_eq!(home.queue().integrity(), "ok");
        assert_eq!((home.queue().version(), home.spooled().len()), (VERSION, 0));
        let after = home.queue().rows();
        assert_eq!((&after[..9], after.len()), (&rows[..], 20));
        let logins = users.iter().map(|user| format!("'{user}' (192.0.2.7) logged in")).chain(pending());
        for login in logins {
            assert_eq!(sent.matches(&login).count(), 1, "{login}: {sent}");
        }
        assert_eq!(sent.lines().count(), 15, "{sent}");
        assert_eq!(home.queue().dead_letters(), [(POISON.0, POISON.1.to_owned())]);
    }
}

fn assert_taken_over(home: &Home) {
    assert_eq!(home.queue().version(), VERSION);
    assert_eq!(home.queue().integrity(), "ok");
    assert_eq!(home.queue().dead_letters(), [(POISON.0, POISON.1.to_owned())]);
    assert!(home.status().contains("'poison' (192.168.1.50) logged in"), "{}", home.status());
}
