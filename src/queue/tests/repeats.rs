//! Held repeats and their summary.

use super::*;
use crate::event::{REMOTE_HOST, SERVICE, TIMES};
use crate::rules::Urgency;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn stamp(utc_ms: i64, boot_ms: i64, boot_id: &str) -> Stamp {
    Stamp { utc_ms: EARLIEST_MS + utc_ms, boot_ms, boot_id: boot_id.into() }
}

/// A moment of the first boot.
fn at(ms: i64) -> Stamp {
    stamp(ms, ms, "b")
}

fn login(user: &str, at: Stamp) -> Event {
    let mut facts = Facts::default();
    for (fact, value) in [(USER, user), (REMOTE_HOST, "10.1.0.7"), (SERVICE, "sshd")] {
        facts[fact] = Field::new(value.as_bytes());
    }
    Event { at, ..Event::session(Action::Open, facts) }
}

/// Judges by a quiet rule that holds repeats for an hour.
fn judge_quietly(queue: &mut Queue, now: &Stamp) {
    let quiet = Verdict { urgency: Urgency::Quiet, ..Verdict::default() };
    let hour = Some(Duration::from_hours(1));
    queue.judge(now, &mut |_, _| Judgment { verdict: quiet.clone(), repeat: hour }).expect("room");
}

/// The reported events after this place: `u`, or `u 59 times until MS` for a summary.
fn reported(queue: &Queue, after: i64) -> Vec<String> {
    let sql = format!("SELECT {} FROM event WHERE id > ? ORDER BY id", row::columns());
    let rows = queue.read(|connection| sql::every(connection, &sql, rusqlite::params![after], row::read));
    let one = |row: &Row| {
        assert_eq!(row.verdict.urgency, Urgency::Quiet, "as the rule says");
        let (user, times) = (&row.event.facts[USER], &row.event.facts[TIMES]);
        let until = row.event.at.utc_ms - EARLIEST_MS;
        if times.is_empty() { user.to_string() } else { format!("{user} {times} times until {until}") }
    };
    rows.expect("readable").iter().filter(|row| !row.verdict.is_unreported()).map(one).collect()
}

fn due(queue: &Queue, now: &Stamp) -> Due {
    queue.work(&[], &LIMITS, now).expect("readable").due
}

#[test]
fn the_first_login_from_a_source_is_reported_at_once_and_its_repeats_in_one_summary() {
    let home = Home::new();
    let mut queue = home.queue();
    queue.append(&[login("backup", at(0))]).expect("room");
    judge_quietly(&mut queue, &at(0));
    assert_eq!(reported(&queue, 0), ["backup"]);
    assert_eq!(due(&queue, &at(2 * HOUR)), Due::Never, "of one, there is nothing more to tell");
    let repeats: Vec<Event> = (1..60).map(|minute| login("backup", at(minute * MINUTE))).collect();
    queue.append(&repeats).expect("room");
    queue.append(&[login("amanda", at(59 * MINUTE))]).expect("room");
    judge_quietly(&mut queue, &at(59 * MINUTE));
    assert_eq!(reported(&queue, 1), ["amanda"]);
    assert_eq!(due(&queue, &at(59 * MINUTE)), Due::After(MINUTE));
    judge_quietly(&mut queue, &at(HOUR - 1));
    assert_eq!(reported(&queue, 61), [""; 0]);
    assert_eq!(due(&queue, &at(HOUR)), Due::Now);
    judge_quietly(&mut queue, &at(HOUR));
    assert_eq!(reported(&queue, 61), [format!("backup 59 times until {}", 59 * MINUTE)]);
    assert_eq!(due(&queue, &at(9 * HOUR)), Due::Never);
    queue.append(&[login("backup", at(HOUR + MINUTE))]).expect("room");
    judge_quietly(&mut queue, &at(HOUR + MINUTE));
    assert_eq!(reported(&queue, 62), ["backup"], "it begins again");
}

