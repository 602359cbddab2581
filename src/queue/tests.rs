use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::clock::{EARLIEST_MS, Stamp};
use crate::event::{Action, Session, What};
use crate::queue::Limits;
use crate::text::Field;

const LIMITS: Limits = Limits { history: Duration::from_hours(24), give_up: Duration::from_hours(168), waiting: 10 };

/// A directory for a queue, which is removed when its test ends.
pub struct Home(pub PathBuf);

impl Home {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ssn-queue-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new temporary directory");
        Self(path)
    }

    pub fn path(&self) -> PathBuf {
        self.0.join("q.db")
    }

    pub fn queue(&self) -> Queue {
        Queue::open(&self.path(), Role::Sender).expect("a queue")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn event(user: &str, utc_ms: i64) -> Event {
    let what = What::Session(Session {
        action: Action::Open,
        user: Field::new(user.as_bytes()),
        remote_host: Field::default(),
        tty: Field::default(),
        service: Field::new(b"sshd"),
        id: format!("{user}-1"),
    });
    Event { what, at: Stamp { utc_ms, boot_ms: 1, boot_id: "b".into() } }
}

fn now(hours: i64) -> Stamp {
    Stamp { utc_ms: EARLIEST_MS + hours * 3_600_000, boot_ms: hours * 3_600_000, boot_id: "b".into() }
}

fn fill(queue: &mut Queue, count: i64) {
    let events: Vec<Event> = (0..count).map(|number| event(&format!("u{number}"), EARLIEST_MS + number)).collect();
    queue.append(&events).expect("room");
}

fn claim(queue: &Queue, target: &str, hours: i64) -> Claim {
    match queue.due(target, 100, &now(hours)).expect("a queue that can be read") {
        Due::Now(claim) => claim,
        other => panic!("nothing due: {other:?}"),
    }
}

fn ids(claim: &Claim) -> Vec<i64> {
    claim.events.iter().map(|(id, _)| *id).collect()
}

fn setback(hours: i64) -> Setback {
    let wait = Wait { since: now(hours), ms: 60_000 };
    Setback { wait, error: "HTTP 503".into(), is_failure: true }
}

/// P4
#[test]
fn each_target_gets_every_event_once_and_in_order_whatever_the_others_do() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a", "b"]).expect("targets");
    let mut first = claim(&queue, "a", 0);
    assert_eq!(ids(&first), [1, 2, 3]);
    first.shorten(2);
    queue.delivered(first, 0, &now(0)).expect("settled");
    assert_eq!(ids(&claim(&queue, "a", 0)), [3]);
    let other = claim(&queue, "b", 0);
    queue.postponed(other, &setback(0), &now(0)).expect("settled");
    assert!(matches!(queue.due("b", 9, &now(0)), Ok(Due::Later)));
    assert_eq!(ids(&claim(&queue, "a", 0)), [3]);
    assert_eq!(ids(&claim(&queue, "b", 1)), [1, 2, 3]);
    assert_eq!(queue.next_due(&now(0)).expect("readable"), Some(0));
}

/// P4
#[test]
fn a_target_added_later_gets_events_from_then_on_and_a_removed_one_takes_its_own_with_it() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    assert!(queue.set_targets(&["a"]).expect("targets").is_empty());
    assert!(queue.set_targets(&["a", "b"]).expect("targets").is_empty());
    assert!(matches!(queue.due("b", 9, &now(0)), Ok(Due::Nothing)));
    fill(&mut queue, 1);
    assert_eq!(ids(&claim(&queue, "b", 0)), [4]);
    assert_eq!(queue.set_targets(&["b"]).expect("targets"), [("a".to_string(), 4)]);
    assert!(queue.set_targets(&["b"]).expect("targets").is_empty());
    assert!(matches!(queue.due("a", 9, &now(0)), Ok(Due::Nothing)));
}

/// P2
#[test]
fn a_rejected_event_is_a_dead_letter_that_is_told_of_once_and_can_be_sent_again_or_forgotten() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    queue.set_targets(&["a"]).expect("targets");
    let mut bad = claim(&queue, "a", 0);
    bad.shorten(1);
    queue.rejected(bad, "HTTP 400").expect("settled");
    assert_eq!(ids(&claim(&queue, "a", 0)), [2]);
    let told = |target: &str, count: i64, why: &str| event(&format!("{target} {count} {why}"), EARLIEST_MS);
    assert!(queue.tell_dead(told).expect("a note"));
    assert!(!queue.tell_dead(told).expect("no second note"));
    let waiting = claim(&queue, "a", 0);
    assert_eq!(ids(&waiting), [2, 3]);
    let What::Session(note) = &waiting.events[1].1.what else { panic!("the note is a session here") };
    assert_eq!(note.user.as_str(), "a 1 HTTP 400");
    let dead = queue.dead_letters().expect("readable");
    assert_eq!((dead.len(), dead[0].id, dead[0].error.as_str()), (1, 1, "HTTP 400"));
    assert_eq!(queue.retry(Some(9)).expect("nothing to do"), 0);
    assert_eq!(queue.retry(Some(1)).expect("one"), 1);
    let again = claim(&queue, "a", 0);
    assert_eq!(ids(&again), [1]);
    queue.rejected(again, "HTTP 400").expect("settled");
    assert_eq!(queue.drop_dead(1).expect("one"), 1);
    assert!(queue.dead_letters().expect("readable").is_empty());
    assert_eq!(ids(&claim(&queue, "a", 0)), [2, 3]);
}

