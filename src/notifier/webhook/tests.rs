use serde_json::{Value, json};

use crate::notifier::tests::{assert_outcome, mistakes, outcome_of, request_of, target};
use crate::notifier::{Detail, Outcome};
use crate::rules::Urgency;

const URL: &str = "url = 'https://hooks.example/in/s3cret-part?key=other-s3cret'\n";

fn body(settings: &str, texts: &[&str], urgency: Urgency) -> Value {
    let request = request_of(&target("webhook", &format!("{URL}{settings}")), texts, urgency, "");
    serde_json::from_str(&request.body).unwrap_or_else(|why| panic!("{why}: {}", request.body))
}

#[test]
fn reports_are_an_array_and_texts_are_digests() {
    let reports = target("webhook", URL);
    assert_eq!((reports.detail, reports.capacity.limit), (Detail::Report, 20_000));
    assert_eq!(request_of(&reports, &["{\"a\":1}", "{}"], Urgency::Normal, "").body, "[{\"a\":1},{}]");
    for settings in ["format = 'apprise'", "body = '[\"{text}\"]'", "body = '[\"{text}\"]'\nmax_length = 1000"] {
        let target = target("webhook", &format!("{URL}{settings}"));
        assert_eq!((target.detail, target.capacity.limit), (Detail::Digest, 1000), "{settings}");
    }
    assert_eq!(target("webhook", &format!("{URL}format = 'json'")).detail, Detail::Report);
}

/// github.com/caronc/apprise-api, README, "API Details": `/notify/{KEY}` and `/notify`.
#[test]
fn apprise_gets_its_documented_fields() {
    for (settings, urgency, expected) in [
        ("", Urgency::Quiet, json!({"type": "info"})),
        ("tag = 'admins'", Urgency::Normal, json!({"type": "info", "tag": "admins"})),
        ("urls = 'mailto://a:b@c'", Urgency::Urgent, json!({"type": "warning", "urls": "mailto://a:b@c"})),
    ] {
        let mut all = json!({"title": "host.example", "body": "a\nb", "format": "text"});
        all.as_object_mut().expect("an object").extend(expected.as_object().expect("an object").clone());
        assert_eq!(body(&format!("format = 'apprise'\n{settings}"), &["a", "b"], urgency), all);
    }
}

/// P3
#[test]
fn untrusted_text_becomes_no_mention_no_field_and_no_json() {
    let hostile = "<!channel> & `@everyone` [x](y) \"},{\\ {host} {user} שרת <at user_id=\"all\">";
    let plain = "‹!channel› & '＠everyone' [x](y) \"},{\\ {host} {user} שרת ‹at user_id=\"all\"›";
    assert_eq!(hostile.chars().count(), plain.chars().count());
    let sent =
        body("body = '{\"a\":{\"b\":\"{text}\",\"{host}\":[\"{urgency}\"]}}'", &[hostile, "b\""], Urgency::Urgent);
    assert_eq!(sent, json!({"a": {"b": format!("{plain}\nb\""), "host.example": ["urgent"]}}));
    assert_eq!(body("format = 'apprise'", &[hostile], Urgency::Normal)["body"], plain);
}

#[test]
fn the_key_in_a_template_identifies_the_message() {
    let target =
        target("webhook", &format!("{URL}body = '{{\"dedup_key\":\"{{key}}\",\"text\":\"{{title}} {{text}}\"}}'"));
    let request = request_of(&target, &["x"], Urgency::Normal, "");
    let key = request.key.expect("each message has one");
    assert_eq!(request.body, format!("{{\"dedup_key\":\"{key:016x}\",\"text\":\"host.example x\"}}"));
}

