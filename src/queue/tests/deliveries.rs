//! Deliveries: batches, quarantine, what a target doesn't want.

use super::*;

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

/// P4
#[test]
fn what_a_target_does_not_want_is_passed_over_and_never_a_dead_letter() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 20);
    queue.set_targets(&["a"]).expect("targets");
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
    // Nor does one that was retried, or deleted by somebody, stay due for ever.
    assert_eq!(queue.retry(None).expect("two"), 2);
    queue.connection.execute("DELETE FROM event WHERE id = 1", []).expect("writable");
    let passed = queue.batch("a", &now(0), &mut |_| Take::Passed).expect("readable").expect("due");
    queue.delivered(passed, 0, &now(0)).expect("settled");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::Never);
}

/// P4
#[test]
fn the_event_that_was_accepted_while_another_was_isolated_is_not_delivered_again() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 3);
    queue.set_targets(&["a"]).expect("targets");
    // The third isn't wanted, and so is settled with the two that are.
    let take = &mut |row: &Row| if row.id.0 < 3 { Take::Taken } else { Take::Passed };
    let pair = queue.batch("a", &now(0), take).expect("readable").expect("due");
    queue.quarantined(pair, &failure(0), &now(0)).expect("settled");
    assert_eq!(ids(&batch(&queue, "a", 1)), [1]);
    let alone = batch(&queue, "a", 1);
    queue.delivered(alone, 0, &now(1)).expect("settled");
    assert_eq!(queue.due("a", &now(9)).expect("readable"), Due::Never);
}
