use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::{EARLIEST_MS, Stamp};
use crate::notice::Style;
use crate::rules::Urgency;
use crate::text::Field;
use crate::toml::Reader;
use crate::tz::Zone;

/// Its name, status, headers and body, and what Discord and ntfy mean by it.
type Answer = (&'static str, u16, Headers, &'static str, &'static str, &'static str);
type Headers = &'static [(&'static str, &'static str)];

/// An answer, and what each service makes of it: D(elivered), T(hrottled), F(ailed),
/// R(efused), X (rejected), with the seconds of a pause.
const ANSWERS: [Answer; 48] = [
    ("a saved message", 200, &[], r#"{"id":"7","content":"x"}"#, "D", "D"),
    ("nothing to say", 204, &[], "", "D", "D"),
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
        r#"{"message":"Invalid Form Body","code":50035,"errors":{"content":{"_errors":[{"message":"Must be shorter."}]}}}"#,
        "X",
        "R",
    ),
    (
        "a thread that is none",
        400,
        &[],
        r#"{"message":"Invalid Form Body","code":50035,"errors":{"thread_id":{"_errors":[{"message":"Not a snowflake."}]}}}"#,
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

fn code(outcome: &Outcome) -> String {
    let seconds = |pause: &Duration| pause.as_secs_f64().to_string();
    match outcome {
        Outcome::Delivered { pause } => format!("D{}", pause.as_ref().map(seconds).unwrap_or_default()),
        Outcome::Throttled { pause, .. } => format!("T{}", seconds(pause)),
        Outcome::Failed { .. } => "F".into(),
        Outcome::Refused { .. } => "R".into(),
        Outcome::Rejected { .. } => "X".into(),
        Outcome::Moved { .. } => "M".into(),
    }
}

/// P4
#[test]
fn each_answer_means_what_the_service_means_by_it() {
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
fn a_success_that_anybody_can_claim_counts_only_where_nobody_else_can_answer() {
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
    outcome::judge(response, reading, Asked { method: Method::Post, url: &url, shown: url.reveal(), has_token })
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
        "HTTP 403: forbidden (POST http://h.example/t); who posts here may not write to this topic: set a token whose \
         user may, or choose another topic",
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
         token: take off what follows it, such as /slack",
    ),
    (
        "",
        401,
        &[],
        "<html>401 Authorization Required</html>",
        false,
        "HTTP 401 (POST http://h.example/t); it wants a token, or a name and a password, and none is set",
    ),
    (
        "",
        401,
        &[],
        "",
        true,
        "HTTP 401 (POST http://h.example/t); it does not accept the token, or the name and password: set the right ones",
    ),
    (
        "",
        403,
        &[],
        "error code: 1010",
        true,
        "HTTP 403 (POST http://h.example/t); Cloudflare, in front of the server, takes this host for a robot and keeps \
         it out: ask whoever runs the server",
    ),
    (
        "",
        403,
        &[],
        "<html><title>Just a moment...</title>",
        true,
        "HTTP 403 (POST http://h.example/t); Cloudflare, in front of the server, takes this host for a robot and keeps \
         it out: ask whoever runs the server",
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
        "HTTP 413 (POST http://h.example/t); a server on the way takes no message of this size: raise its limit \
         (nginx: client_max_body_size)",
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
        "HTTP 502 (POST http://h.example/t); what is behind that server does not answer: wait, or see to it",
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
fn each_failure_names_what_was_asked_the_cause_and_the_remedy() {
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
fn what_a_service_says_of_a_failure_is_one_safe_line() {
    let body = "{\"code\":200000,\"message\":\"bad\u{1b}[31m\u{202e} thing\"}";
    let response = Response { status: 400, body: body.into(), ..Response::default() };
    let outcome = judged("https://h.example/t", true, &response, discord::read(&response));
    assert_eq!(outcome, Outcome::Rejected { why: "HTTP 400: bad\u{fffd}[31m\u{fffd} thing".into() });
}

/// Two targets on ntfy and two on Discord, one of each named after its service.
const FOUR: &str = "
service = ['ntfy', 'phone', 'discord', 'team']
[ntfy]
topic_url = 'http://127.0.0.1/topic-one'
[phone]
service = 'ntfy'
topic_url = 'http://127.0.0.1/topic-one-two'
token = 'tk_phone'
[discord]
webhook_url = 'http://127.0.0.1/api/webhooks/1/secret-one'
[team]
service = 'discord'
webhook_url = 'http://127.0.0.1/api/webhooks/2/secret-two'
";

/// The targets of a section `notification`, or the mistakes in it.
fn targets(text: &str) -> Result<Vec<Notifier>, String> {
    let reader = Reader::new(Path::new("c"), text);
    let document = reader.parse();
    let targets = document.as_ref().map(|document| configure(reader.root(document)));
    reader.finish(targets).map_err(|why| why.to_string())
}

fn request(target: &Notifier, urgencies: &[Urgency]) -> Request {
    let notice = |(uid, urgency): (u64, &Urgency)| Notice { uid, urgency: *urgency, text: format!("notice {uid}") };
    let notices: Vec<Notice> = (1..).zip(urgencies).map(notice).collect();
    posted(with_style("h", |style| target.render(&Digest { style, notices: &notices }, "")))
}

#[test]
fn several_targets_of_one_service_are_reached_each_in_its_own_way() {
    let targets = targets(FOUR).expect("four targets");
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["ntfy", "phone", "discord", "team"]);
    let requests: Vec<Request> = targets.iter().map(|target| request(target, &[Urgency::Normal])).collect();
    let urls: Vec<&str> = requests.iter().map(|request| request.url.reveal()).collect();
    let webhook = |rest: &str| format!("http://127.0.0.1/api/webhooks/{rest}?wait=true");
    assert_eq!(urls, ["http://127.0.0.1/", "http://127.0.0.1/", &webhook("1/secret-one"), &webhook("2/secret-two")]);
    let topics = requests.iter().map(|request| json::field(request.body.as_bytes(), "topic"));
    assert_eq!(topics.collect::<Vec<_>>(), [Some("topic-one"), Some("topic-one-two"), None, None]);
    let tokens = requests.iter().map(|request| request.bearer.as_ref().map(Secret::reveal));
    assert_eq!(tokens.collect::<Vec<_>>(), [None, Some("tk_phone"), None, None]);
    assert_ne!(requests[0].key, requests[1].key, "a server that takes both would take one for a copy");
}

/// P7
#[test]
fn each_target_conceals_its_own_secrets() {
    let said = "topic-one-two tk_phone topic-one secret-one secret-two";
    let concealed = targets(FOUR).expect("four targets").iter().map(|target| target.conceal(said)).collect::<Vec<_>>();
    assert_eq!(
        concealed,
        [
            "…-two tk_phone … secret-one secret-two",
            "… … topic-one secret-one secret-two",
            "topic-one-two tk_phone topic-one … secret-two",
            "topic-one-two tk_phone topic-one secret-one …",
        ]
    );
}

#[test]
fn a_digest_of_quiet_notices_makes_no_sound_and_one_other_notice_changes_that() {
    use Urgency::{Normal, Quiet, Urgent};
    let targets = targets(FOUR).expect("four targets");
    for (urgencies, priority, flags) in [
        (&[Quiet, Quiet][..], "2", Some("4096")),
        (&[Quiet, Normal], "5", None),
        (&[Urgent, Quiet], "5", None),
        (&[Normal], "5", None),
    ] {
        let body = |place: usize| request(&targets[place], urgencies).body;
        assert_eq!(json::field(body(0).as_bytes(), "priority"), Some(priority), "{urgencies:?}");
        assert_eq!(json::field(body(2).as_bytes(), "flags"), flags, "{urgencies:?}");
    }
}

#[test]
fn each_target_has_a_filter_of_its_own() {
    let filter =
        |settings: &str| targets(&format!("service = 'stdout'\n[stdout]\n{settings}")).expect(settings)[0].filter;
    let all = Filter::default();
    for (settings, expected) in [
        ("", all),
        ("events = 'open'", Filter { closes: false, ..all }),
        ("events = ['close']", Filter { opens: false, ..all }),
        ("events = ['close', 'open']\nurgency = 'quiet'", all),
        ("urgency = 'normal'", Filter { least: Urgency::Normal, ..all }),
        ("service = 'stdout'\nurgency = 'urgent'", Filter { least: Urgency::Urgent, ..all }),
    ] {
        assert_eq!(filter(settings), expected, "{settings}");
    }
    assert_eq!(targets("service = 'stdout'").expect("no section is needed")[0].filter, all);
}

#[test]
fn a_mistake_in_a_target_is_named_and_so_is_one_in_a_section_that_is_not_used() {
    let services = targets::choice();
    assert!(services.starts_with("it can be \"discord\", \"ntfy\""), "{services}");
    let name = "must be renamed: a target's name has 1 to 32 of a-z, 0-9, _ and -";
    let other = "like the section's name; rename the section to use another service";
    let rows = [
        ("service = []", "c:1: service must not be empty".to_owned()),
        (
            "service = ['phone']",
            format!("c:1: service is \"phone\"; {services}, or a name that has a section of its own"),
        ),
        (
            "service = 'https://ntfy.sh/s3cret'",
            format!("c:1: service {services}, or a name that has a section of its own"),
        ),
        ("service = 'service'", format!("c:1: service is \"service\"; {services}")),
        ("service = 'My phone'\n['My phone']\nservice = 'stdout'", format!("c:2: My phone {name}")),
        ("service = 'stdout'\n[phone]\ntopic_url = 'x'", format!("c:2: phone needs a setting `service`; {services}")),
        ("service = 'stdout'\n[phone]\nservice = 'nfty'", format!("c:3: phone.service is \"nfty\"; {services}")),
        ("service = 'stdout'\n[phone]\nservice = 7", "c:3: phone.service must be a string".into()),
        ("service = 'stdout'\n[phone]\nservice = 'ntfy'", "c:2: phone.topic_url is missing".into()),
        ("service = 'stdout'\n[phone]\nservice = 'stdout'\nx = 1", "c:4: phone.x is not a setting".into()),
        ("service = 'stdout'\n[ntfy]\nservice = 'discord'", format!("c:3: ntfy.service must be \"ntfy\" {other}")),
        ("service = 'stdout'\n[stdout]\nevents = []", "c:3: stdout.events must not be empty".into()),
        ("service = 'stdout'\n[stdout]\nevents = [\n'open',\n'auth']", "c:5: stdout.events has \"auth\", not".into()),
        ("service = 'stdout'\n[stdout]\nurgency = 'loud'", "c:3: stdout.urgency must be \"quiet\", \"normal\"".into()),
        ("service = 'stdout'\n[[phone]]\nservice = 'stdout'", "c:2: phone is not a section".into()),
    ];
    for (text, expected) in rows {
        let why = targets(text).expect_err(text);
        assert!(why.lines().any(|line| line.starts_with(&expected)), "{text}\n{why}");
        assert!(!why.contains("s3cret"), "{why}");
    }
    let unused = "service = 'stdout'\n[phone]\nservice = 'ntfy'\ntopic_url = 'http://127.0.0.1/t'";
    assert_eq!(targets(unused).expect("a section for later").len(), 1);
}

#[test]
fn a_targets_name_is_short_and_plain() {
    for (text, is_name) in [
        ("phone", true),
        ("a-b_9", true),
        (&"x".repeat(32), true),
        (&"x".repeat(33), false),
        ("", false),
        ("Phone", false),
        ("a b", false),
        ("a.b", false),
        ("é", false),
    ] {
        assert_eq!(Name::parse(text).is_some(), is_name, "{text}");
    }
}

/// A target called after its service, with these settings.
pub fn target(service: &str, settings: &str) -> Notifier {
    targets(&format!("service = '{service}'\n[{service}]\n{settings}")).expect(settings).remove(0)
}

/// What is wrong with these settings.
pub fn mistakes(service: &str, settings: &str) -> String {
    targets(&format!("service = '{service}'\n[{service}]\n{settings}")).expect_err(settings)
}

/// The request that carries these texts.
pub fn request_of(target: &Notifier, texts: &[&str], urgency: Urgency, hint: &str) -> Request {
    let notice = |(uid, text): (u64, &&str)| Notice { uid, urgency, text: (*text).into() };
    let notices: Vec<Notice> = (1..).zip(texts).map(notice).collect();
    posted(with_style("host.example", |style| target.render(&Digest { style, notices: &notices }, hint)))
}

fn posted(message: super::Message) -> Request {
    let super::Message::Post(request) = message else { panic!("{message:?}") };
    request
}

/// Does something with the style of a host of this name, in UTC and at an hour that can be right.
pub fn with_style<T>(host: &str, work: impl FnOnce(&Style<'_>) -> T) -> T {
    let (host, zone) = (Field::new(host.as_bytes()), Zone::utc());
    let now = Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() };
    work(&Style { host: &host, zone: &zone, now: &now })
}

/// What a target makes of an answer to its own request.
pub fn outcome_of(target: &Notifier, status: u16, body: &str) -> Outcome {
    let request = request_of(target, &["x"], Urgency::Normal, "");
    target.judge(Response { status, body: body.into(), ..Response::default() }, &request.url, "")
}

/// Checks an outcome: its letter, then the pause in seconds, or what the remedy begins with.
pub fn assert_outcome(outcome: &Outcome, expected: &str, said: &str) {
    match (expected.split_once(' '), outcome) {
        (Some(("R", remedy)), Outcome::Refused { why }) => {
            assert!(why.contains(&format!("); {remedy}")), "{said}: {why}");
        }
        _ => assert_eq!(code(outcome), expected, "{said}: {outcome:?}"),
    }
}

#[cfg(not(feature = "telegram"))]
#[test]
fn a_service_that_this_build_lacks_is_a_mistake_that_names_the_feature() {
    for text in ["service = 'telegram'", "service = 'stdout'\n[telegram]", "service = 'x'\n[x]\nservice = 'telegram'"] {
        let why = targets(text).expect_err(text);
        assert!(why.contains("lacks: use a build with the feature `telegram`"), "{text}: {why}");
    }
}

/// P4
#[test]
fn an_answer_to_a_targets_own_request_has_an_outcome_and_a_remedy() {
    let target = target("ntfy", "topic_url = 'http://127.0.0.1/mytopic'");
    for (status, body, expected) in [
        (200, r#"{"id":"1"}"#, "D"),
        (403, r#"{"code":40301,"error":"forbidden"}"#, "R who posts here may not write"),
        (413, r#"{"code":41303,"error":"too large"}"#, "X"),
    ] {
        assert_outcome(&outcome_of(&target, status, body), expected, body);
    }
    assert!(mistakes("ntfy", "").contains("c:2: ntfy.topic_url is missing"));
}

/// A notice stays below 900 characters, also when facts are added.
#[test]
fn every_service_holds_a_notice_of_900_characters() {
    for row in SERVICES {
        assert!(row.capacity.holds(900), "{}", row.name);
    }
}
