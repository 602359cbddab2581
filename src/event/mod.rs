//! An event: a session was opened or closed, or the program reports something about itself.

pub mod authentication;
mod facts;
pub mod text_form;

use std::fmt;
use std::hash::{BuildHasher, RandomState};

pub use facts::{
    ADDRESS, BY, ENDED, FACTS, Fact, Facts, KEY, METHOD, NOT_FOR, ORIGIN, PIDNS, REMOTE_HOST, SERVICE, SESSION, Shown,
    Source, Spec, Store, TIMES, TTY, USER,
};

use crate::clock::Stamp;
use crate::text::Field;

/// The fact that holds the text of the program's own notice. A session event has its user there.
const TEXT: Fact = USER;

/// Something to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Identifies the event. Two copies of one event have the same.
    pub uid: Uid,
    /// What happened.
    pub kind: Kind,
    /// When it happened.
    pub at: Stamp,
    /// Everything else that is known.
    pub facts: Facts,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A session was opened or closed.
    Session(Action),
    /// The program reports something about itself: a dead letter, a damaged queue.
    Notice,
}

/// Whether a session was opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `PAM_TYPE=open_session`
    Open,
    /// `PAM_TYPE=close_session`
    Close,
}

/// Sixty-four random bits that identify an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uid(pub u64);

impl Event {
    /// Makes a session event that happens now.
    pub fn session(action: Action, facts: Facts) -> Self {
        Self { uid: Uid::random(), kind: Kind::Session(action), at: Stamp::now(), facts }
    }

    /// Makes a notice of the program's own that happens now.
    pub fn notice(text: &str) -> Self {
        let mut facts = Facts::default();
        facts[TEXT] = Field::new(text.as_bytes());
        Self { uid: Uid::random(), kind: Kind::Notice, at: Stamp::now(), facts }
    }

    /// Whether a session was opened or closed; `None` for a notice of the program's own.
    pub fn action(&self) -> Option<Action> {
        match self.kind {
            Kind::Session(action) => Some(action),
            Kind::Notice => None,
        }
    }

    /// Who did it: the user who became another one, else the user. `None` for a notice of the program's own.
    pub fn actor(&self) -> Option<&Field> {
        let by = &self.facts[BY];
        self.action().map(|_| if by.is_empty() { &self.facts[USER] } else { by })
    }

    /// The text of the program's own notice.
    pub fn text(&self) -> &Field {
        &self.facts[TEXT]
    }
}

impl Action {
    /// Finds an action by its name in the configuration.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "open" => Some(Self::Open),
            "close" => Some(Self::Close),
            _ => None,
        }
    }
}

impl Kind {
    /// Every kind, with its name in the text form and its number in the queue.
    pub const ALL: [(Self, &'static str, i64); 3] = [
        (Self::Session(Action::Open), "open", 0),
        (Self::Session(Action::Close), "close", 1),
        (Self::Notice, "note", 2),
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The number in the queue.
    pub fn number(self) -> i64 {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, i64) {
        Self::ALL.into_iter().find(|(kind, ..)| *kind == self).unwrap_or(Self::ALL[2])
    }
}

impl Uid {
    /// Makes a random uid. The standard library doesn't wait for the kernel's entropy, which may be missing early in a
    /// boot.
    pub fn random() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    /// Hashes a text (FNV-1a, 64 bits), so that all copies of an event without a random uid get the same: an old
    /// event's text form, or what a summary is about.
    pub fn of(text: &str) -> Self {
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    /// Parses a uid as [`Uid`] prints it.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

/// `00f3a8b2c4d5e6f7`
impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
