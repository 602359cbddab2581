//! The body that an Apprise API server takes (github.com/caronc/apprise-api, `/notify`).

use crate::json;
use crate::notifier::Digest;
use crate::notifier::webhook::body::plain;
use crate::rules::Urgency;
use crate::text::Secret;
use crate::toml::Section;

/// Which of Apprise's services get a message: those of the key in the address, or these.
#[derive(Clone, Debug)]
pub struct Services {
    /// Those with one of these tags.
    tag: Option<String>,
    /// Their addresses, for a server that keeps none.
    urls: Option<Secret>,
}

impl Services {
    /// Reads `tag` and `urls`. The latter join the secrets that are concealed.
    pub fn configure(section: &mut Section<'_>, secrets: &mut Vec<Secret>) -> Self {
        let tag = section.string("tag").map(|found| found.value).filter(|tag| !tag.is_empty());
        let urls = section.secret("urls").map(|found| found.value).filter(|urls| !urls.reveal().is_empty());
        secrets.extend(urls.iter().flat_map(|urls| urls.reveal().split([',', ' '])).map(Secret::new));
        Self { tag, urls }
    }

    /// Writes a message as plain text. Apprise has four kinds of message, and none that makes no sound.
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
