//! Outcomes: what became of one message. Only here does a status code get its meaning.

use std::time::Duration;

use crate::http::{Method, Response, Url};
use crate::json;
use crate::text::Field;
use crate::tz::days_from_civil;

/// How long to wait when a service answers "too many requests" without a time.
const DEFAULT_PAUSE: Duration = Duration::from_mins(1);

/// The shortest wait: a run then makes at most fifty attempts, even if the service says "at once" to each.
/// Discord bans an address after ten thousand such answers in ten minutes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest wait that a service can ask for, so that none can silence its target for good.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has it. `pause`: its limit is used up for this long.
    Delivered { pause: Option<Duration> },
    /// Too many requests: try again after this.
    Throttled { pause: Duration, why: String },
    /// It didn't work, but may work later.
    Failed { why: String },
    /// The target itself is wrong (its token, its address): nothing arrives until somebody corrects that.
    Refused { why: String },
    /// This message is wrong, and always will be.
    Rejected { why: String },
    /// The target is reached in another way, which `hint` says: try again at once.
    Moved { hint: String, why: String },
}

/// What a service reads in an answer of its own. The default is what it reads in somebody else's.
#[derive(Debug, Default)]
pub struct Reading {
    /// A 2xx has the mark that only the service itself makes: it has the message.
    pub is_taken: bool,
    /// For so long its limit is used up by this message.
    pub spent: Option<Duration>,
    /// How long a 429 lasts.
    pub pause: Option<Duration>,
    /// An error is about this message, and not about the target.
    pub is_about_message: bool,
    /// How else the target can be reached.
    pub hint: Option<String>,
    /// What the service says of an error.
    pub said: Field,
    /// What the operator can do about it.
    pub remedy: &'static str,
}

/// What is known of the request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// How it was made.
    pub method: Method,
    /// Where it was posted to.
    pub url: &'a Url,
    /// The same for people: without secrets.
    pub shown: &'a str,
    /// Whether it had a token, or a name and a password.
    pub has_token: bool,
}

/// Judges an answer. Only the service itself can say that a message is wrong; anybody else's error (a proxy's,
/// a firewall's) keeps everything.
pub fn judge(response: &Response, reading: Reading, asked: Asked<'_>) -> Outcome {
    let status = response.status;
    let said = match &reading.said {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    };
    let why = format!("HTTP {status}{said}");
    // Where the settings are probably wrong: what was asked, and what to do.
    let in_full = |remedy: &str| {
        let (method, shown) = (asked.method.name(), asked.shown);
        format!("{why} ({method} {shown}); {remedy}")
    };
    match status {
        200..300 if reading.is_taken || is_a_relays(response, asked.url) => Outcome::Delivered { pause: reading.spent },
        200..300 => {
            let what = response.cut.as_deref().unwrap_or("a captive portal, a login page or a proxy answered");
            Outcome::Failed { why: format!("HTTP {status}, but not the service's answer: {what}") }
        }
        300..400 => Outcome::Failed { why: in_full(&redirect(response, asked.url)) },
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
            None if reading.remedy.is_empty() => {
                let is_own = !reading.said.is_empty();
                Outcome::Refused { why: in_full(remedy(response, asked, is_own)) }
            }
            None => Outcome::Refused { why: in_full(reading.remedy) },
        },
        // A service's own words say more.
        _ if !reading.said.is_empty() => Outcome::Failed { why },
        502..=504 => Outcome::Failed { why: in_full("what is behind that server does not answer: wait, or see to it") },
        _ => Outcome::Failed { why: in_full("the server has failed, and not this host: wait, or see to it") },
    }
}

/// Whether a 2xx without the service's own mark says that a relay, or another server that speaks the same, has
/// the message: nothing at all, or JSON, over a way on which nobody else can answer.
fn is_a_relays(response: &Response, url: &Url) -> bool {
    let body = str::from_utf8(&response.body).unwrap_or("?").trim();
    let is_plain = body.is_empty() || json::is_whole(body);
    response.cut.is_none() && is_plain && (url.is_secure() || url.is_near())
}

/// What a redirect needs: the address that it leads to, usually the same one with https.
fn redirect(response: &Response, url: &Url) -> String {
    let Some(to) = response.header("location") else { return "redirects are not followed".into() };
    let rest = |address: &str| address.split_once("://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
    if !url.is_secure() && to.starts_with("https:") && rest(to).is_some_and(|to| Some(to) == rest(url.reveal())) {
        return "write https:// instead of http:// in the address".into();
    }
    let to = Field::new(to.as_bytes());
    format!("redirects are not followed; this one leads to {to}: write that address if you know it")
}

/// What to do about an error for which the service has no remedy of its own. `is_own`: it is in its own words.
fn remedy(response: &Response, asked: Asked<'_>, is_own: bool) -> &'static str {
    let text = String::from_utf8_lossy(&response.body);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let cloudflare = cloudflare(response);
    match response.status {
        _ if !cloudflare.is_empty() => cloudflare,
        // What nginx, Go's server and Apache say.
        400 if says(&["plain HTTP request was sent to HTTPS", "HTTP request to an HTTPS", "plain HTTP to an SSL"]) => {
            "write https:// instead of http:// in the address"
        }
        400 if says(&["No required SSL certificate", "SSL certificate error"]) => {
            "it wants a client certificate, which this program does not have: let this host in without one"
        }
        401 if !asked.has_token => "it wants a token, or a name and a password, and none is set",
        401 => "it does not accept the token, or the name and password: set the right ones",
        403 if !asked.has_token => "it lets nobody post there without a token: set one, or check the address",
        403 => "the token is not allowed to post there: check its rights, and the address",
        404 | 410 => "nothing is there: check the address",
        405 => "nobody can post there: check the address",
        413 => "a server on the way takes no message of this size: raise its limit (nginx: client_max_body_size)",
        _ if is_own => "check the settings of this target",
        _ => "this is not the service's own answer: check the address, and any proxy on the way",
    }
}

/// Says so if Cloudflare, which stands before many servers, keeps this host out.
fn cloudflare(response: &Response) -> &'static str {
    let text = String::from_utf8_lossy(&response.body);
    if ["error code: 1010", "Just a moment", "challenge-platform"].iter().any(|mark| text.contains(mark)) {
        "Cloudflare, in front of the server, takes this host for a robot and keeps it out: ask the server's administrator"
    } else if text.contains("1015") && text.contains("error") {
        "Cloudflare, in front of the server, has seen too many requests from this address"
    } else {
        ""
    }
}

/// The header `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which is compared with the answer's own
/// `Date` because this host's clock may be wrong. `None` if it is missing or makes no sense.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.header("retry-after")?;
    seconds(value).or_else(|| {
        let wait = imf_fixdate(value)? - imf_fixdate(response.header("date")?)?;
        u64::try_from(wait).ok().map(Duration::from_secs)
    })
}

/// Reads seconds, whole or not; nothing negative.
pub fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7) as seconds since 1970.
fn imf_fixdate(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, clock, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = (1..).zip(MONTHS).find(|(_, name)| *name == month)?.0;
    let number = |text: &str| text.parse::<u16>().ok().map(i64::from);
    let clock = clock.split(':').map(number).collect::<Option<Vec<i64>>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    Some(days_from_civil(number(year)?, month, number(day)?) * 86_400 + hour * 3600 + minute * 60 + second)
}