/// A sender that was away for long finds many logins at once.
#[test]
fn each_time_has_its_own_summary_even_if_it_is_judged_late() {
    let home = Home::new();
    let mut queue = home.queue();
    let logins: Vec<Event> = (0..6).map(|number| login("backup", at(number * 25 * MINUTE))).collect();
    queue.append(&logins).expect("room");
    judge_quietly(&mut queue, &at(9 * HOUR));
    let expected = ["backup", "backup", &format!("backup 2 times until {}", 50 * MINUTE)];
    let last = format!("backup 2 times until {}", 125 * MINUTE);
    assert_eq!(reported(&queue, 0), [&expected[..], &[last.as_str()]].concat());
}

/// The time is measured by the clock since boot, or across boots by the wall clock if that is plausible.
#[test]
fn a_clock_that_is_set_neither_ends_the_time_nor_keeps_it_from_ending() {
    let day = 24 * HOUR;
    let second = |utc_ms| stamp(utc_ms, MINUTE, "c");
    for (then, is_over, case) in [
        (stamp(MINUTE, MINUTE, "b"), false, "a minute later"),
        (stamp(day, MINUTE, "b"), false, "a day forward"),
        (stamp(-day, MINUTE, "b"), false, "a day back"),
        (stamp(day, HOUR, "b"), true, "a day forward, an hour later"),
        (stamp(-day, HOUR, "b"), true, "a day back, an hour later"),
        (second(MINUTE), false, "another boot, a minute later"),
        (second(HOUR), true, "another boot, an hour later"),
        (second(day), true, "another boot, a day forward"),
        (second(-day), true, "another boot, a day back"),
        (second(-EARLIEST_MS), true, "another boot, the clock not set yet"),
    ] {
        let home = Home::new();
        let mut queue = home.queue();
        queue.append(&[login("backup", at(0)), login("backup", at(1))]).expect("room");
        judge_quietly(&mut queue, &at(1));
        assert_eq!(reported(&queue, 0), ["backup"], "{case}");
        assert_eq!(due(&queue, &then) == Due::Now, is_over, "{case}");
        judge_quietly(&mut queue, &then);
        let summary = reported(&queue, 2);
        assert_eq!(summary.len(), usize::from(is_over), "{case}: {summary:?}");
        // It is never held for longer than an hour of this boot.
        judge_quietly(&mut queue, &Stamp { utc_ms: then.utc_ms + HOUR, boot_ms: then.boot_ms + HOUR, ..then });
        assert_eq!(reported(&queue, 2), ["backup 1 times until 1"], "{case}");
    }
}

/// P2, P3: a flood of sources neither fills the disk nor hides anyone.
#[test]
fn beyond_a_thousand_sources_everything_is_reported() {
    let home = Home::new();
    let mut queue = home.queue();
    let twice = |users: std::ops::Range<i64>| {
        let one = |user: i64| [login(&format!("u{user}"), at(user)), login(&format!("u{user}"), at(user))];
        users.flat_map(one).collect::<Vec<Event>>()
    };
    queue.append(&twice(0..1002)).expect("room");
    judge_quietly(&mut queue, &at(2000));
    assert_eq!(reported(&queue, 0).len(), 1000 + 4);
    let kept = |queue: &Queue| queue.read(|connection| value::<i64>(connection, "SELECT count(*) FROM repeat", &[]));
    assert_eq!(kept(&queue).expect("readable"), 1000);
    judge_quietly(&mut queue, &at(2 * HOUR));
    assert_eq!(reported(&queue, 2004).len(), 1000);
    assert_eq!(kept(&queue).expect("readable"), 0);
}

#[test]
fn a_shorter_time_in_the_configuration_counts_at_the_next_login() {
    let home = Home::new();
    let mut queue = home.queue();
    queue.append(&[login("backup", at(0)), login("backup", at(1))]).expect("room");
    judge_quietly(&mut queue, &at(1));
    queue.append(&[login("backup", at(2 * MINUTE))]).expect("room");
    let minute = Some(Duration::from_mins(1));
    let quiet = Verdict { urgency: Urgency::Quiet, ..Verdict::default() };
    queue.judge(&at(2 * MINUTE), &mut |_, _| Judgment { verdict: quiet.clone(), repeat: minute }).expect("room");
    assert_eq!(reported(&queue, 1), ["backup", "backup 1 times until 1"]);
}