/// P2
#[test]
fn a_delivery_is_given_up_seven_days_after_its_first_attempt_and_not_after_the_event() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    queue.set_targets(&["a"]).expect("targets");
    // The host was off for a year before the first attempt.
    let (first, week) = (9_000, 168);
    for hours in [first, first + 1] {
        queue.give_up("a", &LIMITS, &now(hours)).expect("nothing to give up");
        let due = claim(&queue, "a", hours);
        queue.postponed(due, &setback(hours), &now(hours)).expect("settled");
    }
    fill(&mut queue, 1);
    queue.give_up("a", &LIMITS, &now(first + week - 1)).expect("still in time");
    assert_eq!(ids(&claim(&queue, "a", first + week - 1)), [1, 2, 3]);
    queue.give_up("a", &LIMITS, &now(first + week)).expect("time is over");
    assert_eq!(ids(&claim(&queue, "a", first + week)), [3]);
    let dead = queue.dead_letters().expect("readable");
    assert_eq!(dead.iter().map(|dead| dead.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(dead[0].error, "still failing after 7 days: HTTP 503");
}

/// P2
#[test]
fn a_clock_that_jumps_gives_nothing_up() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 1);
    queue.set_targets(&["a"]).expect("targets");
    let unset = Stamp { utc_ms: 5_000, boot_ms: 5_000, boot_id: "a".into() };
    let Ok(Due::Now(due)) = queue.due("a", 9, &unset) else { panic!("an event is due") };
    let failed = Setback { wait: Wait { since: unset.clone(), ms: 60_000 }, ..setback(0) };
    queue.postponed(due, &failed, &unset).expect("settled");
    for later in [Stamp { utc_ms: EARLIEST_MS, ..unset.clone() }, now(0), Stamp { boot_id: String::new(), ..now(0) }] {
        queue.give_up("a", &LIMITS, &later).expect("nothing to give up");
        assert!(queue.dead_letters().expect("readable").is_empty(), "{later:?}");
    }
    assert_eq!(ids(&claim(&queue, "a", 0)), [1]);
}

/// P2, P6
#[test]
fn what_stands_beyond_the_bound_is_set_aside_oldest_first() {
    let home = Home::new();
    let mut queue = home.queue();
    queue.set_targets(&["a"]).expect("targets");
    fill(&mut queue, 10);
    queue.give_up("a", &LIMITS, &now(0)).expect("ten may wait");
    assert!(queue.dead_letters().expect("readable").is_empty());
    fill(&mut queue, 3);
    queue.give_up("a", &LIMITS, &now(0)).expect("three are too many");
    assert_eq!(queue.dead_letters().expect("readable").iter().map(|dead| dead.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(ids(&claim(&queue, "a", 0)).first(), Some(&4));
}

/// P4
#[test]
fn an_event_that_breaks_the_service_is_tried_alone_while_the_others_go_on() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a"]).expect("targets");
    let mut pair = claim(&queue, "a", 0);
    pair.shorten(2);
    queue.set_apart(pair, &setback(0), &now(0)).expect("settled");
    assert_eq!(ids(&claim(&queue, "a", 0)), [3]);
    let rest = claim(&queue, "a", 0);
    queue.delivered(rest, 0, &now(0)).expect("settled");
    assert!(matches!(queue.due("a", 9, &now(0)), Ok(Due::Later)));
    let alone = claim(&queue, "a", 1);
    assert_eq!(ids(&alone), [1]);
    queue.delivered(alone, 0, &now(1)).expect("settled");
    assert!(matches!(queue.due("a", 9, &now(1)), Ok(Due::Nothing)));
}

/// P2, P6
#[test]
fn only_what_every_target_has_and_is_old_is_deleted() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 4);
    queue.set_targets(&["a", "b"]).expect("targets");
    for (target, count) in [("a", 4), ("b", 3)] {
        let mut due = claim(&queue, target, 0);
        due.shorten(count);
        queue.delivered(due, 0, &now(0)).expect("settled");
    }
    queue.prune(&LIMITS, &now(1)).expect("nothing is old");
    assert_eq!(queue.count().expect("readable"), 4);
    queue.prune(&LIMITS, &now(25)).expect("three are old and delivered");
    assert_eq!(queue.count().expect("readable"), 1);
    assert_eq!(ids(&claim(&queue, "b", 25)), [4]);
    // The newest row stays, so that no id is ever used again.
    let last = claim(&queue, "b", 25);
    queue.delivered(last, 0, &now(25)).expect("settled");
    queue.prune(&LIMITS, &now(99)).expect("the last one stays");
    fill(&mut queue, 1);
    assert_eq!(ids(&claim(&queue, "a", 99)), [5]);
}

