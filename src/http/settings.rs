//! The section `network` of the configuration: timeout, authorities, proxy, heartbeat.

use std::path::PathBuf;
use std::time::Duration;

use crate::http::Url;
use crate::toml::{PathKind, Section};

/// The default of `network.timeout`, in seconds. A run has fifty.
const TIMEOUT: i64 = 10;

/// The section `network`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long one request may take.
    pub timeout: Duration,
    /// The only authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy for every connection to another host.
    pub proxy: Option<Url>,
    /// The monitor to call after a run that left nothing overdue.
    pub heartbeat_url: Option<Url>,
}

impl Settings {
    /// Reads the section.
    pub fn configure(mut section: Section<'_>) -> Self {
        let timeout = section.integer("timeout", 1..=45).unwrap_or(TIMEOUT);
        let heartbeat = section.secret("heartbeat_url");
        let proxy = section.secret("proxy").filter(|found| !found.value.reveal().is_empty());
        let proxy = proxy.and_then(|found| {
            let url = Url::configure(&section, "proxy", &found)?;
            let is_bare = !url.is_secure() && url.path().trim_end_matches('/').is_empty() && url.query().is_empty();
            section.check("proxy", &found, |_| {
                is_bare.then_some(url).ok_or("must be http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT")
            })
        });
        let settings = Self {
            timeout: Duration::from_secs(timeout.unsigned_abs()),
            proxy,
            ca_file: section.path("ca_file", PathKind::Named),
            // An empty address means none.
            heartbeat_url: heartbeat
                .filter(|found| !found.value.reveal().is_empty())
                .and_then(|found| Url::configure(&section, "heartbeat_url", &found)),
        };
        section.finish();
        settings
    }
}
