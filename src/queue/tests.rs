use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::clock::{EARLIEST_MS, Stamp};
use crate::error::Kind as ErrorKind;
use crate::event::{Action, Facts, Kind, USER};
use crate::queue::work::Work;
use crate::rules::Verdict;
use crate::text::Field;

const LIMITS: Limits = Limits { history: Duration::from_hours(24), give_up: Duration::from_hours(168), waiting: 10 };

const NONE: [i64; 0] = [];

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
    let mut facts = Facts::default();
    facts[USER] = Field::new(user.as_bytes());
    let at = Stamp { utc_ms, boot_ms: 1, boot_id: "b".into() };
    Event { at, ..Event::session(Action::Open, facts) }
}

fn now(hours: i64) -> Stamp {
    Stamp { utc_ms: EARLIEST_MS + hours * 3_600_000, boot_ms: hours * 3_600_000, boot_id: "b".into() }
}

/// Records so many events of users `u0`, `u1`, …, judged.
fn fill(queue: &mut Queue, count: i64) {
    let events: Vec<Event> = (0..count).map(|number| event(&format!("u{number}"), EARLIEST_MS + number)).collect();
    queue.append(&events).expect("room");
    judge(queue);
}

fn judge(queue: &mut Queue) {
    queue.judge(&mut |_| Verdict::default()).expect("room");
}

/// Everything that is due for a target, with the users.
fn rows(queue: &Queue, target: &str, now: &Stamp) -> Option<(Batch, Vec<String>)> {
    let mut users = Vec::new();
    let batch = queue.batch(target, now, &mut |row| {
        users.push(row.event.facts[USER].as_str().to_owned());
        Take::Taken
    });
    batch.expect("a queue that can be read").map(|batch| (batch, users))
}

fn batch(queue: &Queue, target: &str, hours: i64) -> Batch {
    rows(queue, target, &now(hours)).expect("something is due").0
}

fn ids(batch: &Batch) -> Vec<i64> {
    batch.ids().iter().map(|id| id.0).collect()
}

fn failure(hours: i64) -> Failure {
    let wait = Wait { since: now(hours), ms: 60_000 };
    Failure { wait, error: "HTTP 503".into(), is_throttled: false }
}

fn give_up(queue: &mut Queue, now: &Stamp) {
    queue.give_up("a", &|_| true, &LIMITS, now).expect("room");
}

fn dead(queue: &Queue) -> Vec<i64> {
    queue.dead_letters(100).expect("readable").0.iter().map(|letter| letter.id.0).collect()
}

/// P4
#[test]
fn each_target_gets_every_event_once_and_in_order_whatever_the_others_do() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a", "b"]).expect("targets");
    let mut first = batch(&queue, "a", 0);
    assert_eq!(ids(&first), [1, 2, 3]);
    first.shorten(2);
    queue.delivered(first, 0, &now(0)).expect("settled");
    assert_eq!(ids(&batch(&queue, "a", 0)), [3]);
    let other = batch(&queue, "b", 0);
    queue.postponed(other, &failure(0), &now(0)).expect("settled");
    assert_eq!(queue.due("b", &now(0)).expect("readable"), Due::After(60_000));
    assert_eq!(ids(&batch(&queue, "a", 0)), [3]);
    assert_eq!(ids(&batch(&queue, "b", 1)), [1, 2, 3]);
    let work = queue.work(&["a", "b"], &LIMITS, &now(0)).expect("readable");
    assert_eq!(work, Work { due: Due::Now, is_failing: true });
}

/// P4
#[test]
fn a_target_added_later_gets_events_from_then_on_and_a_removed_one_takes_its_own_with_it() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    assert!(queue.set_targets(&["a"]).expect("targets").is_empty());
    assert!(queue.set_targets(&["a", "b"]).expect("targets").is_empty());
    assert_eq!(queue.due("b", &now(0)).expect("readable"), Due::Never);
    fill(&mut queue, 1);
    assert_eq!(ids(&batch(&queue, "b", 0)), [4]);
    assert_eq!(queue.set_targets(&["b"]).expect("targets"), [("a".to_string(), 4)]);
    assert!(queue.set_targets(&["b"]).expect("targets").is_empty());
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
}

