//! An event: what PAM said of a session, when, and which session it is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::text::Field;

/// The variables that `pam_exec` adds behind the PAM environment, last first. `PAM_SERVICE` is
/// always among them, so whatever stands before it was chosen by somebody else.
const PAM_ITEMS: [&str; 5] = ["PAM_RUSER", "PAM_RHOST", "PAM_TTY", "PAM_USER", "PAM_SERVICE"];

/// Whether a session begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `PAM_TYPE=open_session`
    Open,
    /// `PAM_TYPE=close_session`
    Close,
}

/// What PAM said. Empty fields are those that it did not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
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
    /// When it happened.
    pub at: Stamp,
    /// `PID-STARTTIME` of the process that opened the session: the same at open and at close.
    pub session: String,
}

/// A moment by two clocks, so that a wall clock that was set later can be corrected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970 in UTC, as the wall clock had it.
    pub utc_ms: i64,
    /// Milliseconds since the host booted, suspended time included; it can't be set.
    pub boot_ms: i64,
    /// Which boot that was (`/proc/sys/kernel/random/boot_id`); empty where it can't be told.
    pub boot_id: String,
}

/// What the environment block holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Environment {
    /// No `PAM_TYPE`: not started by PAM.
    Missing,
    /// A PAM event that is no session's (`auth`, `account`, …).
    Other,
    /// A session event. `Trust` tells whether its fields may silence it.
    Session(Event, Trust),
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
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { utc_ms: utc_ms(), boot_ms: boot_ms(), boot_id: boot_id.trim().into() }
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
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        #[expect(clippy::unnecessary_cast, clippy::cast_lossless, reason = "32-bit targets have narrower types")]
        let (seconds, nanoseconds) = (time.tv_sec() as i64, time.tv_nsec() as i64);
        seconds * 1000 + nanoseconds / 1_000_000
    })
}

impl Event {
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
        let event = Self { action, user, remote_host, tty, service, at: Stamp::now(), session: session() };
        Environment::Session(event, trust)
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
fn session() -> String {
    let parent = parent_id();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    match after_name.split_ascii_whitespace().nth(19) {
        Some(start) => format!("{parent}-{start}"),
        None => parent.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Vec<(OsString, OsString)> {
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
        text.split(' ').filter_map(pair).collect()
    }

    fn read(text: &str) -> (Event, Trust) {
        match Event::from_environment(&block(text)) {
            Environment::Session(event, trust) => (event, trust),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_a_user_puts_before_pams_own_variables_is_not_read() {
        let forged = "PAM_TYPE=auth PAM_RHOST=10.0.0.2 PAM_USER=root PAM_SERVICE=cron PAM_TTY=x";
        let (event, trust) = read(&format!(
            "{forged} PAM_SERVICE=sshd PAM_USER=eve PAM_TTY=ssh PAM_RHOST=192.0.2.6 PAM_TYPE=open_session"
        ));
        assert_eq!(trust, Trust::Proven);
        assert_eq!((event.user.as_str(), event.remote_host.as_str()), ("eve", "192.0.2.6"));
        assert_eq!((event.tty.as_str(), event.service.as_str()), ("ssh", "sshd"));
    }

    #[test]
    fn an_item_that_pam_left_out_is_not_taken_from_the_user() {
        let (event, _) = read("PAM_RHOST=10.0.0.2 PAM_TTY=x PAM_SERVICE=login PAM_USER=eve PAM_TYPE=close_session");
        assert_eq!((event.action, event.remote_host.as_str(), event.tty.as_str()), (Action::Close, "", ""));
    }

    #[test]
    fn variables_in_another_order_are_recorded_but_not_trusted() {
        let (event, trust) = read("PAM_RHOST=10.0.0.2 PAM_SERVICE=sshd PAM_TYPE=open_session PAM_USER=eve");
        assert_eq!((event.user.as_str(), trust), ("eve", Trust::Unproven));
    }

    #[test]
    fn other_pam_calls_and_none_are_told_apart() {
        assert_eq!(Event::from_environment(&block("PAM_SERVICE=sshd PAM_TYPE=auth")), Environment::Other);
        assert_eq!(Event::from_environment(&block("PAM_TYPE=open_sessionx")), Environment::Other);
        assert_eq!(Event::from_environment(&block("HOME=/")), Environment::Missing);
        assert_eq!(Event::from_environment(&[]), Environment::Missing);
    }
}
