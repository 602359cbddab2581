//! Sends one bounded HTTP request and returns the answer, or a sentence that says why there is none.
//!
//! minreq speaks HTTP and TLS over a connection that `connect` makes and `relay` hands over as a proxy.
//! Redirects are not followed, because a token must not travel to another host.

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
mod proxy;
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

/// Bytes read of an answer's body. Every service's answer is far shorter.
const BODY_LIMIT: u64 = 64 * 1024;

/// Bytes in an answer's status line, and in all its headers together.
const HEADERS_LIMIT: usize = 8 * 1024;

/// minreq's reason phrase for an answer without a status line, which it reports as status 503.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// Introduces minreq's own errors.
const IMPROPER: &str = "this is not a proper HTTP answer";

/// Describes a server that doesn't speak TLS. A remedy follows.
#[cfg(any(feature = "tls", feature = "email"))]
pub const NO_TLS: &str = "the server does not speak TLS on this port";

/// Introduces errors of TLS.
const TLS_FAILED: &str = "TLS failed: ";

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// The token in `Authorization: Bearer TOKEN`.
    pub bearer: Option<Secret>,
    /// The number in `Idempotency-Key: "HEX"`, the same for every attempt to send a message.
    pub key: Option<u64>,
    /// Names and values of headers that only this service needs.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body, as JSON. A GET has none.
    pub body: String,
    /// Whether the proxy is bypassed.
    pub is_direct: bool,
}

/// A request's method (RFC 9110 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    #[cfg_attr(not(feature = "matrix"), expect(dead_code, reason = "only Matrix uses it"))]
    Put,
}

impl Method {
    /// The method's name in a request line: `POST`
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// A server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code (RFC 9110 §15).
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// At most 64 KiB of the body.
    pub body: Vec<u8>,
    /// Why the body is incomplete. `None` if it is complete.
    pub cut: Option<String>,
}

impl Response {
    /// Returns the value of a header, ignoring the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Does nothing: without TLS, the configuration refuses every https address.
#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
pub fn trust(_settings: &Settings, _spool: &Path) -> Result<(), crate::error::Error> {
    Ok(())
}

/// Sends the requests of one run, and remembers hosts that are down.
pub struct Client<'a> {
    settings: &'a Settings,
    down: Down,
}

impl<'a> Client<'a> {
    /// Makes a client for one run.
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings, down: Down::default() }
    }

    /// Sends a request and reads the answer within `timeout`. An incomplete body is not an error: the caller decides
    /// whether it is enough. The error is a sentence: no such name, no route, connection refused, an untrusted
    /// certificate, not HTTP, no answer in time.
    pub fn send(&self, request: &Request, timeout: Duration) -> Result<Response, String> {
        let deadline = Instant::now() + timeout;
        let url = &request.url;
        let proxy = self.proxy(url, request.is_direct);
        let server = connect(url.host(), url.port(), proxy, &self.down, deadline)?;
        match relay::exchange(message(request), &server, deadline, fetch) {
            Ok(response) => Ok(response),
            Err(relay::Failure::Broken(why)) => Err(format!("{why} ({} {})", request.method.name(), url.origin())),
            // Without a proxy, minreq can connect by itself.
            Err(relay::Failure::NoLoopback(message)) if proxy.is_none() => {
                let seconds = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
                fetch(message.with_timeout(seconds))
            }
            Err(relay::Failure::NoLoopback(_)) => {
                Err("network.proxy needs this host's loopback interface (127.0.0.1), which is down".into())
            }
        }
    }

    /// Connects to the address's host and port for a protocol other than HTTP. The caller begins TLS.
    #[cfg(feature = "email")]
    pub fn open(&self, url: &Url, is_direct: bool, deadline: Instant) -> Result<Stream, String> {
        connect(url.host(), url.port(), self.proxy(url, is_direct), &self.down, deadline)
            .map(|socket| Stream::new(socket, deadline))
    }

    /// How long one answer may take.
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

/// Sends a request with minreq and reads the answer.
fn fetch(message: minreq::Request) -> Result<Response, String> {
    let mut answer = message.send_lazy().map_err(explain)?;
    if answer.reason_phrase == NO_STATUS_LINE {
        return Err("the server closed the connection or does not speak HTTP".into());
    }
    let mut body = Vec::new();
    let is_empty = matches!(answer.status_code, 204 | 304);
    let read = if is_empty { Ok(0) } else { (&mut answer).take(BODY_LIMIT).read_to_end(&mut body) };
    let cut = match read {
        Err(error) => Some(explain_io(&error)),
        Ok(_) if body.len() as u64 >= BODY_LIMIT => Some("it is too long".into()),
        Ok(_) => None,
    };
    let headers = std::mem::take(&mut answer.headers);
    Ok(after_interim(Response { status: answer.status_code, headers, body, cut }))
}

/// Skips interim answers (1xx, RFC 9110 §15.2), which minreq returns with the final answer as their body.
fn after_interim(mut response: Response) -> Response {
    while (100..200).contains(&response.status) {
        let Some(next) = head(&response.body) else { break };
        response = next;
    }
    response
}

/// Parses an answer. `None` if its head is incomplete or not HTTP. Chunks of its body are not joined.
fn head(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&bytes[..end]).ok()?.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.into(), value.into()));
    Some(Response { status, headers: headers.collect(), body: bytes[end + 4..].into(), cut: None })
}

fn explain(error: minreq::Error) -> String {
    match error {
        minreq::Error::IoError(error) => explain_io(&error),
        minreq::Error::AddressNotFound => "the host's name has no address".into(),
        other => format!("{IMPROPER}: {other}"),
    }
}

fn explain_io(error: &io::Error) -> String {
    #[cfg(feature = "tls")]
    if let Some(what) = reasons::of_tls(error) {
        return what;
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection early".into(),
        // minreq reports bad chunk lengths so.
        io::ErrorKind::Other => format!("{IMPROPER}: {error}"),
        _ => error.to_string(),
    }
}
