//! The sender: due → digest → render → post → judge → settle, for every target by itself.

pub mod backoff;
pub mod deadline;
pub mod heartbeat;
mod import;
pub mod lock;
pub mod watch;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Kind};
use crate::event::{Event, What};
use crate::http;
use crate::log::{self, Level};
use crate::notice::Style;
use crate::notifier::{Digest, Message, Notice, Notifier, Outcome};
use crate::queue::{Claim, Due, Queue, Role, Setback, Wait};
use crate::rules::Urgency;
use crate::send::deadline::Deadline;
use crate::send::lock::Lock;
use crate::text::Field;

/// A run begins nothing after this; the next one carries on. With what then is settled it ends within
/// fifty seconds, and so before the minute that cron repeats at.
pub const RUN_LIMIT: Duration = Duration::from_secs(48);
const _: () = assert!(RUN_LIMIT.as_secs() < 50);

/// Bytes of memory for everything but the requests; a run needs a tenth of it.
const MEMORY_LIMIT: u64 = 32 << 20;

/// Bytes for one target: the stacks of two threads, and what a request needs.
const MEMORY_PER_TARGET: u64 = 8 << 20;

/// How often a target that is done looks for more while others are at work.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// No request is begun with less time left; the library counts in whole seconds.
pub const SHORTEST_REQUEST: Duration = Duration::from_secs(1);

/// Bytes that a pipe takes without a wait, once it takes any (POSIX.1-2024, `<limits.h>`).
const PIPE_BUF: usize = 4096;

/// Events that are looked at for one message. The shortest notice has more than 40 characters, so
/// that no message that a service takes holds more.
const CLAIM_LIMIT: usize = 100;

/// So many dead letters in a row, with nothing delivered between, are the target's fault.
const REJECTED_LIMIT: u32 = 5;

/// So many failures in a row make the first event a suspect.
const SUSPECT_AFTER: u32 = 2;

/// Events behind the suspect of which one is tried alone, each time the next.
const WITNESSES: u32 = 8;

/// One run over one queue.
struct Run<'a> {
    config: &'a Config,
    queue: Mutex<Queue>,
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
    /// The last event of the smallest message that was rejected: one up to here is bad.
    suspects_end: Option<i64>,
    /// Whether anything failed.
    is_ill: bool,
}

/// Whether a target's turn goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// Delivers what is due, once, with the lock held. `Ok(false)`: something failed, and was said. With
/// nothing due it writes nothing at all.
pub fn run(config: &Config, _lock: &Lock, deadline: &Deadline<'_>) -> Result<bool, Error> {
    if is_idle(config) {
        return Ok(true);
    }
    match attempt(config, Queue::open(&config.paths.database, Role::Sender), deadline) {
        Err(damaged) => {
            let Kind::Damaged { path, why } = damaged.kind() else { return Err(damaged) };
            let (mut queue, said) = Queue::repair(path, why)?;
            log::say(Level::Error, &said);
            queue.append(&[note(&said)])?;
            attempt(config, Ok(queue), deadline).map(|_| false)
        }
        well => well,
    }
}

/// Whether a short look finds nothing to do. Any trouble is something to do.
fn is_idle(config: &Config) -> bool {
    let (path, targets) = (&config.paths.database, target_names(config));
    let look = || Queue::open(path, Role::Look)?.is_idle(&targets, &config.limits, &Stamp::now());
    import::is_empty(config) && path.exists() && (look().unwrap_or(false))
}

/// Says an error that stops nothing else, and answers that something failed.
pub fn said(why: &Error) -> bool {
    log::say(Level::Error, &why.to_string());
    false
}

fn target_names(config: &Config) -> Vec<&str> {
    config.targets.iter().map(|target| target.name.as_str()).collect()
}

fn attempt(config: &Config, queue: Result<Queue, Error>, deadline: &Deadline<'_>) -> Result<bool, Error> {
    let mut queue = queue?;
    let mut is_well = import::take(config, &mut queue)?;
    for (gone, count) in queue.set_targets(&target_names(config))? {
        log::say(Level::Warning, &format!("{gone} is no target any more; {count} deliveries to it are forgotten"));
    }
    let run = Run {
        config,
        queue: Mutex::new(queue),
        deadline,
        now: Stamp::now(),
        busy: Mutex::new(0),
        done: Condvar::new(),
    };
    is_well &= run.every_target()?;
    // A note on what was given up is an event like others, and need not wait for the next run.
    if run.queue().tell_dead(dead_note)? {
        is_well &= run.every_target()?;
    }
    run.queue.into_inner().unwrap_or_else(PoisonError::into_inner).close();
    Ok(is_well)
}

