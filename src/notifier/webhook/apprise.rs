//! The request body for an Apprise API server (github.com/caronc/apprise-api, `/notify`).

use crate::json;
use crate::notifier::Digest;
use crate::notifier::webhook::body::plain;
use crate::rules::Urgency;
use crate::text::Secret;
use crate::toml::Section;

/// The services that Apprise forwards a message to: those of the key in the address, unless set here.
#[derive(Clone, Debug)]
pub struct Services {
    /// Only services with one of these tags.
    tag: Option<String>,
    /// The services' addresses, for a server without stored ones.
    urls: Option<Secret>,
}

impl Services {
    /// Reads `tag` and `urls`. Adds the addresses to `secrets`.
    pub fn configure(section: &mut Section<'_>, secrets: &mut Vec<Secret>) -> Self {
        let tag = section.string("tag").map(|found| found.value).filter(|tag| !tag.is_empty());
        let urls = section.secret("urls").map(|found| found.value).filter(|urls| !urls.reveal().is_empty());
        secrets.extend(urls.iter().flat_map(|urls| urls.reveal().split([',', ' '])).map(Secret::new));
        Self { tag, urls }
    }

    /// Writes a message as plain text. Apprise has four message types, but no silent one.
    pub fn render(&self, digest: &Digest<'_>) -> String {
        let kind = match digest.urgency() {
            Urgency::Quiet | Urgency::Normal => "info",
            Urgency::Urgent => "warning",
        };
        let (title, body) = (json::string(&plain(digest.title_or_host())), json::string(&plain(&digest.lines(""))));
        let member = |name: &str, value: &str| format!(",\"{name}\":{}", json::string(value));
        let tag = self.tag.as_ref().map_or_else(String::new, |tag| member("tag", tag));
        let urls = self.urls.as_ref().map_or_else(String::new, |urls| member("urls", urls.reveal()));
        format!(r#"{{"title":{title},"body":{body},"type":"{kind}","format":"text"{tag}{urls}}}"#)
    }
}
