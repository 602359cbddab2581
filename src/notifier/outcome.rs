//! Outcomes: what became of one message. Only here does a status code get its meaning.

use std::time::Duration;

use crate::http::Response;
use crate::notifier::json;
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
}

/// Judges an answer. `is_proven`: a 2xx really comes from the service, not from a captive portal. `pause`
/// reads how long a 429 lasts, and `reason` names the member of the service's JSON that says why.
pub fn judge(response: &Response, is_proven: bool, pause: impl Fn() -> Option<Duration>, reason: &str) -> Outcome {
    let said = json::field(&response.body, reason).map(|text| Field::new(text.as_bytes())).unwrap_or_default();
    let status = response.status;
    let why = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
    match status {
        200..300 if is_proven => Outcome::Delivered { pause: None },
        200..300 => {
            let what = response.cut.as_deref().unwrap_or("a captive portal or a proxy answered");
            Outcome::Failed { why: format!("HTTP {status}, but not the service's answer: {what}") }
        }
        300..400 => Outcome::Failed { why: format!("{why}: redirects are not followed") },
        400 | 413 | 422 => Outcome::Rejected { why },
        408 | 425 => Outcome::Failed { why },
        429 => Outcome::Throttled { pause: pause().unwrap_or(DEFAULT_PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE), why },
        400..500 => Outcome::Refused { why },
        _ => Outcome::Failed { why },
    }
}

/// The header `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which is compared with the answer's own
/// `Date` because this host's clock may be wrong. `None` if it is missing or makes no sense.
pub fn retry_after(response: &Response) -> Option<Duration> {
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
