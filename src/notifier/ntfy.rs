//! ntfy: a topic, published to as JSON, in which any host name survives (docs.ntfy.sh, Publish as JSON).

use std::time::Duration;

use crate::http::{Address, Request, Response};
use crate::notifier::outcome::{self, Outcome};
use crate::notifier::{Capacity, Digest, Unit, json};
use crate::text::{FIELD_BYTES, Secret};
use crate::toml::Section;

/// A message that has 4096 bytes or more becomes an attachment (ntfy's `util.Peek`). A line break is
/// counted for the last line too, so that none has more than 4095.
pub const CAPACITY: Capacity = Capacity { limit: 4096, unit: Unit::Bytes, around: 0, per_line: 1 };

/// The longest notice has five fields, and the words between them.
const _: () = assert!(5 * FIELD_BYTES + 100 + CAPACITY.per_line <= CAPACITY.limit);

/// ntfy gives one more message every five seconds when its burst of sixty is used up.
const BURST_PAUSE: Duration = Duration::from_secs(6);

/// The daily quota is counted anew at midnight in UTC; asking each hour is early enough.
const QUOTA_PAUSE: Duration = Duration::from_hours(1);

/// One topic.
#[derive(Clone, Debug)]
pub struct Ntfy {
    url: Secret,
    topic: Secret,
    token: Option<Secret>,
    is_secure: bool,
}

impl Ntfy {
    /// Reads `topic_url` and `token`.
    pub fn configure(section: &mut Section<'_>) -> Option<Self> {
        let token = token(section);
        let found = section.required_secret("topic_url", "topic_url_file")?;
        let url = section.address("topic_url", &found)?;
        let parts = Address::parse(url.reveal()).ok()?;
        let (path, query) = parts.path.split_once('?').map_or((parts.path, ""), |(path, query)| (path, query));
        let (base, topic) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", ""));
        // ntfy's own rule for topics.
        let is_topic = !topic.is_empty()
            && topic.len() <= 64
            && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_topic {
            section.mistake(&found, "topic_url", "must end with a topic, such as https://ntfy.sh/mytopic");
            return None;
        }
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let url = Secret::new(format!("{}{base}/{query}", parts.origin));
        Some(Self { url, topic: Secret::new(topic), token, is_secure: parts.is_secure })
    }

    /// What lets anybody read or post: the token, the topic, and whatever a query holds.
    pub fn secrets(&self) -> Vec<&str> {
        let query = self.url.reveal().split_once('?').map_or("", |(_, query)| query);
        let values = query.split('&').filter_map(|part| part.split_once('=')).map(|(_, value)| value);
        self.token.iter().map(Secret::reveal).chain([self.topic.reveal()]).chain(values).collect()
    }

    /// Whether the server is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Writes an urgent message with the host as its title.
    pub fn render(&self, digest: &Digest<'_>) -> Request {
        let body = format!(
            r#"{{"topic":{},"title":{},"message":{},"priority":5,"tags":["rotating_light"]}}"#,
            json::string(self.topic.reveal()),
            json::string(digest.host.as_str()),
            json::string(&digest.lines.join("\n"))
        );
        Request { url: self.url.clone(), bearer: self.token.clone(), body }
    }

    /// A message that was taken is answered with its `id`; a 429 tells which limit it was in `code`.
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
}

/// The access token; an empty one means none. It becomes a header, and so must be one word.
fn token(section: &mut Section<'_>) -> Option<Secret> {
    let found = section.secret("token", "token_file").filter(|found| !found.value.reveal().is_empty())?;
    if !found.value.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        section.mistake(&found, "token", "must be one word of ASCII characters");
        return None;
    }
    Some(found.value)
}
