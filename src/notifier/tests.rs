use std::path::Path;
use std::time::Duration;

use super::*;
use crate::rules::Urgency;
use crate::text::Field;
use crate::toml::Reader;

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
        assert_eq!(code(&discord::judge(&response)), discord, "Discord: {name}");
        assert_eq!(code(&ntfy::judge(&response)), ntfy, "ntfy: {name}");
    }
}

#[test]
fn what_a_service_says_of_a_failure_is_one_safe_line() {
    let body = "{\"message\":\"bad\u{1b}[31m\u{202e} thing\"}";
    let response = Response { status: 400, body: body.into(), ..Response::default() };
    let Outcome::Rejected { why } = discord::judge(&response) else { panic!("400 is a rejection") };
    assert_eq!(why, "HTTP 400: bad\u{fffd}[31m\u{fffd} thing");
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
    match target.render(&Digest { host: &Field::new(b"h"), notices: &notices }) {
        Message::Post(request) => request,
        Message::Print(text) => panic!("{text}"),
    }
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
    let services = "it can be \"discord\", \"ntfy\" or \"stdout\"";
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
