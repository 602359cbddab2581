//! The table of facts: what an event can carry, where that is kept, how it is shown and how it is got.
//!
//! The queue's rows, the files of the spool and the records in syslog follow this table. To add a fact, add
//! its row. One that a service must know by itself also gets a constant such as [`USER`].

use std::ops::{Index, IndexMut};

use crate::text::{FIELD_LIMIT, Field};

/// Characters kept of a public key: an RSA key of 4096 bits has 724, a certificate up to three thousand.
const KEY_LIMIT: usize = 3000;

/// Every fact.
#[rustfmt::skip]
pub const FACTS: [Spec; 14] = [
    //  name           kept in         up to        shown                how it is got
    row("user",        Store::Column,  FIELD_LIMIT, Shown::Inside(64),   Source::Item("PAM_USER")),
    row("remote_host", Store::Column,  FIELD_LIMIT, Shown::Inside(128),  Source::Item("PAM_RHOST")),
    row("tty",         Store::Column,  FIELD_LIMIT, Shown::Inside(32),   Source::Item("PAM_TTY")),
    row("service",     Store::Column,  FIELD_LIMIT, Shown::Inside(32),   Source::Item("PAM_SERVICE")),
    row("session",     Store::Column,  FIELD_LIMIT, Shown::No,           Source::ParentProcess),
    row("by",          Store::Text,    FIELD_LIMIT, Shown::Inside(64),   Source::Item("PAM_RUSER")),
    row("address",     Store::Text,    FIELD_LIMIT, Shown::After("from", 45), Source::ClientAddress),
    row("peer",        Store::Text,    FIELD_LIMIT, Shown::No,           Source::Variable("SSH_CONNECTION")),
    row("method",      Store::Text,    FIELD_LIMIT, Shown::No,           Source::AuthenticationMethods),
    row("key",         Store::Text,    KEY_LIMIT,   Shown::No,           Source::AuthenticationKeys),
    row("origin",      Store::Text,    FIELD_LIMIT, Shown::No,           Source::Origin),
    row("pidns",       Store::Text,    FIELD_LIMIT, Shown::No,           Source::PidNamespace),
    row("ended",       Store::Text,    FIELD_LIMIT, Shown::No,           Source::Sender),
    row("not_for",     Store::Text,    FIELD_LIMIT, Shown::No,           Source::Sender),
];

/// `PAM_USER`
pub const USER: Fact = Fact::named("user");
/// `PAM_RHOST`: an address or a name, empty for a local session.
pub const REMOTE_HOST: Fact = Fact::named("remote_host");
/// `PAM_TTY`
pub const TTY: Fact = Fact::named("tty");
/// `PAM_SERVICE`
pub const SERVICE: Fact = Fact::named("service");
/// Who became that user (`PAM_RUSER`): su and sudo say so.
pub const BY: Fact = Fact::named("by");
/// The target that gets a notice of the program's own only if there is no other one.
pub const NOT_FOR: Fact = Fact::named("not_for");
/// The client's address, where the remote host is a name.
pub const ADDRESS: Fact = Fact::named("address");
/// The methods by which the user authenticated.
pub const METHOD: Fact = Fact::named("method");
/// The public keys among them.
pub const KEY: Fact = Fact::named("key");
/// The process that opened the session: `PID-START`.
pub const SESSION: Fact = Fact::named("session");
/// The pid namespace in which that number counts.
pub const PIDNS: Fact = Fact::named("pidns");
/// `noticed`, where a session ended without a logout, and the sender noticed.
pub const ENDED: Fact = Fact::named("ended");
/// How far the event can be trusted.
pub const ORIGIN: Fact = Fact::named("origin");

/// One row of the table.
pub struct Spec {
    /// The name in the text form, and of the column if there is one.
    pub name: &'static str,
    /// Where the queue keeps it.
    pub store: Store,
    /// How many characters are kept.
    pub limit: usize,
    /// How a notice shows it.
    pub shown: Shown,
    /// How the hook gets it.
    pub source: Source,
}

/// Where the queue keeps a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In a column of its own; a new one needs a migration.
    Column,
    /// In the column `facts`, as a line of text.
    Text,
}

/// How a notice shows a fact, and how many characters of it at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Not at all.
    No,
    /// Inside the sentence (`notice.rs`).
    Inside(usize),
    /// Behind the sentence, after a word: `; from 203.0.113.9`.
    After(&'static str, usize),
}

/// How the hook gets a fact (`hook/pam.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The PAM item that `pam_exec` passes in this variable; nobody else can have set it.
    Item(&'static str),
    /// A variable of the PAM environment, which the user can forge.
    Variable(&'static str),
    /// The process that opened the session: `PID-STARTTIME`, the same at open and at close.
    ParentProcess,
    /// The address in `SSH_CONNECTION`, where the remote host is a name.
    ClientAddress,
    /// The methods in `SSH_AUTH_INFO_0`, in order: `publickey,keyboard-interactive/pam`.
    AuthenticationMethods,
    /// The keys in `SSH_AUTH_INFO_0`, as they stand there: `ssh-ed25519 AAAA…`.
    AuthenticationKeys,
    /// Whether the environment proves that PAM made it: `pam`, or `reordered`.
    Origin,
    /// The number of the hook's pid namespace, within which the session's process id counts.
    PidNamespace,
    /// The hook doesn't: the sender writes it into notices of its own.
    Sender,
}

/// A fact, by its place in [`FACTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact(usize);

/// What is known of one event. A fact that isn't known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    values: [Field; FACTS.len()],
    /// Names and values that a newer version recorded.
    pub unknown: Vec<(String, Field)>,
}

impl Fact {
    /// Every fact with its row.
    pub fn all() -> impl Iterator<Item = (Self, &'static Spec)> {
        FACTS.iter().enumerate().map(|(place, row)| (Self(place), row))
    }

    /// The fact of this name, if there is one.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|(_, row)| row.name == name).map(|(fact, _)| fact)
    }

    /// The fact of this name; a name that isn't in the table doesn't compile.
    const fn named(name: &str) -> Self {
        let mut place = 0;
        while !is_same(FACTS[place].name, name) {
            place += 1;
        }
        Self(place)
    }

    /// The row.
    pub fn row(self) -> &'static Spec {
        &FACTS[self.0]
    }
}

impl Shown {
    /// How many characters of a notice it can take.
    pub const fn longest(self) -> usize {
        match self {
            Self::No => 0,
            Self::Inside(width) => width,
            Self::After(word, width) => "; ".len() + word.len() + " ".len() + width,
        }
    }

    /// How many characters of the value are shown.
    pub const fn width(self) -> usize {
        match self {
            Self::No => 0,
            Self::Inside(width) | Self::After(_, width) => width,
        }
    }
}

impl Index<Fact> for Facts {
    type Output = Field;

    fn index(&self, fact: Fact) -> &Field {
        &self.values[fact.0]
    }
}

impl IndexMut<Fact> for Facts {
    fn index_mut(&mut self, fact: Fact) -> &mut Field {
        &mut self.values[fact.0]
    }
}

const fn row(name: &'static str, store: Store, limit: usize, shown: Shown, source: Source) -> Spec {
    Spec { name, store, limit, shown, source }
}

/// `==` can't be used in a constant.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}