/// P2
#[test]
fn a_rejected_event_is_a_dead_letter_that_is_told_of_once_and_can_be_sent_again_or_forgotten() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    queue.set_targets(&["a"]).expect("targets");
    let mut bad = batch(&queue, "a", 0);
    bad.shorten(1);
    queue.rejected(bad, "HTTP 400").expect("settled");
    assert_eq!(ids(&batch(&queue, "a", 0)), [2]);
    let notice = |target: &str, count: i64, why: &str| Event::notice(&format!("{target} {count} {why}"));
    assert!(queue.report_dead_letters(notice).expect("a notice"));
    assert!(!queue.report_dead_letters(notice).expect("no second notice"));
    judge(&mut queue);
    let (waiting, users) = rows(&queue, "a", &now(0)).expect("something is due");
    assert_eq!((ids(&waiting), users[1].as_str()), (vec![2, 3], "a 1 HTTP 400"));
    let (letters, count) = queue.dead_letters(100).expect("readable");
    assert_eq!((count, letters[0].id, letters[0].error.as_str()), (1, EventId(1), "HTTP 400"));
    assert_eq!(queue.retry(Some(EventId(9))).expect("nothing to do"), 0);
    assert_eq!(queue.retry(Some(EventId(1))).expect("one"), 1);
    let again = batch(&queue, "a", 0);
    assert_eq!(ids(&again), [1]);
    queue.rejected(again, "HTTP 400").expect("settled");
    assert_eq!(queue.drop_dead_letters(EventId(1)).expect("one"), 1);
    assert_eq!(dead(&queue), NONE);
    assert_eq!(ids(&batch(&queue, "a", 0)), [2, 3]);
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
        give_up(&mut queue, &now(hours));
        let due = batch(&queue, "a", hours);
        queue.postponed(due, &failure(hours), &now(hours)).expect("settled");
    }
    fill(&mut queue, 1);
    give_up(&mut queue, &now(first + week - 1));
    assert_eq!(ids(&batch(&queue, "a", first + week - 1)), [1, 2, 3]);
    give_up(&mut queue, &now(first + week));
    assert_eq!(ids(&batch(&queue, "a", first + week)), [3]);
    assert_eq!(dead(&queue), [1, 2]);
    assert_eq!(queue.dead_letters(1).expect("readable").0[0].error, "still failing after 7 days: HTTP 503");
}

/// P2
#[test]
fn a_clock_that_jumps_gives_nothing_up() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 1);
    queue.set_targets(&["a"]).expect("targets");
    let unset = Stamp { utc_ms: 5_000, boot_ms: 5_000, boot_id: "a".into() };
    let (due, _) = rows(&queue, "a", &unset).expect("an event is due");
    let failed = Failure { wait: Wait { since: unset.clone(), ms: 60_000 }, ..failure(0) };
    queue.postponed(due, &failed, &unset).expect("settled");
    for later in [Stamp { utc_ms: EARLIEST_MS, ..unset.clone() }, now(0), Stamp { boot_id: String::new(), ..now(0) }] {
        give_up(&mut queue, &later);
        assert_eq!(dead(&queue), NONE, "{later:?}");
    }
    assert_eq!(ids(&batch(&queue, "a", 0)), [1]);
}

/// P2, P6
#[test]
fn what_stands_beyond_the_bound_is_set_aside_oldest_first() {
    let home = Home::new();
    let mut queue = home.queue();
    queue.set_targets(&["a"]).expect("targets");
    fill(&mut queue, 10);
    give_up(&mut queue, &now(0));
    assert_eq!(dead(&queue), NONE);
    fill(&mut queue, 3);
    give_up(&mut queue, &now(0));
    assert_eq!(dead(&queue), [1, 2, 3]);
    assert_eq!(ids(&batch(&queue, "a", 0)).first(), Some(&4));
}

