//! Dead letters, what is given up and what is deleted.

use super::*;

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

/// P6
#[test]
fn a_quarantined_event_that_somebody_deleted_is_neither_due_nor_overdue() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a"]).expect("targets");
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
    queue.report_dead_letters(|_, _, _| Event::notice("one")).expect("room");
    judge(&mut queue);
    let work = queue.work(&["a"], &LIMITS, &late).expect("readable");
    assert_eq!((work.due, queue.targets().expect("readable")[0].1.waiting), (Due::After(60_000), 1));
}

/// P2: the second copy of an event may be half a minute late.
#[test]
fn without_a_history_an_event_still_stays_long_enough_to_know_its_copy() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    queue.set_targets(&["a"]).expect("targets");
    let all = batch(&queue, "a", 0);
    queue.delivered(all, 0, &now(0)).expect("settled");
    let limits = Limits { history: Duration::ZERO, ..LIMITS };
    let soon = Stamp { utc_ms: EARLIEST_MS + 31_000, ..now(0) };
    queue.prune(&limits, &soon).expect("nothing is old");
    assert_eq!(queue.count().expect("readable"), 2);
    queue.prune(&limits, &now(1)).expect("one is old");
    assert_eq!(queue.count().expect("readable"), 1);
}
