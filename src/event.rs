//! An event: what PAM said of a session, when, and which session it is.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

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

/// A moment by two clocks, so that a wall clock that was set later can be corrected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Milliseconds since 1970 in UTC, as the wall clock had it.
    pub utc_ms: i64,
    /// Milliseconds since the host booted, suspended time included; it can't be set.
    pub boot_ms: i64,
    /// Which boot that was (`/proc/sys/kernel/random/boot_id`); empty where it can't be told.
    pub boot_id: String,
}

/// Two clocks that differ by less have drifted; by more, the wall clock was set in between.
const SLEW_LIMIT_MS: u64 = 10_000;

/// A wall clock before this (2026-11-01 in UTC) was never set: the program didn't exist then.
pub const EARLIEST_MS: i64 = 1_793_491_200_000;

/// The same for an event without a boot id, such as those of the Go program: 2024-01-01 in UTC.
const EARLIEST_WITHOUT_BOOT_MS: i64 = 1_704_067_200_000;

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

impl Stamp {
    /// The present moment.
    pub fn now() -> Self {
        let boot_id = read_proc("/proc/sys/kernel/random/boot_id");
        Self { utc_ms: utc_ms(), boot_ms: boot_ms(), boot_id: boot_id.trim().into() }
    }

    /// Milliseconds from this moment to a later one: by the boot-time clock within one boot, else
    /// by the wall clock. `None` when neither can tell (the wall clock went backwards, or wasn't set).
    pub fn until(&self, later: &Self) -> Option<i64> {
        if !self.boot_id.is_empty() && self.boot_id == later.boot_id {
            return Some(later.boot_ms - self.boot_ms);
        }
        let passed = later.utc_ms.saturating_sub(self.utc_ms);
        (self.utc_ms >= EARLIEST_MS && passed >= 0).then_some(passed)
    }

    /// Whether a wall-clock time of this moment can't be right.
    pub fn is_uncertain(&self, utc_ms: i64) -> bool {
        utc_ms < if self.boot_id.is_empty() { EARLIEST_WITHOUT_BOOT_MS } else { EARLIEST_MS }
    }

    /// The wall-clock time of this moment as the clock of `now` would have shown it, in UTC
    /// milliseconds: a router without a battery learns the time only after its first logins.
    pub fn corrected(&self, now: &Self) -> i64 {
        if self.boot_id.is_empty() || self.boot_id != now.boot_id {
            return self.utc_ms;
        }
        let corrected = now.utc_ms.saturating_sub(now.boot_ms.saturating_sub(self.boot_ms));
        let was_set = corrected.abs_diff(self.utc_ms) > SLEW_LIMIT_MS;
        if was_set { corrected } else { self.utc_ms }
    }
}

/// The wall clock: milliseconds since 1970 in UTC, negative before.
pub fn utc_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The boot-time clock: milliseconds since the host booted.
pub fn boot_ms() -> i64 {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
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

/// Reads a short file of the kernel's in one system call; empty where it isn't there.
fn read_proc(path: &str) -> String {
    let mut bytes = [0; 1024];
    let length = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into()
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

    #[test]
    fn a_clock_that_was_set_after_the_event_is_corrected_within_one_boot() {
        let stamp = |utc_ms, boot_ms, boot_id: &str| Stamp { utc_ms, boot_ms, boot_id: boot_id.into() };
        let now = stamp(EARLIEST_MS + 90_000, 90_000, "b");
        let rows = [
            (stamp(5_000, 5_000, "b"), EARLIEST_MS + 5_000, Some(85_000)),
            (stamp(EARLIEST_MS + 6_000, 5_000, "b"), EARLIEST_MS + 6_000, Some(85_000)),
            (stamp(5_000, 5_000, "a"), 5_000, None),
            (stamp(5_000, 5_000, ""), 5_000, None),
            (stamp(EARLIEST_MS, 5_000, "a"), EARLIEST_MS, Some(90_000)),
            (stamp(EARLIEST_MS + 95_000, 5_000, "a"), EARLIEST_MS + 95_000, None),
        ];
        for (then, corrected, passed) in rows {
            assert_eq!((then.corrected(&now), then.until(&now)), (corrected, passed), "{then:?}");
        }
    }
}
