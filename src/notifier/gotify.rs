//! Gotify: an application on a self-hosted server (gotify.net/api-docs, createMessage).

use crate::http::Response;
use crate::json;
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Digest, Service, Setup, Unit, settings};
use crate::rules::Urgency;
use crate::text::Field;
use crate::toml::Section;

/// Gotify documents no limit. This is as much as a person reads on a telephone.
pub const CAPACITY: Capacity = Capacity { limit: 8192, unit: Unit::Bytes, around: 0, per_line: 1 };

/// Reads `server_url` and `token`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let server = settings::server(section, "server_url");
    let token = settings::word(section, "token")?;
    let server = server?;
    let address = server.with_path(&format!("{}/message", server.path().trim_end_matches('/')));
    let headers = vec![("X-Gotify-Key", token.clone())];
    Some(Setup { headers, ..Setup::new(Service::Gotify, Some(address), vec![token]) })
}

/// Writes a message with the host as its title. Gotify shows it as plain text. A priority of 4 or more makes a sound,
/// 8 or more vibrates.
pub fn render(digest: &Digest<'_>) -> String {
    let priority = match digest.urgency() {
        Urgency::Quiet => 2,
        Urgency::Normal => 5,
        Urgency::Urgent => 8,
    };
    let (title, message) = (json::string(digest.style.host.as_str()), json::string(&digest.lines("")));
    format!(r#"{{"title":{title},"message":{message},"priority":{priority}}}"#)
}

/// Reads Gotify's answer: the saved message, which has an `appid`, or an error with an `errorCode`. A 400 is never
/// about the settings.
pub fn read(response: &Response) -> Reading {
    let member = |name| json::member(&response.body, name);
    let is_own_error = member("errorCode").is_some();
    let remedy = match response.status {
        401 | 403 if is_own_error => "Gotify does not accept the token: set an application's token, not a client's",
        _ => "",
    };
    Reading {
        is_accepted: member("appid").is_some(),
        is_about_message: is_own_error,
        error_text: Field::new(member("errorDescription").or(member("error")).unwrap_or("").as_bytes()),
        remedy,
        ..Reading::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::notifier::tests::{assert_outcome, mistakes, outcome_of, request_of, target};
    use crate::rules::Urgency;

    const TARGET: &str = "server_url = 'http://gotify.lan/push/'\ntoken = 'AbC.dEf_123'";

    #[test]
    fn urgency_sets_the_priority_and_strangers_text_is_not_formatted() {
        let text = "<!channel> & `@everyone` [x](y) שרת <b>";
        for (urgency, priority) in [(Urgency::Quiet, 2), (Urgency::Normal, 5), (Urgency::Urgent, 8)] {
            let request = request_of(&target("gotify", TARGET), &[text, "b"], urgency, "");
            let json: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            let expected =
                serde_json::json!({"title": "host.example", "message": format!("{text}\nb"), "priority": priority});
            assert_eq!((request.url.reveal(), json), ("http://gotify.lan/push/message", expected));
        }
    }

    /// P4
    #[test]
    fn each_documented_answer_has_its_outcome_and_remedy() {
        for (status, body, expected) in [
            (200, r#"{"id":25,"appid":5,"message":"x"}"#, "D"),
            (400, r#"{"error":"Bad Request","errorCode":400,"errorDescription":"Field 'message' is required"}"#, "X"),
            (401, r#"{"error":"Unauthorized","errorCode":401,"errorDescription":"you need"}"#, "R Gotify does not"),
            (403, r#"{"error":"Forbidden","errorCode":403}"#, "R Gotify does not"),
            (404, "<html>", "R nothing is there"),
            (400, "<html>", "R this is not the service's own answer"),
            (500, r#"{"error":"Internal","errorCode":500}"#, "F"),
        ] {
            assert_outcome(&outcome_of(&target("gotify", TARGET), status, body), expected, body);
        }
    }

    #[test]
    fn a_setting_that_cannot_work_is_a_mistake() {
        for (settings, mistake) in [
            ("token = 'a'", "gotify.server_url is missing"),
            ("server_url = 'http://h'", "gotify.token is missing"),
            ("server_url = 'http://h'\ntoken = 'a b'", "gotify.token must be one word"),
            ("server_url = 'http://h?token=a'\ntoken = 'a'", "gotify.server_url must have no query"),
        ] {
            let why = mistakes("gotify", settings);
            assert!(why.contains(mistake), "{settings}: {why}");
        }
    }
}