#[test]
fn the_same_event_out_of_the_spool_is_recorded_once() {
    let home = Home::new();
    let mut queue = home.queue();
    let events = [event("amanda", 1), event("bob", 1), event("amanda", 2), event("bob", 1)];
    queue.append(&events[..1]).expect("room");
    queue.import(&events).expect("room");
    queue.import(&events).expect("room");
    assert_eq!(queue.count().expect("readable"), 3);
}

/// P2
#[test]
fn a_damaged_database_is_kept_aside_and_what_waits_in_it_is_saved() {
    let home = Home::new();
    let path = home.0.join("q.db");
    let mut queue = home.queue();
    fill(&mut queue, 500);
    queue.set_targets(&["a"]).expect("targets");
    let mut due = claim(&queue, "a", 0);
    due.shorten(2);
    queue.delivered(due, 0, &now(0)).expect("settled");
    queue.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    drop(queue);
    let mut bytes = fs::read(&path).expect("a database");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&path, bytes).expect("a damaged database");
    let (queue, said) = Queue::repair(&path, "for a test").expect("a repair");
    let saved = queue.count().expect("readable");
    assert!((300..498).contains(&saved), "{saved} of 498 saved");
    assert!(said.contains("q.db.damaged-"), "{said}");
    let names: Vec<String> = fs::read_dir(&home.0)
        .expect("ours")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("q.db.damaged-") && name.ends_with('Z')), "{names:?}");
}

/// P2
#[test]
fn a_file_that_is_no_database_and_one_of_a_newer_version_are_told_apart() {
    let home = Home::new();
    let path = home.0.join("q.db");
    fs::write(&path, "this is no database at all, and long enough to be sure of it".repeat(100)).expect("a file");
    let opened = Queue::open(&path, Role::Hook);
    assert!(opened.is_err_and(|why| matches!(why.kind(), Kind::Damaged { .. })));
    fs::write(&path, "").expect("a file");
    let queue = Queue::open(&path, Role::Hook).expect("an empty file is a new database");
    queue.connection.pragma_update(None, "user_version", 99).expect("writable");
    drop(queue);
    let Err(why) = Queue::open(&path, Role::Sender) else { panic!("a newer schema was opened") };
    assert!(why.to_string().contains("newer version"), "{why}");
}

/// P2, P4
#[test]
fn one_row_that_flash_has_spoilt_stops_no_other() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a"]).expect("targets");
    let spoil = "UPDATE event SET kind = 'x', user = 5, boot_ms = 'y', boot_id = x'ff', session = 1 WHERE id = 2";
    queue.connection.execute(spoil, []).expect("an event");
    let due = claim(&queue, "a", 0);
    assert_eq!(ids(&due), [1, 2, 3]);
    assert!(matches!(due.events[1].1.what, What::Note(_)), "{due:?}");
    queue.import(&[event("zoe", EARLIEST_MS + 9)]).expect("room");
    assert_eq!(ids(&claim(&queue, "a", 0)), [1, 2, 3, 4]);
}

/// P2
#[test]
fn a_repair_saves_what_stands_apart_too() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 4);
    queue.set_targets(&["a"]).expect("targets");
    let mut pair = claim(&queue, "a", 0);
    pair.shorten(2);
    queue.set_apart(pair, &setback(0), &now(0)).expect("settled");
    let mut dead = claim(&queue, "a", 0);
    dead.shorten(1);
    queue.rejected(dead, "HTTP 400").expect("settled");
    drop(queue);
    let (mut queue, _) = Queue::repair(&home.0.join("q.db"), "for a test").expect("a repair");
    queue.set_targets(&["a"]).expect("targets");
    let users: Vec<String> =
        claim(&queue, "a", 0).events.iter().map(|(_, event)| format!("{:?}", event.what)).collect();
    assert_eq!(users.len(), 3, "{users:?}");
    assert!(["u0", "u2", "u3"].iter().zip(&users).all(|(user, what)| what.contains(user)), "{users:?}");
}