/// P4
#[test]
fn an_event_that_breaks_the_service_is_quarantined_while_the_others_go_on() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a"]).expect("targets");
    let mut pair = batch(&queue, "a", 0);
    pair.shorten(2);
    queue.quarantined(pair, &failure(0), &now(0)).expect("settled");
    assert_eq!(ids(&batch(&queue, "a", 0)), [3]);
    let rest = batch(&queue, "a", 0);
    queue.delivered(rest, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::After(60_000));
    let alone = batch(&queue, "a", 1);
    assert_eq!(ids(&alone), [1]);
    queue.delivered(alone, 0, &now(1)).expect("settled");
    assert_eq!(queue.due("a", &now(1)).expect("readable"), Due::Never);
}

/// P2, P6
#[test]
fn only_what_every_target_has_and_is_old_is_deleted() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 4);
    queue.set_targets(&["a", "b"]).expect("targets");
    for (target, count) in [("a", 4), ("b", 3)] {
        let mut due = batch(&queue, target, 0);
        due.shorten(count);
        queue.delivered(due, 0, &now(0)).expect("settled");
    }
    queue.prune(&LIMITS, &now(1)).expect("nothing is old");
    assert_eq!(queue.count().expect("readable"), 4);
    queue.prune(&LIMITS, &now(25)).expect("three are old and delivered");
    assert_eq!(queue.count().expect("readable"), 1);
    assert_eq!(ids(&batch(&queue, "b", 25)), [4]);
    // The newest row stays, so that no id is ever used again.
    let last = batch(&queue, "b", 25);
    queue.delivered(last, 0, &now(25)).expect("settled");
    queue.prune(&LIMITS, &now(99)).expect("the last one stays");
    fill(&mut queue, 1);
    assert_eq!(ids(&batch(&queue, "a", 99)), [5]);
}

#[test]
fn the_same_event_out_of_the_spool_is_recorded_once() {
    let home = Home::new();
    let mut queue = home.queue();
    let (amanda, bob) = (event("amanda", 1), event("bob", 1));
    let events = [amanda, bob.clone(), event("amanda", 2), bob];
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
    let mut due = batch(&queue, "a", 0);
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
    assert!(opened.is_err_and(|why| matches!(why.kind(), ErrorKind::Damaged { .. })));
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
    let mut kinds = Vec::new();
    let due = queue.batch("a", &now(0), &mut |row| {
        kinds.push(row.event.kind);
        Take::Taken
    });
    assert_eq!(ids(&due.expect("readable").expect("due")), [1, 2, 3]);
    assert_eq!(kinds[1], Kind::Notice);
    queue.import(&[event("zoe", EARLIEST_MS + 9)]).expect("room");
    judge(&mut queue);
    assert_eq!(ids(&batch(&queue, "a", 0)), [1, 2, 3, 4]);
}

/// P2
#[test]
fn a_repair_saves_what_stands_apart_too() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 4);
    queue.set_targets(&["a"]).expect("targets");
    let mut pair = batch(&queue, "a", 0);
    pair.shorten(2);
    queue.quarantined(pair, &failure(0), &now(0)).expect("settled");
    let mut dead = batch(&queue, "a", 0);
    dead.shorten(1);
    queue.rejected(dead, "HTTP 400").expect("settled");
    drop(queue);
    let (mut queue, _) = Queue::repair(&home.0.join("q.db"), "for a test").expect("a repair");
    queue.set_targets(&["a"]).expect("targets");
    judge(&mut queue);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u0", "u2", "u3"]);
}

/// Copies the queue of the first schema that is in tests/data.
fn first_schema() -> Home {
    let home = Home::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1");
    for (name, suffix) in [("session_events.db", ""), ("session_events.db-wal", "-wal")] {
        fs::copy(data.join(name), schema::beside(&home.path(), suffix)).expect("room");
    }
    home
}

