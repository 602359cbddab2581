//! A generic webhook: POSTs reports of every event, or a text for an Apprise API server or any service that accepts
//! JSON (docs/services.md).

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

/// Standard Webhooks advises at most 20 kB. The reports are in brackets, with commas between them.
pub const CAPACITY: Capacity = Capacity { limit: 20_000, unit: Unit::Bytes, around: 2, per_line: 1 };
const _: () = assert!(CAPACITY.around + CAPACITY.per_line + report::LONGEST <= CAPACITY.limit);

/// The range of `max_length`, in characters, and its default, which every common service accepts.
const SHORTEST_TEXT: usize = 900;
const LONGEST_TEXT: usize = 15_000;
const DEFAULT_TEXT: usize = 1000;
const _: () = assert!(LONGEST < SHORTEST_TEXT);

/// How messages are written, and how their responses are read.
#[derive(Clone, Debug)]
pub struct Webhook {
    form: Form,
    key: Option<Key>,
    /// Members, with their values, that the response of an accepted message has.
    ok: Vec<(String, String)>,
}

/// The form of a message.
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
    // Reports have no title.
    let is_titled = carries.is_some();
    Some(Setup { headers: headers?, carries, is_titled, ..Setup::new(service, Some(url?), secrets) })
}

fn url(section: &mut Section<'_>) -> Option<Url> {
    let found = section.required("url", Section::secret)?;
    let url = Url::configure(section, "url", &found)?;
    // Any 2xx counts as delivered, and a captive portal answers every plain http request with one.
    section.check("url", &found, |_| {
        let is_open = !url.is_secure() && !url.is_near();
        if is_open { Err("must begin with https://; http:// is only for a local network") } else { Ok(url.clone()) }
    })
}

/// Reads the form of a message, and its capacity and detail if it isn't a list of reports.
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

    /// The headers with the signature, if a secret is set.
    pub fn sign(&self, digest: &Digest<'_>, key: u64, body: &str) -> Vec<Header> {
        let utc_ms = digest.style.now.utc_ms;
        self.key.as_ref().map(|signing| signing.sign(key, utc_ms, body)).unwrap_or_default()
    }

    /// Reads a response. Any 2xx means that the receiver has the message, if `ok` agrees. An error doesn't say which
    /// event caused it; bisecting the message finds out.
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

    /// The remedy for a response that the common remedies don't cover.
    fn remedy(&self, status: u16) -> Option<&'static str> {
        match (status, &self.form) {
            (204, Form::Apprise(_)) => {
                Some("Apprise found no service to notify: check the key in the address, `tag` and `urls`")
            }
            (424, Form::Apprise(_)) => Some("one of Apprise's services failed, or none has the tag: see Apprise's log"),
            (410, _) => Some("the receiver wants no more messages: check the address, or remove the target"),
            (400 | 401 | 403, _) if self.key.is_some() => Some(
                "if the signature was rejected: compare the secret with the receiver's, and check this host's clock",
            ),
            _ => None,
        }
    }
}
