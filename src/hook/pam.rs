//! PAM's environment: what `pam_exec` says of a session, and how far that is proven.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use crate::event::{Action, Fact, Facts, REMOTE_HOST, Source};
use crate::process;
use crate::rules::Items;
use crate::text::Field;

/// The variables that `pam_exec` adds behind the PAM environment, last first, with `PAM_TYPE` behind them
/// all. It always sets `PAM_SERVICE`, so whatever stands before that was chosen by somebody else.
const ITEMS: [&str; 5] = ["PAM_RUSER", "PAM_RHOST", "PAM_TTY", "PAM_USER", "PAM_SERVICE"];

/// Where sshd says how the user authenticated: a line for each method, with the key behind `publickey`.
const AUTHENTICATION: &str = "SSH_AUTH_INFO_0";

/// Where sshd names both ends of the connection: client address and port, server address and port.
const CONNECTION: &str = "SSH_CONNECTION";

/// An environment block, in the order in which the process got it.
pub type Block = [(OsString, OsString)];

/// Why an environment is no session's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSession {
    /// There is no `PAM_TYPE`: the caller isn't PAM.
    NotPam,
    /// PAM called for something else: `auth`, `account`, `password`.
    OtherCall(Field),
    /// There is neither a user nor a remote host.
    Nobody,
}

/// How far an event can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The order of the variables proves that `pam_exec` wrote the items.
    Pam,
    /// Something in between (a shell) reordered them: good enough to report, not to suppress a notice.
    Reordered,
}

/// An environment block, cut where `pam_exec`'s own variables begin.
struct Environment<'b> {
    origin: Origin,
    /// The PAM environment, which a user can fill.
    user: &'b Block,
    /// The PAM items.
    pam: &'b Block,
}

/// Reads the environment block backwards, because a user can put variables before PAM's
/// (`~/.pam_environment`), and of two with the same name `getenv` returns the first.
pub fn read(block: &Block) -> Result<(Action, Facts), NoSession> {
    let action = match last(block, "PAM_TYPE").ok_or(NoSession::NotPam)? {
        b"open_session" => Action::Open,
        b"close_session" => Action::Close,
        other => return Err(NoSession::OtherCall(Field::new(other))),
    };
    let environment = match start_of_items(block) {
        Some(start) => Environment { origin: Origin::Pam, user: &block[..start], pam: &block[start..] },
        None => Environment { origin: Origin::Reordered, user: block, pam: block },
    };
    // Where the order proves nothing, an empty value may be a user's, so that any other one counts.
    if !environment.pam.iter().any(|(name, value)| (name == "PAM_USER" || name == "PAM_RHOST") && !value.is_empty()) {
        return Err(NoSession::Nobody);
    }
    let mut facts = Facts::default();
    for (fact, row) in Fact::all() {
        let value = get(row.source, &environment, &facts);
        facts[fact] = Field::bounded(&value, row.limit);
    }
    Ok((action, facts))
}

/// What PAM itself said, if the order of the variables proves that: only that may suppress a notice.
pub fn proven_items(block: &Block) -> Option<Items<'_>> {
    let pam = &block[start_of_items(block)?..];
    let item = |name| last(pam, name).unwrap_or_default();
    Some(Items { user: item("PAM_USER"), service: item("PAM_SERVICE"), remote_host: item("PAM_RHOST") })
}

/// Where the items begin, if they form an unbroken run from `PAM_TYPE`, which is last, back to `PAM_SERVICE`,
/// with `PAM_USER` among them.
fn start_of_items(block: &Block) -> Option<usize> {
    let (last, rest) = block.split_last()?;
    let mut names = ITEMS.iter();
    let length = rest.iter().rev().take_while(|(name, _)| names.any(|item| name == item)).count();
    let start = rest.len() - length;
    let has = |wanted: &str| rest[start..].iter().any(|(name, _)| name == wanted);
    (last.0 == "PAM_TYPE" && has("PAM_SERVICE") && has("PAM_USER")).then_some(start)
}

/// Gets one fact; those before it in the table are already there.
fn get(source: Source, environment: &Environment<'_>, facts: &Facts) -> Vec<u8> {
    let variable = |name| last(environment.user, name).unwrap_or_default();
    match source {
        Source::Item(name) => last(environment.pam, name).unwrap_or_default().into(),
        Source::Variable(name) => variable(name).into(),
        Source::ParentProcess => process::parent().into(),
        Source::ClientAddress => client_address(&facts[REMOTE_HOST], variable(CONNECTION)).into(),
        Source::AuthenticationMethods => join(variable(AUTHENTICATION), |(method, _)| Some(method)),
        Source::AuthenticationKeys => join(variable(AUTHENTICATION), |(method, key)| {
            Some(key).filter(|key| method == b"publickey" && !key.is_empty())
        }),
        Source::Origin => environment.origin.name().into(),
        Source::PidNamespace => process::namespace().into(),
        Source::Sender => Vec::new(),
    }
}

/// The last variable of this name.
fn last<'block>(block: &'block Block, wanted: &str) -> Option<&'block [u8]> {
    block.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_bytes())
}

/// The client's address in `SSH_CONNECTION`, where PAM knows only a name. A zone (`%eth0`) is left out: it can
/// be any text, and a user can write it.
fn client_address(remote_host: &Field, connection: &[u8]) -> String {
    let address = |text: &str| text.split('%').next().unwrap_or_default().parse::<IpAddr>().ok();
    let first = OsStr::from_bytes(connection).to_string_lossy();
    let found = address(first.split(' ').next().unwrap_or_default());
    let is_wanted = !remote_host.is_empty() && address(remote_host.as_str()).is_none();
    found.filter(|_| is_wanted).map_or_else(String::new, |address| address.to_string())
}

/// What `choose` takes of each line, which is a method and what follows it, separated by commas.
fn join<'t>(lines: &'t [u8], choose: impl Fn((&'t [u8], &'t [u8])) -> Option<&'t [u8]>) -> Vec<u8> {
    let split = |line: &'t [u8]| {
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        (&line[..end], &line[line.len().min(end + 1)..])
    };
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(split).filter_map(choose).collect::<Vec<_>>().join(&b',')
}

impl Origin {
    /// The value of the fact `origin`.
    fn name(self) -> &'static str {
        match self {
            Self::Pam => "pam",
            Self::Reordered => "reordered",
        }
    }
}

#[cfg(test)]
mod tests;
