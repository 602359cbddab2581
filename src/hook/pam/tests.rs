use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::event::{BY, SERVICE, TTY, USER};
use crate::text::FIELD_BYTES;

fn block(text: &str) -> Vec<(OsString, OsString)> {
    let variable = |word: &str| word.split_once('=').map(|(name, value)| (name.into(), value.into()));
    text.split(' ').filter_map(variable).collect()
}

fn origin(facts: &Facts) -> &str {
    facts[Fact::find("origin").expect("a fact")].as_str()
}

fn is_proven(facts: &Facts) -> bool {
    origin(facts) == "pam"
}

fn read(text: &str) -> (Action, Facts) {
    super::read(&block(text)).unwrap_or_else(|why| panic!("{text}: {why:?}"))
}

/// P3
#[test]
fn variables_that_a_user_puts_before_pams_items_are_ignored() {
    let forged = "PAM_TYPE=auth PAM_RHOST=10.0.0.2 PAM_USER=root PAM_SERVICE=cron PAM_TTY=x";
    let (_, facts) =
        read(&format!("{forged} PAM_SERVICE=sshd PAM_USER=eve PAM_TTY=ssh PAM_RHOST=192.0.2.6 PAM_TYPE=open_session"));
    assert!(is_proven(&facts));
    let values = [USER, REMOTE_HOST, TTY, SERVICE].map(|fact| facts[fact].as_str());
    assert_eq!(values, ["eve", "192.0.2.6", "ssh", "sshd"]);
}

#[test]
fn an_item_that_pam_omits_is_not_read_from_the_users_variables() {
    let (action, facts) = read("PAM_RHOST=10.0.0.2 PAM_TTY=x PAM_SERVICE=login PAM_USER=eve PAM_TYPE=close_session");
    assert_eq!((action, facts[REMOTE_HOST].as_str(), facts[TTY].as_str()), (Action::Close, "", ""));
    assert!(is_proven(&facts));
}

/// P3: a shell in between may sort the variables, or add some of its own.
#[test]
fn reordered_variables_are_recorded_but_not_trusted() {
    for block in [
        "PAM_RHOST=192.0.2.6 PAM_SERVICE=sshd PAM_TYPE=open_session PAM_USER=eve",
        "PAM_SERVICE=sshd PAM_USER=eve PAM_TTY=ssh PAM_RHOST=192.0.2.6 PWD=/ PAM_TYPE=open_session",
        "PAM_SERVICE=sshd PAM_USER=eve SHLVL=1 PAM_RHOST=192.0.2.6 PAM_TYPE=open_session",
        "PAM_USER=eve PAM_SERVICE=sshd PAM_RHOST=192.0.2.6 PAM_TYPE=open_session",
    ] {
        let (_, facts) = read(block);
        assert_eq!((facts[USER].as_str(), facts[REMOTE_HOST].as_str()), ("eve", "192.0.2.6"), "{block}");
        assert_eq!((origin(&facts), proven_items(&self::block(block))), ("reordered", None), "{block}");
    }
}

#[test]
fn the_connection_and_the_keys_are_recorded_as_sshd_wrote_them() {
    let fact = |facts: &Facts, name: &str| facts[Fact::find(name).expect("a fact of that name")].as_str().to_owned();
    let items =
        |remote_host: &str| format!("PAM_SERVICE=sshd PAM_USER=eve PAM_RHOST={remote_host} PAM_TYPE=open_session");
    let mut variables = vec![
        (CONNECTION.into(), "203.0.113.9 52814 192.0.2.1 22".into()),
        (AUTHENTICATION.into(), "publickey ssh-ed25519 AAAAC3\nkeyboard-interactive/pam\n".into()),
    ];
    variables.extend(block(&items("gateway")));
    let Ok((_, facts)) = super::read(&variables) else { panic!("{variables:?}") };
    assert!(is_proven(&facts));
    assert_eq!(fact(&facts, "address"), "203.0.113.9");
    assert_eq!(fact(&facts, "peer"), "203.0.113.9 52814 192.0.2.1 22");
    assert_eq!(fact(&facts, "method"), "publickey,keyboard-interactive/pam");
    assert_eq!(fact(&facts, "key"), "ssh-ed25519 AAAAC3");
    assert_eq!(fact(&facts, "pidns"), process::namespace());
    for (remote_host, connection, expected) in [
        ("192.0.2.7", "203.0.113.9 1 192.0.2.1 22", ""),
        ("fe80::1%eth0", "203.0.113.9 1 192.0.2.1 22", ""),
        ("host.example", "fe80::1%eth0 1 192.0.2.1 22", "fe80::1"),
        ("host.example", "192.0.2.9%;after=2s 1 192.0.2.1 22", "192.0.2.9"),
        ("gateway", "2001:db8::7 1 ::1 22", "2001:db8::7"),
        ("gateway", "UNKNOWN 65535 UNKNOWN 65535", ""),
        ("gateway", "", ""),
    ] {
        let remote_host = Field::new(remote_host.as_bytes());
        assert_eq!(client_address(&remote_host, connection.as_bytes()), expected);
    }
    let (_, facts) = read("PAM_SERVICE=su PAM_USER=root PAM_TTY=pts/0 PAM_RUSER=amanda PAM_TYPE=open_session");
    assert_eq!(facts[BY].as_str(), "amanda");
}

