//! Outcomes: what became of one message. The one place where a status code gets its meaning.

use std::time::Duration;

use crate::http::Response;
use crate::notifier::json;
use crate::text::Field;
use crate::tz::days_from_civil;

/// What to wait for when a service says "too many" and not for how long.
const DEFAULT_PAUSE: Duration = Duration::from_mins(1);

/// The shortest: a run makes at most fifty attempts then, even if the service says "at once" to each.
/// Discord bans an address for ten thousand such answers in ten minutes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest wait that a service can ask for, so that none can silence a target for good.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has it. `pause`: its limit is spent for so long.
    Delivered { pause: Option<Duration> },
    /// Too many at once: again after this.
    Throttled { pause: Duration, why: String },
    /// It didn't work, and may later.
    Failed { why: String },
    /// The target itself is wrong (its token, its address): nothing will get there until that is mended.
    Refused { why: String },
    /// This message is wrong, and always will be.
    Rejected { why: String },
}

/// Judges an answer. `is_proven` tells whether a 2xx really is the service's, and not the page of
/// some hotel's network; `pause` reads how long a 429 lasts; `reason` is where the service's JSON
/// says why.
pub fn judge(response: &Response, is_proven: bool, pause: impl Fn() -> Option<Duration>, reason: &str) -> Outcome {
    let said = json::field(&response.body, reason).map(|text| Field::new(text.as_bytes())).unwrap_or_default();
    let status = response.status;
    let why = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
    match status {
        200..300 if is_proven => Outcome::Delivered { pause: None },
        200..300 => {
            let what = response.cut.as_ref().map(ToString::to_string);
            let what = what.unwrap_or_else(|| "something in between gave it".into());
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

/// The header `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which is taken relative to the
/// answer's own `Date`, for this host's clock may be wrong. `None` when there is none that makes sense.
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
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.splitn(5, ' ');
    let day: i64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next().and_then(|name| (1..).zip(MONTHS).find(|(_, month)| *month == name))?.0;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut clock = parts.next()?.splitn(3, ':').map(|part| part.parse::<u8>().ok().map(i64::from));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    (parts.next()? == "GMT").then(|| days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}
