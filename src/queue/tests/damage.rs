//! Damage: a broken file, a broken row, events that somebody deleted.

use super::*;

/// Closes a queue and damages some pages in the middle of its file.
fn spoil_middle(queue: Queue, path: &Path) {
    queue.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    drop(queue);
    let mut bytes = fs::read(path).expect("a database");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(path, bytes).expect("ours");
}

/// P2
#[test]
fn a_damaged_database_is_moved_aside_and_its_pending_events_are_saved() {
    let home = Home::new();
    let path = home.0.join("q.db");
    let mut queue = home.queue();
    fill(&mut queue, 500);
    set_targets(&mut queue, &["a"]);
    let mut due = batch(&queue, "a", 0);
    due.shorten(2);
    queue.delivered(due, 0, &now(0)).expect("settled");
    spoil_middle(queue, &path);
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
fn a_file_that_is_not_a_database_is_damage_and_a_newer_version_is_not() {
    let home = Home::new();
    let path = home.0.join("q.db");
    fs::write(&path, "this is not a database, and it is long enough to be sure of that".repeat(100)).expect("a file");
    let opened = Queue::open(&path, Role::Hook);
    assert!(opened.is_err_and(|why| matches!(why.kind(), ErrorKind::Damaged { .. })));
    fs::write(&path, "").expect("a file");
    let queue = Queue::open(&path, Role::Hook).expect("an empty file is a new database");
    queue.connection.pragma_update(None, "user_version", 99).expect("writable");
    drop(queue);
    let Err(why) = Queue::open(&path, Role::Sender) else { panic!("a newer schema was opened") };
    assert!(why.to_string().contains("newer version"), "{why}");
}

/// P2: as the service user may write them.
#[test]
fn the_smallest_and_largest_numbers_stop_no_target() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    set_targets(&mut queue, &["a"]);
    queue.postponed(batch(&queue, "a", 0), &failure(0), &now(0)).expect("settled");
    for number in [i64::MIN, i64::MAX] {
        let sql = "UPDATE target SET cursor = ?, wait_ms = ?";
        queue.connection.execute(sql, [number; 2]).expect("writable");
        let state = queue.target("a").expect("readable");
        assert!((0..=i64::MAX).contains(&state.wait.left(&now(1))), "{number}");
        queue.mend_cursors().expect("mended");
        give_up(&mut queue, &now(1));
        queue.end_back_off().expect("writable");
        assert_eq!(ids(&batch(&queue, "a", 1)), [1, 2], "{number}");
    }
}

/// P2, P4
#[test]
fn one_corrupt_row_stops_no_other_row() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a"]);
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
fn a_repair_saves_exceptions_too() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 4);
    set_targets(&mut queue, &["a"]);
    let mut pair = batch(&queue, "a", 0);
    pair.shorten(2);
    queue.quarantined(pair, &failure(0), &now(0)).expect("settled");
    let mut dead = batch(&queue, "a", 0);
    dead.shorten(1);
    queue.rejected(dead, "HTTP 400", &now(0)).expect("settled");
    drop(queue);
    let (mut queue, _) = Queue::repair(&home.0.join("q.db"), "for a test").expect("a repair");
    set_targets(&mut queue, &["a"]);
    judge(&mut queue);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u0", "u2", "u3"]);
}

/// P2: after `DELETE FROM event`, or an older copy in the database's place.
#[test]
fn a_cursor_beyond_the_newest_event_is_damage_that_is_repaired() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 5);
    set_targets(&mut queue, &["a", "b"]);
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
    judge(&mut queue);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u2"]);
    assert_eq!(rows(&queue, "b", &now(0)).expect("due").1, ["u0", "u1", "u2"]);
    queue.connection.execute_batch("DELETE FROM event").expect("writable");
    assert_eq!(queue.mend_cursors().expect("writable").len(), 1);
    fill(&mut queue, 1);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u0"]);
}

/// P2: moving one target's cursor back leaves new events to the judge.
#[test]
fn unjudged_events_are_judged_after_a_cursor_was_mended() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    set_targets(&mut queue, &["a", "b"]);
    queue.connection.execute("UPDATE target SET cursor = 9 WHERE name = 'a'", []).expect("writable");
    queue.append(&[event("late", EARLIEST_MS + 2)]).expect("room");
    queue.mend_cursors().expect("writable");
    let mut judged = Vec::new();
    queue
        .judge(&now(0), &mut |row, _| {
            judged.push(row.id.0);
            Verdict::default().into()
        })
        .expect("room");
    assert_eq!(judged, [3]);
    // If the judge's cursor is too far, nobody knows which events are judged.
    queue.connection.execute_batch("UPDATE meta SET value = '9'").expect("writable");
    queue.mend_cursors().expect("writable");
    assert!(queue.has_unjudged(&now(0)).expect("readable"));
    judge(&mut queue);
    assert_eq!(rows(&queue, "b", &now(0)).expect("due").1, ["u0", "u1", "late"]);
    queue.connection.execute_batch("DELETE FROM meta; DELETE FROM event").expect("writable");
    queue.mend_cursors().expect("writable");
    assert_eq!(queue.work(&["a", "b"], &LIMITS, &now(0)).expect("readable").due, Due::Never);
}

