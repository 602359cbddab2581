//! Dead letters, what is given up and what is deleted.

use super::*;
use crate::queue::dead_letters::Loss;

/// Reports dead letters, and discards those that are too many or too old.
fn report(queue: &mut Queue, hours: i64) -> bool {
    let notice = |target: &str, count: i64, loss: Loss<'_>| match loss {
        Loss::GivenUp(why) => Event::notice(&format!("{target} {count} {why}")),
        Loss::Discarded => Event::notice(&format!("{target} {count} discarded")),
    };
    queue.report_dead_letters(&now(hours), notice).expect("room")
}

/// P2
#[test]
fn a_rejected_event_is_a_dead_letter_that_is_reported_once_and_can_be_retried_or_dropped() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    set_targets(&mut queue, &["a"]);
    let mut bad = batch(&queue, "a", 0);
    bad.shorten(1);
    queue.rejected(bad, "HTTP 400", &now(0)).expect("settled");
    assert_eq!(ids(&batch(&queue, "a", 0)), [2]);
    assert!(report(&mut queue, 0));
    assert!(!report(&mut queue, 0), "no second notice");
    judge(&mut queue);
    let (waiting, users) = rows(&queue, "a", &now(0)).expect("something is due");
    assert_eq!((ids(&waiting), users[1].as_str()), (vec![2, 3], "a 1 HTTP 400"));
    let (letters, count) = queue.dead_letters(100).expect("readable");
    assert_eq!((count, letters[0].id, letters[0].error.as_str()), (1, EventId(1), "HTTP 400"));
    assert_eq!(queue.retry(Some(EventId(9))).expect("nothing to do"), 0);
    assert_eq!(queue.retry(Some(EventId(1))).expect("one"), 1);
    let again = batch(&queue, "a", 0);
    assert_eq!(ids(&again), [1]);
    queue.rejected(again, "HTTP 400", &now(0)).expect("settled");
    assert_eq!(queue.drop_dead_letters(Some(EventId(1))).expect("one"), 1);
    assert_eq!(dead(&queue), NONE);
    assert_eq!(ids(&batch(&queue, "a", 0)), [2, 3]);
}

/// P2
#[test]
fn a_delivery_is_given_up_seven_days_after_its_first_attempt_and_not_after_the_event() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    set_targets(&mut queue, &["a"]);
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
    set_targets(&mut queue, &["a"]);
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
fn the_oldest_events_beyond_the_limit_become_dead_letters() {
    let home = Home::new();
    let mut queue = home.queue();
    set_targets(&mut queue, &["a"]);
    fill(&mut queue, 10);
    give_up(&mut queue, &now(0));
    assert_eq!(dead(&queue), NONE);
    fill(&mut queue, 3);
    give_up(&mut queue, &now(0));
    assert_eq!(dead(&queue), [1, 2, 3]);
    assert_eq!(ids(&batch(&queue, "a", 0)).first(), Some(&4));
}

/// P2, P3
#[test]
fn the_actor_with_the_most_pending_events_loses_the_oldest() {
    let home = Home::new();
    let mut queue = home.queue();
    set_targets(&mut queue, &["a"]);
    fill(&mut queue, 3);
    queue.append(&(4..=15).map(|second| event("m", EARLIEST_MS + second)).collect::<Vec<_>>()).expect("room");
    judge(&mut queue);
    give_up(&mut queue, &now(0));
    assert_eq!(dead(&queue), [4, 5, 6, 7, 8]);
    give_up(&mut queue, &now(0));
    assert_eq!(dead(&queue).len(), 5, "ten are left, and ten may wait");
    assert_eq!(queue.targets(&|_, _, _| true).expect("readable")[0].1.pending, 10);
    // One is retried and one is dropped before their turn; the others stay dead letters.
    assert_eq!(queue.retry(Some(EventId(5))).expect("one"), 1);
    let again = batch(&queue, "a", 0);
    assert_eq!(ids(&again), [5]);
    queue.delivered(again, 0, &now(0)).expect("settled");
    assert_eq!(queue.drop_dead_letters(Some(EventId(6))).expect("one"), 1);
    assert_eq!(dead(&queue), [4, 7, 8]);
    let rest = batch(&queue, "a", 0);
    assert_eq!(ids(&rest), [1, 2, 3, 9, 10, 11, 12, 13, 14, 15]);
    queue.delivered(rest, 0, &now(0)).expect("settled");
    assert_eq!((queue.due("a", &now(0)).expect("readable"), dead(&queue)), (Due::Never, vec![4, 7, 8]));
    let rows: i64 = queue.read(|connection| value(connection, "SELECT count(*) FROM delivery", &[])).expect("readable");
    assert_eq!(rows, 3, "the cursor has removed the marks");
    assert_eq!(queue.drop_dead_letters(None).expect("three"), 3);
}

