mod answers;
mod hostile;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::{EARLIEST_MS, Stamp};
use crate::json;
use crate::notice::Style;
use crate::rules::Urgency;
use crate::text::Field;
use crate::toml::Reader;
use crate::tz::Zone;

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
    let notice = |(uid, urgency): (u64, &Urgency)| Notice {
        uid,
        urgency: *urgency,
        title: String::new(),
        text: format!("notice {uid}"),
    };
    let notices: Vec<Notice> = (1..).zip(urgencies).map(notice).collect();
    posted(with_style("h", |style| target.render(&Digest { style, notices: &notices }, "")))
}

#[test]
fn several_targets_of_one_service_use_their_own_settings() {
    let targets = targets(FOUR).expect("four targets");
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["ntfy", "phone", "discord", "team"]);
    let requests: Vec<Request> = targets.iter().map(|target| request(target, &[Urgency::Normal])).collect();
    let urls: Vec<&str> = requests.iter().map(|request| request.url.reveal()).collect();
    let webhook = |rest: &str| format!("http://127.0.0.1/api/webhooks/{rest}?wait=true");
    assert_eq!(urls, ["http://127.0.0.1/", "http://127.0.0.1/", &webhook("1/secret-one"), &webhook("2/secret-two")]);
    let topics = requests.iter().map(|request| json::member(request.body.as_bytes(), "topic"));
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
fn a_digest_is_silent_only_if_every_notice_in_it_is_quiet() {
    use Urgency::{Normal, Quiet, Urgent};
    let targets = targets(FOUR).expect("four targets");
    for (urgencies, priority, flags) in [
        (&[Quiet, Quiet][..], "2", Some("4096")),
        (&[Quiet, Normal], "5", None),
        (&[Urgent, Quiet], "5", None),
        (&[Normal], "5", None),
    ] {
        let body = |place: usize| request(&targets[place], urgencies).body;
        assert_eq!(json::member(body(0).as_bytes(), "priority"), Some(priority), "{urgencies:?}");
        assert_eq!(json::member(body(2).as_bytes(), "flags"), flags, "{urgencies:?}");
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
fn mistakes_in_targets_are_named_even_in_unused_sections() {
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
    let notice = |(uid, text): (u64, &&str)| Notice { uid, urgency, title: String::new(), text: (*text).into() };
    let notices: Vec<Notice> = (1..).zip(texts).map(notice).collect();
    posted(with_style("host.example", |style| target.render(&Digest { style, notices: &notices }, hint)))
}

fn posted(message: Message) -> Request {
    let Message::Post(request) = message else { panic!("{message:?}") };
    request
}

/// Calls `work` with the style of a host of this name, in UTC at a plausible time.
pub fn with_style<T>(host: &str, work: impl FnOnce(&Style<'_>) -> T) -> T {
    let (host, zone) = (Field::new(host.as_bytes()), Zone::utc());
    let now = Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() };
    work(&Style { host: &host, zone: &zone, now: &now })
}

/// The outcome of an answer to a target's own request.
pub fn outcome_of(target: &Notifier, status: u16, body: &str) -> Outcome {
    let request = request_of(target, &["x"], Urgency::Normal, "");
    target.judge(Response { status, body: body.into(), ..Response::default() }, &request.url, "")
}

/// D(elivered), T(hrottled), F(ailed), R(efused), X (rejected) or M(oved), with the seconds of a pause.
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

#[test]
fn every_service_is_a_feature_or_in_every_build_and_the_readme_has_it() {
    let default = include_str!("../../Cargo.toml").lines().find(|line| line.starts_with("default = ")).expect("a list");
    let features: Vec<&str> = default.split('"').skip(1).step_by(2).filter(|name| *name != "tls").collect();
    assert_eq!(OPTIONAL, features, "OPTIONAL and `default` in Cargo.toml differ");
    for row in SERVICES {
        let is_listed = OPTIONAL.contains(&row.name) || ["discord", "ntfy", "stdout"].contains(&row.name);
        assert!(is_listed, "OPTIONAL needs {}", row.name);
        let has_row = include_str!("../../README.md").contains(&format!("\n| `{}` | ", row.name));
        assert!(has_row, "the table of services in README.md needs a row for {}", row.name);
    }
}

/// P4
#[test]
fn an_answer_to_a_targets_own_request_has_an_outcome_and_a_remedy() {
    let target = target("ntfy", "topic_url = 'http://127.0.0.1/mytopic'");
    for (status, body, expected) in [
        (200, r#"{"id":"1"}"#, "D"),
        (403, r#"{"code":40301,"error":"forbidden"}"#, "R ntfy does not allow writing"),
        (413, r#"{"code":41303,"error":"too large"}"#, "X"),
    ] {
        assert_outcome(&outcome_of(&target, status, body), expected, body);
    }
    assert!(mistakes("ntfy", "").contains("c:2: ntfy.topic_url is missing"));
}

/// A notice stays below 900 characters, even with future facts.
#[test]
fn every_service_holds_a_notice_of_900_characters() {
    for row in SERVICES {
        assert!(row.capacity.holds(900), "{}", row.name);
    }
}
