//! The verdict: the sender's decision about one event.

use std::fmt;

/// How urgent a notice is, in ascending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Delivered without a sound.
    Quiet,
    /// The urgency of a notice without a rule.
    #[default]
    Normal,
    /// Delivered so as to be noticed at once.
    Urgent,
}

/// Replaces the urgency in the text form if nobody gets the notice.
const SILENCED: &str = "never";

/// What is new about a login for its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct New {
    /// The address, or the first 64 bits of an IPv6 address.
    pub is_address: bool,
    /// A public key.
    pub is_key: bool,
}

/// The sender's decision about one event. Its text form, in the column `judged`, is `name value` lines; it is empty
/// for an ordinary notice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a line of its own in the text, and they go together")]
pub struct Verdict {
    /// How urgent the notice is.
    pub urgency: Urgency,
    /// Whether a rule says `never`, so that nobody gets the notice.
    pub is_silenced: bool,
    /// The place of the rule that decided.
    pub rule: Option<u16>,
    /// Whether it repeats a reported session, so that only a summary reports it.
    pub is_held: bool,
    /// Whether this is a second copy of an event. Copies are not reported.
    pub is_copy: bool,
    /// What is new for the user.
    pub new: New,
    /// How long the session that this event ends lasted, in milliseconds.
    pub after_ms: Option<i64>,
    /// Whether this event ends a session whose login should have been recorded but wasn't.
    pub is_unopened: bool,
}

impl Urgency {
    pub const ALL: [Self; 3] = [Self::Quiet, Self::Normal, Self::Urgent];

    /// Finds an urgency by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|urgency| urgency.name() == text)
    }

    /// Its name in the configuration and in the queue.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }
}

impl Verdict {
    /// Whether the event itself is not reported.
    pub fn is_unreported(&self) -> bool {
        self.is_silenced || self.is_held || self.is_copy
    }

    /// Reads the column `judged`. Skips lines that this version doesn't know.
    pub fn parse(text: &str) -> Self {
        let mut verdict = Self::default();
        for line in text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("urgency", SILENCED) => (verdict.urgency, verdict.is_silenced) = (Urgency::Quiet, true),
                ("rule", place) => verdict.rule = place.parse().ok(),
                ("urgency", name) => verdict.urgency = Urgency::parse(name).unwrap_or(verdict.urgency),
                ("held", _) => verdict.is_held = true,
                ("copy", _) => verdict.is_copy = true,
                ("new", "address") => verdict.new.is_address = true,
                ("new", "key") => verdict.new.is_key = true,
                ("after", ms) => verdict.after_ms = ms.parse().ok(),
                ("unopened", _) => verdict.is_unopened = true,
                _ => {}
            }
        }
        verdict
    }
}

/// Writes the column `judged`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_silenced {
            writeln!(f, "urgency {SILENCED}")?;
        } else if self.urgency != Urgency::default() {
            writeln!(f, "urgency {}", self.urgency.name())?;
        }
        if let Some(place) = self.rule {
            writeln!(f, "rule {place}")?;
        }
        if self.is_held {
            f.write_str("held\n")?;
        }
        for (word, is_new) in [("address", self.new.is_address), ("key", self.new.is_key)] {
            if is_new {
                writeln!(f, "new {word}")?;
            }
        }
        if let Some(ms) = self.after_ms {
            writeln!(f, "after {ms}")?;
        }
        if self.is_unopened {
            f.write_str("unopened\n")?;
        }
        if self.is_copy { f.write_str("copy\n") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_its_text_form_and_an_empty_one_has_no_text() {
        assert_eq!(Verdict::default().to_string(), "");
        for urgency in Urgency::ALL {
            for is_copy in [false, true] {
                let after_ms = is_copy.then_some(7000);
                let new = New { is_address: is_copy, is_key: is_copy };
                let rule = is_copy.then_some(200);
                let verdict = Verdict {
                    urgency,
                    is_copy,
                    new,
                    after_ms,
                    is_unopened: is_copy,
                    rule,
                    is_held: is_copy,
                    ..Verdict::default()
                };
                assert_eq!(Verdict::parse(&verdict.to_string()), verdict);
            }
        }
        let silenced = Verdict { urgency: Urgency::Quiet, is_silenced: true, rule: Some(2), ..Verdict::default() };
        assert_eq!(silenced.to_string(), "urgency never\nrule 2\n");
        assert_eq!(Verdict::parse(&silenced.to_string()), silenced);
        assert_eq!(Verdict::parse("urgency loud\nrule -1\nlater 1\n"), Verdict::default());
    }
}
