//! Delivery: due → digest → render → note → post → judge → settle, independently for each target.

mod attempt;
mod course;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Stamp, milliseconds};
use crate::config::Config;
use crate::error::{Error, Health};
use crate::event::{Event, NOT_FOR, Uid};
use crate::http;
use crate::log;
use crate::notice::Style;
use crate::notifier::{Detail, Draft, Notice, Notifier, Outcome};
#[cfg(any(feature = "command", feature = "email"))]
use crate::program::Launcher;
use crate::queue::{Batch, Cause, Due, Failure, Loss, Queue, Row, Take, Wait};
use crate::send::deadline::{Deadline, SHORTEST_REQUEST};
use crate::send::delivery::course::{Course, Decision};
use crate::send::notes::{self, Need};
use crate::send::{backoff, judge, limits};
use crate::text::{Field, visible};
use crate::threads;

/// How often a finished target looks for new events while others are at work.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// After this many failures in a row, the first event is tried alone, because it may be a poison message.
const ISOLATE_AFTER: u32 = 2;

/// How many events after a suspected poison message take turns as the other event.
const OTHERS: u32 = 8;

/// Events in one message. By default no more can be pending. Their ids are in memory.
const MESSAGE_EVENTS: usize = 10_000;

/// One run with one queue.
struct Run<'a> {
    config: &'a Config,
    client: http::Client<'a>,
    #[cfg(any(feature = "command", feature = "email"))]
    launcher: Launcher,
    queue: Mutex<Queue>,
    need: Need,
    deadline: &'a Deadline<'a>,
    now: Stamp,
    /// How many targets are at work, and the signal that one is done.
    busy: Mutex<usize>,
    done: Condvar,
}

/// The content of one message.
struct Parcel {
    batch: Batch,
    /// Its lines.
    notices: Vec<Notice>,
    /// The events that they report, in order.
    uids: Vec<Uid>,
}

/// What to do next for a target.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// Judges new events and delivers what is due to every target. `need` says whether notes are the only record. Returns
/// the queue.
pub fn run(config: &Config, queue: Queue, need: Need, deadline: &Deadline<'_>) -> (Queue, Result<Health, Error>) {
    let run = Run {
        config,
        client: http::Client::new(&config.network),
        #[cfg(any(feature = "command", feature = "email"))]
        launcher: Launcher::default(),
        queue: Mutex::new(queue),
        need,
        deadline,
        now: Stamp::now(),
        busy: Mutex::new(0),
        done: Condvar::new(),
    };
    let result = run.whole();
    (run.queue.into_inner().unwrap_or_else(PoisonError::into_inner), result)
}

