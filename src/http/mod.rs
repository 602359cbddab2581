//! One bounded request: an address, headers and a body go in, an answer or a reason comes out.
//!
//! minreq speaks HTTP and TLS, over a connection of ours (`connect`), which it takes for a proxy (`relay`).
//! Redirects are not followed: a token must not travel to another host.

#[cfg(feature = "tls")]
mod anchors;
#[cfg(feature = "tls")]
mod reasons;
#[cfg(feature = "tls")]
mod roots;
#[cfg(feature = "tls")]
mod store;
#[cfg(test)]
mod tests;

mod address;
mod connect;
mod relay;
mod settings;
#[cfg(feature = "email")]
mod stream;

pub use address::Url;
#[cfg(feature = "tls")]
pub use roots::trust;
pub use settings::Settings;
#[cfg(feature = "email")]
pub use stream::Stream;

use std::io::{self, Read};
#[cfg(not(feature = "tls"))]
use std::path::Path;
use std::time::{Duration, Instant};

use crate::http::connect::{Down, connect};
use crate::text::{Secret, base64};

/// Bytes of an answer's body that are read. Every service's answer is far shorter.
const BODY_LIMIT: u64 = 64 * 1024;

/// Bytes of an answer's status line, and of all its headers together.
const HEADERS_LIMIT: usize = 8 * 1024;

/// minreq's reason phrase for an answer without a status line, to which it gives the status 503.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// What minreq's own errors are about.
const IMPROPER: &str = "this is not a proper HTTP answer";

/// What an error says of a server that doesn't answer as TLS does. The remedy follows.
#[cfg(any(feature = "tls", feature = "email"))]
pub const NO_TLS: &str = "the server speaks no TLS on this port";

/// How a reason begins that TLS has.
const TLS_FAILED: &str = "TLS failed: ";

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// How (RFC 9110 §9).
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// `Authorization: Bearer TOKEN`, if the service wants it.
    pub bearer: Option<Secret>,
    /// `Idempotency-Key: "HEX"`: the same for every attempt to send the same message.
    pub key: Option<u64>,
    /// Headers that the service alone needs: names and values.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body, JSON; a GET has none.
    pub body: String,
    /// Whether it never goes through a proxy.
    pub is_direct: bool,
}

/// How a request is made (RFC 9110 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    #[cfg_attr(not(feature = "matrix"), expect(dead_code, reason = "only Matrix wants it"))]
    Put,
}

impl Method {
    /// `POST`
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code (RFC 9110 §15).
    pub status: u16,
    /// Names with their values.
    pub headers: Vec<(String, String)>,
    /// At most 64 KiB of the body.
    pub body: Vec<u8>,
    /// Why the body ended too early, if it did.
    pub cut: Option<String>,
}

impl Response {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Without TLS there is nobody to trust: the configuration refuses every https address.
#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
pub fn trust(_settings: &Settings, _spool: &Path) -> Result<(), crate::error::Error> {
    Ok(())
}

/// Requests of one run.
pub struct Client<'a> {
    settings: &'a Settings,
    down: Down,
}