#[test]
fn other_pam_calls_and_other_callers_are_distinguished() {
    for name in ["auth", "account", "open_sessionx"] {
        let other = Err(NoSession::OtherCall(Field::new(name.as_bytes())));
        assert_eq!(super::read(&block(&format!("PAM_SERVICE=sshd PAM_USER=a PAM_TYPE={name}"))), other);
    }
    for nobody in ["", "PAM_SERVICE=sshd ", "PAM_USER= PAM_RHOST= ", "PAM_USER=a PAM_SERVICE=b PAM_USER= "] {
        assert_eq!(super::read(&block(&format!("{nobody}PAM_TYPE=open_session"))), Err(NoSession::Nobody), "{nobody}");
    }
    // A name of invisible characters is still a name.
    for somebody in ["PAM_USER=\u{a0} ", "PAM_RHOST=\t ", "PAM_USER=a PAM_SERVICE=b PAM_USER= PWD=/ "] {
        assert!(super::read(&block(&format!("{somebody}PAM_TYPE=close_session"))).is_ok(), "{somebody:?}");
    }
    assert_eq!(super::read(&block("HOME=/")), Err(NoSession::NotPam));
    assert_eq!(super::read(&[]), Err(NoSession::NotPam));
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

    /// Any bytes except NUL, which ends a variable; sometimes many.
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

    /// Variables that a user can set: any names, mostly PAM's, in any order and number.
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

    /// Variables that `pam_exec` appends: the service, the items that are set, and the type.
    fn items(&mut self) -> Vec<(OsString, OsString)> {
        let mut block = vec![self.variable("PAM_SERVICE"), self.variable("PAM_USER")];
        for name in ["PAM_TTY", "PAM_RHOST", "PAM_RUSER"] {
            if self.below(4) > 0 {
                block.push(self.variable(name));
            }
        }
        block.push(("PAM_TYPE".into(), ["open_session", "close_session"][self.below(2)].into()));
        block
    }
}

/// P3
#[test]
fn no_variable_before_pams_items_changes_the_event() {
    let mut random = Random(2026);
    for _ in 0..20_000 {
        let (before, items) = (random.variables(), random.items());
        let expected = super::read(&items);
        // A few have neither a user nor a remote host.
        let is_nobody = expected == Err(NoSession::Nobody);
        assert!(is_nobody || matches!(&expected, Ok((_, facts)) if is_proven(facts)), "{items:?}");
        let all = [&before[..], &items].concat();
        assert_eq!(super::read(&all), expected, "{before:?} {items:?}");
        assert_eq!(proven_items(&all), proven_items(&items), "{before:?} {items:?}");
    }
}

/// P3
#[test]
fn facts_are_bounded_printable_lines_and_trusted_only_if_pam_type_comes_last() {
    let mut random = Random(12);
    let mut sessions = 0;
    for _ in 0..20_000 {
        let block = random.variables();
        let Ok((_, facts)) = super::read(&block) else { continue };
        sessions += 1;
        for (fact, row) in Fact::all() {
            let text = facts[fact].as_str();
            assert!(!text.contains(|sign: char| sign.is_control() || "\u{202e}\u{2028}".contains(sign)), "{text:?}");
            let bytes = row.limit.max(FIELD_BYTES);
            assert!(text.chars().count() <= row.limit && text.len() <= bytes && text == text.trim(), "{text:?}");
        }
        let is_last = block.last().is_some_and(|(name, _)| name == "PAM_TYPE");
        assert!(is_last || !is_proven(&facts), "{block:?}");
    }
    assert!(sessions > 2_000, "{sessions}");
}
