//! Reads a session event from the environment that `pam_exec` passes, and decides how far to trust it.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use crate::event::{Action, Fact, Facts, REMOTE_HOST, Source};
use crate::process;
use crate::rules::Items;
use crate::text::Field;

/// The PAM items in the order in which `pam_exec` appends them to the PAM environment, last first. `PAM_TYPE` follows
/// them. `PAM_SERVICE` is always set, so a user can have set only the variables before it.
const ITEMS: [&str; 5] = ["PAM_RUSER", "PAM_RHOST", "PAM_TTY", "PAM_USER", "PAM_SERVICE"];

/// Where sshd lists how the user authenticated: a line for each method, with the key after `publickey`.
const AUTHENTICATION: &str = "SSH_AUTH_INFO_0";

/// Where sshd names both ends of the connection: client address and port, server address and port.
const CONNECTION: &str = "SSH_CONNECTION";

/// The environment's variables, in the order in which this process got them.
pub type Block = [(OsString, OsString)];

/// Why an environment has no session event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSession {
    /// There is no `PAM_TYPE`: the caller isn't PAM.
    NotPam,
    /// PAM's call is for something else: `auth`, `account`, `password`.
    OtherCall(Field),
    /// There is neither a user nor a remote host.
    Nobody,
}

/// How far an event can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The order of the variables proves that `pam_exec` wrote the items.
    Pam,
    /// Something in between (a shell) reordered them: good enough to report, not to suppress a notice.
    Reordered,
}

/// An environment, divided where the PAM items begin.
struct Environment<'b> {
    origin: Origin,
    /// The PAM environment, which a user can fill.
    user: &'b Block,
    /// The PAM items.
    pam: &'b Block,
}

/// Reads the environment from its end, because a user can put variables before PAM's (`~/.pam_environment`), and
/// `getenv` would return the first of two with the same name.
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
    // If they were reordered, an empty value may be a forgery, so any other value counts.
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

/// Returns PAM's items if the order of the variables proves that PAM set them. Only these may suppress a notice.
pub fn proven_items(block: &Block) -> Option<Items<'_>> {
    let pam = &block[start_of_items(block)?..];
    let item = |name| last(pam, name).unwrap_or_default();
    Some(Items { user: item("PAM_USER"), service: item("PAM_SERVICE"), remote_host: item("PAM_RHOST") })
}

/// Finds where the items begin. `None` unless they form an unbroken run from `PAM_TYPE`, the last variable, back to
/// `PAM_SERVICE`, and include `PAM_USER`.
fn start_of_items(block: &Block) -> Option<usize> {
    let (last, rest) = block.split_last()?;
    // `any` advances `names`, so the items count only in this order.
    let mut names = ITEMS.iter();
    let length = rest.iter().rev().take_while(|(name, _)| names.any(|item| name == item)).count();
    let start = rest.len() - length;
    let has = |wanted: &str| rest[start..].iter().any(|(name, _)| name == wanted);
    (last.0 == "PAM_TYPE" && has("PAM_SERVICE") && has("PAM_USER")).then_some(start)
}

/// Gets one fact. Those before it in the table are in `facts` already.
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

/// Returns the client's address in `SSH_CONNECTION` if PAM's remote host is a name. An IPv6 zone (`%eth0`) is dropped,
/// because a user could forge any text there.
fn client_address(remote_host: &Field, connection: &[u8]) -> String {
    let address = |text: &str| text.split('%').next().unwrap_or_default().parse::<IpAddr>().ok();
    let first = OsStr::from_bytes(connection).to_string_lossy();
    let found = address(first.split(' ').next().unwrap_or_default());
    let is_wanted = !remote_host.is_empty() && address(remote_host.as_str()).is_none();
    found.filter(|_| is_wanted).map_or_else(String::new, |address| address.to_string())
}

/// Splits each line into a method and the rest, and joins the parts that `choose` returns with commas.
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