/// A source that came once stays in the table until then, and there may be a thousand of them.
#[test]
fn sources_whose_time_is_over_make_room_for_others() {
    let home = Home::new();
    let mut queue = home.queue();
    let once: Vec<Event> = (0..1000).map(|user| login(&format!("u{user}"), at(user))).collect();
    queue.append(&once).expect("room");
    judge_quietly(&mut queue, &at(2000));
    let (late, again) = (login("backup", at(2 * HOUR)), login("backup", at(2 * HOUR + 1)));
    queue.append(&[late, again]).expect("room");
    judge_quietly(&mut queue, &at(2 * HOUR + 1));
    assert_eq!(reported(&queue, 1000), ["backup"]);
}

/// P2: a disk that can't be written any more keeps no summary back, and a note of it counts when it is well again.
#[test]
fn a_copy_in_memory_tells_of_what_was_held_with_the_uid_that_the_queue_gives_it_too() {
    let home = Home::new();
    let mut queue = home.queue();
    queue.append(&[login("backup", at(0)), login("backup", at(1)), login("backup", at(2))]).expect("room");
    set_targets(&mut queue, &["a"]);
    judge_quietly(&mut queue, &at(2));
    queue.delivered(batch(&queue, "a", 0), 0, &at(2)).expect("settled");
    let mut uids = Vec::new();
    for _ in 0..2 {
        let mut copy = Queue::in_memory(&home.path()).expect("memory");
        copy.copy(&|_| false).expect("readable");
        judge_quietly(&mut copy, &at(HOUR - 1));
        assert_eq!(copy.unsettled().expect("readable").len(), 0);
        judge_quietly(&mut copy, &at(HOUR));
        assert_eq!(reported(&copy, 3), ["backup 2 times until 2"]);
        uids.push(copy.unsettled().expect("readable"));
    }
    judge_quietly(&mut queue, &at(HOUR));
    uids.push(queue.unsettled().expect("readable"));
    assert!(uids[0].len() == 1 && uids.iter().all(|other| *other == uids[0]), "{uids:?}");
}

/// P2: held logins are settled for every target, but nobody has been notified of them yet.
#[test]
fn a_repair_saves_what_no_summary_has_told_of() {
    let home = Home::new();
    let path = home.0.join("q.db");
    let mut queue = home.queue();
    queue.append(&[login("backup", at(0)), login("backup", at(1)), login("backup", at(2))]).expect("room");
    set_targets(&mut queue, &["a"]);
    judge_quietly(&mut queue, &at(2));
    queue.delivered(batch(&queue, "a", 0), 0, &at(2)).expect("settled");
    drop(queue);
    let (mut queue, _) = Queue::repair(&path, "for a test").expect("a repair");
    assert_eq!(queue.count().expect("readable"), 2);
    judge_quietly(&mut queue, &at(2));
    judge_quietly(&mut queue, &at(2 * HOUR));
    assert_eq!(reported(&queue, 0), ["backup", "backup 1 times until 2"]);
    set_targets(&mut queue, &["a"]);
    queue.delivered(batch(&queue, "a", 0), 0, &at(2)).expect("settled");
    drop(queue);
    let (queue, _) = Queue::repair(&path, "for a test").expect("a repair");
    assert_eq!(queue.count().expect("readable"), 0, "it was told");
}

/// P4, P8: whatever is in the table, it goes.
#[test]
fn a_source_that_is_not_text_gets_one_summary_and_delays_no_other() {
    for (change, summaries) in [
        ("key = x'ff00', last = 99, since = x'ff'", 1),
        ("since = x'ff'", 1),
        ("ms = x'ff'", 1),
        ("last = 1.5, since = ''", 1),
        ("count = 'x'", 0),
    ] {
        let home = Home::new();
        let mut queue = home.queue();
        queue.append(&[login("backup", at(0)), login("backup", at(1))]).expect("room");
        judge_quietly(&mut queue, &at(1));
        queue.connection.execute_batch(&format!("UPDATE repeat SET {change}")).expect("writable");
        queue.append(&[login("amanda", at(HOUR))]).expect("room");
        queue.judge(&at(HOUR), &mut |_, _| Verdict::default().into()).expect("room");
        assert_eq!(queue.count().expect("readable"), 3 + summaries, "{change}");
        assert_eq!(due(&queue, &at(9 * HOUR)), Due::Never, "{change}");
    }
}
