//! One rule: which sessions it matches, and how urgent their notices are.

use std::time::Duration;

use crate::event::{Action, BY, Fact, Facts, REMOTE_HOST, SERVICE, USER};
use crate::rules::network::{address, bits};
use crate::rules::{Network, New, Urgency};
use crate::text::Field;
use crate::toml::{Found, Section};
use crate::tz::Zone;

/// The effect of a rule on a notice, in order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notify {
    /// Nobody gets it.
    Never,
    /// It is this urgent.
    At(Urgency),
}

/// One rule. A condition that is `None` matches every session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its place among the rules, from 1.
    pub place: u16,
    /// Its line in the configuration.
    pub line: usize,
    /// Its effect on a notice.
    pub notify: Notify,
    pub users: Option<Vec<String>>,
    pub bys: Option<Vec<String>>,
    pub services: Option<Vec<String>>,
    pub networks: Option<Vec<Network>>,
    /// Fingerprints: `SHA256:…`
    pub keys: Option<Vec<String>>,
    pub event: Option<Action>,
    pub new: Option<bool>,
    /// When it expires, in UTC milliseconds.
    pub until: Option<i64>,
    /// How long a session's repeats are held for one summary.
    pub repeat: Option<Duration>,
}

/// The login or logout to judge.
#[derive(Clone, Copy, Debug)]
pub struct Session<'e> {
    /// The login's facts, even if its logout is judged.
    pub facts: &'e Facts,
    pub part: Part,
    /// What was new at the login.
    pub new: New,
    /// When it happened, in UTC milliseconds; `None` if the clock is uncertain.
    pub at_ms: Option<i64>,
}

/// Findings about a session that every rule needs, computed once.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// How far its facts are proven.
    pub proof: Proof,
    /// The fingerprints of its keys: `SHA256:…`
    pub fingerprints: Vec<String>,
}

/// A part of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its login.
    Login,
    /// The logout of a known login.
    Logout,
    /// A logout without a known login.
    LoneLogout,
}

/// How far the facts of a session are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// They may all be forged.
    Nothing,
    /// PAM's items are proven.
    Items,
    /// The rest of the environment is proven too.
    Environment,
}

/// The power of a rule over a session's notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It doesn't match.
    Nothing,
    /// It may make the notice more urgent than later rules do, but not less, because it relies on facts that can be
    /// forged.
    Raises,
    /// It decides.
    Decides,
}

impl Default for Notify {
    fn default() -> Self {
        Self::At(Urgency::Normal)
    }
}

impl Notify {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::At(urgency) => urgency.name(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let urgency = || Urgency::parse(text).map(Self::At);
        let found = if text == Self::Never.name() { Some(Self::Never) } else { urgency() };
        found.ok_or_else(|| format!("is {text:?}, not \"never\", \"quiet\", \"normal\" or \"urgent\""))
    }
}

impl Rule {
    /// Reads one `[[rule]]`. A time without an offset is in `zone`.
    pub fn configure(mut section: Section<'_>, place: u16, zone: &Zone) -> Self {
        let rule = Self {
            place,
            line: section.line(),
            users: list(&mut section, "user", name),
            bys: list(&mut section, "by", name),
            services: list(&mut section, "service", name),
            networks: list(&mut section, "from", network),
            keys: list(&mut section, "key", fingerprint),
            event: one(&mut section, "event", |text| {
                Action::parse(text).ok_or_else(|| format!("is {text:?}, not \"open\" or \"close\""))
            }),
            new: section.boolean("new"),
            until: section.date("until").map(|written| written.end_ms(zone)),
            notify: one(&mut section, "notify", Notify::parse).unwrap_or_default(),
            repeat: one(&mut section, "repeat", duration),
        };
        if rule.repeat.is_some() && (rule.notify == Notify::Never || rule.event == Some(Action::Close)) {
            section.refuse("has `repeat`, which holds logins: it can't be combined with \"never\" or \"close\"");
        }
        section.finish();
        rule
    }

