//! `Url`: an http or https address, checked and split when the configuration is read.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use crate::text::Secret;
use crate::toml::{Found, Section};

const NO_SCHEME: &str = "must begin with https:// or http://";

/// Endings of names that resolve on a local network only.
const LOCAL: [&str; 6] = [".local", ".home.arpa", ".internal", ".lan", ".home", ".localdomain"];

/// A checked address, with scheme and host in lower case. It is a secret: a webhook's address is all that it
/// takes to post there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: Secret,
    /// The host's place in the text.
    host: Range<usize>,
    /// Where the path begins in the text.
    path: usize,
    /// `name:password`, removed from the text.
    user: Option<Secret>,
}

impl Url {
    /// Checks the value of the setting `key`. Mistakes never show the address.
    pub fn configure(section: &Section<'_>, key: &str, found: &Found<Secret>) -> Option<Self> {
        section.check(key, found, |text| match Self::parse(text) {
            Ok(url) if url.is_secure() && !cfg!(feature = "tls") => {
                Err("begins with https://, and this build has no TLS: use the build with the feature `tls`")
            }
            parsed => parsed,
        })
    }

    /// Parses an address (RFC 3986 §3). The error continues a sentence about it: `must begin with …`.
    pub fn parse(text: &Secret) -> Result<Self, &'static str> {
        let url = text.reveal();
        let Some((scheme, rest)) = url.split_once("://") else { return Err(NO_SCHEME) };
        let scheme = scheme.to_ascii_lowercase();
        if !["https", "http"].contains(&scheme.as_str()) {
            return Err(NO_SCHEME);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(Secret::new(percent_decoded(user)?)), authority),
            None => (None, authority),
        };
        if !authority.is_ascii() {
            return Err("must have the host's name in ASCII: use the form that begins with xn--");
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('#') {
            return Err("must be ASCII without spaces and without a #fragment: percent-encode other characters");
        }
        if authority.contains(['[', ']']) {
            return Err("has an IPv6 address, which is not supported: use a host name");
        }
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        if !is_host(host) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(
                "must have a host name or an IPv4 address such as 192.0.2.7, and a port from 1 to 65535 if any",
            );
        }
        // minreq would send a query without a path, which needs at least `/` (RFC 9112 §3.2.1).
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        let start = scheme.len() + "://".len();
        let (host, authority) = (start..start + host.len(), authority.to_ascii_lowercase());
        let text = Secret::new(format!("{scheme}://{authority}{path}"));
        Ok(Self { text, host, path: start + authority.len(), user })
    }

    /// The same address with other credentials, as `name:password`.
    pub fn with_user(self, user: Secret) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The same server with another path. The path isn't checked: build it from literals and parts of this address.
    pub fn with_path(&self, path: &str) -> Self {
        Self { text: Secret::new(format!("{}{path}", self.origin())), ..self.clone() }
    }

    /// The whole address, for a request only.
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    /// Whether the scheme is https.
    pub fn is_secure(&self) -> bool {
        self.reveal().starts_with("https:")
    }

    /// The host's name or IPv4 address.
    pub fn host(&self) -> &str {
        &self.text.reveal()[self.host.clone()]
    }

    /// The port: by default 443 for https, 80 for http (RFC 9110 §4.2).
    pub fn port(&self) -> u16 {
        let named = self.origin()[self.host.end..].strip_prefix(':').and_then(|port| port.parse().ok());
        named.unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// `name:password` for Basic authentication (RFC 7617).
    pub fn user(&self) -> Option<&Secret> {
        self.user.as_ref()
    }

    /// Scheme, host and port, if it is given: `http://host:port`
    pub fn origin(&self) -> &str {
        &self.text.reveal()[..self.path]
    }

    /// The path from its first `/`, without the query; may be empty.
    pub fn path(&self) -> &str {
        let path = &self.text.reveal()[self.path..];
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// The query without its `?`; may be empty.
    pub fn query(&self) -> &str {
        self.text.reveal()[self.path..].split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the host is on a local network, where no captive portal is in between: a private address
    /// (RFC 1918, RFC 3927), or a local name (RFC 6762, RFC 8375, and the endings that routers use).
    pub fn is_near(&self) -> bool {
        let host = self.host().trim_end_matches('.');
        let is_private = |address: Ipv4Addr| address.is_private() || address.is_link_local();
        let is_local = || !host.contains('.') || LOCAL.iter().any(|ending| host.ends_with(ending));
        self.is_loopback() || host.parse().map_or_else(|_| is_local(), is_private)
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Whether a text is a host name (RFC 1123 §2.1, and `_`, which some have) or an IPv4 address in four parts.
/// Other numeric forms, such as `127.1`, are refused.
fn is_host(text: &str) -> bool {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    is_name && (!is_number || text.parse::<Ipv4Addr>().is_ok())
}

/// Decodes percent-encoded text (RFC 3986 §2.1).
fn percent_decoded(text: &str) -> Result<String, &'static str> {
    let mistake = "must have its name and password in percent-encoded UTF-8";
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend(plain.bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        bytes.push(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(mistake)?);
        rest = &after[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).map_err(|_| mistake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_into_its_parts() {
        let rows = [
            ("https://ntfy.sh/topic", true, "ntfy.sh", "https://ntfy.sh", "/topic", "", false),
            ("http://127.0.0.1:80", false, "127.0.0.1", "http://127.0.0.1:80", "", "", true),
            ("http://localhost:8080/a?b=c", false, "localhost", "http://localhost:8080", "/a", "b=c", true),
            ("http://h?x", false, "h", "http://h", "/", "x", false),
            ("https://ntfy.sh:8443/a/b?c", true, "ntfy.sh", "https://ntfy.sh:8443", "/a/b", "c", false),
        ];
        for (text, is_secure, host, origin, path, query, is_loopback) in rows {
            let url = Url::parse(&Secret::new(text)).unwrap_or_else(|why| panic!("{text} {why}"));
            assert_eq!((url.host(), url.origin(), url.path(), url.query()), (host, origin, path, query), "{text}");
            let whole = text.replace("h?x", "h/?x");
            assert_eq!((url.is_secure(), url.is_loopback(), url.reveal()), (is_secure, is_loopback, whole.as_str()));
            assert!(format!("{url:?}").starts_with("Url { text: Secret(..), host: "), "{url:?}");
            assert_eq!(Url::parse(&Secret::new(format!("{origin}/x"))), Ok(url.with_path("/x")));
        }
    }

    #[test]
    fn credentials_are_removed_from_the_address_and_case_is_ignored_before_the_path() {
        let url = Url::parse(&Secret::new("HTTPS://anna:p%40ss%c3%a9@Ntfy.SH:443/Topic?A")).expect("an address");
        assert_eq!((url.reveal(), url.port()), ("https://ntfy.sh:443/Topic?A", 443));
        assert_eq!(url.user().map(Secret::reveal), Some("anna:p@ssé"));
        for text in ["http://a%4@h/", "http://a%+5@h/", "http://a%ff@h/", "http://a%é@h/"] {
            assert!(Url::parse(&Secret::new(text)).is_err(), "{text}");
        }
        let ports = ["http://h/", "https://h/", "http://h:8080"]
            .map(|text| Url::parse(&Secret::new(text)).map(|url| url.port()));
        assert_eq!(ports, [Ok(80), Ok(443), Ok(8080)]);
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
            "http://u@/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.0.0.256/",
            "http://h/é",
            "http://[::1]/",
            "http://h/a b",
            "http://h/\r\nX: y",
            "http://h/#f",
            "http://hé/",
        ] {
            assert!(Url::parse(&Secret::new(text)).is_err(), "{text}");
        }
    }
}