impl<'a> Client<'a> {
    /// A client to which nothing is known to be down.
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings, down: Down::default() }
    }

    /// Sends a request and reads the answer, within `timeout`. An answer whose body was cut is still an answer: the
    /// caller decides whether it is enough. The error is a sentence: no such name, no route, refused, an untrusted
    /// certificate, not HTTP, no answer in time.
    pub fn send(&self, request: &Request, timeout: Duration) -> Result<Response, String> {
        let ends = Instant::now() + timeout;
        let url = &request.url;
        let proxy = self.proxy(url, request.is_direct);
        let server = connect(url.host(), url.port(), proxy, &self.down, ends)?;
        match relay::exchange(message(request), &server, ends, fetch) {
            Ok(response) => Ok(response),
            Err(relay::Failure::Broken(why)) => Err(format!("{why} ({} {})", request.method.name(), url.origin())),
            // Without a proxy minreq can find its own way.
            Err(relay::Failure::NoLoopback(message)) if proxy.is_none() => {
                let seconds = ends.saturating_duration_since(Instant::now()).as_secs().max(1);
                fetch(message.with_timeout(seconds))
            }
            Err(relay::Failure::NoLoopback(_)) => Err("the proxy needs this host's loopback (127.0.0.1)".into()),
        }
    }

    /// Connects for a protocol other than HTTP, before `ends`. Of the address only host and port count: TLS is the
    /// caller's to begin.
    #[cfg(feature = "email")]
    pub fn open(&self, url: &Url, is_direct: bool, ends: Instant) -> Result<Stream, String> {
        connect(url.host(), url.port(), self.proxy(url, is_direct), &self.down, ends)
            .map(|socket| Stream::new(socket, ends))
    }

    /// How long one request may take, or one answer in a conversation.
    #[cfg(feature = "email")]
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    fn proxy(&self, url: &Url, is_direct: bool) -> Option<&Url> {
        self.settings.proxy.as_ref().filter(|_| !is_direct && !url.is_loopback())
    }
}

fn message(request: &Request) -> minreq::Request {
    let start = match request.method {
        Method::Post => minreq::post(request.url.reveal()),
        Method::Get => minreq::get(request.url.reveal()),
        Method::Put => minreq::put(request.url.reveal()),
    };
    let mut message = start
        .with_follow_redirects(false)
        .with_max_headers_size(HEADERS_LIMIT)
        .with_max_status_line_length(HEADERS_LIMIT)
        .with_header("User-Agent", concat!("ssh-session-notifier/", env!("CARGO_PKG_VERSION")))
        .with_header("Connection", "close");
    if request.method != Method::Get {
        message = message.with_header("Content-Type", "application/json").with_body(request.body.as_str());
    }
    if let Some(token) = &request.bearer {
        message = message.with_header("Authorization", format!("Bearer {}", token.reveal()));
    } else if let Some(user) = request.url.user() {
        message = message.with_header("Authorization", format!("Basic {}", base64(user.reveal().as_bytes())));
    }
    if let Some(key) = request.key {
        // A string of RFC 9651 §3.3.3, as draft-ietf-httpapi-idempotency-key-header wants.
        message = message.with_header("Idempotency-Key", format!("\"{key:016x}\""));
    }
    for (name, value) in &request.headers {
        message = message.with_header(*name, value.reveal());
    }
    message
}

/// Lets minreq send its request, and reads the answer.
fn fetch(message: minreq::Request) -> Result<Response, String> {
    let mut answer = message.send_lazy().map_err(why)?;
    if answer.reason_phrase == NO_STATUS_LINE {
        return Err("the server closed the connection, or speaks no HTTP".into());
    }
    let mut body = Vec::new();
    let is_empty = matches!(answer.status_code, 204 | 304);
    let read = if is_empty { Ok(0) } else { (&mut answer).take(BODY_LIMIT).read_to_end(&mut body) };
    let is_long = body.len() as u64 >= BODY_LIMIT;
    let cut = read.err().map(|error| why_io(&error)).or_else(|| is_long.then(|| "it is too long".into()));
    let headers = std::mem::take(&mut answer.headers);
    Ok(after_interim(Response { status: answer.status_code, headers, body, cut }))
}

/// Skips interim answers (1xx, RFC 9110 §15.2). minreq takes them for final and the real answer for their
/// body.
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
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.into(), value.into()));
    Some(Response { status, headers: headers.collect(), body: bytes[end + 4..].into(), cut: None })
}

fn why(error: minreq::Error) -> String {
    match error {
        minreq::Error::IoError(error) => why_io(&error),
        minreq::Error::AddressNotFound => "the host's name has no address".into(),
        other => format!("{IMPROPER}: {other}"),
    }
}

fn why_io(error: &io::Error) -> String {
    #[cfg(feature = "tls")]
    if let Some(what) = reasons::of_tls(error) {
        return what;
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection early".into(),
        // minreq's complaints about the lengths of chunks.
        io::ErrorKind::Other => format!("{IMPROPER}: {error}"),
        _ => error.to_string(),
    }
}
