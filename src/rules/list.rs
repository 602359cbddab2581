//! The rules of the configuration, and their joint decision about a session.

use std::time::Duration;

use crate::event::{ORIGIN, SERVICE, authentication};
use crate::rules::rule::{Evidence, Notify, Part, Proof, Reach, Rule, Session};
use crate::rules::{Urgency, Verdict};
use crate::toml::Section;
use crate::tz::Zone;

/// The most rules in a configuration.
pub const LIMIT: usize = 200;

/// The service whose keys are trusted. With other services, the user may have set `SSH_AUTH_INFO_0`.
pub const WITH_KEYS: &str = "sshd";

/// The rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The rules.
    pub list: Vec<Rule>,
    /// How far a proven session is trusted.
    trust: Trust,
}

/// How far the PAM environment is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Only PAM's items.
    #[default]
    Items,
    /// All of it: `hook.trust_environment`
    Environment,
}

/// The decision about a notice, and the rule that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// How urgent it is.
    pub notify: Notify,
    /// The rule's place.
    pub rule: Option<u16>,
    /// How long repeats are held.
    pub repeat: Option<Duration>,
}

impl Rules {
    /// Reads every `[[rule]]`. A time without an offset is in `zone`.
    pub fn configure(sections: Vec<Section<'_>>, trust: Trust, zone: &Zone) -> Self {
        let rules = (1..).zip(sections).map(|(place, section)| Rule::configure(section, place, zone));
        Self { list: rules.collect(), trust }
    }

    /// How far the PAM environment is trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Judges a session; `base` is the decision without rules. The first deciding rule counts, unless a rule before
    /// it makes the notice more urgent.
    pub fn judge(&self, session: &Session<'_>, base: Ruling) -> Ruling {
        let evidence = self.evidence(session);
        let (mut ruling, mut raised) = (base, None);
        for rule in &self.list {
            let own = Ruling { notify: rule.notify, rule: Some(rule.place), repeat: None };
            match rule.reach(session, &evidence) {
                Reach::Nothing => {}
                Reach::Raises => raised = raised.filter(|raised: &Ruling| raised.notify >= own.notify).or(Some(own)),
                Reach::Decides => {
                    ruling = Ruling { repeat: rule.repeat, ..own };
                    break;
                }
            }
        }
        raised.filter(|raised| raised.notify >= ruling.notify).unwrap_or(ruling)
    }

    fn evidence(&self, session: &Session<'_>) -> Evidence {
        let is_by_key = self.list.iter().any(|rule| rule.keys.is_some());
        let found = if is_by_key { authentication::fingerprints(session.facts) } else { Vec::new() };
        // `ED25519 SHA256:…`; a certificate's line continues.
        let fingerprints = found.iter().filter_map(|key| Some(key.split(' ').nth(1)?.to_owned())).collect();
        Evidence { proof: self.proof(session), fingerprints }
    }

    fn proof(&self, session: &Session<'_>) -> Proof {
        let is_proven = session.part != Part::LoneLogout && session.facts[ORIGIN].as_str() == "pam";
        match self.trust {
            _ if !is_proven => Proof::Nothing,
            Trust::Environment if session.facts[SERVICE].as_str() == WITH_KEYS => Proof::Environment,
            Trust::Environment | Trust::Items => Proof::Items,
        }
    }
}

impl Trust {
    /// Reads the section `hook`.
    pub fn configure(mut section: Section<'_>) -> Self {
        let trusts = section.boolean("trust_environment").unwrap_or_default();
        section.finish();
        if trusts { Self::Environment } else { Self::Items }
    }
}

impl Ruling {
    /// The decision in a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let notify = if verdict.is_silenced { Notify::Never } else { Notify::At(verdict.urgency) };
        Self { notify, rule: verdict.rule, repeat: None }
    }

    /// A verdict with this decision and nothing else.
    pub fn verdict(self) -> Verdict {
        let (urgency, is_silenced) = match self.notify {
            Notify::Never => (Urgency::Quiet, true),
            Notify::At(urgency) => (urgency, false),
        };
        Verdict { urgency, is_silenced, rule: self.rule, ..Verdict::default() }
    }
}
