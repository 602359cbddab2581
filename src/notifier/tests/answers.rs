//! The outcome of each answer of a service, and the message for the operator.

use super::*;

/// A name, status, headers, body, and the outcomes at Discord and ntfy.
type Answer = (&'static str, u16, Headers, &'static str, &'static str, &'static str);
type Headers = &'static [(&'static str, &'static str)];

/// Answers with their outcomes: D(elivered), T(hrottled), F(ailed), R(efused), M(oved), X (rejected), with the seconds
/// of a pause.
const ANSWERS: [Answer; 48] = [
    ("a saved message", 200, &[], r#"{"id":"7","content":"x"}"#, "D", "D"),
    ("nothing to say", 204, &[], "", "D", "D"),
    (
        "the limit is used up",
        200,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "1.5")],
        r#"{"id":"7"}"#,
        "D1.5",
        "D",
    ),
    (
        "the limit is not used up",
        200,
        &[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", "2")],
        r#"{"id":"7"}"#,
        "D",
        "D",
    ),
    ("a captive portal", 200, &[], "<html>Welcome to our hotel</html>", "F", "F"),
    ("a look-alike", 200, &[], r#"{"welcome":{"id":"no"}}"#, "D", "D"),
    ("a look-alike's list", 201, &[], "[]", "D", "D"),
    ("nothing at all", 200, &[], "", "D", "D"),
    ("moved", 301, &[("location", "https://elsewhere.example/")], "", "F", "F"),
    ("found", 302, &[("location", "file:///etc/passwd")], "", "F", "F"),
    ("temporary", 307, &[], "", "F", "F"),
    ("bad request", 400, &[], r#"{"message":"Cannot send an empty message","code":50006}"#, "R", "R"),
    ("no token", 401, &[], r#"{"code":40101,"http":401,"error":"unauthorized"}"#, "R", "R"),
    ("forbidden", 403, &[], "", "R", "M"),
    ("a deleted webhook", 404, &[], r#"{"message":"Unknown Webhook","code":10015}"#, "R", "R"),
    ("wrong method", 405, &[], "", "R", "M"),
    ("a slow request", 408, &[], "", "F", "F"),
    ("gone", 410, &[], "", "R", "R"),
    ("nginx's limit", 413, &[], "<html>413 Request Entity Too Large</html>", "R", "R"),
    ("cannot be processed", 422, &[], "", "R", "R"),
    ("a proxy that lets one path through", 404, &[], "<html>404 Not Found</html>", "R", "M"),
    ("a message that Discord blocks", 400, &[], r#"{"message":"blocked","code":200000}"#, "X", "R"),
    (
        "a text that Discord does not take",
        400,
        &[],
        concat!(
            r#"{"message":"Invalid Form Body","code":50035,"#,
            r#""errors":{"content":{"_errors":[{"message":"Must be shorter."}]}}}"#
        ),
        "X",
        "R",
    ),
    (
        "a thread that is none",
        400,
        &[],
        concat!(
            r#"{"message":"Invalid Form Body","code":50035,"#,
            r#""errors":{"thread_id":{"_errors":[{"message":"Not a snowflake."}]}}}"#
        ),
        "R",
        "R",
    ),
    ("a forum", 400, &[], r#"{"message":"Webhooks posted to forum channels","code":220001}"#, "R", "R"),
    ("an archived thread", 400, &[], r#"{"message":"Thread is archived","code":50083}"#, "R", "R"),
    ("a text that is no UTF-8", 400, &[], r#"{"code":40011,"http":400,"error":"not UTF-8"}"#, "R", "X"),
    ("a message that ntfy finds too large", 413, &[], r#"{"code":41303,"http":413}"#, "R", "X"),
    ("a reserved topic", 400, &[], r#"{"code":40010,"http":400,"error":"topic name is not allowed"}"#, "R", "R"),
    ("a body that ntfy cannot read", 400, &[], r#"{"code":40024,"http":400}"#, "R", "R"),
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

/// P4
#[test]
fn each_answer_has_the_outcome_that_its_service_documents() {
    for (name, status, headers, body, discord, ntfy) in ANSWERS {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let response = Response { status, headers, body: body.into(), cut: None };
        let judge = |reading| code(&judged("https://relay.example/", true, &response, reading));
        assert_eq!(judge(discord::read(&response)), discord, "Discord: {name}");
        assert_eq!(judge(ntfy::read(&response, "")), ntfy, "ntfy: {name}");
    }
}

/// What a 2xx without the service's own mark means on each way: a relay has it, or a captive portal answered.
///
/// P4
#[test]
fn an_unmarked_success_counts_only_over_tls_or_from_a_local_network() {
    for (url, is_sure) in [
        ("https://ntfy.example/t", true),
        ("http://127.0.0.1/t", true),
        ("http://192.168.1.7:8080/t", true),
        ("http://169.254.3.4/t", true),
        ("http://ntfy/t", true),
        ("http://ntfy.lan/t", true),
        ("http://ntfy.home.arpa/t", true),
        ("http://ntfy.example/t", false),
        ("http://203.0.113.9/t", false),
        ("http://lan.example/t", false),
    ] {
        for (status, body, is_plain) in
            [(200, "", true), (204, "", true), (202, "{}", true), (200, "<html>", false), (200, "Welcome!", false)]
        {
            let response = Response { status, body: body.into(), ..Response::default() };
            let expected = if is_sure && is_plain { "D" } else { "F" };
            assert_eq!(code(&judged(url, true, &response, Reading::default())), expected, "{url} {status} {body}");
        }
        let own = Response { status: 200, body: r#"{"id":"1"}"#.into(), ..Response::default() };
        assert_eq!(code(&judged(url, true, &own, ntfy::read(&own, ""))), "D", "{url}: ntfy's own answer");
    }
    let cut = Response { status: 200, cut: Some("no answer in time".into()), ..Response::default() };
    assert_eq!(code(&judged("https://ntfy.example/t", true, &cut, Reading::default())), "F", "half an answer");
}

fn judged(url: &str, has_token: bool, response: &Response, reading: Reading) -> Outcome {
    let url = Url::parse(&Secret::new(url)).expect("an address");
    outcome::judge(response, reading, Sent { method: Method::Post, url: &url, shown: url.reveal(), has_token })
}

/// Whose answer it is, its status, headers and body, whether there is a token, and what an operator reads.
type Message = (&'static str, u16, Headers, &'static str, bool, &'static str);

const MESSAGES: [Message; 21] = [
    (
        "ntfy",
        401,
        &[],
        r#"{"code":40101,"error":"unauthorized"}"#,
        true,
        "HTTP 401: unauthorized (POST http://h.example/t); ntfy does not accept the token, or the name and password: \
         set the right ones",
    ),
    (
        "ntfy",
        403,
        &[],
        r#"{"code":40301,"error":"forbidden"}"#,
        false,
        "HTTP 403: forbidden (POST http://h.example/t); ntfy does not allow writing to this topic: set the \
         token of a user who may, or choose another topic",
    ),
    (
        "discord",
        401,
        &[],
        r#"{"message":"Invalid Webhook Token","code":50027}"#,
        false,
        "HTTP 401: Invalid Webhook Token (POST http://h.example/t); the webhook or its channel is gone: make a new \
         webhook and set its address",
    ),
    (
        "discord",
        400,
        &[],
        r#"{"message":"Invalid Form Body","code":50035,"errors":{"username":{"_errors":[{"message":"Too long."}]}}}"#,
        false,
        "HTTP 400: username: Too long. (POST http://h.example/t); check the settings of this target",
    ),
    (
        "discord",
        400,
        &[],
        r#"{"message":"Cannot send an empty message","code":50006}"#,
        false,
        "HTTP 400: Cannot send an empty message (POST http://h.example/t); the address must end with the webhook's \
         token: remove the part after it, such as /slack",
    ),
    (
        "",
        401,
        &[],
        "<html>401 Authorization Required</html>",
        false,
        "HTTP 401 (POST http://h.example/t); it wants a token, or a name and a password, but none is set",
    ),
    (
        "",
        401,
        &[],
        "",
        true,
        "HTTP 401 (POST http://h.example/t); it does not accept the token, or the name and password: \
         set the right ones",
    ),
    (
        "",
        403,
        &[],
        "error code: 1010",
        true,
        "HTTP 403 (POST http://h.example/t); Cloudflare, in front of the server, blocks this host as a bot: ask the \
         server's administrator",
    ),
    (
        "",
        403,
        &[],
        "<html><title>Just a moment...</title>",
        true,
        "HTTP 403 (POST http://h.example/t); Cloudflare, in front of the server, blocks this host as a bot: ask the \
         server's administrator",
    ),
    (
        "",
        429,
        &[],
        "error code: 1015",
        true,
        "HTTP 429; Cloudflare, in front of the server, has seen too many requests from this address",
    ),
    (
        "",
        400,
        &[],
        "<html>The plain HTTP request was sent to HTTPS port</html>",
        true,
        "HTTP 400 (POST http://h.example/t); write https:// instead of http:// in the address",
    ),
    (
        "",
        400,
        &[],
        "<html>400 No required SSL certificate was sent</html>",
        true,
        "HTTP 400 (POST http://h.example/t); it wants a client certificate, which this program does not have: let \
         this host in without one",
    ),
    (
        "",
        413,
        &[],
        "<html>413 Request Entity Too Large</html>",
        true,
        "HTTP 413 (POST http://h.example/t); a server in between does not accept a message of this size: \
         raise its limit (nginx: client_max_body_size)",
    ),
    (
        "",
        400,
        &[],
        "Client sent an HTTP request to an HTTPS server.\n",
        true,
        "HTTP 400 (POST http://h.example/t); write https:// instead of http:// in the address",
    ),
    (
        "",
        400,
        &[],
        "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
        true,
        "HTTP 400 (POST http://h.example/t); write https:// instead of http:// in the address",
    ),
    (
        "",
        502,
        &[],
        "<html>502 Bad Gateway</html>",
        true,
        "HTTP 502 (POST http://h.example/t); the server behind that one does not answer: wait, or check it",
    ),
    (
        "ntfy",
        500,
        &[],
        r#"{"code":50001,"http":500,"error":"internal server error"}"#,
        true,
        "HTTP 500: internal server error",
    ),
    ("", 404, &[], "", true, "HTTP 404 (POST http://h.example/t); nothing is there: check the address"),
    (
        "",
        301,
        &[("location", "https://h.example/t/")],
        "",
        true,
        "HTTP 301 (POST http://h.example/t); write https:// instead of http:// in the address",
    ),
    (
        "",
        302,
        &[("location", "https://login.example/?\u{1b}[2J")],
        "",
        true,
        "HTTP 302 (POST http://h.example/t); redirects are not followed; this one leads to \
         https://login.example/?\u{fffd}[2J: write that address if you know it",
    ),
    (
        "",
        200,
        &[],
        "<html>Welcome to our hotel</html>",
        true,
        "HTTP 200, but not the service's answer: a captive portal, a login page or a proxy answered",
    ),
];

#[test]
fn each_failure_names_the_request_the_cause_and_the_remedy() {
    for (service, status, headers, body, has_token, expected) in MESSAGES {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let response = Response { status, headers, body: body.into(), cut: None };
        let reading = match service {
            "ntfy" => ntfy::read(&response, ""),
            "discord" => discord::read(&response),
            _ => Reading::default(),
        };
        let why = match judged("http://h.example/t", has_token, &response, reading) {
            Outcome::Failed { why } | Outcome::Refused { why } | Outcome::Throttled { why, .. } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why, expected, "{service} {status} {body}");
    }
}

#[test]
fn a_services_error_text_is_one_printable_line() {
    let body = "{\"code\":200000,\"message\":\"bad\u{1b}[31m\u{202e} thing\"}";
    let response = Response { status: 400, body: body.into(), ..Response::default() };
    let outcome = judged("https://h.example/t", true, &response, discord::read(&response));
    assert_eq!(outcome, Outcome::Rejected { why: "HTTP 400: bad\u{fffd}[31m\u{fffd} thing".into() });
}
