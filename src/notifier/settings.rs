//! Readers for settings that several services have. Each returns `None` after a mistake.

use crate::http::Url;
use crate::text::Secret;
use crate::toml::Section;

/// Reads a webhook's address. Also returns its secrets: the last part of its path, and the values in its query.
#[cfg(any(feature = "slack", feature = "teams"))]
pub fn webhook(section: &mut Section<'_>, key: &str) -> Option<(Url, Vec<Secret>)> {
    let found = section.required(key, Section::secret)?;
    let url = Url::configure(section, key, &found)?;
    let last = url.path().trim_end_matches('/').rsplit('/').next().map(Secret::new);
    let values = url.query().split('&').filter_map(|part| part.split_once('=')).map(|(_, value)| Secret::new(value));
    let secrets: Vec<Secret> = last.into_iter().chain(values).filter(|secret| !secret.reveal().is_empty()).collect();
    let is_whole = !secrets.is_empty();
    section.check(key, &found, |_| if is_whole { Ok(()) } else { Err("must be the webhook's whole address") })?;
    Some((url, secrets))
}

/// Reads a secret that must be safe in a header: one word of ASCII.
#[cfg(any(feature = "gotify", feature = "matrix", feature = "pushover"))]
pub fn word(section: &mut Section<'_>, key: &str) -> Option<Secret> {
    let found = section.required(key, Section::secret)?;
    section.check(key, &found, |word| {
        let is_word = word.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if is_word { Ok(word.clone()) } else { Err("must be one word of ASCII characters") }
    })
}

/// Reads the address of a self-hosted server, to which paths are appended.
#[cfg(any(feature = "gotify", feature = "matrix"))]
pub fn server(section: &mut Section<'_>, key: &str) -> Option<Url> {
    let found = section.required(key, Section::secret)?;
    let url = Url::configure(section, key, &found)?;
    section.check(key, &found, |_| if url.query().is_empty() { Ok(url.clone()) } else { Err("must have no query") })
}

/// Reads the address of a service's API, to which paths are appended. The default is `public`.
#[cfg(any(feature = "pushover", feature = "telegram"))]
pub fn base(section: &mut Section<'_>, key: &str, public: &str) -> Option<Url> {
    let Some(found) = section.secret(key).filter(|found| !found.value.reveal().is_empty()) else {
        if !cfg!(feature = "tls") {
            section.refuse(format_args!("needs a setting `{key}` that begins with http://: this build has no TLS"));
        }
        return Url::parse(&Secret::new(public)).ok().filter(|_| cfg!(feature = "tls"));
    };
    let url = Url::configure(section, key, &found)?;
    section.check(key, &found, |_| if url.query().is_empty() { Ok(url.clone()) } else { Err("must have no query") })
}