/// P2
#[test]
fn a_queue_of_the_first_schema_is_taken_over_whole_whoever_opens_it_first() {
    for role in [Role::Hook, Role::Sender] {
        let home = first_schema();
        let mut queue = Queue::open(&home.path(), role).expect("a queue");
        queue.append(&[event("zoe", EARLIEST_MS)]).expect("room");
        drop(queue);
        let mut queue = home.queue();
        assert!(queue.set_targets(&["discord", "ntfy"]).expect("the same targets").is_empty());
        judge(&mut queue);
        assert_eq!(queue.count().expect("readable"), 10);
        let discord = rows(&queue, "discord", &now(0)).expect("due").1;
        assert_eq!(discord, ["erin", "zoe"], "{role:?}");
        assert_eq!(dead(&queue), [2]);
        let [_, (ntfy, counts)] = &queue.targets().expect("readable")[..] else { panic!("two targets") };
        assert_eq!((ntfy.failures, ntfy.error.as_str(), counts.waiting, counts.dead), (1, "HTTP 503", 5, 1));
        let later = Stamp { utc_ms: ntfy.wait.since.utc_ms + 60_000, ..Stamp::default() };
        assert_eq!(rows(&queue, "ntfy", &later).expect("due").1, ["carol", "dave", "carol", "erin", "zoe"]);
    }
}

/// P2: a spool file of the first version, and the same event in the queue, are one event.
#[test]
fn copies_of_an_event_of_the_first_version_are_one() {
    let home = first_schema();
    let spool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1/spool");
    let (spooled, mistakes) = spool::read(&spool);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let spooled = &spooled[0].1;
    let mut queue = home.queue();
    let known = queue
        .read(|connection| every(connection, &format!("SELECT {} FROM event", row::columns()), &[], row::read))
        .expect("readable");
    queue.import(&[spooled.clone(), spooled.clone(), known[0].event.clone()]).expect("room");
    queue.import(slice::from_ref(spooled)).expect("room");
    assert_eq!(queue.count().expect("readable"), 10);
}

/// P2: a login that is late leaves a copy in the spool, and may still record its event afterwards.
#[test]
fn an_event_that_reaches_the_queue_behind_its_copy_keeps_its_uid() {
    let home = Home::new();
    let mut queue = home.queue();
    queue.set_targets(&["a"]).expect("targets");
    let late = event("amanda", 1);
    queue.import(slice::from_ref(&late)).expect("room");
    judge(&mut queue);
    assert_eq!(queue.judged_uids(10).expect("readable"), HashSet::from([late.uid]));
    queue.append(&[late.clone(), event("bob", 2)]).expect("room");
    queue.judge(&mut |row| Verdict { is_copy: row.event.uid == late.uid, ..Verdict::default() }).expect("room");
    let mut verdicts = Vec::new();
    let take = &mut |row: &Row| {
        verdicts.push((row.id.0, row.verdict.is_copy));
        if row.verdict.is_copy { Take::Passed } else { Take::Taken }
    };
    let batch = queue.batch("a", &now(0), take).expect("readable").expect("due");
    assert_eq!((ids(&batch), batch.last()), (vec![1, 3], EventId(3)));
    assert_eq!(verdicts, [(1, false), (2, true), (3, false)]);
}

/// P2: after `DELETE FROM event`, or an older copy in the database's place.
#[test]
fn a_cursor_beyond_the_newest_event_is_damage_that_is_mended() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 5);
    queue.set_targets(&["a", "b"]).expect("targets");
    let due = batch(&queue, "a", 0);
    queue.delivered(due, 0, &Stamp { utc_ms: EARLIEST_MS + 1, ..now(0) }).expect("settled");
    let due = batch(&queue, "b", 0);
    queue.delivered(due, 0, &Stamp { utc_ms: EARLIEST_MS - 1, ..now(0) }).expect("settled");
    assert!(queue.mend_cursors().expect("nothing to mend").is_empty());
    queue.connection.execute_batch("DELETE FROM event WHERE id > 3").expect("writable");
    let work = queue.work(&["a", "b"], &LIMITS, &now(0)).expect("readable");
    assert_eq!(work.due, Due::Now);
    let mended = queue.mend_cursors().expect("writable");
    assert_eq!(mended, [("a".to_string(), EventId(2)), ("b".to_string(), EventId(0))]);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u2"]);
    assert_eq!(rows(&queue, "b", &now(0)).expect("due").1, ["u0", "u1", "u2"]);
    queue.connection.execute_batch("DELETE FROM event").expect("writable");
    assert_eq!(queue.mend_cursors().expect("writable").len(), 1);
    fill(&mut queue, 1);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u0"]);
}

