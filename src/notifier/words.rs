//! Words: the title and text that an administrator sets for a target's notices.

use crate::event::Event;
use crate::notice::{FIELDS, Style, width};
use crate::notifier::{Capacity, Detail, Setup, Unit};
use crate::rules::Verdict;
use crate::template::Template;
use crate::toml::Section;

/// The longest title. Pushover accepts no more, and nobody reads more.
const TITLE: Capacity = Capacity { limit: 250, unit: Unit::Characters, around: 0, per_line: 0 };

/// A target's own title and text; `None` keeps the default.
#[derive(Clone, Debug, Default)]
pub struct Words {
    title: Option<Template>,
    text: Option<Template>,
}

impl Words {
    /// Reads `text`, which must fit into a message, and `title`, if the service has titles. Without a setup, that is
    /// unknown, so every title is accepted.
    pub fn configure(section: &mut Section<'_>, capacity: Capacity, detail: Detail, setup: Option<&Setup>) -> Self {
        let title = match setup {
            Some(setup) if !setup.is_titled => Err("is only for services that have titles"),
            _ => Ok(TITLE),
        };
        let text = match detail {
            Detail::Digest | Detail::EveryEvent => Ok(capacity),
            #[cfg(feature = "report")]
            Detail::Report => Err("is only for services that people read"),
        };
        Self { title: read(section, "title", title), text: read(section, "text", text) }
    }

    /// The title of a message with only this notice; `None` for the service's default.
    pub fn title(&self, style: &Style<'_>, event: &Event, verdict: &Verdict) -> Option<String> {
        style.fill(self.title.as_ref()?, event, verdict)
    }

    /// The notice as one line.
    pub fn text(&self, style: &Style<'_>, event: &Event, verdict: &Verdict) -> String {
        let own = self.text.as_ref().and_then(|text| style.fill(text, event, verdict));
        own.unwrap_or_else(|| style.line(event, verdict))
    }
}

fn read(section: &mut Section<'_>, key: &str, capacity: Result<Capacity, &'static str>) -> Option<Template> {
    let found = section.string(key)?;
    section.check(key, &found, |text| {
        let capacity = capacity?;
        if text.contains(|sign: char| sign.is_control() || matches!(sign, '\u{2028}' | '\u{2029}')) {
            return Err("must be one line".to_owned());
        }
        let template = Template::parse(text, &FIELDS)?;
        let literal = template.literal();
        let longest = capacity.length(&literal) + capacity.longest(template.fields().map(width).sum());
        match capacity.line() {
            most if longest <= most => Ok(template),
            most => Err(format!(
                "may need {longest} {}, but only {most} fit: remove a field or shorten the text",
                capacity.unit.name()
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::tests::{mistakes, target};

    const NTFY: &str = "topic_url = 'http://127.0.0.1/t'\n";

    #[test]
    fn a_template_that_cannot_work_is_a_mistake() {
        let fields = "the fields are {user}, {by}, {host}, {remote_host}, {address}, {service}, {tty}, {action}, \
                      {time}, {urgency}, {details}";
        let long = format!("text = '{} {{user}}'", "é".repeat(2000));
        for (settings, mistake) in [
            ("text = '{usr}'", format!("ntfy.text has no field {{usr}}; did you mean {{user}}? {fields}")),
            ("title = '{password}'", format!("ntfy.title has no field {{password}}; {fields}")),
            ("text = \"{user}\\n{host}\"", "ntfy.text must be one line".into()),
            ("title = \"{user}\\u2028\"", "ntfy.title must be one line".into()),
            ("title = 7", "ntfy.title must be a string".into()),
            ("title = '{host} {remote_host}'", "ntfy.title may need 257 characters, but only 250 fit: remove".into()),
            (&long, "ntfy.text may need 4257 bytes, but only 4095 fit: remove a field or shorten the text".into()),
        ] {
            let why = mistakes("ntfy", &format!("{NTFY}{settings}"));
            assert!(why.starts_with(&format!("c:4: {mistake}")), "{settings}: {why}");
        }
        let why = mistakes("discord", "webhook_url = 'http://127.0.0.1/api/webhooks/1/x'\ntitle = 'x'");
        assert_eq!(why, "c:4: discord.title is only for services that have titles");
        #[cfg(feature = "webhook")]
        let why = mistakes("webhook", "url = 'http://127.0.0.1/'\ntext = 'x'");
        #[cfg(feature = "webhook")]
        assert_eq!(why, "c:4: webhook.text is only for services that people read");
        let why = mistakes("ntfy", "title = 'x'");
        assert_eq!(why, "c:2: ntfy.topic_url is missing", "a title is accepted if the service is unknown");
    }

    #[test]
    fn a_text_with_all_fields_fits_every_service() {
        let all = FIELDS.map(|field| format!("{{{field}}} ")).concat();
        for row in crate::notifier::SERVICES {
            let template = Template::parse(&all, &FIELDS).expect("only known fields");
            let most: usize = template.fields().map(width).sum();
            assert!(row.capacity.holds(FIELDS.len() + most), "{}: {most}", row.name);
        }
    }

    #[test]
    fn a_text_may_be_as_long_as_the_services_limit() {
        let words = |count: usize| format!("{NTFY}text = '{}{{user}}'", "x".repeat(count));
        let most = 4096 - 1 - 4 * 64;
        assert!(target("ntfy", &words(most)).words.text.is_some());
        assert!(mistakes("ntfy", &words(most + 1)).contains("may need 4096 bytes, but only 4095 fit"));
    }
}