impl Run<'_> {
    /// Every target at the same time, if any has something to do: a slow one delays only itself.
    fn every_target(&self) -> Result<bool, Error> {
        let mut is_anything_due = false;
        for target in &self.config.targets {
            self.queue().give_up(target.name.as_str(), &self.config.limits, &self.now)?;
            is_anything_due |= self.is_due(target)?;
        }
        if !is_anything_due {
            return Ok(true);
        }
        // Before the first thread, whoever needs it when: see `http::trust`.
        let is_trusting = !self.config.is_secure() || self.trust();
        let targets: Vec<&Notifier> =
            self.config.targets.iter().filter(|target| is_trusting || !target.is_secure()).collect();
        limit_memory(targets.len());
        *self.busy() = targets.len();
        let results: Vec<Result<bool, Error>> = match targets.as_slice() {
            [only] => vec![self.target(only)],
            several => thread::scope(|scope| {
                let threads: Vec<_> = several.iter().map(|target| scope.spawn(|| self.beside_others(target))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Kind::Said.into()))).collect()
            }),
        };
        self.queue().prune(&self.config.limits, &self.now)?;
        results.into_iter().try_fold(is_trusting, |all, one| Ok(all & one?))
    }

    /// One target, until all are done: while another one is slow, or rests, this one delivers what comes.
    fn beside_others(&self, target: &Notifier) -> Result<bool, Error> {
        let mut is_well = true;
        loop {
            let result = self.target(target);
            *self.busy() -= 1;
            self.done.notify_all();
            is_well &= result?;
            loop {
                if *self.busy() == 0 || self.deadline.left() < SHORTEST_REQUEST {
                    return Ok(is_well);
                }
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

    fn is_due(&self, target: &Notifier) -> Result<bool, Error> {
        Ok(matches!(self.queue().due(target.name.as_str(), 1, &Stamp::now())?, Due::Now(_)))
    }

    /// Gets TLS ready. Those who do without don't suffer if that fails.
    fn trust(&self) -> bool {
        http::trust(&self.config.network, &self.config.paths.spool).map_or_else(|why| said(&why), |()| true)
    }

    /// One target, until nothing is due, it must wait, or the run is over. `Ok(false)`: something
    /// failed, and was said.
    fn target(&self, target: &Notifier) -> Result<bool, Error> {
        let mut course = Course::default();
        while self.deadline.left() >= SHORTEST_REQUEST {
            let due = self.queue().due(target.name.as_str(), CLAIM_LIMIT, &Stamp::now())?;
            let Due::Now(mut claim) = due else { break };
            let lines = self.lines(&claim);
            let mut room = target.capacity().room();
            claim.shorten(lines.iter().take_while(|notice| room.take(&notice.text)).count());
            let next = if claim.failures >= SUSPECT_AFTER {
                self.probe(target, claim, &lines, &mut course)?
            } else {
                claim.shorten(course.suspects(&claim));
                let outcome = self.attempt(target, &lines[..claim.events.len()]);
                self.settle(target, claim, outcome, &mut course)?
            };
            if next == Next::Stop {
                break;
            }
        }
        Ok(!course.is_ill)
    }

    /// Tries the first event alone, because the target has failed over it (or over all) before. If it
    /// fails again, and another one that is tried alone is taken, the cause is the first, and those
    /// between with it perhaps: they are set apart. Which other one changes from time to time, for
    /// what is wrong with a log-in is wrong with its log-out too.
    fn probe(&self, target: &Notifier, mut claim: Claim, lines: &[Notice], course: &mut Course) -> Result<Next, Error> {
        let outcome = self.attempt(target, &lines[..1]);
        if let Outcome::Failed { why } | Outcome::Refused { why } = &outcome {
            let witness = 1 + claim.failures.saturating_sub(SUSPECT_AFTER) % WITNESSES;
            let witness = claim.events.len().saturating_sub(1).min(usize::try_from(witness).unwrap_or(1));
            if witness > 0 && matches!(self.attempt(target, &lines[witness..=witness]), Outcome::Delivered { .. }) {
                let what = format!("{} set apart, to be tried alone from now on", count_of(witness));
                log::say(Level::Error, &format!("{}: {what}: {}", target.name.as_str(), target.conceal(why)));
                let now = Stamp::now();
                let setback = setback(&now, backoff::wait(claim.failures), why);
                claim.shorten(witness + 1);
                self.queue().set_apart(claim, &setback, &now)?;
                course.is_ill = true;
                return Ok(Next::Go);
            }
        }
        claim.shorten(1);
        self.settle(target, claim, outcome, course)
    }

    /// Writes down what became of a claim, and says it if it isn't well.
    fn settle(&self, target: &Notifier, claim: Claim, outcome: Outcome, course: &mut Course) -> Result<Next, Error> {
        let (name, now) = (target.name.as_str(), Stamp::now());
        let is_alone = claim.events.len() == 1;
        let (pause, why, is_failure) = match outcome {
            Outcome::Delivered { pause } => {
                course.rejected = 0;
                let pause = pause.unwrap_or_default().min(backoff::LONGEST);
                // A short rest is taken right here; of a longer one the next run must know.
                let is_short = self.has_time_for(pause);
                self.queue().delivered(claim, if is_short { 0 } else { milliseconds(pause) }, &now)?;
                return Ok(if is_short { self.rest(pause) } else { Next::Stop });
            }
            Outcome::Throttled { pause, .. } if self.has_time_for(pause) => return Ok(self.rest(pause)),
            Outcome::Throttled { pause, why } => (pause, why, false),
            Outcome::Failed { why } => (backoff::wait(claim.failures), why, true),
            Outcome::Refused { why } => (backoff::LONGEST, why, true),
            Outcome::Rejected { .. } if !is_alone => {
                course.suspects_end = Some(claim.last());
                return Ok(Next::Go);
            }
            Outcome::Rejected { why } if course.rejected + 1 < REJECTED_LIMIT => {
                course.rejected += 1;
                course.is_ill = true;
                let why = target.conceal(&why);
                log::say(Level::Error, &format!("{name} rejects an event, which becomes a dead letter: {why}"));
                self.queue().rejected(claim, &why)?;
                return Ok(Next::Go);
            }
            Outcome::Rejected { why } => {
                (backoff::LONGEST, format!("it rejects one event after the other: {why}"), true)
            }
        };
        course.is_ill = true;
        let why = target.conceal(&why);
        let minutes = pause.as_secs().div_ceil(60);
        log::say(Level::Error, &format!("{name}: {why}; everything is kept, and tried again in {minutes} min"));
        self.queue().postponed(claim, &setback(&now, pause, &why).counted(is_failure), &now)?;
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

    /// The notices of a claim's events.
    fn lines(&self, claim: &Claim) -> Vec<Notice> {
        let now = Stamp::now();
        let style = Style { host: &self.config.host, zone: &self.config.zone, now: &now };
        let notice = |(id, event): &(i64, Event)| Notice {
            uid: id.unsigned_abs(),
            urgency: Urgency::default(),
            text: style.line(event),
        };
        claim.events.iter().map(notice).collect()
    }

    /// Sends one message and judges what came back.
    fn attempt(&self, target: &Notifier, lines: &[Notice]) -> Outcome {
        match target.render(&Digest { host: &self.config.host, notices: lines }) {
            Message::Print(text) => match self.print(&text) {
                Ok(()) => Outcome::Delivered { pause: None },
                Err(why) => Outcome::Failed { why: format!("cannot write to stdout: {why}") },
            },
            Message::Post(request) => match http::post(&request, self.config.network.timeout.min(self.deadline.left()))
            {
                Ok(response) => target.judge(response),
                Err(why) => Outcome::Failed { why: why.to_string() },
            },
        }
    }

    /// Writes to stdout, but waits for nobody who doesn't read.
    fn print(&self, text: &str) -> io::Result<()> {
        let stdout = io::stdout();
        for part in text.as_bytes().chunks(PIPE_BUF) {
            let timeout = PollTimeout::try_from(self.config.network.timeout.min(self.deadline.left()))
                .unwrap_or(PollTimeout::MAX);
            if poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stdout.lock().write_all(part)?;
        }
        stdout.lock().flush()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    /// How many events to put into the next message: half of those among which a bad one is known
    /// to be, so that it is alone after log2(n) messages; otherwise all.
    fn suspects(&mut self, claim: &Claim) -> usize {
        let Some(end) = self.suspects_end else { return claim.events.len() };
        match claim.events.iter().filter(|(id, _)| *id <= end).count() {
            0 => {
                self.suspects_end = None;
                claim.events.len()
            }
            count => count.div_ceil(2).min(count - usize::from(count > 1)),
        }
    }
}

fn setback(now: &Stamp, pause: Duration, why: &str) -> Setback {
    Setback { wait: Wait { since: now.clone(), ms: milliseconds(pause) }, error: why.into(), is_failure: true }
}

/// Bounds what this process can take of a small host's memory. minreq 3.0.0 can be made to read
/// headers without end, by a line that is one byte short of their limit and ends with LF alone.
fn limit_memory(targets: usize) {
    let limit = MEMORY_LIMIT + MEMORY_PER_TARGET * targets as u64;
    let _ = setrlimit(Resource::RLIMIT_DATA, limit, limit);
}

fn milliseconds(pause: Duration) -> i64 {
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

/// An event that tells of the program's own work.
fn note(text: &str) -> Event {
    Event { what: What::Note(Field::new(text.as_bytes())), at: Stamp::now() }
}

fn dead_note(target: &str, count: i64, why: &str) -> Event {
    let events = count_of(usize::try_from(count).unwrap_or(0));
    note(&format!("{target} did not get {events}, kept as dead letters (see `status`): {why}"))
}

fn count_of(events: usize) -> String {
    if events == 1 { "1 event".into() } else { format!("{events} events") }
}
