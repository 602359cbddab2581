//! Deliveries: batches, quarantine, what a target doesn't want.

use super::*;

/// P4
#[test]
fn each_target_gets_every_event_once_and_in_order_regardless_of_the_others() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a", "b"]);
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
fn a_target_added_later_gets_events_from_then_on_and_one_that_is_gone_keeps_its_own() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    assert!(set_targets(&mut queue, &["a"]).is_empty());
    assert!(set_targets(&mut queue, &["a", "b"]).is_empty());
    assert_eq!(queue.due("b", &now(0)).expect("readable"), Due::Never);
    fill(&mut queue, 1);
    assert_eq!(ids(&batch(&queue, "b", 0)), [4]);
    assert_eq!(set_targets(&mut queue, &["b"]), [("a".to_string(), 4)]);
    assert!(set_targets(&mut queue, &["b"]).is_empty());
    fill(&mut queue, 1);
    assert!(set_targets(&mut queue, &["a", "b"]).is_empty());
    assert_eq!((ids(&batch(&queue, "a", 0)), ids(&batch(&queue, "b", 0))), (vec![1, 2, 3, 4, 5], vec![4, 5]));
}

/// P2, P6
#[test]
fn a_missing_target_is_given_up_after_a_time_that_a_plausible_clock_measured() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a", "b"]);
    let notice = |name: &str, count| Event::notice(&format!("{name} {count} gone"));
    let mut set = |now: &Stamp| {
        let is_due = queue.work(&["b"], &LIMITS, now).expect("readable").due == Due::Now;
        let left = queue.set_targets(&["b"], &LIMITS, now, notice).expect("room");
        let rest = queue.batch("b", now, &mut |_| Take::Taken).expect("readable");
        if let Some(rest) = rest {
            queue.delivered(rest, 0, now).expect("settled");
        }
        judge(&mut queue);
        (is_due, left.len(), queue.targets(&|_, _, _| true).expect("readable").len())
    };
    // The clock was unset when it left, so the time begins with the first plausible clock.
    let unset = Stamp { utc_ms: 5_000, boot_ms: 5_000, boot_id: "a".into() };
    assert_eq!(set(&unset), (true, 1, 2));
    assert_eq!(set(&unset), (false, 0, 2));
    assert_eq!(set(&now(1000)), (true, 1, 2));
    assert_eq!(set(&now(1167)), (false, 0, 2));
    assert_eq!(set(&now(1168)), (true, 0, 1));
    assert_eq!(rows(&queue, "b", &now(1168)).expect("due").1, ["a 3 gone"]);
}

/// P4
#[test]
fn an_event_that_breaks_the_service_is_quarantined_while_the_others_go_on() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a"]);
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

/// P4
#[test]
fn an_event_that_a_target_does_not_want_is_skipped_and_never_a_dead_letter() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 20);
    set_targets(&mut queue, &["a"]);
    let wants = |row: &Row| row.id.0 % 2 == 1;
    queue.give_up("a", &wants, &LIMITS, &now(0)).expect("ten wait, and ten are not wanted");
    assert_eq!(dead(&queue), NONE);
    fill(&mut queue, 3);
    queue.give_up("a", &wants, &LIMITS, &now(0)).expect("two are too many");
    assert_eq!(dead(&queue), [1, 3]);
    let nothing = queue.batch("a", &now(0), &mut |_| Take::Passed).expect("readable").expect("due");
    assert_eq!((ids(&nothing), nothing.last()), (vec![], EventId(23)));
    queue.delivered(nothing, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
    assert_eq!(queue.targets(&|_, _, _| true).expect("readable")[0].0.success_ms, None, "nothing was delivered");
    // An unwanted event that was retried, or that somebody deleted, doesn't stay due either.
    assert_eq!(queue.retry(None).expect("two"), 2);
    queue.connection.execute("DELETE FROM event WHERE id = 1", []).expect("writable");
    let passed = queue.batch("a", &now(0), &mut |_| Take::Passed).expect("readable").expect("due");
    queue.delivered(passed, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
}

/// P4
#[test]
fn an_event_accepted_while_another_was_isolated_is_not_delivered_again() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    set_targets(&mut queue, &["a"]);
    // The third isn't wanted, so it is settled with the two others.
    let take = &mut |row: &Row| if row.id.0 < 3 { Take::Taken } else { Take::Passed };
    let pair = queue.batch("a", &now(0), take).expect("readable").expect("due");
    queue.quarantined(pair, &failure(0), &now(0)).expect("settled");
    assert_eq!(ids(&batch(&queue, "a", 1)), [1]);
    let alone = batch(&queue, "a", 1);
    queue.delivered(alone, 0, &now(1)).expect("settled");
    assert_eq!(queue.due("a", &now(9)).expect("readable"), Due::Never);
}
