use std::time::Duration;

use super::*;

/// Its name, status, headers and body, and what Discord and ntfy mean by it.
type Answer = (&'static str, u16, Headers, &'static str, &'static str, &'static str);
type Headers = &'static [(&'static str, &'static str)];

/// An answer, and what each service makes of it: D(elivered), T(hrottled), F(ailed),
/// R(efused), X (rejected), with the seconds of a pause.
const ANSWERS: [Answer; 37] = [
    ("a saved message", 200, &[], r#"{"id":"7","content":"x"}"#, "D", "D"),
    ("nothing to say", 204, &[], "", "D", "F"),
    (
        "the limit is spent",
        200,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "1.5")],
        r#"{"id":"7"}"#,
        "D1.5",
        "D",
    ),
    (
        "the limit is not",
        200,
        &[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", "2")],
        r#"{"id":"7"}"#,
        "D",
        "D",
    ),
    ("a captive portal", 200, &[], "<html>Welcome to our hotel</html>", "F", "F"),
    ("a portal with JSON", 200, &[], r#"{"welcome":{"id":"no"}}"#, "F", "F"),
    ("nothing at all", 200, &[], "", "F", "F"),
    ("moved", 301, &[("location", "https://elsewhere.example/")], "", "F", "F"),
    ("found", 302, &[("location", "file:///etc/passwd")], "", "F", "F"),
    ("temporary", 307, &[], "", "F", "F"),
    ("bad request", 400, &[], r#"{"message":"Cannot send an empty message","code":50006}"#, "X", "X"),
    ("no token", 401, &[], r#"{"code":40101,"http":401,"error":"unauthorized"}"#, "R", "R"),
    ("forbidden", 403, &[], "", "R", "R"),
    ("a deleted webhook", 404, &[], r#"{"message":"Unknown Webhook","code":10015}"#, "R", "R"),
    ("wrong method", 405, &[], "", "R", "R"),
    ("a slow request", 408, &[], "", "F", "F"),
    ("gone", 410, &[], "", "R", "R"),
    ("too large", 413, &[], "", "X", "X"),
    ("cannot be processed", 422, &[], "", "X", "X"),
    ("too early", 425, &[], "", "F", "F"),
    (
        "Discord's 429",
        429,
        &[("retry-after", "2")],
        r#"{"message":"You are being rate limited.","retry_after":1.25,"global":false}"#,
        "T2",
        "T2",
    ),
    ("Discord's without a header", 429, &[], r#"{"retry_after":64.5,"global":true}"#, "T64.5", "T60"),
    ("Cloudflare's 429", 429, &[("retry-after", "1200")], "<html>error 1015</html>", "T1200", "T1200"),
    ("a burst", 429, &[], r#"{"code":42901,"http":429,"error":"limit reached: too many requests"}"#, "T60", "T6"),
    ("the daily quota", 429, &[], r#"{"code":42908,"http":429}"#, "T60", "T3600"),
    ("no reason", 429, &[], "", "T60", "T60"),
    ("at once", 429, &[("retry-after", "0")], "", "T1", "T1"),
    ("almost at once", 429, &[], r#"{"retry_after":0.001,"code":42901}"#, "T1", "T6"),
    ("for ever", 429, &[("retry-after", "99999999")], "", "T3600", "T3600"),
    ("longer than that", 429, &[("retry-after", "1e400")], "", "T60", "T60"),
    ("the past", 429, &[("retry-after", "-5")], "", "T60", "T60"),
    ("garbage", 429, &[("retry-after", "soon")], "", "T60", "T60"),
    (
        "a date",
        429,
        &[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:51:00 GMT")],
        "",
        "T83",
        "T83",
    ),
    (
        "a date in the past",
        429,
        &[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sat, 05 Nov 1994 08:51:00 GMT")],
        "",
        "T60",
        "T60",
    ),
    ("a server error", 500, &[], "", "F", "F"),
    ("no status line", 503, &[], "", "F", "F"),
    ("an interim answer", 100, &[], "", "F", "F"),
];

fn code(outcome: &Outcome) -> String {
    let seconds = |pause: &Duration| pause.as_secs_f64().to_string();
    match outcome {
        Outcome::Delivered { pause } => format!("D{}", pause.as_ref().map(seconds).unwrap_or_default()),
        Outcome::Throttled { pause, .. } => format!("T{}", seconds(pause)),
        Outcome::Failed { .. } => "F".into(),
        Outcome::Refused { .. } => "R".into(),
        Outcome::Rejected { .. } => "X".into(),
    }
}

/// P4
#[test]
fn each_answer_means_what_the_service_means_by_it() {
    for (name, status, headers, body, discord, ntfy) in ANSWERS {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let response = Response { status, headers, body: body.into(), cut: None };
        assert_eq!(code(&Discord::judge(&response)), discord, "Discord: {name}");
        assert_eq!(code(&Ntfy::judge(&response)), ntfy, "ntfy: {name}");
    }
}

#[test]
fn what_a_service_says_of_a_failure_is_one_safe_line() {
    let body = "{\"message\":\"bad\u{1b}[31m\u{202e} thing\"}";
    let response = Response { status: 400, body: body.into(), ..Response::default() };
    let Outcome::Rejected { why } = Discord::judge(&response) else { panic!("400 is a rejection") };
    assert_eq!(why, "HTTP 400: bad\u{fffd}[31m\u{fffd} thing");
}

#[test]
fn as_many_lines_as_the_service_can_count_share_a_message() {
    let capacity = Capacity { limit: 20, unit: Unit::Utf16, around: 6, per_line: 3 };
    let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
    for (texts, count) in [
        (&["éééé", "éééé", "x"][..], 2),
        (&["éééé", "ééééé", "x"], 1),
        (&["\u{1f512}\u{1f512}", "éééé", "x"], 2),
        (&["\u{1f512}\u{1f512}", "ééééé", "x"], 1),
        (&["this one alone is too long for it"], 1),
    ] {
        assert_eq!(capacity.fitting(&lines(texts)), count, "{texts:?}");
    }
    let bytes = Capacity { unit: Unit::Bytes, ..capacity };
    assert_eq!(bytes.fitting(&lines(&["éé", "éé", "x"])), 2);
    assert_eq!(bytes.fitting(&lines(&["ééé", "éé", "x"])), 1);
}
