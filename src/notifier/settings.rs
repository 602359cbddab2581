//! Settings that several services have.

use crate::http::Url;
use crate::text::Secret;
use crate::toml::Section;

/// The address of a service's interface: the setting `key`, or the public one. Paths go behind it.
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