/// P4
#[test]
fn what_a_target_does_not_want_is_passed_over_and_never_a_dead_letter() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 13);
    queue.set_targets(&["a"]).expect("targets");
    let wants = |row: &Row| row.id.0 % 2 == 1;
    queue.give_up("a", &wants, &LIMITS, &now(0)).expect("three are too many");
    assert_eq!(dead(&queue), [1, 3]);
    let nothing = queue.batch("a", &now(0), &mut |_| Take::Passed).expect("readable").expect("due");
    assert_eq!((ids(&nothing), nothing.last()), (vec![], EventId(13)));
    queue.delivered(nothing, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
    assert_eq!(queue.targets().expect("readable")[0].0.success_ms, None, "nothing was delivered");
    // Nor does one that was retried, or deleted by somebody, stay due for ever.
    assert_eq!(queue.retry(None).expect("two"), 2);
    queue.connection.execute("DELETE FROM event WHERE id = 1", []).expect("writable");
    let passed = queue.batch("a", &now(0), &mut |_| Take::Passed).expect("readable").expect("due");
    queue.delivered(passed, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
}

/// What is in the queue's directory: names and contents.
fn snapshot(home: &Home) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(&home.0)
        .expect("ours")
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into(), fs::read(entry.path()).expect("readable")))
        .collect();
    files.sort();
    files
}

/// P6
#[test]
fn a_look_creates_and_changes_nothing_whatever_is_there() {
    let recorded = |home: &Home| {
        fill(&mut home.queue(), 3);
        home.queue().set_targets(&["a"]).expect("targets");
    };
    // SQLite's own way to close a database moves the log into it, and deletes the log.
    let without_wal_file = |home: &Home| {
        recorded(home);
        let connection = Connection::open(home.path()).expect("a database");
        connection.query_row("SELECT count(*) FROM event", [], |_| Ok(())).expect("readable");
        drop(connection);
        assert!(!schema::beside(&home.path(), "-wal").exists());
    };
    let empty_wal_file = |home: &Home| {
        without_wal_file(home);
        fs::write(schema::beside(&home.path(), "-wal"), "").expect("room");
    };
    let rollback_journal = |home: &Home| {
        recorded(home);
        let connection = Connection::open(home.path()).expect("a database");
        connection.execute_batch("PRAGMA journal_mode = TRUNCATE; PRAGMA application_id = 1397968500").expect("alone");
    };
    type State<'a> = (&'a str, &'a dyn Fn(&Home), Option<i64>);
    let states: [State<'_>; 6] = [
        ("no database", &|_| {}, None),
        ("an empty file", &|home| fs::write(home.path(), "").expect("room"), None),
        ("events in the log", &recorded, Some(3)),
        ("an empty log", &empty_wal_file, Some(3)),
        ("no log file", &without_wal_file, Some(3)),
        ("a rollback journal", &rollback_journal, Some(3)),
    ];
    for (name, make, count) in states {
        let home = Home::new();
        make(&home);
        let before = snapshot(&home);
        let look = || Queue::open_to_read(&home.path()).unwrap_or_else(|why| panic!("{name}: {why}"));
        let queue = look();
        assert_eq!(queue.as_ref().map(|queue| queue.count().expect("readable")), count, "{name}");
        if let Some(queue) = &queue {
            assert_eq!(queue.work(&["a"], &LIMITS, &now(0)).expect("readable").due, Due::Now, "{name}");
            assert_eq!(queue.targets().expect("readable")[0].1.waiting, 3, "{name}");
        }
        drop(queue);
        assert!(snapshot(&home) == before, "{name}");
    }
}

/// P6
#[test]
fn a_look_shares_the_database_with_a_sender_that_has_it_open() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    let look = Queue::open_to_read(&home.path()).expect("readable").expect("a queue");
    assert_eq!(look.count().expect("readable"), 2);
    drop(look);
    fill(&mut queue, 1);
    assert_eq!(queue.count().expect("readable"), 3);
}

#[test]
fn a_look_at_a_queue_of_another_version_says_what_to_do() {
    let home = first_schema();
    let before = snapshot(&home);
    let Err(why) = Queue::open_to_read(&home.path()) else { panic!("an older schema was read") };
    assert!(why.to_string().contains("the next `send` brings it up to date"), "{why}");
    assert!(snapshot(&home) == before);
}
