//! `Url`: an address of http or https, parsed once, when the configuration is read.

use std::net::IpAddr;
use std::ops::Range;

use crate::text::Secret;
use crate::toml::{Found, Section};

/// A checked address. Anybody who knows it may be able to post, and so it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: Secret,
    /// Where the host stands in the text.
    host: Range<usize>,
    /// Where the path begins.
    path: usize,
}

impl Url {
    /// Reads the value of the setting `key`. A mistake says what is wrong, but not what the address is.
    pub fn configure(section: &Section<'_>, key: &str, found: &Found<Secret>) -> Option<Self> {
        section.check(key, found, |text| match Self::parse(text) {
            Ok(url) if url.is_secure() && !cfg!(feature = "tls") => {
                Err("begins with https://, and this build has no TLS: use the build with the feature `tls`")
            }
            parsed => parsed,
        })
    }

    /// Parses an address (RFC 3986 §3), or says what is wrong with it.
    pub fn parse(text: &Secret) -> Result<Self, &'static str> {
        let url = text.reveal();
        let Some(("https" | "http", rest)) = url.split_once("://") else {
            return Err("must begin with https:// or http://");
        };
        let start = url.len() - rest.len();
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') {
            return Err("must have no spaces, no #fragment and nothing but ASCII (percent-encode the rest)");
        }
        let path = rest.find(['/', '?']).map_or(url.len(), |length| start + length);
        let authority = &url[start..path];
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        if authority.contains(['@', '[', '\\']) {
            return Err("must have a host name or an IPv4 address, without a user (an IPv6 address needs a name)");
        }
        if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err("must have a host, and a port from 1 to 65535 if any");
        }
        Ok(Self { text: text.clone(), host: start..start + host.len(), path })
    }

    /// The same server with another path, which must be made of parts of this address or of literals.
    pub fn with_path(&self, path: &str) -> Self {
        Self { text: Secret::new(format!("{}{path}", self.origin())), ..self.clone() }
    }

    /// The whole address, to be put into a request and nowhere else.
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    /// Whether it is https.
    pub fn is_secure(&self) -> bool {
        self.reveal().starts_with("https:")
    }

    /// The host's name or IPv4 address.
    pub fn host(&self) -> &str {
        &self.text.reveal()[self.host.clone()]
    }

    /// `http://host:port`
    pub fn origin(&self) -> &str {
        &self.text.reveal()[..self.path]
    }

    /// The path, from the first `/` on, without the query; empty if there is none.
    pub fn path(&self) -> &str {
        let path = &self.text.reveal()[self.path..];
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// What follows the `?`; empty if there is none.
    pub fn query(&self) -> &str {
        self.text.reveal()[self.path..].split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the host is this one: a local relay, or a test.
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let rows = [
            ("https://ntfy.sh/topic", true, "ntfy.sh", "https://ntfy.sh", "/topic", "", false),
            ("http://127.0.0.1:80", false, "127.0.0.1", "http://127.0.0.1:80", "", "", true),
            ("http://localhost:8080/a?b=c", false, "localhost", "http://localhost:8080", "/a", "b=c", true),
            ("http://h?x", false, "h", "http://h", "", "x", false),
        ];
        for (text, is_secure, host, origin, path, query, is_loopback) in rows {
            let url = Url::parse(&Secret::new(text)).unwrap_or_else(|why| panic!("{text} {why}"));
            assert_eq!((url.host(), url.origin(), url.path(), url.query()), (host, origin, path, query), "{text}");
            assert_eq!((url.is_secure(), url.is_loopback(), url.reveal()), (is_secure, is_loopback, text));
            assert!(format!("{url:?}").starts_with("Url { text: Secret(..), host: "), "{url:?}");
            assert_eq!(Url::parse(&Secret::new(format!("{origin}/x"))), Ok(url.with_path("/x")));
        }
    }

    #[test]
    fn anything_but_a_web_servers_address_is_refused() {
        for text in [
            "",
            "ntfy.sh/topic",
            "ftp://h/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://h:0/",
            "http://h:x/",
            "http://h:70000/",
            "http://u@h/",
            "http://[::1]/",
            "http://h/a b",
            "http://h/\r\nX: y",
            "http://h/#f",
            "http://hé/",
            "HTTP://h/",
        ] {
            assert!(Url::parse(&Secret::new(text)).is_err(), "{text}");
        }
    }
}
