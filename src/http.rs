//! One bounded request: an address, headers and a body go in, an answer or a reason comes out.
//!
//! minreq does the work on a thread of its own, so that the timeout holds for the look-up of the
//! name too. Redirects are not followed: a token must not travel to another host.

#[cfg(feature = "tls")]
mod anchors;
#[cfg(feature = "tls")]
mod roots;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
#[cfg(feature = "tls")]
use std::sync::OnceLock;
use std::time::Duration;

use crate::text::Secret;

/// Bytes of an answer's body that are read. Every service's answer is far shorter.
const BODY_LIMIT: u64 = 64 * 1024;

/// Bytes of an answer's status line, and of all its headers together.
const HEADERS_LIMIT: usize = 8 * 1024;

/// What minreq calls an answer without a status line; it gives that the status 503.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// What is to be sent, by POST.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to: a checked [`Address`], perhaps with a query added.
    pub url: Secret,
    /// `Authorization: Bearer TOKEN`, if the service wants it.
    pub bearer: Option<Secret>,
    /// The body, JSON.
    pub body: String,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code (RFC 9110 §15).
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// At most 64 KiB of the body.
    pub body: Vec<u8>,
    /// Why the body ended too early, if it did.
    pub cut: Option<Error>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The time was over.
    Timeout,
    /// Anything else: no such name, no route, refused, a certificate not to be trusted, not HTTP.
    Broken(String),
}

/// The parts of an address that matter before a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'t> {
    /// Whether it is https.
    pub is_secure: bool,
    /// The host's name or IPv4 address.
    pub host: &'t str,
    /// `http://host:port`
    pub origin: &'t str,
    /// From the first `/` on; empty when there is none.
    pub path: &'t str,
}

impl<'t> Address<'t> {
    /// Takes an address apart (RFC 3986 §3), or says what is wrong with it.
    pub fn parse(url: &'t str) -> Result<Self, &'static str> {
        let (is_secure, start) = match url.split_once("://") {
            Some(("https", _)) => (true, "https://".len()),
            Some(("http", _)) => (false, "http://".len()),
            _ => return Err("must begin with https:// or http://"),
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') {
            return Err("must have no spaces, no #fragment and nothing but ASCII (percent-encode the rest)");
        }
        let end = url[start..].find(['/', '?']).map_or(url.len(), |length| start + length);
        let (authority, path) = (&url[start..end], &url[end..]);
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        if authority.contains(['@', '[', '\\']) {
            return Err("must have a host name or an IPv4 address, without a user (an IPv6 address needs a name)");
        }
        if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err("must have a host, and a port from 1 to 65535 if any");
        }
        Ok(Self { is_secure, host, origin: &url[..end], path })
    }

    /// Whether the host is this one: a local relay, or a test.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Response {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Gets TLS ready, before any thread is started: which authorities are trusted is handed to the
/// library through the environment. With `ca_file` those in it, and no others; else the system's;
/// where the system has none, Mozilla's that are built in (kept in `spool` if need be). Does nothing
/// the second time.
#[cfg(feature = "tls")]
pub fn trust(ca_file: Option<&Path>, spool: &Path) -> Result<(), crate::error::Error> {
    // As the environment is the whole process's, so is this; a request that timed out may have left
    // a thread behind, and the environment must not change under it.
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_none() {
        roots::install(ca_file, spool)?;
        let _ = DONE.set(());
    }
    Ok(())
}

/// Without TLS there is nobody to trust, and an https address was refused by the configuration.
#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
pub fn trust(_ca_file: Option<&Path>, _spool: &Path) -> Result<(), crate::error::Error> {
    Ok(())
}

/// Posts a request and reads the answer, within `timeout` (rounded down to seconds, at least one).
/// Once its head is there it is an answer, and the caller decides whether a body that was cut will do.
pub fn post(request: &Request, timeout: Duration) -> Result<Response, Error> {
    let mut message = minreq::post(request.url.reveal())
        .with_follow_redirects(false)
        .with_timeout(timeout.as_secs().max(1))
        .with_max_headers_size(HEADERS_LIMIT)
        .with_max_status_line_length(HEADERS_LIMIT)
        .with_header("User-Agent", concat!("ssh-session-notifier/", env!("CARGO_PKG_VERSION")))
        .with_header("Connection", "close")
        .with_header("Content-Type", "application/json")
        .with_body(request.body.as_str());
    if let Some(token) = &request.bearer {
        message = message.with_header("Authorization", format!("Bearer {}", token.reveal()));
    }
    let mut answer = message.send_lazy().map_err(why)?;
    if answer.reason_phrase == NO_STATUS_LINE {
        return Err(Error::Broken("the server closed the connection, or speaks no HTTP".into()));
    }
    let mut body = Vec::new();
    let is_empty = matches!(answer.status_code, 204 | 304);
    let read = if is_empty { Ok(0) } else { (&mut answer).take(BODY_LIMIT).read_to_end(&mut body) };
    let cut = read.err().map(|error| why_io(&error));
    let headers = std::mem::take(&mut answer.headers);
    Ok(after_interim(Response { status: answer.status_code, headers, body, cut }))
}

/// Skips interim answers (1xx, RFC 9110 §15.2), which minreq takes for final: the real answer is
/// then in what it took for the body.
fn after_interim(mut response: Response) -> Response {
    while (100..200).contains(&response.status) {
        let Some(next) = head(&response.body) else { break };
        response = next;
    }
    response
}

/// Reads an answer's head; what follows it is the body (as it comes: chunks are not joined).
fn head(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&bytes[..end]).ok()?.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().into())).collect();
    Some(Response { status, headers, body: bytes[end + 4..].into(), cut: None })
}

fn why(error: minreq::Error) -> Error {
    match error {
        minreq::Error::IoError(error) => why_io(&error),
        minreq::Error::AddressNotFound => Error::Broken("the host's name has no address".into()),
        other => Error::Broken(improper(&other)),
    }
}

fn why_io(error: &io::Error) -> Error {
    #[cfg(feature = "tls")]
    if let Some(what) = error.get_ref().and_then(|inner| inner.downcast_ref()).map(roots::explain) {
        return what;
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::Timeout,
        io::ErrorKind::UnexpectedEof => Error::Broken("the server broke the connection off".into()),
        // What minreq has against the lengths of chunks.
        io::ErrorKind::Other => Error::Broken(improper(error)),
        _ => Error::Broken(error.to_string()),
    }
}

fn improper(what: &dyn fmt::Display) -> String {
    format!("this is not a proper HTTP answer: {what}")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}
