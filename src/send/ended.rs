//! Sessions that ended without a logout, because their process was killed or the host went down.
//!
//! A process may be invisible rather than gone: /proc may be hidden, or the login may be from another container. A
//! logout may also still be on its way into the queue. So a session has ended only if two checks miss its process.

use std::time::Duration;

use crate::clock::{Stamp, milliseconds};
use crate::error::Error;
use crate::event::{Action, ENDED, Event, PIDNS, REMOTE_HOST, SERVICE, USER};
use crate::process;
use crate::queue::{Due, OpenSession, Queue};
use crate::text::{FIELD_LIMIT, Field};

/// How long after the first check the second one follows.
const SECOND_CHECK: Duration = Duration::from_secs(10);

/// The result of checking one session's process.
enum Found {
    /// It is alive, or its state can't be known.
    Nothing,
    /// It is newly missing or visible again; the queue must record that.
    Changed { is_missing: bool },
    /// It is still missing. Check again in this many milliseconds.
    Waiting(i64),
    /// It is gone.
    Gone,
    /// The host was restarted since the login.
    Restarted,
}

/// When the next check is due.
pub fn due(queue: &Queue, now: &Stamp) -> Result<Due, Error> {
    let sessions = queue.open_sessions()?;
    if sessions.is_empty() {
        return Ok(Due::Never);
    }
    let checker = Checker::new(now);
    let due = |session: &OpenSession| match checker.check(session) {
        Found::Nothing => Due::Never,
        Found::Waiting(ms) => Due::After(ms),
        Found::Changed { .. } | Found::Gone | Found::Restarted => Due::Now,
    };
    Ok(sessions.iter().map(due).min().unwrap_or(Due::Never))
}

/// Checks every open session's process, and records the end of those that are gone.
pub fn run(queue: &mut Queue, now: &Stamp) -> Result<(), Error> {
    let (mut gone, mut restarted) = (Vec::new(), Vec::new());
    let checker = Checker::new(now);
    for session in queue.open_sessions()? {
        match checker.check(&session) {
            Found::Nothing | Found::Waiting(_) => {}
            Found::Changed { is_missing } => queue.set_missing(&session, is_missing.then_some(now))?,
            Found::Gone => gone.push(session),
            Found::Restarted => restarted.push(session),
        }
    }
    if !gone.is_empty() {
        let notices: Vec<Event> = gone.iter().map(|session| end(&session.event)).collect();
        queue.end_sessions(&gone, &notices, now)?;
    }
    if !restarted.is_empty() {
        let reported: Vec<&OpenSession> = restarted.iter().filter(|session| !session.is_unreported).collect();
        let notice = (!reported.is_empty()).then(|| Event::notice(&list(&reported)));
        queue.end_sessions(&restarted, notice.as_slice(), now)?;
    }
    Ok(())
}

/// The values that all checks of one moment share.
struct Checker<'a> {
    now: &'a Stamp,
    namespace: String,
    can_see: bool,
}

impl<'a> Checker<'a> {
    fn new(now: &'a Stamp) -> Self {
        Self { now, namespace: process::namespace(), can_see: process::are_visible() }
    }

    fn check(&self, session: &OpenSession) -> Found {
        let event = &session.event;
        if self.now.boot_id.is_empty() {
            return Found::Nothing;
        }
        if event.at.boot_id != self.now.boot_id {
            return Found::Restarted;
        }
        if !self.can_see || event.facts[PIDNS].as_str() != self.namespace {
            return Found::Nothing;
        }
        match (&session.missing, session.process.is_alive()) {
            (None, true) => Found::Nothing,
            (Some(_), true) => Found::Changed { is_missing: false },
            (None, false) => Found::Changed { is_missing: true },
            (Some(since), false) => match milliseconds(SECOND_CHECK) - since.until(self.now).unwrap_or(0) {
                left if left > 0 => Found::Waiting(left),
                _ => Found::Gone,
            },
        }
    }
}

/// The logout that was never recorded.
fn end(open: &Event) -> Event {
    let mut facts = open.facts.clone();
    facts[ENDED] = Field::new(b"noticed");
    Event::session(Action::Close, facts)
}

/// `the host was restarted, which ended 2 sessions: 'amanda' (192.0.2.7, sshd), 'root' (su)`, cut to the length of a
/// notice.
fn list(sessions: &[&OpenSession]) -> String {
    let count = if sessions.len() == 1 { "1 session".into() } else { format!("{} sessions", sessions.len()) };
    let mut text = format!("the host was restarted, which ended {count}:");
    for session in sessions {
        let fact = |fact| session.event.facts[fact].shown(64).into_owned();
        let from = fact(REMOTE_HOST);
        let from = if from.is_empty() { from } else { format!("{from}, ") };
        let one = format!(" '{}' ({from}{}),", fact(USER), fact(SERVICE));
        if text.chars().count() + one.chars().count() >= FIELD_LIMIT {
            text.push_str(" …");
            break;
        }
        text.push_str(&one);
    }
    text.trim_end_matches(',').into()
}
