//! An event: what PAM said of a session, when, and which session it is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;

use crate::clock::Stamp;
use crate::files::read_proc;
use crate::text::Field;

/// The variables that `pam_exec` adds behind the PAM environment, last first. `PAM_SERVICE` is
/// always among them, so whatever stands before it was chosen by somebody else.
const PAM_ITEMS: [&str; 5] = ["PAM_RUSER", "PAM_RHOST", "PAM_TTY", "PAM_USER", "PAM_SERVICE"];

/// Whether a session begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `PAM_TYPE=open_session`
    Open,
    /// `PAM_TYPE=close_session`
    Close,
}

/// Something to tell, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What there is to tell.
    pub what: What,
    /// When it happened.
    pub at: Stamp,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A session was opened or closed.
    Session(Session),
    /// Something that the program has to say of its own work (a dead letter, a damaged queue).
    Note(Field),
}

/// What PAM said. Empty fields are those that it did not name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Open or close.
    pub action: Action,
    /// `PAM_USER`
    pub user: Field,
    /// `PAM_RHOST`
    pub remote_host: Field,
    /// `PAM_TTY`
    pub tty: Field,
    /// `PAM_SERVICE`
    pub service: Field,
    /// `PID-STARTTIME` of the process that opened the session: the same at open and at close.
    pub id: String,
}

/// What the environment block holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Environment {
    /// No `PAM_TYPE`: not started by PAM.
    Missing,
    /// A PAM event that is no session's (`auth`, `account`, …).
    Other,
    /// A session event. `Trust` tells whether its fields may silence it.
    Session(Session, Trust),
}

/// Whether the order of the variables proves that PAM wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As `pam_exec` writes them: nobody else can have put them there.
    Proven,
    /// Reordered by something in between (a shell): good enough to tell, not to stay silent.
    Unproven,
}

impl Session {
    /// Reads the environment block backwards, because a user can put variables of his own before
    /// PAM's (`~/.pam_environment`) and the first of two equal names is what `getenv` returns.
    pub fn from_environment(block: &[(OsString, OsString)]) -> Environment {
        let Some((kind, trust)) = pam_type(block) else { return Environment::Missing };
        let action = match kind {
            b"open_session" => Action::Open,
            b"close_session" => Action::Close,
            _ => return Environment::Other,
        };
        let [_, remote_host, tty, user, service] = match trust {
            Trust::Proven => proven_items(block),
            Trust::Unproven => PAM_ITEMS.map(|name| last(block, name).unwrap_or_default()),
        }
        .map(Field::new);
        Environment::Session(Self { action, user, remote_host, tty, service, id: session_id() }, trust)
    }
}

/// The value of `PAM_TYPE`, and whether it is where `pam_exec` puts it: last.
fn pam_type(block: &[(OsString, OsString)]) -> Option<(&[u8], Trust)> {
    let (name, value) = block.last()?;
    if name == "PAM_TYPE" {
        return Some((value.as_bytes(), Trust::Proven));
    }
    last(block, "PAM_TYPE").map(|value| (value, Trust::Unproven))
}

fn last<'block>(block: &'block [(OsString, OsString)], wanted: &str) -> Option<&'block [u8]> {
    block.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_bytes())
}

/// The items between `PAM_TYPE` and `PAM_SERVICE`, in the order of `PAM_ITEMS`.
fn proven_items(block: &[(OsString, OsString)]) -> [&[u8]; 5] {
    let mut values: [&[u8]; 5] = [b""; 5];
    let mut next = 0;
    for (name, value) in block.iter().rev().skip(1) {
        let Some(found) = PAM_ITEMS[next..].iter().position(|item| name == item) else { break };
        next += found;
        values[next] = value.as_bytes();
        next += 1;
        if next == PAM_ITEMS.len() {
            break;
        }
    }
    values
}

