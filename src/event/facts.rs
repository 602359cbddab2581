//! The table of facts about an event: where the queue keeps each, how a notice shows it, how the hook gets it.
//!
//! The queue's rows, the files in the spool and the records in syslog follow this table. To add a fact, add its
//! row. A fact that the code mentions also gets a constant such as [`USER`].

use std::ops::{Index, IndexMut};

use crate::text::{FIELD_LIMIT, Field};

/// Characters kept of the public keys. An RSA key of 4096 bits has 724, a certificate up to three thousand.
const KEY_LIMIT: usize = 3000;

/// Every fact.
#[rustfmt::skip]
pub const FACTS: [Spec; 15] = [
    //  name           kept in         up to        shown                source
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
    row("times",       Store::Text,    FIELD_LIMIT, Shown::No,           Source::Sender),
];

/// `PAM_USER`
pub const USER: Fact = Fact::named("user");
/// `PAM_RHOST`: an address or a name, empty for a local session.
pub const REMOTE_HOST: Fact = Fact::named("remote_host");
/// `PAM_TTY`
pub const TTY: Fact = Fact::named("tty");
/// `PAM_SERVICE`
pub const SERVICE: Fact = Fact::named("service");
/// `PAM_RUSER`: who became that user, with su or sudo.
pub const BY: Fact = Fact::named("by");
/// The target that gets a notice of the program's own only if there is no other target.
pub const NOT_FOR: Fact = Fact::named("not_for");
/// The client's address, if the remote host is a name.
pub const ADDRESS: Fact = Fact::named("address");
/// The methods by which the user authenticated.
pub const METHOD: Fact = Fact::named("method");
/// The public keys with which the user authenticated.
pub const KEY: Fact = Fact::named("key");
/// The process that opened the session: `PID-STARTTIME`.
pub const SESSION: Fact = Fact::named("session");
/// The pid namespace of that process.
pub const PIDNS: Fact = Fact::named("pidns");
/// `noticed` if the session ended without a logout and the sender noticed.
pub const ENDED: Fact = Fact::named("ended");
/// How many logins a summary of repeats stands for.
pub const TIMES: Fact = Fact::named("times");
/// How far the event can be trusted.
pub const ORIGIN: Fact = Fact::named("origin");

/// One row of the table.
pub struct Spec {
    /// The name in the text form, and of the column if there is one.
    pub name: &'static str,
    pub store: Store,
    /// How many characters are kept.
    pub limit: usize,
    pub shown: Shown,
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
    /// Behind the sentence, with this word before it: `; from 203.0.113.9`.
    After(&'static str, usize),
}

/// How the hook gets a fact (`hook/pam.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The PAM item that `pam_exec` passes in this variable. Users can't set it.
    Item(&'static str),
    /// A variable of the PAM environment. Users can forge it.
    Variable(&'static str),
    /// The process that opened the session: `PID-STARTTIME`, the same at open and at close.
    ParentProcess,
    /// The address in `SSH_CONNECTION`, if the remote host is a name.
    ClientAddress,
    /// The methods in `SSH_AUTH_INFO_0`, in order: `publickey,keyboard-interactive/pam`.
    AuthenticationMethods,
    /// The keys in `SSH_AUTH_INFO_0`, unchanged: `ssh-ed25519 AAAA…`.
    AuthenticationKeys,
    /// Whether the environment proves that PAM made it: `pam`, or `reordered`.
    Origin,
    /// The number of the hook's pid namespace.
    PidNamespace,
    /// None: only the sender sets it, in events that it writes itself.
    Sender,
}

/// A fact, by its index in [`FACTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact(usize);

/// The facts about one event. An unknown fact is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    values: [Field; FACTS.len()],
    /// Names and values that only a newer version knows.
    pub unknown: Vec<(String, Field)>,
}

impl Fact {
    /// Every fact with its row.
    pub fn all() -> impl Iterator<Item = (Self, &'static Spec)> {
        FACTS.iter().enumerate().map(|(place, row)| (Self(place), row))
    }

    /// Finds a fact by its name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|(_, row)| row.name == name).map(|(fact, _)| fact)
    }

    /// Finds a fact by its name at compile time; an unknown name doesn't compile.
    const fn named(name: &str) -> Self {
        let mut place = 0;
        while !is_same(FACTS[place].name, name) {
            place += 1;
        }
        Self(place)
    }

    /// The fact's row.
    pub fn row(self) -> &'static Spec {
        &FACTS[self.0]
    }
}

impl Shown {
    /// The most characters that the fact can take in a notice.
    pub const fn longest(self) -> usize {
        match self {
            Self::No => 0,
            Self::Inside(width) => width,
            Self::After(word, width) => "; ".len() + word.len() + " ".len() + width,
        }
    }

    /// The most characters of the value that a notice shows.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_design_describes_every_fact() {
        let design = include_str!("../../docs/design.md");
        let table = design.split("### The table of facts").nth(1).and_then(|rest| rest.split("\n### ").next());
        for Spec { name, .. } in &FACTS {
            let has_row = table.is_some_and(|table| table.contains(&format!("\n| `{name}` | ")));
            assert!(has_row, "the table of facts in docs/design.md needs a row for {name}");
        }
    }
}
