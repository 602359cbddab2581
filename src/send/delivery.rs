//! Delivery: due → digest → render → note → post → judge → settle, for every target by itself.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};

use crate::clock::{Stamp, milliseconds};
use crate::config::Config;
use crate::error::{Error, Health};
use crate::event::{Event, Uid};
use crate::http;
use crate::log::{self, Level};
use crate::notice::Style;
use crate::notifier::{Digest, Message, Notice, Notifier, Outcome};
use crate::queue::{Batch, Due, EventId, Failure, Queue, Row, Take, Wait};
use crate::send::deadline::{Deadline, SHORTEST_REQUEST};
use crate::send::notes::{self, Need, Word};
use crate::send::{backoff, judge};

/// Bytes of memory for everything but the requests; a run needs a tenth of it.
const MEMORY_LIMIT: u64 = 32 << 20;

/// Bytes for one target: the stacks of two threads, and what a request needs.
const MEMORY_PER_TARGET: u64 = 8 << 20;

/// How often a target that is done looks for more while others are at work.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Bytes that a pipe accepts without waiting, once it accepts any (POSIX.1-2024, `<limits.h>`).
const PIPE_BUF: usize = 4096;

/// So many dead letters in a row, with nothing delivered in between, are the target's fault.
const REJECTED_LIMIT: u32 = 5;

/// After so many failures in a row, the first event is tried alone: it may be a poison message.
const ISOLATE_AFTER: u32 = 2;

/// How many events behind a suspected poison message are tried in turn as the other one.
const OTHERS: u32 = 8;

/// One run over one queue.
struct Run<'a> {
    config: &'a Config,
    queue: Mutex<Queue>,
    need: Need,
    deadline: &'a Deadline<'a>,
    now: Stamp,
    /// How many targets are at work, and the news that one is done.
    busy: Mutex<usize>,
    done: Condvar,
}

/// What a run has learnt of one target so far.
#[derive(Default)]
struct Course {
    /// Events in a row that were rejected by themselves.
    rejected: u32,
    /// The last event of the smallest message that was rejected: one up to here is a poison message.
    bisect_end: Option<EventId>,
    /// Whether anything failed.
    is_ill: bool,
}