    /// The power of this rule over a session's notice.
    pub fn reach(&self, session: &Session<'_>, evidence: &Evidence) -> Reach {
        let facts = session.facts;
        let remote_host = address(facts[REMOTE_HOST].as_str().as_bytes()).map(bits);
        let holds = is_one_of(self.users.as_deref(), facts, USER)
            && is_one_of(self.bys.as_deref(), facts, BY)
            && is_one_of(self.services.as_deref(), facts, SERVICE)
            && self.networks.as_ref().is_none_or(|networks| {
                remote_host.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
            })
            && self.keys.as_ref().is_none_or(|keys| keys.iter().any(|key| evidence.fingerprints.contains(key)))
            && self.is_about(session.part)
            && self.new.is_none_or(|new| new == (session.new != New::default()))
            && self.until.is_none_or(|until| session.at_ms.is_some_and(|at| at < until));
        let needed = if self.keys.is_some() { Proof::Environment } else { Proof::Items };
        // Other hosts' user names prove nothing.
        let is_by_remote = self.bys.is_some() && !facts[REMOTE_HOST].is_empty();
        match (holds, evidence.proof >= needed && !is_by_remote) {
            (false, _) => Reach::Nothing,
            (true, false) => Reach::Raises,
            (true, true) => Reach::Decides,
        }
    }

    /// Whether it matches this part of a session. Only a rule about logouts matches the logout of a known login.
    fn is_about(&self, part: Part) -> bool {
        match (self.event, part) {
            (Some(Action::Open) | None, Part::Login)
            | (Some(Action::Close), Part::Logout | Part::LoneLogout)
            | (None, Part::LoneLogout) => true,
            (Some(Action::Close), Part::Login)
            | (Some(Action::Open), Part::Logout | Part::LoneLogout)
            | (None, Part::Logout) => false,
        }
    }
}

fn is_one_of(names: Option<&[String]>, facts: &Facts, fact: Fact) -> bool {
    names.is_none_or(|names| names.iter().any(|name| name == facts[fact].as_str()))
}

/// Reads a list with at least one entry.
fn list<T>(section: &mut Section<'_>, key: &str, parse: fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
    if !section.has(key) {
        return None;
    }
    let found = section.required(key, Section::strings)?;
    Some(found.value.iter().filter_map(|text| section.check(key, text, |text| parse(text))).collect())
}

fn one<T>(section: &mut Section<'_>, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    let found: Found<String> = section.string(key)?;
    section.check(key, &found, |text| parse(text))
}

/// Checks that events can have this name.
fn name(text: &str) -> Result<String, String> {
    let is_whole = Field::new(text.as_bytes()).as_str() == text && !text.contains(char::REPLACEMENT_CHARACTER);
    match text {
        "" => Err("has an empty name".into()),
        _ if is_whole => Ok(text.into()),
        _ => Err(format!("has {text:?}, which no event can have; a name is one line of printable characters")),
    }
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).ok_or_else(|| format!("has {text:?}, which is neither an address nor a network"))
}

fn fingerprint(text: &str) -> Result<String, String> {
    /// Characters of 256 bits in base64 (RFC 4648).
    const LENGTH: usize = 43;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let digest = text.strip_prefix("SHA256:").filter(|digest| digest.len() == LENGTH && digest.bytes().all(is_digit));
    let mistake = "must be a fingerprint such as SHA256:… with 43 characters, as `ssh-keygen -lf FILE` prints it";
    digest.map(|_| text.into()).ok_or_else(|| mistake.into())
}

/// `90s`, `30m`, `1h` or `2d`
fn duration(text: &str) -> Result<Duration, String> {
    /// A summary must come within a week.
    const LONGEST: u64 = 7 * 86_400;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or_default();
    let unit = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)].into_iter().find(|(name, _)| *name == unit);
    let count = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let seconds = count.and_then(|digits| Some(u64::from(digits.parse::<u32>().ok()?) * unit?.1));
    let mistake = || "must be a number and s, m, h or d, such as \"1h\", from 1 second to 7 days".into();
    seconds.filter(|seconds| (1..=LONGEST).contains(seconds)).map(Duration::from_secs).ok_or_else(mistake)
}
