//! One session: its login and its logout, as far as they are recorded.

use crate::clock::Stamp;
use crate::command::log::fate::Fate;
use crate::event::{ADDRESS, BY, REMOTE_HOST, SERVICE, TTY, USER, authentication};
use crate::queue::Row;
use crate::rules::New;
use crate::text::Field;

/// A session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The user.
    pub user: Field,
    /// Who became that user.
    pub by: Field,
    /// The remote host from PAM: an address or a name.
    pub remote_host: Field,
    /// The address, if the remote host is a name.
    pub address: Field,
    /// The terminal.
    pub tty: Field,
    /// The PAM service.
    pub service: Field,
    /// How the user authenticated, as in a notice. From the login, because a logout's facts can be forged.
    pub authentication: Field,
    /// What was new about the login for its user.
    pub new: New,
    /// The place of the rule that decided its notices.
    pub rule: Option<u16>,
    /// Whether it is a repeat that only a summary reports.
    pub is_held: bool,
    /// When it was opened, if known.
    pub opened: Option<Stamp>,
    /// When it was closed, or found closed.
    pub closed: Option<Stamp>,
    /// Its state.
    pub state: State,
    /// How long it lasted, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Whether its login should have been recorded but wasn't.
    pub is_unopened: bool,
    /// The fate of its notices at each configured target; `None` for a target that wanted neither.
    pub fates: Vec<Option<Fate>>,
    /// Whether its login is still missing from the search. Until then, `opened` is derived from the logout.
    pub awaits_login: bool,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Open.
    Open,
    /// Its logout was recorded.
    Closed,
    /// No logout was recorded, and the sender noticed that its process is gone.
    Noticed,
    /// No logout was recorded before the host was restarted.
    Restarted,
    /// No logout was recorded, and nothing more is known.
    #[default]
    Unknown,
}

impl State {
    /// The word in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Noticed => "noticed",
            Self::Restarted => "restarted",
            Self::Unknown => "unknown",
        }
    }
}

impl Session {
    /// The session that this logout ends, its login still missing.
    pub fn closed(row: &Row, state: State, fates: Vec<Option<Fate>>) -> Self {
        let (at, after_ms) = (row.event.at.clone(), row.verdict.after_ms);
        let opened = after_ms.map(|ms| Stamp {
            utc_ms: at.utc_ms.saturating_sub(ms),
            boot_ms: at.boot_ms.saturating_sub(ms),
            boot_id: at.boot_id.clone(),
        });
        let is_unopened = row.verdict.is_unopened;
        Self { opened, closed: Some(at), state, duration_ms: after_ms, is_unopened, fates, ..Self::of(row) }
    }

    /// The session that this login opens, without a logout.
    pub fn opened(row: &Row, state: State, fates: Vec<Option<Fate>>) -> Self {
        let session = Self { state, ..Self::of(row) };
        session.with_login(row, fates)
    }

    /// Adds its login.
    pub fn with_login(self, row: &Row, fates: Vec<Option<Fate>>) -> Self {
        let at = &row.event.at;
        let is_closed = self.state == State::Closed;
        let lasted =
            self.closed.as_ref().filter(|_| is_closed).map(|closed| closed.boot_ms.saturating_sub(at.boot_ms).max(0));
        let worst = |place: usize, fate: Option<Fate>| fate.max(self.fates.get(place).copied().flatten());
        Self {
            authentication: Field::new(authentication::describe(&row.event.facts).as_bytes()),
            address: row.event.facts[ADDRESS].clone(),
            new: row.verdict.new,
            rule: row.verdict.rule,
            is_held: row.verdict.is_held,
            opened: Some(at.clone()),
            duration_ms: self.duration_ms.or(lasted),
            fates: fates.into_iter().enumerate().map(|(place, fate)| worst(place, fate)).collect(),
            awaits_login: false,
            ..self
        }
    }

    /// The moment by which sessions are sorted.
    pub fn begin(&self) -> Option<&Stamp> {
        self.opened.as_ref().or(self.closed.as_ref())
    }

    /// Whether one of its times is surely wrong.
    pub fn is_uncertain(&self, now: &Stamp) -> bool {
        [&self.opened, &self.closed].into_iter().flatten().any(|at| at.is_uncertain(at.corrected(now)))
    }

    fn of(Row { event, verdict, .. }: &Row) -> Self {
        let fact = |fact| event.facts[fact].clone();
        Self {
            user: fact(USER),
            by: if event.facts[BY] == event.facts[USER] { Field::default() } else { fact(BY) },
            remote_host: fact(REMOTE_HOST),
            address: fact(ADDRESS),
            tty: fact(TTY),
            service: fact(SERVICE),
            rule: verdict.rule,
            is_held: verdict.is_held,
            ..Self::default()
        }
    }
}
