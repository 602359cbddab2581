//! The rules of the configuration, and what they make of a session together.

use std::time::Duration;

use crate::event::{ORIGIN, SERVICE, authentication};
use crate::rules::rule::{Evidence, Notify, Part, Proof, Reach, Rule, Session};
use crate::rules::{Urgency, Verdict};
use crate::toml::Section;
use crate::tz::Zone;

/// Rules that are read at most.
pub const LIMIT: usize = 200;

/// The service whose keys are believed. Other programs' users can invent what their environment says of keys.
pub const WITH_KEYS: &str = "sshd";

/// The rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Each rule.
    pub list: Vec<Rule>,
    /// How far a session that PAM proves is believed.
    trust: Trust,
}

/// How far the PAM environment is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// PAM's items alone.
    #[default]
    Items,
    /// All of it: `hook.trust_environment`
    Environment,
}

/// What is decided about a notice, and by which rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// How urgent it is.
    pub notify: Notify,
    /// The rule's place.
    pub rule: Option<u16>,
    /// For how long repeats are held.
    pub repeat: Option<Duration>,
}

impl Rules {
    /// Reads every `[[rule]]`. A time without an offset is of the zone.
    pub fn configure(sections: Vec<Section<'_>>, trust: Trust, zone: &Zone) -> Self {
        let rules = (1..).zip(sections).map(|(place, section)| Rule::configure(section, place, zone));
        Self { list: rules.collect(), trust }
    }

    /// How far the PAM environment is believed.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Judges a session that is `base` without a rule. The first rule that decides counts, and before it those that
    /// make the notice more urgent.
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
        // `ED25519 SHA256:…`; of a certificate, more follows.
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
    /// What was decided with a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let notify = if verdict.is_silenced { Notify::Never } else { Notify::At(verdict.urgency) };
        Self { notify, rule: verdict.rule, repeat: None }
    }

    /// The verdict that says so, and nothing else.
    pub fn verdict(self) -> Verdict {
        let (urgency, is_silenced) = match self.notify {
            Notify::Never => (Urgency::Quiet, true),
            Notify::At(urgency) => (urgency, false),
        };
        Verdict { urgency, is_silenced, rule: self.rule, ..Verdict::default() }
    }
}
