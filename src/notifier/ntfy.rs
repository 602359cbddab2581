//! ntfy: a topic, published to as JSON, in which any host name survives (docs.ntfy.sh, Publish as JSON).

use std::time::Duration;

use crate::http::{Response, Url};
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit};
use crate::rules::Urgency;
use crate::text::{Field, Secret, percent_encoded};
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

/// What ntfy serves below a topic.
const ENDPOINTS: [&str; 8] = ["publish", "send", "trigger", "json", "sse", "raw", "ws", "auth"];

/// The hint that a server takes messages at the topic's own path, where a proxy lets nothing else through.
const BY_PATH: &str = "by path";

/// Codes of ntfy's errors (docs.ntfy.sh lists them) that are about the message: it isn't UTF-8, isn't JSON, is
/// too large.
const ABOUT_MESSAGE: [&str; 4] = ["40011", "40017", "41301", "41303"];

/// What to do about the codes that are about the target.
const REMEDIES: [(&[&str], &str); 3] = [
    (&["40009", "40010"], "ntfy allows no topic of this name: choose another"),
    (&["40101"], "ntfy does not accept the token, or the name and password: set the right ones"),
    (&["40301"], "who posts here may not write to this topic: set a token whose user may, or choose another topic"),
];

/// A topic on a server.
#[derive(Clone, Debug)]
pub struct Topic {
    name: Secret,
    /// Where it is read and, by path, written.
    own: Url,
    /// Whether ntfy could not take it as the name of a topic: some other server serves this path.
    is_foreign: bool,
}

impl Topic {
    /// Where ntfy tells whether somebody may use the topic.
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
            Err(format!("ends with /{endpoint}, which is not the topic: take that off"))
        }
        _ => Ok(()),
    })?;
    let is_topic =
        name.len() <= TOPIC_LIMIT && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let name = Secret::new(name);
    // Whoever knows the topic or what is in the query (`auth=`) can read or post.
    let values = url.query().split('&').filter_map(|part| part.split_once('=')).map(|(_, value)| Secret::new(value));
    let password = url.user().and_then(|user| user.reveal().split_once(':')).map(|(_, password)| Secret::new(password));
    let secrets = values.chain([name.clone()]).chain(password).collect();
    let query = if url.query().is_empty() { String::new() } else { format!("?{}", url.query()) };
    let address = url.with_path(&format!("{base}/{query}"));
    let topic = Topic { name, own: url.with_path(&format!("{path}{query}")), is_foreign: !is_topic };
    Some(Setup { bearer, ..Setup::new(Service::Ntfy(topic), Some(address), secrets) })
}

/// Writes a message with the host as its title; and its own address, if it isn't to be posted as JSON.
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

/// ntfy answers a message that it took with its `id`; an error has a `code`, which in a 429 says which limit was
/// hit. What isn't ntfy's own may be a proxy's that lets only the topic's path through.
pub fn read(response: &Response, hint: &str) -> Reading {
    let code = json::field(&response.body, "code");
    let is_among = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
    let is_fenced = matches!(response.status, 401 | 403 | 404 | 405) && code.is_none() && hint.is_empty();
    let pause = if is_among(&["42901"]) { Some(BURST_PAUSE) } else { None };
    Reading {
        is_taken: json::field(&response.body, "id").is_some(),
        pause: pause.or(is_among(&["42908", "42909"]).then_some(QUOTA_PAUSE)),
        is_about_message: is_among(&ABOUT_MESSAGE),
        hint: is_fenced.then(|| BY_PATH.into()),
        said: json::field(&response.body, "error").map(|said| Field::new(said.as_bytes())).unwrap_or_default(),
        remedy: REMEDIES.iter().find(|(codes, _)| is_among(codes)).map_or("", |(_, remedy)| remedy),
        ..Reading::default()
    }
}

/// The access token, or `user:password`; an empty one means none. It becomes a header, and so must be one word.
fn token(section: &mut Section<'_>) -> Option<Secret> {
    let found = section.secret("token").filter(|found| !found.value.reveal().is_empty())?;
    section.check("token", &found, |token| {
        // A name and a password are encoded.
        let token_text = token.reveal();
        let is_pair = token_text.contains(':') && !token_text.contains(char::is_control);
        let is_word = is_pair || token_text.bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| token.clone()).ok_or("must be one word of ASCII characters, or name:password")
    })
}
