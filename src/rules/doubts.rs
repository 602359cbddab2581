//! Doubts: rules that can never take effect.

use crate::event::Action;
use crate::rules::list::{Rules, Trust, WITH_KEYS};
use crate::rules::rule::{Notify, Rule};
use crate::rules::{Network, Urgency};

/// Why a rule can never take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It expired at this moment, in UTC milliseconds.
    Expired(i64),
    /// The rule at this place always decides first.
    Shadowed(u16),
    /// It makes notices quieter by a key, which a user can forge.
    ForgedKey,
    /// It makes notices quieter by a key, for services whose keys are not trusted.
    KeyOfOther,
    /// It makes notices quieter by `by` and `from`, but `by` is trusted only without a remote host.
    ByAndFrom,
}

impl Rules {
    /// The rules that can never take effect after a moment in UTC milliseconds.
    pub fn doubts(&self, now_ms: i64) -> Vec<(&Rule, Doubt)> {
        let doubt = |(place, rule): (usize, &Rule)| {
            let shadow = || self.list[..place].iter().find(|earlier| self.is_shadow(earlier, rule));
            let expired = rule.until.filter(|until| *until <= now_ms).map(Doubt::Expired);
            expired.or_else(|| self.futile(rule)).or_else(|| shadow().map(|earlier| Doubt::Shadowed(earlier.place)))
        };
        self.list.iter().enumerate().filter_map(|found| Some((found.1, doubt(found)?))).collect()
    }

    /// Why a rule can't make any notice quieter.
    fn futile(&self, rule: &Rule) -> Option<Doubt> {
        let has_service =
            |name: &str| rule.services.as_ref().is_none_or(|names| names.iter().any(|known| known == name));
        let is_quieter = match rule.notify {
            Notify::Never | Notify::At(Urgency::Quiet) => true,
            Notify::At(Urgency::Normal | Urgency::Urgent) => rule.repeat.is_some(),
        };
        match (&rule.keys, &rule.bys, &rule.networks) {
            _ if !is_quieter => None,
            (Some(_), ..) if !has_service(WITH_KEYS) => Some(Doubt::KeyOfOther),
            (Some(_), ..) if self.trust() == Trust::Items => Some(Doubt::ForgedKey),
            (_, Some(_), Some(_)) => Some(Doubt::ByAndFrom),
            (Some(_) | None, ..) => None,
        }
    }

    /// Whether an earlier rule decides about every session that a later one matches.
    fn is_shadow(&self, earlier: &Rule, later: &Rule) -> bool {
        let decides = earlier.keys.is_none() || self.trust() == Trust::Environment;
        let is_longer = earlier.until.is_none_or(|until| later.until.is_some_and(|later| later <= until));
        let has_event = earlier.event == later.event || (earlier.event, later.event) == (None, Some(Action::Open));
        let has_networks = earlier.networks.as_ref().is_none_or(|earlier| {
            let is_in = |network: &Network| earlier.iter().any(|wider| wider.covers(*network));
            later.networks.as_ref().is_some_and(|later| later.iter().all(is_in))
        });
        decides
            && is_longer
            && has_event
            && has_networks
            && (earlier.new.is_none() || earlier.new == later.new)
            && has_all(earlier.users.as_ref(), later.users.as_ref())
            && has_all(earlier.bys.as_ref(), later.bys.as_ref())
            && has_all(earlier.services.as_ref(), later.services.as_ref())
            && has_all(earlier.keys.as_ref(), later.keys.as_ref())
    }
}

/// Whether one list contains all names of another; a missing list contains all names.
fn has_all(wider: Option<&Vec<String>>, narrower: Option<&Vec<String>>) -> bool {
    wider.is_none_or(|wider| narrower.is_some_and(|narrower| narrower.iter().all(|name| wider.contains(name))))
}
