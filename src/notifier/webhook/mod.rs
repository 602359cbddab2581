//! A webhook of somebody's own: one POST with a report of every event. Or one with a text, for an Apprise API server
//! or any service that takes JSON (docs/services.md).

mod apprise;
mod body;
mod headers;
mod signature;
#[cfg(test)]
mod tests;

use crate::http::{Header, Response, Url};
use crate::json;
use crate::notice::LONGEST;
use crate::notifier::outcome::Reading;
use crate::notifier::webhook::apprise::Services;
use crate::notifier::webhook::body::Template;
use crate::notifier::webhook::signature::Key;
use crate::notifier::{Capacity, Detail, Digest, Service, Setup, Unit, report};
use crate::text::{Field, Secret};
use crate::toml::Section;

/// Standard Webhooks advises to stay below 20 kB. Around the reports are brackets, between them commas.
pub const CAPACITY: Capacity = Capacity { limit: 20_000, unit: Unit::Bytes, around: 2, per_line: 1 };
const _: () = assert!(CAPACITY.around + CAPACITY.per_line + report::LONGEST <= CAPACITY.limit);

/// Characters of a text: at least, at most, and if the settings don't say. No usual service takes less than the last.
const SHORTEST_TEXT: usize = 900;
const LONGEST_TEXT: usize = 15_000;
const DEFAULT_TEXT: usize = 1000;
const _: () = assert!(LONGEST < SHORTEST_TEXT);

/// What a message is made of, and how its answer is read.
#[derive(Clone, Debug)]
pub struct Webhook {
    form: Form,
    key: Option<Key>,
    /// Members that an answer must have, with these values, to be a success.
    ok: Vec<(String, String)>,
}

/// What a message is.
#[derive(Clone, Debug)]
enum Form {
    Reports,
    Apprise(Services),
    Template(Template),
}

/// Reads `url`, `format` or `body`, `secret`, `headers` and `ok`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let url = url(section);
    let mut secrets = url.as_ref().map(Url::secrets).unwrap_or_default();
    let key = Key::configure(section, &mut secrets);
    let headers = headers::configure(section, &mut secrets);
    let ok = section.members("ok").into_iter().map(|found| found.value).collect();
    let form = form(section, &mut secrets);
    let (form, carries) = form?;
    let service = Service::Webhook(Box::new(Webhook { form, key, ok }));
    // Of what isn't reports.
    let is_titled = carries.is_some();
    Some(Setup { headers: headers?, carries, is_titled, ..Setup::new(service, Some(url?), secrets) })
}

fn url(section: &mut Section<'_>) -> Option<Url> {
    let found = section.required("url", Section::secret)?;
    let url = Url::configure(section, "url", &found)?;
    // Any 2xx means that a message was taken, and a captive portal on the way has one for everybody.
    section.check("url", &found, |_| {
        let is_open = !url.is_secure() && !url.is_near();
        if is_open { Err("must begin with https://: http:// is only for a local network") } else { Ok(url.clone()) }
    })
}

/// Reads what a message is, and how much of what it carries if not reports.
fn form(section: &mut Section<'_>, secrets: &mut Vec<Secret>) -> Option<(Form, Option<(Capacity, Detail)>)> {
    let format = section.string("format");
    let is_apprise = format.as_ref().map_or(Some(false), |found| {
        section.check("format", found, |format| match format.as_str() {
            "json" => Ok(false),
            "apprise" => Ok(true),
            _ => Err("must be \"json\" or \"apprise\""),
        })
    })?;
    let has_body = section.has("body") || section.has("body_file");
    let body = section.secret_text("body");
    if !is_apprise && !has_body {
        return Some((Form::Reports, None));
    }
    let limit = length(section)?;
    let form = if has_body {
        let parse = |body: &Secret| match format {
            Some(_) => Err("conflicts with format; set only one of them".into()),
            None => Template::parse(body.reveal(), limit),
        };
        let template = section.check("body", &body?, parse)?;
        secrets.extend(template.secrets());
        Form::Template(template)
    } else {
        Form::Apprise(Services::configure(section, secrets))
    };
    let capacity = Capacity { limit, unit: Unit::Characters, around: 0, per_line: 1 };
    Some((form, Some((capacity, Detail::Digest))))
}

/// Reads `max_length`.
fn length(section: &mut Section<'_>) -> Option<usize> {
    if !section.has("max_length") {
        return Some(DEFAULT_TEXT);
    }
    let range = i64::try_from(SHORTEST_TEXT).ok()?..=i64::try_from(LONGEST_TEXT).ok()?;
    section.integer("max_length", range).and_then(|length| usize::try_from(length).ok())
}

impl Webhook {
    /// Writes the message.
    pub fn render(&self, digest: &Digest<'_>, key: u64) -> String {
        match &self.form {
            Form::Reports => report::array(digest),
            Form::Apprise(services) => services.render(digest),
            Form::Template(template) => template.render(digest, key),
        }
    }

    /// The headers that sign it, if there is a secret.
    pub fn sign(&self, digest: &Digest<'_>, key: u64, body: &str) -> Vec<Header> {
        let utc_ms = digest.style.now.utc_ms;
        self.key.as_ref().map(|signing| signing.sign(key, utc_ms, body)).unwrap_or_default()
    }

    /// Any 2xx says that the receiver has the message, unless `ok` knows better. What an error is about nobody can
    /// know: shorter messages show whether it is one event.
    pub fn read(&self, response: &Response) -> Reading {
        let text = str::from_utf8(&response.body).unwrap_or_default().trim();
        let is_page = text.starts_with('<');
        let has = |(name, value): &(String, String)| {
            json::member(&response.body, name).is_some_and(|member| json::string(value) == format!("\"{member}\""))
        };
        let is_accepted = self.ok.iter().all(has) && self.remedy(response.status).is_none();
        Reading {
            is_accepted,
            is_denied: !is_accepted,
            is_about_message: response.status == 413 || !is_page,
            error_text: if is_page { Field::default() } else { Field::new(text.as_bytes()) },
            remedy: self.remedy(response.status).unwrap_or_default(),
            ..Reading::default()
        }
    }

    /// What to do about an answer for which there is no more usual remedy.
    fn remedy(&self, status: u16) -> Option<&'static str> {
        match (status, &self.form) {
            (204, Form::Apprise(_)) => {
                Some("Apprise has no service for it: check the key in the address, `tag` and `urls`")
            }
            (424, Form::Apprise(_)) => {
                Some("one of Apprise's services has failed, or none has the tag: see Apprise's log")
            }
            (410, _) => Some("the receiver wants no more messages: check the address, or take the target out"),
            (400 | 401 | 403, _) if self.key.is_some() => {
                Some("if it is about the signature: set the receiver's secret, and check this host's clock")
            }
            _ => None,
        }
    }
}
