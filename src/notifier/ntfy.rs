//! ntfy: a topic, published to as JSON, in which any host name survives (docs.ntfy.sh, Publish as JSON).

use std::time::Duration;

use crate::http::{Response, Url};
use crate::notifier::outcome::{self, Outcome};
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, json};
use crate::rules::Urgency;
use crate::text::Secret;
use crate::toml::Section;

/// A message that has 4096 bytes or more becomes an attachment (ntfy's `util.Peek`). A line break is
/// counted for the last line too, so that none has more than 4095.
pub const CAPACITY: Capacity = Capacity { limit: 4096, unit: Unit::Bytes, around: 0, per_line: 1 };

/// ntfy gives one more message every five seconds when its burst of sixty is used up.
const BURST_PAUSE: Duration = Duration::from_secs(6);

/// The daily quota is reset at midnight in UTC; asking each hour is early enough.
const QUOTA_PAUSE: Duration = Duration::from_hours(1);

/// Characters of a topic: ntfy's own rule.
const TOPIC_LIMIT: usize = 64;

/// Reads `topic_url` and `token`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let bearer = token(section);
    let found = section.required("topic_url", Section::secret)?;
    let url = Url::configure(section, "topic_url", &found)?;
    let (base, topic) = url.path().trim_end_matches('/').rsplit_once('/').unwrap_or(("", ""));
    let is_topic = (1..=TOPIC_LIMIT).contains(&topic.len())
        && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let what = "must end with a topic, such as https://ntfy.sh/mytopic";
    let topic = section.check("topic_url", &found, |_| is_topic.then(|| Secret::new(topic)).ok_or(what))?;
    // Whoever knows the topic or what is in the query (`auth=`) can read or post.
    let values = url.query().split('&').filter_map(|part| part.split_once('=')).map(|(_, value)| Secret::new(value));
    let secrets = values.chain([topic.clone()]).collect();
    let query = if url.query().is_empty() { String::new() } else { format!("?{}", url.query()) };
    let address = url.with_path(&format!("{base}/{query}"));
    Some(Setup { service: Service::Ntfy { topic }, address: Some(address), bearer, secrets })
}

/// Writes a message with the host as its title.
pub fn render(digest: &Digest<'_>, topic: &Secret) -> String {
    let priority = match digest.urgency() {
        Urgency::Quiet => 2,
        Urgency::Normal | Urgency::Urgent => 5,
    };
    format!(
        r#"{{"topic":{},"title":{},"message":{},"priority":{priority},"tags":["rotating_light"]}}"#,
        json::string(topic.reveal()),
        json::string(digest.host.as_str()),
        json::string(&digest.lines(""))
    )
}

/// ntfy answers a message that it took with its `id`; in a 429, `code` says which limit was hit.
pub fn judge(response: &Response) -> Outcome {
    let taken = json::field(&response.body, "id").is_some();
    let throttled = || {
        outcome::retry_after(response).or_else(|| match json::field(&response.body, "code")? {
            "42901" => Some(BURST_PAUSE),
            "42908" | "42909" => Some(QUOTA_PAUSE),
            _ => None,
        })
    };
    outcome::judge(response, taken, throttled, "error")
}

/// The access token; an empty one means none. It becomes a header, and so must be one word.
fn token(section: &mut Section<'_>) -> Option<Secret> {
    let found = section.secret("token").filter(|found| !found.value.reveal().is_empty())?;
    section.check("token", &found, |token| {
        let is_word = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| token.clone()).ok_or("must be one word of ASCII characters")
    })
}