/// The parent (sshd's own process of this session) and the moment it started, in clock ticks since
/// boot (proc(5), field 22 of stat): a process id alone comes round again.
fn session_id() -> String {
    let parent = parent_id();
    let line = read_proc(&format!("/proc/{parent}/stat"));
    let after_name = line.rsplit_once(')').map_or("", |(_, rest)| rest);
    match after_name.split_ascii_whitespace().nth(19) {
        Some(start) => format!("{parent}-{start}"),
        None => parent.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::text::FIELD_BYTES;

    fn block(text: &str) -> Vec<(OsString, OsString)> {
        let variable = |word: &str| word.split_once('=').map(|(name, value)| (name.into(), value.into()));
        text.split(' ').filter_map(variable).collect()
    }

    fn read(text: &str) -> (Session, Trust) {
        match Session::from_environment(&block(text)) {
            Environment::Session(session, trust) => (session, trust),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_a_user_puts_before_pams_own_variables_is_not_read() {
        let forged = "PAM_TYPE=auth PAM_RHOST=10.0.0.2 PAM_USER=root PAM_SERVICE=cron PAM_TTY=x";
        let (session, trust) = read(&format!(
            "{forged} PAM_SERVICE=sshd PAM_USER=eve PAM_TTY=ssh PAM_RHOST=192.0.2.6 PAM_TYPE=open_session"
        ));
        assert_eq!(trust, Trust::Proven);
        assert_eq!((session.user.as_str(), session.remote_host.as_str()), ("eve", "192.0.2.6"));
        assert_eq!((session.tty.as_str(), session.service.as_str()), ("ssh", "sshd"));
    }

    #[test]
    fn an_item_that_pam_left_out_is_not_taken_from_the_user() {
        let (session, _) = read("PAM_RHOST=10.0.0.2 PAM_TTY=x PAM_SERVICE=login PAM_USER=eve PAM_TYPE=close_session");
        assert_eq!((session.action, session.remote_host.as_str(), session.tty.as_str()), (Action::Close, "", ""));
    }

    #[test]
    fn variables_in_another_order_are_recorded_but_not_trusted() {
        let (session, trust) = read("PAM_RHOST=10.0.0.2 PAM_SERVICE=sshd PAM_TYPE=open_session PAM_USER=eve");
        assert_eq!((session.user.as_str(), trust), ("eve", Trust::Unproven));
    }

    #[test]
    fn other_pam_calls_and_none_are_told_apart() {
        assert_eq!(Session::from_environment(&block("PAM_SERVICE=sshd PAM_TYPE=auth")), Environment::Other);
        assert_eq!(Session::from_environment(&block("PAM_TYPE=open_sessionx")), Environment::Other);
        assert_eq!(Session::from_environment(&block("HOME=/")), Environment::Missing);
        assert_eq!(Session::from_environment(&[]), Environment::Missing);
    }

    /// Pseudo-random numbers (SplitMix64): the same ones in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap_or(0)
        }

        /// Any bytes but NUL, which ends a variable; now and then many.
        fn bytes(&mut self) -> Vec<u8> {
            let lengths = [0, 1, 3, 12, 40, 300, 70_000];
            let starts = ["".as_bytes(), b"\n", b"\x1b[2J", "\u{202e}".as_bytes(), b"\xf0\x9f", b"'"];
            let mut bytes = starts[self.below(starts.len())].to_vec();
            let most = if self.below(200) == 0 { 7 } else { 5 };
            bytes.extend((0..lengths[self.below(most)]).map(|_| u8::try_from(self.below(255)).unwrap_or(0) + 1));
            bytes
        }

        fn variable(&mut self, name: &str) -> (OsString, OsString) {
            (name.into(), OsString::from_vec(self.bytes()))
        }

        /// What a user can set: any names, PAM's own above all, in any order and any number.
        fn variables(&mut self) -> Vec<(OsString, OsString)> {
            let names = ["PAM_TYPE", "PAM_SERVICE", "PAM_USER", "PAM_TTY", "PAM_RHOST", "PAM_RUSER", "TZ", ""];
            let kinds = ["open_session", "close_session", "auth"];
            let mut block = Vec::new();
            for _ in 0..self.below(12) {
                let name = names[self.below(names.len())];
                block.push(self.variable(name));
            }
            for (name, value) in &mut block {
                if name == "PAM_TYPE" && self.below(3) > 0 {
                    *value = kinds[self.below(3)].into();
                }
            }
            block
        }

        /// What `pam_exec` adds: the service, what else it knows, and the type.
        fn items(&mut self) -> Vec<(OsString, OsString)> {
            let mut block = vec![self.variable("PAM_SERVICE")];
            for name in ["PAM_USER", "PAM_TTY", "PAM_RHOST", "PAM_RUSER"] {
                if self.below(4) > 0 {
                    block.push(self.variable(name));
                }
            }
            block.push(("PAM_TYPE".into(), ["open_session", "close_session"][self.below(2)].into()));
            block
        }
    }

    #[test]
    fn nothing_that_stands_before_pams_own_variables_changes_what_is_read() {
        let mut random = Random(2026);
        for _ in 0..20_000 {
            let (before, items) = (random.variables(), random.items());
            let expected = Session::from_environment(&items);
            assert!(matches!(expected, Environment::Session(_, Trust::Proven)), "{items:?}");
            assert_eq!(Session::from_environment(&[&before[..], &items].concat()), expected, "{before:?} {items:?}");
        }
    }

    #[test]
    fn any_block_is_read_as_visible_lines_of_bounded_length_and_trusted_only_when_pam_ended_it() {
        let mut random = Random(12);
        let mut sessions = 0;
        for _ in 0..20_000 {
            let block = random.variables();
            let Environment::Session(session, trust) = Session::from_environment(&block) else { continue };
            sessions += 1;
            for field in [&session.user, &session.remote_host, &session.tty, &session.service] {
                let text = field.as_str();
                assert!(
                    !text.contains(|sign: char| sign.is_control() || "\u{202e}\u{2028}".contains(sign)),
                    "{text:?}"
                );
                assert!(text.chars().count() <= 255 && text.len() <= FIELD_BYTES && text == text.trim(), "{text:?}");
            }
            let is_last = block.last().is_some_and(|(name, _)| name == "PAM_TYPE");
            assert_eq!(trust == Trust::Proven, is_last, "{block:?}");
        }
        assert!(sessions > 2_000, "{sessions}");
    }
}
