//! Pushover: an application's token and a user's key (pushover.net/api).

use std::time::Duration;

use crate::http::Response;
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, settings};
use crate::rules::Urgency;
use crate::text::{Field, Secret};
use crate::toml::Section;

/// A message holds 1024 characters of up to four bytes.
pub const CAPACITY: Capacity = Capacity { limit: 1024, unit: Unit::Characters, around: 0, per_line: 1 };

/// Pushover's API. A setting can name a relay instead.
const API: &str = "https://api.pushover.net";

/// Characters in a title.
const TITLE_WIDTH: usize = 250;

/// A 429 means that the month's quota is used up. A retry each hour is soon enough.
const QUOTA_PAUSE: Duration = Duration::from_hours(1);

/// The sending application and the receiving user.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The application's API token.
    token: Secret,
    /// The user key, or a group's.
    user: Secret,
}

/// Reads `token`, `user` and `api_base`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let base = settings::base(section, "api_base", API);
    let (token, user) = (settings::word(section, "token"), settings::word(section, "user"));
    let (base, keys) = (base?, Keys { token: token?, user: user? });
    let address = base.with_path(&format!("{}/1/messages.json", base.path().trim_end_matches('/')));
    let secrets = vec![keys.token.clone(), keys.user.clone()];
    Some(Setup::new(Service::Pushover(keys), Some(address), secrets))
}

/// Writes a message with the host as its title. Without `html` it is plain text.
pub fn render(digest: &Digest<'_>, keys: &Keys) -> String {
    let priority = match digest.urgency() {
        Urgency::Quiet => -1,
        Urgency::Normal => 0,
        Urgency::Urgent => 1,
    };
    format!(
        r#"{{"token":{},"user":{},"title":{},"message":{},"priority":{priority}}}"#,
        json::string(keys.token.reveal()),
        json::string(keys.user.reveal()),
        json::string(&digest.style.host.shown(TITLE_WIDTH)),
        json::string(&digest.lines(""))
    )
}

/// Reads Pushover's answer: `"status": 1`, or an error with a list `errors` and a member for each wrong parameter, such
/// as `"token": "invalid"`.
pub fn read(response: &Response) -> Reading {
    let member = |name| json::member(&response.body, name);
    let is_own_error = member("status").is_some_and(|status| status != "1");
    let remedy = match (member("token"), member("user")) {
        (Some(_), _) => "Pushover does not know the token: set the application's API token",
        (_, Some(_)) => "Pushover does not know the user: set the user key (or a group's), and check its devices",
        (None, None) => "",
    };
    let error_text = member("errors").unwrap_or("").trim_matches(['[', ']', '"']);
    Reading {
        is_accepted: member("status") == Some("1"),
        pause: Some(QUOTA_PAUSE),
        is_about_message: is_own_error && member("message").is_some(),
        error_text: Field::new(error_text.as_bytes()),
        remedy,
        ..Reading::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::notifier::tests::{assert_outcome, mistakes, outcome_of, request_of, target};
    use crate::rules::Urgency;

    const TARGET: &str = "api_base = 'http://127.0.0.1'\ntoken = 'azGDORePK8gMaC0'\nuser = 'uQiRzpo4DXghDm'";

    #[test]
    fn urgency_sets_the_priority_and_strangers_text_is_not_formatted() {
        let text = "<b>&amp; `@everyone` [x](y) \u{1f512} שרת";
        for (urgency, priority) in [(Urgency::Quiet, -1), (Urgency::Normal, 0), (Urgency::Urgent, 1)] {
            let body = request_of(&target("pushover", TARGET), &[text], urgency, "").body;
            let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!((&json["message"], &json["priority"]), (&text.into(), &priority.into()));
            assert_eq!(json.get("html"), None);
        }
    }

    /// P4
    #[test]
    fn each_documented_answer_has_its_outcome_and_remedy() {
        for (status, body, expected) in [
            (200, r#"{"status":1,"request":"647d2300-702c"}"#, "D"),
            (400, r#"{"token":"invalid","errors":["application token is invalid"],"status":0}"#, "R Pushover does not"),
            (400, r#"{"user":"invalid","errors":["user identifier is invalid"],"status":0}"#, "R Pushover does not"),
            (400, r#"{"message":"cannot be blank","errors":["message cannot be blank"],"status":0}"#, "X"),
            (400, r#"{"message":"Bad Request"}"#, "R this is not the service's own"),
            (429, r#"{"errors":["application is over its monthly quota"],"status":0}"#, "T3600"),
            (500, "", "F"),
        ] {
            assert_outcome(&outcome_of(&target("pushover", TARGET), status, body), expected, body);
        }
    }

    #[test]
    fn a_setting_that_cannot_work_is_a_mistake() {
        let base = "api_base = 'http://127.0.0.1'\n";
        for (settings, mistake) in [
            ("user = 'a'", "pushover.token is missing"),
            ("token = 'a'", "pushover.user is missing"),
            ("token = 'a'\nuser = 'a b'", "pushover.user must be one word"),
        ] {
            let why = mistakes("pushover", &format!("{base}{settings}"));
            assert!(why.contains(mistake), "{settings}: {why}");
        }
    }
}
