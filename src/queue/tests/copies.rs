//! Copies of one event count once; a queue of the first schema is taken over.

use super::*;
use crate::queue::sql::every;

#[test]
fn an_event_in_the_queue_and_in_the_spool_is_recorded_once() {
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
fn a_queue_of_the_first_schema_is_migrated_completely_by_a_login_or_by_the_sender() {
    for role in [Role::Hook, Role::Sender] {
        let home = first_schema();
        let mut queue = Queue::open(&home.path(), role).expect("a queue");
        queue.append(&[event("zoe", EARLIEST_MS)]).expect("room");
        drop(queue);
        let mut queue = home.queue();
        assert!(set_targets(&mut queue, &["discord", "ntfy"]).is_empty());
        judge(&mut queue);
        assert_eq!(queue.count().expect("readable"), 10);
        let discord = rows(&queue, "discord", &now(0)).expect("due").1;
        assert_eq!(discord, ["erin", "zoe"], "{role:?}");
        assert_eq!(dead(&queue), [2]);
        let [_, (ntfy, counts)] = &queue.targets(&|_, _, _| true).expect("readable")[..] else { panic!("two targets") };
        assert_eq!((ntfy.failures, ntfy.error.as_str(), counts.pending, counts.dead), (1, "HTTP 503", 5, 1));
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

/// P2: a late login leaves a copy in the spool, and may still record its event later.
#[test]
fn an_event_that_reaches_the_queue_after_its_copy_keeps_its_uid() {
    let home = Home::new();
    let mut queue = home.queue();
    set_targets(&mut queue, &["a"]);
    let late = event("amanda", 1);
    queue.import(slice::from_ref(&late)).expect("room");
    judge(&mut queue);
    queue.append(&[late.clone(), event("bob", 2)]).expect("room");
    judge(&mut queue);
    let mut verdicts = Vec::new();
    let take = &mut |row: &Row| {
        verdicts.push((row.id.0, row.verdict.is_copy));
        if row.verdict.is_copy { Take::Passed } else { Take::Taken }
    };
    let batch = queue.batch("a", &now(0), take).expect("readable").expect("due");
    assert_eq!((ids(&batch), batch.last()), (vec![1, 3], EventId(3)));
    assert_eq!(verdicts, [(1, false), (2, true), (3, false)]);
}
