//! The filter of a target: which notices it wants.

use crate::event::Action;
use crate::rules::{Urgency, Verdict};
use crate::toml::Section;

/// The notices that a target wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Logins.
    pub opens: bool,
    /// Logouts.
    pub closes: bool,
    /// The least urgent notice that it wants.
    pub least: Urgency,
}

impl Default for Filter {
    fn default() -> Self {
        Self { opens: true, closes: true, least: Urgency::Quiet }
    }
}

impl Filter {
    /// Reads `events` and `urgency` of a target's section.
    pub fn configure(section: &mut Section<'_>) -> Self {
        let mut filter = Self::default();
        if section.has("events") {
            let found = section.required("events", Section::strings);
            let action = |event: &String| {
                Action::parse(event).ok_or_else(|| format!("has {event:?}, not \"open\" or \"close\""))
            };
            let events = found.iter().flat_map(|found| &found.value);
            let actions: Vec<Action> = events.filter_map(|event| section.check("events", event, action)).collect();
            (filter.opens, filter.closes) = (actions.contains(&Action::Open), actions.contains(&Action::Close));
        }
        if let Some(found) = section.string("urgency") {
            let parse = |text: &String| Urgency::parse(text).ok_or("must be \"quiet\", \"normal\" or \"urgent\"");
            filter.least = section.check("urgency", &found, parse).unwrap_or_default();
        }
        filter
    }

    /// Whether a target with this filter gets an event with this verdict. `action` is `None` for the program's own
    /// notices, which every target gets.
    pub fn wants(self, action: Option<Action>, verdict: &Verdict) -> bool {
        let wants_action = match action {
            Some(Action::Open) => self.opens,
            Some(Action::Close) => self.closes,
            None => return true,
        };
        wants_action && !verdict.is_unreported() && verdict.urgency >= self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_gets_the_notices_that_its_filter_accepts_and_all_of_the_programs_own() {
        let all = Filter::default();
        let opens = Filter { closes: false, ..all };
        let urgent = Filter { least: Urgency::Urgent, ..all };
        let normal = Verdict::default();
        let copy = Verdict { is_copy: true, ..Verdict::default() };
        let silenced = Verdict { is_silenced: true, ..Verdict::default() };
        let rows = [
            (all, Some(Action::Open), &silenced, false),
            (all, Some(Action::Close), &silenced, false),
            (all, Some(Action::Open), &Verdict { is_held: true, ..Verdict::default() }, false),
            (all, Some(Action::Close), &normal, true),
            (opens, Some(Action::Open), &normal, true),
            (opens, Some(Action::Close), &normal, false),
            (urgent, Some(Action::Open), &normal, false),
            (urgent, Some(Action::Open), &Verdict { urgency: Urgency::Urgent, ..copy.clone() }, false),
            (all, Some(Action::Open), &copy, false),
            (opens, None, &normal, true),
            (urgent, None, &normal, true),
        ];
        for (filter, action, verdict, wants) in rows {
            assert_eq!(filter.wants(action, verdict), wants, "{filter:?} {action:?} {verdict:?}");
        }
    }
}