impl Run<'_> {
    fn whole(&self) -> Result<Health, Error> {
        let health = self.every_target()?;
        // The notice about a given-up delivery is an event too, and needn't wait for the next run. If it existed only
        // in memory, each run would make it again.
        if self.need == Need::Optional && self.queue().report_dead_letters(&self.now, dead_letter_notice)? {
            return Ok(health.and(self.every_target()?));
        }
        Ok(health)
    }

    /// Serves every target at the same time, if any has something to do: a slow one delays only itself.
    fn every_target(&self) -> Result<Health, Error> {
        judge::run(&mut self.queue(), self.config, &Stamp::now())?;
        let mut is_anything_due = false;
        for target in &self.config.targets {
            let wants = |row: &Row| self.wants(target, row);
            self.queue().give_up(target.name.as_str(), &wants, &self.config.limits, &self.now)?;
            is_anything_due |= self.is_due(target)?;
        }
        if !is_anything_due {
            return Ok(Health::Well);
        }
        // Before the first thread starts, because TLS settings are shared: see `http::trust`.
        let trusting = if self.config.is_secure() { self.trust() } else { Health::Well };
        let is_reachable = |target: &&Notifier| trusting == Health::Well || !target.is_secure();
        let targets: Vec<&Notifier> = self.config.targets.iter().filter(is_reachable).collect();
        limits::memory(targets.len());
        *self.busy() = targets.len();
        let results: Vec<Result<Health, Error>> = match targets.as_slice() {
            [only] => vec![self.target(only)],
            several => threads::each(several, |target| self.with_others(target), |target| self.once(target)),
        };
        self.queue().prune(&self.config.limits, &self.now)?;
        results.into_iter().try_fold(trusting, |all, one| Ok(all.and(one?)))
    }

    /// Serves one target until all are done: while another is slow or rests, this one delivers new events.
    fn with_others(&self, target: &Notifier) -> Result<Health, Error> {
        let mut health = Health::Well;
        loop {
            health = health.and(self.once(target)?);
            loop {
                if *self.busy() == 0 || self.deadline.left() < SHORTEST_REQUEST {
                    return Ok(health);
                }
                judge::run(&mut self.queue(), self.config, &Stamp::now())?;
                if self.is_due(target)? {
                    break;
                }
                let busy = self.busy();
                if *busy > 0 {
                    drop(self.done.wait_timeout(busy, LOOK_AGAIN));
                }
            }
            *self.busy() += 1;
        }
    }

    /// One target, which is then no longer busy.
    fn once(&self, target: &Notifier) -> Result<Health, Error> {
        let result = self.target(target);
        *self.busy() -= 1;
        self.done.notify_all();
        result
    }

    fn busy(&self) -> MutexGuard<'_, usize> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, target: &Notifier) -> Result<bool, Error> {
        Ok(self.queue().due(target.name.as_str(), &Stamp::now())? == Due::Now)
    }

    /// Prepares TLS. Targets on plain http still run if this fails.
    fn trust(&self) -> Health {
        let network = &self.config.network;
        http::trust(network, &self.config.paths.spool).map_or_else(|why| log::failed(&why), |()| Health::Well)
    }

    /// Serves one target until nothing is due, it must wait, or the run is over.
    fn target(&self, target: &Notifier) -> Result<Health, Error> {
        let mut course = Course::new(self.queue().target(target.name.as_str())?);
        while self.deadline.left() >= SHORTEST_REQUEST {
            let Some(parcel) = self.parcel(target, target.detail, MESSAGE_EVENTS)? else { break };
            let next = if parcel.notices.is_empty() {
                self.queue().delivered(parcel.batch, 0, &Stamp::now())?;
                Next::Go
            } else if parcel.batch.failures >= ISOLATE_AFTER || course.is_in_doubt {
                self.isolate(target, &mut course)?
            } else {
                self.deliver(target, parcel, &mut course)?
            };
            if next == Next::Stop {
                break;
            }
        }
        Ok(course.health)
    }

    /// Reads as many due events as fit into one message, at most `most`, with the lines that report them.
    fn parcel(&self, target: &Notifier, detail: Detail, most: usize) -> Result<Option<Parcel>, Error> {
        let now = Stamp::now();
        let style = Style { host: &self.config.host, zone: &self.config.zone, now: &now };
        let mut uids = Vec::new();
        let mut draft = Draft::new(target, detail, &style);
        let batch = self.queue().batch(target.name.as_str(), &now, &mut |row| {
            if !self.wants(target, row) {
                return Take::Passed;
            }
            if uids.len() == most || !draft.add(&row.event, &row.verdict) {
                return Take::Full;
            }
            uids.push(row.event.uid);
            Take::Taken
        })?;
        Ok(batch.map(|batch| Parcel { batch, notices: draft.finish(), uids }))
    }

    /// Sends one message, shortened while a poison message is being isolated.
    fn deliver(&self, target: &Notifier, parcel: Parcel, course: &mut Course) -> Result<Next, Error> {
        let count = course.bisect(parcel.batch.ids());
        // Fewer events make other lines, because fewer of them are summed up.
        let shorter =
            if count == parcel.uids.len() { Some(parcel) } else { self.parcel(target, target.detail, count)? };
        let Some(Parcel { batch, notices, uids }) = shorter else { return Ok(Next::Stop) };
        let outcome = self.attempt(target, &notices, &uids, course)?;
        self.settle(target, batch, outcome, uids[0], course)
    }

    /// Tries the first event alone, because the target has failed with it (or with everything) before. If it fails
    /// again, but another event alone is accepted, the first one and perhaps those in between are the cause: they are
    /// quarantined. The other event varies, because a login and its logout often have the same fault.
    fn isolate(&self, target: &Notifier, course: &mut Course) -> Result<Next, Error> {
        let most = OTHERS as usize + 1;
        let Some(parcel) = self.parcel(target, target.detail.in_full(), most)? else { return Ok(Next::Stop) };
        let Parcel { mut batch, notices, uids } = parcel;
        let outcome = self.attempt(target, &notices[..1], &uids[..1], course)?;
        if let Outcome::Failed { why } | Outcome::Refused { why } | Outcome::Rejected { why } = &outcome {
            let other = usize::try_from(1 + batch.failures.saturating_sub(ISOLATE_AFTER) % OTHERS).unwrap_or(1);
            let other = other.min(notices.len() - 1);
            let is_accepted = other > 0 && {
                let second = self.attempt(target, &notices[other..=other], &uids[other..=other], course)?;
                matches!(second, Outcome::Delivered { .. })
            };
            if is_accepted {
                let count = count_of(other);
                let why = explain(target, why);
                let text = format!("{}: {count} quarantined and tried alone from now on: {why}", target.name);
                course.note(log::error(text));
                let now = Stamp::now();
                // The first is surely rejected: in its turn it becomes a dead letter.
                let is_certain = matches!(outcome, Outcome::Rejected { .. });
                let pause = if is_certain { Duration::ZERO } else { backoff::wait(batch.failures) };
                batch.shorten(other + 1);
                self.queue().quarantined(batch, &failure(&now, pause, &why), &now)?;
                course.accepted();
                return Ok(Next::Go);
            }
        }
        batch.shorten(1);
        self.settle(target, batch, outcome, uids[0], course)
    }

    /// Records what became of a batch, and logs failures. `first` is its first event.
    fn settle(
        &self,
        target: &Notifier,
        batch: Batch,
        outcome: Outcome,
        first: Uid,
        course: &mut Course,
    ) -> Result<Next, Error> {
        let now = Stamp::now();
        let (pause, why, cause) = match course.decide(&batch, outcome) {
            Decision::Delivered { pause } => {
                // A short rest is taken at once; a longer one is recorded for the next run.
                let is_short = self.has_time_for(pause);
                self.queue().delivered(batch, if is_short { 0 } else { milliseconds(pause) }, &now)?;
                return Ok(if is_short { self.rest(pause) } else { Next::Stop });
            }
            Decision::Throttled { pause, .. } if self.has_time_for(pause) => return Ok(self.rest(pause)),
            Decision::Divide => return Ok(Next::Go),
            Decision::MoveToDeadLetters { why } => {
                let (name, why) = (&target.name, explain(target, &why));
                course.note(log::error(format!("{name} rejects an event, which becomes a dead letter: {why}")));
                if self.need == Need::Required {
                    notes::reject(self.config, name, first)?;
                }
                self.queue().rejected(batch, &why, &now)?;
                return Ok(Next::Go);
            }
            Decision::Throttled { pause, why } => (pause, why, Cause::Throttling),
            Decision::Postpone { pause, why, cause } => (pause, why, cause),
        };
        let (name, why, minutes) = (&target.name, explain(target, &why), pause.as_secs().div_ceil(60));
        let text = format!("{name}: {why}; everything is kept and retried in {minutes} min");
        course.note(log::error(text));
        self.queue().postponed(batch, &Failure { cause, ..failure(&now, pause, &why) }, &now)?;
        Ok(if cause == Cause::Event { Next::Go } else { Next::Stop })
    }

    /// Rests as the service asked.
    fn rest(&self, pause: Duration) -> Next {
        self.deadline.sleep(pause);
        Next::Go
    }

    fn has_time_for(&self, pause: Duration) -> bool {
        pause + SHORTEST_REQUEST < self.deadline.left()
    }

    /// Whether a target wants an event. A notice about a target goes to the others, unless there are none.
    fn wants(&self, target: &Notifier, row: &Row) -> bool {
        let is_about_it = row.event.facts[NOT_FOR].as_str() == target.name.as_str();
        target.filter.wants(row.event.action(), &row.verdict) && !(is_about_it && self.config.targets.len() > 1)
    }
}

/// Why an attempt failed, as text for the log and the queue.
fn explain(target: &Notifier, why: &str) -> String {
    visible(&target.conceal(why)).into_owned()
}

fn failure(now: &Stamp, pause: Duration, why: &str) -> Failure {
    Failure { wait: Wait { since: now.clone(), ms: milliseconds(pause) }, error: why.into(), cause: Cause::Target }
}

fn dead_letter_notice(target: &str, count: i64, loss: Loss<'_>) -> Event {
    let events = count_of(usize::try_from(count).unwrap_or(0));
    let mut notice = Event::notice(&match loss {
        Loss::GivenUp(why) => {
            format!("{target} did not get {events}, kept as dead letters (see `status`): {why}")
        }
        Loss::Discarded => {
            format!(
                "{target} did not get {events}; their dead letters were too many or 90 days old, and are now discarded"
            )
        }
    });
    notice.facts[NOT_FOR] = Field::new(target.as_bytes());
    notice
}

fn count_of(events: usize) -> String {
    if events == 1 { "1 event".into() } else { format!("{events} events") }
}