/// P4
#[test]
fn each_response_has_its_outcome_and_remedy() {
    let (ok, signed) = ("ok = { errcode = 0 }", "secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'");
    let (success, apprise) = ("ok = { result = 'success', 'a b' = true }", "format = 'apprise'");
    for (settings, status, body, expected) in [
        ("", 200, "", "D"),
        ("", 202, "thanks", "D"),
        ("", 204, "", "D"),
        ("", 200, "<html>any page", "D"),
        ("", 301, "", "F"),
        ("", 400, r#"{"error":"bad"}"#, "X"),
        ("", 400, "<html>", "R this is not the service's own answer"),
        ("", 413, "<html>", "X"),
        ("", 422, "no", "X"),
        ("", 401, "", "R it wants a token"),
        ("headers = { A = 'b' }", 401, "", "R it does not accept the token"),
        (signed, 401, "", "R if the signature was rejected: compare"),
        ("", 404, "", "R nothing is there: check the address"),
        ("", 410, "", "R the receiver wants no more messages"),
        ("", 429, "", "T60"),
        ("", 502, "", "F"),
        ("", 504, "", "F"),
        (ok, 200, r#"{"errcode":0,"errmsg":"ok"}"#, "D"),
        (ok, 200, r#"{"errcode":310000,"errmsg":"keywords not in content"}"#, "F"),
        (ok, 200, r#"{"errcode":00}"#, "F"),
        (ok, 200, r#"{"x":{"errcode":0}}"#, "F"),
        (ok, 200, "", "F"),
        (ok, 200, "<html>", "F"),
        (success, 200, r#"{"result":"success","a b":true}"#, "D"),
        (success, 200, r#"{"result":"success"}"#, "F"),
        (apprise, 200, "Notification(s) sent.", "D"),
        (apprise, 204, "", "F"),
        (apprise, 424, r#"{"error":"One or more notification could not be sent."}"#, "R one of Apprise's services"),
    ] {
        assert_outcome(&outcome_of(&target("webhook", &format!("{URL}{settings}")), status, body), expected, body);
    }
}

/// P7
#[test]
fn a_response_is_quoted_without_secrets_and_control_characters() {
    let settings = "headers = { Authorization = 'Bearer t0ken-s3cret' }\nok = { code = 0 }\n\
                    body = '{\"routing_key\":\"0123456789abcdef0123456789ABCDEF\",\"text\":\"{text}\"}'";
    let target = target("webhook", &format!("{URL}{settings}"));
    let response =
        "{\"code\":7,\"text\":\"t0ken-s3cret s3cret-part other-s3cret 0123456789abcdef0123456789ABCDEF \u{1b}[1m\"}";
    let Outcome::Failed { why } = outcome_of(&target, 200, response) else { panic!("not a failure") };
    assert_eq!(
        why,
        "HTTP 200: {\"code\":7,\"text\":\"… … … … \u{fffd}[1m\"} (POST https://hooks.example/in/…); \
         this is not what `ok` expects"
    );
    assert!(
        !format!("{target:?}").contains("s3cret") && !format!("{target:?}").contains("0123456789abc"),
        "{target:?}"
    );
}

/// P7
#[test]
fn an_invalid_setting_is_reported_with_its_line() {
    let long = format!("body = '[{}]'\nmax_length = 15000", ["\"{text}\""; 2].join(","));
    for (settings, expected) in [
        (
            "body = '{\"a\":\"{txt}\"}'",
            "c:4: webhook.body has {txt}, which is not a field; the fields are {text}, {title}",
        ),
        ("body = '{\"a\":{text}}'", "c:4: webhook.body must be JSON, with each field inside quotes"),
        ("body = '{\"a\":\"{text}\"'", "c:4: webhook.body must be JSON"),
        ("body = '{\"a\":\"{text}\"} x'", "c:4: webhook.body must be JSON"),
        ("body = '\"{text}\"'", "c:4: webhook.body must be JSON"),
        ("body = ''", "c:4: webhook.body must be JSON"),
        ("body = '{\"a\":\"{ text }\"}'", "c:4: webhook.body must have a field {text}"),
        ("tag = 'a'\nbody = '{\"a\":\"{host}\"}'", "c:5: webhook.body must have a field {text}"),
        (&long, "c:4: webhook.body may need 120007 bytes, but only 65536 fit"),
        ("body = '[\"{text}\"]'\nmax_length = 899", "c:5: webhook.max_length must be a whole number from 900 to 15000"),
        ("body = '[\"{text}\"]'\nformat = 'apprise'", "c:4: webhook.body conflicts with format; set only one of them"),
        ("body = '[\"{text}\"]'\nbody_file = '/x'", "c:5: webhook.body_file conflicts with body; set only one of them"),
        ("body_file = 'x'", "c:4: webhook.body_file must be the absolute path of a file"),
        ("body_file = '/nowhere/x'", "c:4: webhook.body_file cannot be used: cannot read /nowhere/x"),
        ("format = 'xml'", "c:4: webhook.format must be \"json\" or \"apprise\""),
        ("tag = 'a'", "c:4: webhook.tag is not a setting"),
        ("max_length = 1000", "c:4: webhook.max_length is not a setting"),
        ("ok = 0", "c:4: webhook.ok must be a section"),
        ("ok = { a = 1.5 }", "c:4: webhook.ok.a must be a string, a whole number, true or false"),
    ] {
        let why = mistakes("webhook", &format!("{URL}{settings}"));
        assert!(why.lines().any(|line| line.starts_with(expected)), "{settings}: {why}");
        assert!(!why.contains("s3cret"), "{why}");
    }
    for (settings, expected) in [
        ("", "c:2: webhook.url is missing"),
        ("url = 'ftp://h'", "c:3: webhook.url must begin with https:// or http://"),
        ("url = 'http://hooks.example/'", "c:3: webhook.url must begin with https://; http:// is only for a local"),
    ] {
        assert!(mistakes("webhook", settings).contains(expected), "{settings}: {}", mistakes("webhook", settings));
    }
}