/// P2: on a host whose clock is sometimes unset, the times aren't in order.
#[test]
fn an_event_with_an_older_time_is_delivered_when_a_cursor_is_mended() {
    let home = Home::new();
    let mut queue = home.queue();
    let times = [EARLIEST_MS, EARLIEST_MS + 2, 5_000];
    queue.append(&times.map(|utc_ms| event(&format!("u{utc_ms}"), utc_ms))).expect("room");
    judge(&mut queue);
    set_targets(&mut queue, &["a"]);
    let set = format!("UPDATE target SET cursor = 9, success_ms = {}", EARLIEST_MS + 1);
    queue.connection.execute_batch(&set).expect("writable");
    // An event that was quarantined beyond the new cursor is pending again, once.
    let row = "INSERT INTO delivery (target, event, dead, error) VALUES ('a', 2, 0, ''), ('a', 7, 0, '')";
    queue.connection.execute_batch(row).expect("writable");
    assert_eq!(queue.mend_cursors().expect("writable"), [("a".to_string(), EventId(1))]);
    let due = batch(&queue, "a", 0);
    assert_eq!(ids(&due), [2, 3]);
    queue.delivered(due, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
}

/// P2: a flipped bit makes a number something else.
#[test]
fn a_target_that_cannot_be_read_is_damage_that_a_repair_fixes() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a"]);
    for spoil in ["cursor = 'x'", "failures = -1", "since = x'ff'", "wait_ms = 'x'", "success_ms = 'x'"] {
        queue.connection.execute_batch(&format!("UPDATE target SET {spoil}")).expect("writable");
        let Err(why) = queue.targets(&|_, _, _| true) else { panic!("{spoil} was read") };
        assert!(matches!(why.kind(), ErrorKind::Damaged { .. }), "{spoil}: {why}");
        drop(queue);
        queue = Queue::repair(&home.path(), &why.to_string()).expect("a repair").0;
        assert_eq!(queue.count().expect("readable"), 3, "{spoil}");
        set_targets(&mut queue, &["a"]);
    }
}

/// P2: a damaged cursor doesn't hide pending events.
#[test]
fn a_repair_ignores_a_cursor_beyond_the_newest_event() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a"]);
    queue.connection.execute_batch("UPDATE target SET cursor = 1073741827").expect("writable");
    drop(queue);
    let (queue, _) = Queue::repair(&home.path(), "for a test").expect("a repair");
    assert_eq!(queue.count().expect("readable"), 3);
}

/// P2: an interrupted repair left events, and then those were damaged too.
#[test]
fn the_next_repair_salvages_events_that_an_earlier_one_saved() {
    let home = Home::new();
    let saved = schema::with_suffix(&home.path(), ".saved");
    let mut queue = Queue::open(&saved, Role::Sender).expect("a queue");
    fill(&mut queue, 400);
    spoil_middle(queue, &saved);
    let mut queue = open::open(&home.path(), Role::Sender).expect("a queue");
    queue.append(&[event("amanda", EARLIEST_MS + 390)]).expect("room");
    drop(queue);
    let (queue, _) = Queue::repair(&home.path(), "for a test").expect("a repair");
    let count = queue.count().expect("readable");
    assert!((300..400).contains(&count), "{count} of 401");
    assert!(!saved.exists());
}

/// P2
#[test]
fn two_repairs_within_one_second_keep_two_damaged_files() {
    let home = Home::new();
    for round in 1..=3 {
        fill(&mut home.queue(), 1);
        drop(Queue::repair(&home.path(), "for a test").expect("a repair"));
        let names = fs::read_dir(&home.0).expect("ours").flatten().map(|entry| entry.file_name());
        let aside = names.filter(|name| {
            let name = name.to_string_lossy();
            name.contains(".damaged-") && !["-wal", "-shm", "-journal"].iter().any(|suffix| name.ends_with(suffix))
        });
        assert_eq!(aside.count(), round);
    }
}
