//! Turns a service's answer into an outcome. No other file decides what an HTTP status code means.

use std::time::Duration;

use crate::http::{Method, Response, Url};
use crate::json;
use crate::text::Field;
use crate::tz::days_from_civil;

/// How long to wait after a 429 without a time.
const DEFAULT_PAUSE: Duration = Duration::from_mins(1);

/// The shortest wait after a 429, which bounds a run to fifty attempts. Discord bans an address after ten thousand such
/// answers in ten minutes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest wait that a service can ask for, so that none can silence its target for good.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The outcome of one message. `why` is a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has the message. `pause`: how long to wait before the next one.
    Delivered { pause: Option<Duration> },
    /// Too many requests: try again after the pause.
    Throttled { pause: Duration, why: String },
    /// A failure that may pass.
    Failed { why: String },
    /// The target's settings are wrong (its token, its address): nothing is delivered until they are corrected.
    Refused { why: String },
    /// The message itself is wrong, and will never be accepted.
    Rejected { why: String },
    /// The target must be reached in another way, as `hint` says: try again at once.
    Moved { hint: String, why: String },
}

/// A service's interpretation of its own answer. The default is for another server's answer.
#[derive(Debug, Default)]
pub struct Reading {
    /// Whether a 2xx has the mark of the service itself, which then has the message.
    pub is_accepted: bool,
    /// Whether a 2xx says that the message was not accepted.
    pub is_denied: bool,
    /// How long to wait before the next message, because this one used up the rate limit.
    pub limit_reset: Option<Duration>,
    /// How long to wait after a 429.
    pub pause: Option<Duration>,
    /// Whether an error is about this message, not about the target.
    pub is_about_message: bool,
    /// Another way to reach the target.
    pub hint: Option<String>,
    /// The service's explanation of an error; may be empty.
    pub error_text: Field,
    /// What the operator can do about the error; may be empty.
    pub remedy: &'static str,
}

/// The request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    pub method: Method,
    pub url: &'a Url,
    /// The address without secrets, for messages.
    pub shown: &'a str,
    /// Whether it had a token, or a name and a password.
    pub has_token: bool,
}

/// Judges an answer. A message is rejected only by the service itself; an error from anything in between, such as a
/// proxy or a firewall, keeps all events.
pub fn judge(response: &Response, reading: Reading, sent: Sent<'_>) -> Outcome {
    let status = response.status;
    let colon = if reading.error_text.is_empty() { "" } else { ": " };
    let why = format!("HTTP {status}{colon}{}", reading.error_text);
    // For errors that the settings probably cause: also the request and the remedy.
    let in_full = |remedy: &str| {
        let (method, shown) = (sent.method.name(), sent.shown);
        format!("{why} ({method} {shown}); {remedy}")
    };
    match status {
        200..300 if reading.is_denied => {
            let remedy = if reading.remedy.is_empty() { "this is not what `ok` expects" } else { reading.remedy };
            Outcome::Failed { why: in_full(remedy) }
        }
        200..300 if reading.is_accepted || is_accepted_elsewhere(response, sent.url) => {
            Outcome::Delivered { pause: reading.limit_reset }
        }
        200..300 => {
            let what = response.cut.as_deref().unwrap_or("a captive portal, a login page or a proxy answered");
            Outcome::Failed { why: format!("HTTP {status}, but not the service's answer: {what}") }
        }
        300..400 => Outcome::Failed { why: in_full(&redirect(response, sent.url)) },
        408 | 425 => Outcome::Failed { why },
        429 => {
            let pause = retry_after(response).or(reading.pause).unwrap_or(DEFAULT_PAUSE);
            let cloudflare = cloudflare(response);
            let why = if cloudflare.is_empty() { why } else { format!("{why}; {cloudflare}") };
            Outcome::Throttled { pause: pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE), why }
        }
        400..500 => match reading.hint {
            Some(hint) => Outcome::Moved { hint, why: in_full(reading.remedy) },
            None if reading.is_about_message && matches!(status, 400 | 413 | 422) => Outcome::Rejected { why },
            None => {
                let is_own = !reading.error_text.is_empty();
                let remedy = if reading.remedy.is_empty() { remedy(response, sent, is_own) } else { reading.remedy };
                Outcome::Refused { why: in_full(remedy) }
            }
        },
        // The service's explanation is better than ours.
        _ if !reading.error_text.is_empty() => Outcome::Failed { why },
        502..=504 => Outcome::Failed { why: in_full("the server behind that one does not answer: wait, or check it") },
        _ => Outcome::Failed { why: in_full("the error is the server's, not this host's: wait, or check the server") },
    }
}