/// What to do next with a target.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// Judges what is new and delivers what is due to every target. `need` says whether the queue records it, or notes
/// alone. Gives the queue back.
pub fn run(config: &Config, queue: Queue, need: Need, deadline: &Deadline<'_>) -> (Queue, Result<Health, Error>) {
    let run = Run {
        config,
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
        // A notice about what was given up is an event like others, and need not wait for the next run. One that
        // only memory holds would be made again by each run.
        if self.need == Need::Optional && self.queue().report_dead_letters(dead_letter_notice)? {
            return Ok(health.and(self.every_target()?));
        }
        Ok(health)
    }

    /// Every target at the same time, if any has something to do: a slow one delays only itself.
    fn every_target(&self) -> Result<Health, Error> {
        judge::run(&mut self.queue())?;
        let mut is_anything_due = false;
        for target in &self.config.targets {
            let wants = |row: &Row| wants(target, row);
            self.queue().give_up(target.name.as_str(), &wants, &self.config.limits, &self.now)?;
            is_anything_due |= self.is_due(target)?;
        }
        if !is_anything_due {
            return Ok(Health::Well);
        }
        // Before the first thread, whichever target needs it: see `http::trust`.
        let trusting = if self.config.is_secure() { self.trust() } else { Health::Well };
        let is_reachable = |target: &&Notifier| trusting == Health::Well || !target.is_secure();
        let targets: Vec<&Notifier> = self.config.targets.iter().filter(is_reachable).collect();
        limit_memory(targets.len());
        *self.busy() = targets.len();
        let results: Vec<Result<Health, Error>> = match targets.as_slice() {
            [only] => vec![self.target(only)],
            several => thread::scope(|scope| {
                let threads: Vec<_> = several.iter().map(|target| scope.spawn(|| self.with_others(target))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            }),
        };
        self.queue().prune(&self.config.limits, &self.now)?;
        results.into_iter().try_fold(trusting, |all, one| Ok(all.and(one?)))
    }

    /// One target, until all are done: while another one is slow, or rests, this one delivers new events.
    fn with_others(&self, target: &Notifier) -> Result<Health, Error> {
        let mut health = Health::Well;
        loop {
            let result = self.target(target);
            *self.busy() -= 1;
            self.done.notify_all();
            health = health.and(result?);
            loop {
                if *self.busy() == 0 || self.deadline.left() < SHORTEST_REQUEST {
                    return Ok(health);
                }
                judge::run(&mut self.queue())?;
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

    fn busy(&self) -> MutexGuard<'_, usize> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, target: &Notifier) -> Result<bool, Error> {
        Ok(self.queue().due(target.name.as_str(), &Stamp::now())? == Due::Now)
    }

    /// Gets TLS ready. Targets on plain http still run if this fails.
    fn trust(&self) -> Health {
        let network = &self.config.network;
        http::trust(network, &self.config.paths.spool).map_or_else(|why| log::failed(&why), |()| Health::Well)
    }

    /// One target, until nothing is due, it must wait, or the run is over.
    fn target(&self, target: &Notifier) -> Result<Health, Error> {
        let mut course = Course::default();
        while self.deadline.left() >= SHORTEST_REQUEST {
            let Some((mut batch, notices)) = self.batch(target)? else { break };
            let next = if notices.is_empty() {
                self.queue().delivered(batch, 0, &Stamp::now())?;
                Next::Go
            } else if batch.failures >= ISOLATE_AFTER {
                self.isolate(target, batch, &notices, &mut course)?
            } else {
                batch.shorten(course.bisect(batch.ids()));
                let outcome = self.attempt(target, &notices[..batch.ids().len()])?;
                self.settle(target, batch, outcome, &notices[0], &mut course)?
            };
            if next == Next::Stop {
                break;
            }
        }
        Ok(if course.is_ill { Health::Failed } else { Health::Well })
    }

    /// Reads as many due events as one message carries, each with its notice.
    fn batch(&self, target: &Notifier) -> Result<Option<(Batch, Vec<Notice>)>, Error> {
        let now = Stamp::now();
        let style = Style { host: &self.config.host, zone: &self.config.zone, now: &now };
        let mut room = target.capacity.room();
        let mut notices = Vec::new();
        let batch = self.queue().batch(target.name.as_str(), &now, &mut |row| {
            if !wants(target, row) {
                return Take::Passed;
            }
            let text = style.line(&row.event);
            if !room.take(&text) {
                return Take::Full;
            }
            notices.push(Notice { uid: row.event.uid.0, urgency: row.verdict.urgency, text });
            Take::Taken
        })?;
        Ok(batch.map(|batch| (batch, notices)))
    }

    /// Tries the first event alone, because the target has failed over it (or over all) before. If it fails
    /// again, and another one that is tried alone is accepted, the cause is the first, and perhaps those
    /// between: they are quarantined. Which other one changes from time to time, because what is wrong with
    /// a log-in is wrong with its log-out too.
    fn isolate(
        &self,
        target: &Notifier,
        mut batch: Batch,
        notices: &[Notice],
        course: &mut Course,
    ) -> Result<Next, Error> {
        let outcome = self.attempt(target, &notices[..1])?;
        if let Outcome::Failed { why } | Outcome::Refused { why } = &outcome {
            let other = usize::try_from(1 + batch.failures.saturating_sub(ISOLATE_AFTER) % OTHERS).unwrap_or(1);
            let other = other.min(notices.len() - 1);
            if other > 0 && matches!(self.attempt(target, &notices[other..=other])?, Outcome::Delivered { .. }) {
                let count = count_of(other);
                let why = target.conceal(why);
                let text = format!("{}: {count} quarantined, to be tried alone from now on: {why}", target.name);
                log::write(Level::Error, &text);
                let now = Stamp::now();
                let failure = failure(&now, backoff::wait(batch.failures), &why);
                batch.shorten(other + 1);
                self.queue().quarantined(batch, &failure, &now)?;
                course.is_ill = true;
                return Ok(Next::Go);
            }
        }
        batch.shorten(1);
        self.settle(target, batch, outcome, &notices[0], course)
    }

    /// Records what became of a batch, and logs it if it isn't well. `first` is its first notice.
    fn settle(
        &self,
        target: &Notifier,
        batch: Batch,
        outcome: Outcome,
        first: &Notice,
        course: &mut Course,
    ) -> Result<Next, Error> {
        let (name, now) = (&target.name, Stamp::now());
        let is_alone = batch.ids().len() == 1;
        let (pause, why, is_throttled) = match outcome {
            Outcome::Delivered { pause } => {
                course.rejected = 0;
                let pause = pause.unwrap_or_default().min(backoff::LONGEST);
                // A short rest is taken right here; of a longer one the next run must know.
                let is_short = self.has_time_for(pause);
                self.queue().delivered(batch, if is_short { 0 } else { milliseconds(pause) }, &now)?;
                return Ok(if is_short { self.rest(pause) } else { Next::Stop });
            }
            Outcome::Throttled { pause, .. } if self.has_time_for(pause) => return Ok(self.rest(pause)),
            Outcome::Throttled { pause, why } => (pause, why, true),
            Outcome::Failed { why } => (backoff::wait(batch.failures), why, false),
            Outcome::Refused { why } => (backoff::LONGEST, why, false),
            Outcome::Rejected { .. } if !is_alone => {
                course.bisect_end = Some(batch.last());
                return Ok(Next::Go);
            }
            Outcome::Rejected { why } if course.rejected + 1 < REJECTED_LIMIT => {
                course.rejected += 1;
                course.is_ill = true;
                let why = target.conceal(&why);
                log::write(Level::Error, &format!("{name} rejects an event, which becomes a dead letter: {why}"));
                if self.need == Need::Required {
                    notes::reject(self.config, name, Uid(first.uid))?;
                }
                self.queue().rejected(batch, &why)?;
                return Ok(Next::Go);
            }
            Outcome::Rejected { why } => {
                (backoff::LONGEST, format!("it rejects one event after the other: {why}"), false)
            }
        };
        course.is_ill = true;
        let why = target.conceal(&why);
        let minutes = pause.as_secs().div_ceil(60);
        log::write(Level::Error, &format!("{name}: {why}; everything is kept, and tried again in {minutes} min"));
        self.queue().postponed(batch, &Failure { is_throttled, ..failure(&now, pause, &why) }, &now)?;
        Ok(Next::Stop)
    }

    /// Waits as the service asked for.
    fn rest(&self, pause: Duration) -> Next {
        self.deadline.sleep(pause);
        Next::Go
    }

    fn has_time_for(&self, pause: Duration) -> bool {
        pause + SHORTEST_REQUEST < self.deadline.left()
    }

    /// Sends one message, with a note before and after, and judges the answer.
    fn attempt(&self, target: &Notifier, notices: &[Notice]) -> Result<Outcome, Error> {
        let uids: Vec<Uid> = notices.iter().map(|notice| Uid(notice.uid)).collect();
        let note = notes::begin(self.config, &target.name, self.need, &uids)?;
        let outcome = self.post(target, notices);
        let word = if matches!(outcome, Outcome::Delivered { .. }) { Word::Delivered } else { Word::Kept };
        // If that fails, the note says that nobody knows.
        let _ = note.map(|note| note.end(word));
        Ok(outcome)
    }

    fn post(&self, target: &Notifier, notices: &[Notice]) -> Outcome {
        let timeout = self.config.network.timeout.min(self.deadline.left());
        match target.render(&Digest { host: &self.config.host, notices }) {
            Message::Print(text) => match print(&text, timeout) {
                Ok(()) => Outcome::Delivered { pause: None },
                Err(why) => Outcome::Failed { why: format!("cannot write to stdout: {why}") },
            },
            Message::Post(request) => match http::post(&request, timeout) {
                Ok(response) => target.judge(response),
                Err(why) => Outcome::Failed { why },
            },
        }
    }
}

impl Course {
    /// How many of these events to put into the next message: half of those among which a poison message is
    /// known to be, so that it is alone after log2(n) messages; otherwise all.
    fn bisect(&mut self, ids: &[EventId]) -> usize {
        let Some(end) = self.bisect_end else { return ids.len() };
        match ids.iter().filter(|id| **id <= end).count() {
            0 => {
                self.bisect_end = None;
                ids.len()
            }
            count => count.div_ceil(2).min(count - usize::from(count > 1)),
        }
    }
}

fn wants(target: &Notifier, row: &Row) -> bool {
    target.filter.wants(row.event.action(), &row.verdict)
}

/// Writes to stdout, but waits for nobody who doesn't read.
fn print(text: &str, timeout: Duration) -> io::Result<()> {
    let stdout = io::stdout();
    for part in text.as_bytes().chunks(PIPE_BUF) {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stdout.lock().write_all(part)?;
    }
    stdout.lock().flush()
}

fn failure(now: &Stamp, pause: Duration, why: &str) -> Failure {
    Failure { wait: Wait { since: now.clone(), ms: milliseconds(pause) }, error: why.into(), is_throttled: false }
}

/// Bounds what this process can take of a small host's memory. minreq 3.0.0 can be made to read
/// headers without end, by a line that is one byte short of their limit and ends with LF alone.
fn limit_memory(targets: usize) {
    let limit = MEMORY_LIMIT + MEMORY_PER_TARGET * targets as u64;
    let _ = setrlimit(Resource::RLIMIT_DATA, limit, limit);
}

fn dead_letter_notice(target: &str, count: i64, why: &str) -> Event {
    let events = count_of(usize::try_from(count).unwrap_or(0));
    Event::notice(&format!("{target} did not get {events}, kept as dead letters (see `status`): {why}"))
}

fn count_of(events: usize) -> String {
    if events == 1 { "1 event".into() } else { format!("{events} events") }
}
