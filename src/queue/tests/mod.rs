//! The queue's tests, by subject, and what they share.

mod copies;
mod damage;
mod dead_letters;
mod deliveries;
mod known;
mod noted;
mod read_only;
mod repeats;

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

const LIMITS: Limits = Limits { history: Duration::from_hours(24), give_up: Duration::from_hours(168), pending: 10 };

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

/// Records and judges `count` events of users `u0`, `u1`, ….
fn fill(queue: &mut Queue, count: i64) {
    let events: Vec<Event> = (0..count).map(|number| event(&format!("u{number}"), EARLIEST_MS + number)).collect();
    queue.append(&events).expect("room");
    judge(queue);
}

/// Makes these the targets; returns those that have just left, with their numbers of deliveries.
fn set_targets(queue: &mut Queue, names: &[&str]) -> Vec<(String, i64)> {
    let notice = |name: &str, count| Event::notice(&format!("{name} {count} gone"));
    queue.set_targets(names, &LIMITS, &now(0), notice).expect("room")
}

fn judge(queue: &mut Queue) {
    queue
        .judge(&now(0), &mut |_, context| Verdict { is_copy: context.is_copy, ..Verdict::default() }.into())
        .expect("room");
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
    Failure { wait, error: "HTTP 503".into(), cause: Cause::Target }
}

fn give_up(queue: &mut Queue, now: &Stamp) {
    queue.give_up("a", &|_| true, &LIMITS, now).expect("room");
}

fn dead(queue: &Queue) -> Vec<i64> {
    queue.dead_letters(100).expect("readable").0.iter().map(|letter| letter.id.0).collect()
}

/// Copies the queue of the first schema that is in tests/data.
fn first_schema() -> Home {
    let home = Home::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1");
    for (name, suffix) in [("session_events.db", ""), ("session_events.db-wal", "-wal")] {
        fs::copy(data.join(name), schema::with_suffix(&home.path(), suffix)).expect("room");
    }
    home
}
