//! Deliveries noted while the queue could not be written, and the copy in memory that they were made from.

use super::*;
use crate::queue::Noted;

fn uids(queue: &Queue) -> Vec<Uid> {
    let mut uids = Vec::new();
    let due = queue.batch("b", &now(0), &mut |row| {
        uids.push(row.event.uid);
        Take::Taken
    });
    due.expect("readable").expect("due");
    uids
}

/// A queue of five events, pending for two targets.
fn five(home: &Home) -> (Queue, Vec<Uid>) {
    let mut queue = home.queue();
    set_targets(&mut queue, &["a", "b"]);
    fill(&mut queue, 5);
    let uids = uids(&queue);
    (queue, uids)
}

/// P2
#[test]
fn noted_deliveries_are_settled_in_any_order_and_the_rest_stays_due() {
    let home = Home::new();
    let (mut queue, uids) = five(&home);
    let noted = Noted {
        delivered: [uids[1], uids[3]].into(),
        rejected: [uids[2]].into(),
        unknown: [uids[4]].into(),
        waits: None,
    };
    // The second time is as after a kill before the notes were removed.
    for time in 0..2 {
        queue.settle_noted("a", &noted, &now(0)).expect("room");
        let (first, users) = rows(&queue, "a", &now(0)).expect("due");
        assert_eq!((ids(&first), users), (vec![1], vec!["u0".to_owned()]), "{time}");
        assert_eq!(dead(&queue), [3], "{time}");
    }
    let first = batch(&queue, "a", 0);
    queue.delivered(first, 0, &now(0)).expect("room");
    assert_eq!(rows(&queue, "a", &now(0)).expect("due").1, ["u4"]);
    assert_eq!(rows(&queue, "b", &now(0)).expect("due").1.len(), 5);
}

#[test]
fn a_noted_back_off_continues() {
    let home = Home::new();
    let (mut queue, _) = five(&home);
    let waits = Some((3, Wait { since: now(0), ms: 60_000 }));
    queue.settle_noted("a", &Noted { waits, ..Noted::default() }, &now(0)).expect("room");
    assert_eq!(queue.due("a", &now(0)).expect("readable"), Due::After(60_000));
    assert_eq!(queue.due("b", &now(0)).expect("readable"), Due::Now);
}

/// P2: even while another process has the database to itself.
#[test]
fn a_copy_in_memory_has_the_pending_events_and_leaves_the_disk_alone() {
    let home = Home::new();
    let (mut queue, uids) = five(&home);
    queue.settle_noted("a", &Noted { delivered: [uids[0]].into(), ..Noted::default() }, &now(0)).expect("room");
    drop(queue);
    let other = Connection::open(home.path()).expect("a database");
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE").expect("nobody else has it");
    let before = fs::read(home.path()).expect("ours");
    let mut copy = Queue::in_memory(&home.path()).expect("memory");
    copy.copy(&|uid| uid == uids[1]).expect("readable");
    assert_eq!(rows(&copy, "a", &now(0)).expect("due").1, ["u2", "u3", "u4"]);
    assert_eq!(rows(&copy, "b", &now(0)).expect("due").1, ["u0", "u2", "u3", "u4"]);
    copy.append(&[event("zoe", EARLIEST_MS)]).expect("memory");
    assert_eq!(copy.unsettled().expect("readable").len(), 5);
    assert_eq!(fs::read(home.path()).expect("ours"), before);
}

/// P2, P6: the newest event is in every copy, because it shows how far the cursors may be.
#[test]
fn a_copy_is_bounded_and_the_next_one_continues_after_it() {
    let home = Home::new();
    let mut queue = home.queue();
    set_targets(&mut queue, &["a"]);
    fill(&mut queue, 10_500);
    drop(queue);
    let mut copy = Queue::in_memory(&home.path()).expect("memory");
    copy.copy(&|_| false).expect("readable");
    let first = copy.unsettled().expect("readable");
    assert_eq!(first.len(), 10_001);
    let mut copy = Queue::in_memory(&home.path()).expect("memory");
    copy.copy(&|uid| first.contains(&uid)).expect("readable");
    assert_eq!(copy.unsettled().expect("readable").len(), 500);
}