/// P2: only given-up events are left before the end of the queue.
#[test]
fn a_target_is_not_due_once_everything_for_it_was_dropped() {
    let home = Home::new();
    let mut queue = home.queue();
    set_targets(&mut queue, &["a"]);
    fill(&mut queue, 2);
    let limits = Limits { pending: 0, ..LIMITS };
    queue.give_up("a", &|_| true, &limits, &now(0)).expect("room");
    assert_eq!(queue.drop_dead_letters(None).expect("two"), 2);
    let nothing = batch(&queue, "a", 0);
    assert_eq!(ids(&nothing), NONE);
    queue.delivered(nothing, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
}

/// P2
#[test]
fn the_newest_thousand_dead_letters_are_kept_for_ninety_days_and_the_others_are_reported() {
    let home = Home::new();
    let mut queue = home.queue();
    set_targets(&mut queue, &["a"]);
    fill(&mut queue, 4002);
    let limits = Limits { pending: 2, ..LIMITS };
    queue.give_up("a", &|_| true, &limits, &now(0)).expect("room");
    assert_eq!(queue.dead_letters(1).expect("readable").1, 4000);
    assert!(report(&mut queue, 0) && !report(&mut queue, 0));
    let (letters, count) = queue.dead_letters(1).expect("readable");
    assert_eq!((letters[0].id, count), (EventId(3001), 1000));
    judge(&mut queue);
    let (rest, users) = rows(&queue, "a", &now(0)).expect("due");
    assert_eq!(users, ["u4000", "u4001", "a 4000 more than 2 events were pending", "a 3000 discarded"]);
    queue.delivered(rest, 0, &now(0)).expect("settled");
    assert!(!report(&mut queue, 90 * 24 - 1) && report(&mut queue, 90 * 24));
    assert_eq!(queue.dead_letters(1).expect("readable").1, 0);
    judge(&mut queue);
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["a 1000 discarded"]);
}

/// P2, P6
#[test]
fn only_old_events_that_every_target_has_are_deleted() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 4);
    set_targets(&mut queue, &["a", "b"]);
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
    // The newest row stays, so that its id is never reused.
    let last = batch(&queue, "b", 25);
    queue.delivered(last, 0, &now(25)).expect("settled");
    queue.prune(&LIMITS, &now(99)).expect("the last one stays");
    fill(&mut queue, 1);
    assert_eq!(ids(&batch(&queue, "a", 99)), [5]);
}

/// P6
#[test]
fn a_deleted_event_that_was_quarantined_is_neither_due_nor_overdue() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a"]);
    let all = batch(&queue, "a", 0);
    queue.quarantined(all, &failure(0), &now(0)).expect("settled");
    queue.connection.execute("DELETE FROM event WHERE id = 1", []).expect("writable");
    let late = now(9_000);
    let alone = batch(&queue, "a", 9_000);
    assert_eq!(ids(&alone), [2]);
    // The target is left alone for a minute.
    let throttled = Failure { wait: Wait { since: late.clone(), ms: 60_000 }, cause: Cause::Throttling, ..failure(0) };
    queue.postponed(alone, &throttled, &late).expect("settled");
    give_up(&mut queue, &late);
    assert_eq!(dead(&queue), [2]);
    assert!(report(&mut queue, 9_000));
    judge(&mut queue);
    let work = queue.work(&["a"], &LIMITS, &late).expect("readable");
    assert_eq!((work.due, queue.targets(&|_, _, _| true).expect("readable")[0].1.pending), (Due::After(60_000), 1));
}

/// P2: the second copy of an event may be half a minute late.
#[test]
fn without_a_history_an_event_still_stays_until_its_copy_has_come() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    set_targets(&mut queue, &["a"]);
    let all = batch(&queue, "a", 0);
    queue.delivered(all, 0, &now(0)).expect("settled");
    let limits = Limits { history: Duration::ZERO, ..LIMITS };
    let soon = Stamp { utc_ms: EARLIEST_MS + 31_000, ..now(0) };
    queue.prune(&limits, &soon).expect("nothing is old");
    assert_eq!(queue.count().expect("readable"), 2);
    queue.prune(&limits, &now(1)).expect("one is old");
    assert_eq!(queue.count().expect("readable"), 1);
}
