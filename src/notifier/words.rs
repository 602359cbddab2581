//! Words: an administrator's own title and text for the notices of a target.

use crate::event::Event;
use crate::notice::{FIELDS, Style, width};
use crate::notifier::{Capacity, Detail, Setup, Unit};
use crate::rules::Verdict;
use crate::template::Template;
use crate::toml::Section;

/// The title of a message, in characters: Pushover takes no more, and nobody reads more.
const TITLE: Capacity = Capacity { limit: 250, unit: Unit::Characters, around: 0, per_line: 0 };

/// What a target says instead of the program's own words.
#[derive(Clone, Debug, Default)]
pub struct Words {
    title: Option<Template>,
    text: Option<Template>,
}

impl Words {
    /// Reads `text`, which must fit into a message, and `title`, where messages have one. Without a setup, nobody knows
    /// that.
    pub fn configure(section: &mut Section<'_>, capacity: Capacity, detail: Detail, setup: Option<&Setup>) -> Self {
        let title = match setup {
            Some(setup) if !setup.is_titled => Err("belongs to services that have titles"),
            _ => Ok(TITLE),
        };
        let text = match detail {
            Detail::Digest | Detail::EveryEvent => Ok(capacity),
            #[cfg(feature = "report")]
            Detail::Report => Err("belongs to services that people read"),
        };
        Self { title: read(section, "title", title), text: read(section, "text", text) }
    }

    /// What a message is called that has only this notice. `None`: what the service calls it.
    pub fn title(&self, style: &Style<'_>, event: &Event, verdict: &Verdict) -> Option<String> {
        style.fill(self.title.as_ref()?, event, verdict)
    }

    /// The notice: one line.
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
                "could take {longest} of {most} {}, if each field is as long as it can be: leave one out",
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
        let fields = "there are {user}, {by}, {host}, {remote_host}, {address}, {service}, {tty}, {action}, {time}, \
                      {urgency}, {details}";
        let long = format!("text = '{} {{user}}'", "é".repeat(2000));
        for (settings, mistake) in [
            ("text = '{usr}'", format!("ntfy.text has no field {{usr}}; did you mean {{user}}? {fields}")),
            ("title = '{password}'", format!("ntfy.title has no field {{password}}; {fields}")),
            ("text = \"{user}\\n{host}\"", "ntfy.text must be one line".into()),
            ("title = \"{user}\\u2028\"", "ntfy.title must be one line".into()),
            ("title = 7", "ntfy.title must be a string".into()),
            ("title = '{host} {remote_host}'", "ntfy.title could take 257 of 250 characters, if each field".into()),
            (&long, "ntfy.text could take 4257 of 4095 bytes, if each field is as long as it can be: leave one".into()),
        ] {
            let why = mistakes("ntfy", &format!("{NTFY}{settings}"));
            assert!(why.starts_with(&format!("c:4: {mistake}")), "{settings}: {why}");
        }
        let why = mistakes("discord", "webhook_url = 'http://127.0.0.1/api/webhooks/1/x'\ntitle = 'x'");
        assert_eq!(why, "c:4: discord.title belongs to services that have titles");
        #[cfg(feature = "webhook")]
        let why = mistakes("webhook", "url = 'http://127.0.0.1/'\ntext = 'x'");
        #[cfg(feature = "webhook")]
        assert_eq!(why, "c:4: webhook.text belongs to services that people read");
        let why = mistakes("ntfy", "title = 'x'");
        assert_eq!(why, "c:2: ntfy.topic_url is missing", "what is not read yet is no mistake");
    }

    #[test]
    fn every_service_holds_a_text_with_each_field() {
        let all = FIELDS.map(|field| format!("{{{field}}} ")).concat();
        for row in crate::notifier::SERVICES {
            let template = Template::parse(&all, &FIELDS).expect("it has only fields");
            let most: usize = template.fields().map(width).sum();
            assert!(row.capacity.holds(FIELDS.len() + most), "{}: {most}", row.name);
        }
    }

    #[test]
    fn a_text_is_as_long_as_the_service_can_count() {
        let words = |count: usize| format!("{NTFY}text = '{}{{user}}'", "x".repeat(count));
        let most = 4096 - 1 - 4 * 64;
        assert!(target("ntfy", &words(most)).words.text.is_some());
        assert!(mistakes("ntfy", &words(most + 1)).contains("could take 4096 of 4095 bytes"));
    }
}
