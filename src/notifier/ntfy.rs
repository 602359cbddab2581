//! ntfy: a topic, to which notices are published as JSON, because headers can't hold every host name (docs.ntfy.sh,
//! Publish as JSON).

use std::time::Duration;

use crate::http::{Response, Url};
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit};
use crate::rules::Urgency;
use crate::text::{Field, Secret, percent_encoded};
use crate::toml::Section;

/// A message of 4096 bytes or more becomes an attachment (ntfy's `util.Peek`). The last line has no line break, so a
/// full message has 4095.
pub const CAPACITY: Capacity = Capacity { limit: 4096, unit: Unit::Bytes, around: 0, per_line: 1 };

/// After a burst of sixty messages, ntfy accepts one every five seconds.
const BURST_PAUSE: Duration = Duration::from_secs(6);

/// ntfy resets the daily quota at midnight in UTC. A retry each hour is soon enough.
const QUOTA_PAUSE: Duration = Duration::from_hours(1);

/// Characters in a topic: ntfy's own limit.
const TOPIC_LIMIT: usize = 64;

/// Paths that ntfy serves below a topic.
const ENDPOINTS: [&str; 8] = ["publish", "send", "trigger", "json", "sse", "raw", "ws", "auth"];

/// The hint to post to the topic's own path, because a proxy lets nothing else through.
const BY_PATH: &str = "by path";

/// ntfy's error codes (docs.ntfy.sh lists them) about the message: not UTF-8, not JSON, too large.
const ABOUT_MESSAGE: [&str; 4] = ["40011", "40017", "41301", "41303"];

/// Error codes about the target, each with its remedy.
const REMEDIES: [(&[&str], &str); 3] = [
    (&["40009", "40010"], "ntfy does not allow a topic of this name: choose another"),
    (&["40101"], "ntfy does not accept the token, or the name and password: set the right ones"),
    (&["40301"], "ntfy does not allow writing to this topic: set the token of a user who may, or choose another topic"),
];

/// A topic on a server.
#[derive(Clone, Debug)]
pub struct Topic {
    name: Secret,
    /// The topic's own address.
    own: Url,
    /// Whether ntfy would refuse its name, so that another server must serve this path.
    is_foreign: bool,
}

impl Topic {
    /// The address at which ntfy answers whether the caller may read the topic.
    pub fn access(&self) -> Url {
        let query = if self.own.query().is_empty() { String::new() } else { format!("?{}", self.own.query()) };
        self.own.with_path(&format!("{}/auth{query}", self.own.path()))
    }
}

/// Reads `topic_url` and `token`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let token = token(section);
    let found = section.required("topic_url", Section::secret)?;
    let url = Url::configure(section, "topic_url", &found)?;
    let url = match &token {
        Some(token) if token.reveal().contains(':') => url.with_user(token.clone()),
        _ => url,
    };
    let bearer = token.filter(|token| !token.reveal().contains(':'));
    let path = url.path().trim_end_matches('/');
    let (base, name) = path.rsplit_once('/').unwrap_or(("", ""));
    section.check("topic_url", &found, |_| match name {
        "" => Err("must end with a topic, such as https://ntfy.sh/mytopic".into()),
        endpoint if !base.is_empty() && ENDPOINTS.contains(&endpoint) => {
            Err(format!("ends with /{endpoint}, which is not the topic: remove that"))
        }
        _ => Ok(()),
    })?;
    let is_topic =
        name.len() <= TOPIC_LIMIT && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let name = Secret::new(name);
    // The topic, or a value in the query (`auth=`), is all that it takes to read or post.
    let values = url.query().split('&').filter_map(|part| part.split_once('=')).map(|(_, value)| Secret::new(value));
    let password = url.user().and_then(|user| user.reveal().split_once(':')).map(|(_, password)| Secret::new(password));
    let secrets = values.chain([name.clone()]).chain(password).collect();
    let query = if url.query().is_empty() { String::new() } else { format!("?{}", url.query()) };
    let address = url.with_path(&format!("{base}/{query}"));
    let topic = Topic { name, own: url.with_path(&format!("{path}{query}")), is_foreign: !is_topic };
    Some(Setup { bearer, ..Setup::new(Service::Ntfy(topic), Some(address), secrets) })
}

/// Writes a message with the host as its title. Also returns the address, if the message can't be posted as JSON.
pub fn render(digest: &Digest<'_>, topic: &Topic, hint: &str) -> (String, Option<Url>) {
    let priority = match digest.urgency() {
        Urgency::Quiet => 2,
        Urgency::Normal | Urgency::Urgent => 5,
    };
    let (host, lines) = (digest.style.host.as_str(), digest.lines(""));
    if hint == BY_PATH || topic.is_foreign {
        let (path, query) = (topic.own.path(), topic.own.query());
        let joint = if query.is_empty() { "" } else { "&" };
        let title = percent_encoded(host);
        let path = format!("{path}?{query}{joint}title={title}&priority={priority}&tags=rotating_light");
        return (lines, Some(topic.own.with_path(&path)));
    }
    let body = format!(
        r#"{{"topic":{},"title":{},"message":{},"priority":{priority},"tags":["rotating_light"]}}"#,
        json::string(topic.name.reveal()),
        json::string(host),
        json::string(&lines)
    );
    (body, None)
}

/// Reads ntfy's answer: the message's `id`, or an error with a `code`, which in a 429 says which limit was reached. An
/// error without a code may come from a proxy that lets only the topic's path through.
pub fn read(response: &Response, hint: &str) -> Reading {
    let code = json::member(&response.body, "code");
    let is_among = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
    let is_blocked = matches!(response.status, 401 | 403 | 404 | 405) && code.is_none() && hint.is_empty();
    let pause = match code {
        Some("42901") => Some(BURST_PAUSE),
        Some("42908" | "42909") => Some(QUOTA_PAUSE),
        _ => None,
    };
    Reading {
        is_accepted: json::member(&response.body, "id").is_some(),
        pause,
        is_about_message: is_among(&ABOUT_MESSAGE),
        hint: is_blocked.then(|| BY_PATH.into()),
        error_text: json::member(&response.body, "error").map(|text| Field::new(text.as_bytes())).unwrap_or_default(),
        remedy: REMEDIES.iter().find(|(codes, _)| is_among(codes)).map_or("", |(_, remedy)| remedy),
        ..Reading::default()
    }
}

/// Reads the access token or `user:password`. An empty one means none.
fn token(section: &mut Section<'_>) -> Option<Secret> {
    let found = section.secret("token").filter(|found| !found.value.reveal().is_empty())?;
    section.check("token", &found, |token| {
        // A token becomes a header as it is; a name and a password are encoded as base64.
        let text = token.reveal();
        let is_pair = text.contains(':') && !text.contains(char::is_control);
        let is_word = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_pair || is_word {
            Ok(token.clone())
        } else {
            Err("must be one word of ASCII characters, or name:password")
        }
    })
}