/// Whether a 2xx without the service's own mark shows that a relay or a compatible server has the message: an empty
/// body or JSON, over TLS or from a local network, where no captive portal can answer instead.
fn is_accepted_elsewhere(response: &Response, url: &Url) -> bool {
    let body = str::from_utf8(&response.body).unwrap_or("?").trim();
    let is_plain = body.is_empty() || json::is_whole(body);
    response.cut.is_none() && is_plain && (url.is_secure() || url.is_near())
}

/// The remedy for a redirect: the address that it leads to, usually the same one with https.
fn redirect(response: &Response, url: &Url) -> String {
    let Some(to) = response.header("location") else { return "redirects are not followed".into() };
    let rest = |address: &str| address.split_once("://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
    if !url.is_secure() && to.starts_with("https:") && rest(to).is_some_and(|to| Some(to) == rest(url.reveal())) {
        return "write https:// instead of http:// in the address".into();
    }
    let to = Field::new(to.as_bytes());
    format!("redirects are not followed; this one leads to {to}: write that address if you know it")
}

/// The remedy for an error if the service has none of its own. `is_own`: the answer is the service's.
fn remedy(response: &Response, sent: Sent<'_>, is_own: bool) -> &'static str {
    let text = String::from_utf8_lossy(&response.body);
    let contains = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let cloudflare = cloudflare(response);
    match response.status {
        _ if !cloudflare.is_empty() => cloudflare,
        // The wording of nginx, Go's server and Apache.
        400 if contains(&[
            "plain HTTP request was sent to HTTPS",
            "HTTP request to an HTTPS",
            "plain HTTP to an SSL",
        ]) =>
        {
            "write https:// instead of http:// in the address"
        }
        400 if contains(&["No required SSL certificate", "SSL certificate error"]) => {
            "it wants a client certificate, which this program does not have: let this host in without one"
        }
        401 if !sent.has_token => "it wants a token, or a name and a password, but none is set",
        401 => "it does not accept the token, or the name and password: set the right ones",
        403 if !sent.has_token => "it does not allow posting without a token: set one, or check the address",
        403 => "the token is not allowed to post there: check its rights and the address",
        404 | 410 => "nothing is there: check the address",
        405 => "that address does not accept messages: check it",
        413 => {
            "a server in between does not accept a message of this size: raise its limit (nginx: client_max_body_size)"
        }
        _ if is_own => "check the settings of this target",
        _ => "this is not the service's own answer: check the address and any proxy in between",
    }
}

/// The explanation if Cloudflare, which is in front of many servers, blocks this host; otherwise empty.
fn cloudflare(response: &Response) -> &'static str {
    let text = String::from_utf8_lossy(&response.body);
    if ["error code: 1010", "Just a moment", "challenge-platform"].iter().any(|mark| text.contains(mark)) {
        "Cloudflare, in front of the server, blocks this host as a bot: ask the server's administrator"
    } else if text.contains("1015") && text.contains("error") {
        "Cloudflare, in front of the server, has seen too many requests from this address"
    } else {
        ""
    }
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which is compared with the answer's `Date` because this
/// host's clock may be wrong. `None` if it is missing or malformed.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.header("retry-after")?;
    seconds(value).or_else(|| {
        let wait = imf_fixdate(value)? - imf_fixdate(response.header("date")?)?;
        u64::try_from(wait).ok().map(Duration::from_secs)
    })
}

/// Parses seconds, with or without a fraction. `None` if they are negative.
pub fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7) into seconds since 1970.
fn imf_fixdate(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, clock, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = (1..).zip(MONTHS).find(|(_, name)| *name == month)?.0;
    let number = |text: &str| text.parse::<u16>().ok().map(i64::from);
    let clock = clock.split(':').map(number).collect::<Option<Vec<i64>>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    Some(days_from_civil(number(year)?, month, number(day)?) * 86_400 + hour * 3600 + minute * 60 + second)
}
