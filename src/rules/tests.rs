//! The decisions of rules about sessions.

mod conditions;
mod mistakes;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::EARLIEST_MS;
use crate::event::{BY, Fact, Facts, KEY, METHOD, ORIGIN, REMOTE_HOST, SERVICE, USER};
use crate::text::{Field, base64};
use crate::toml::Reader;
use crate::tz::Zone;

const NORMAL: Notify = Notify::At(Urgency::Normal);
const QUIET: Notify = Notify::At(Urgency::Quiet);
const URGENT: Notify = Notify::At(Urgency::Urgent);

/// The key of [`key`], as `ssh-keygen -lf` prints it.
const FINGERPRINT: &str = "SHA256:gNSIRW+2Iyiuvsdp/bgjy38bvWHw6wQm3tuoXrl3WjQ";

fn read(text: &str, trust: Trust) -> Result<Rules, String> {
    let reader = Reader::new(Path::new("f"), text);
    let document = reader.parse();
    let rules = document.as_ref().map(|document| {
        let mut root = reader.root(document);
        let rules = Rules::configure(root.sections("rule", LIMIT), trust, &Zone::utc());
        root.finish();
        rules
    });
    reader.finish(rules).map_err(|why| why.to_string())
}

fn rules(text: &str, trust: Trust) -> Rules {
    read(text, trust).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// An ed25519 key in `SSH_AUTH_INFO_0`.
fn key() -> String {
    let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[7; 32]].concat();
    format!("ssh-ed25519 {}", base64(&blob))
}

/// Facts of Amanda's proven login by sshd, with these changes.
fn facts(changes: &[(Fact, &str)]) -> Facts {
    let mut facts = Facts::default();
    let key = key();
    let hers = [
        (USER, "amanda"),
        (SERVICE, "sshd"),
        (REMOTE_HOST, "10.1.0.7"),
        (METHOD, "publickey"),
        (KEY, &key),
        (ORIGIN, "pam"),
    ];
    for (fact, value) in hers.iter().chain(changes) {
        facts[*fact] = Field::bounded(value.as_bytes(), 3000);
    }
    facts
}

fn session(facts: &Facts) -> Session<'_> {
    Session { facts, part: Part::Login, new: New::default(), at_ms: Some(EARLIEST_MS) }
}

fn ruling(notify: Notify, place: u16) -> Ruling {
    Ruling { notify, rule: Some(place), repeat: None }
}

/// The decision: `never by 1`, or `normal` without a rule.
fn decision(rules: &Rules, session: &Session<'_>) -> String {
    let Ruling { notify, rule, .. } = rules.judge(session, Ruling::default());
    rule.map_or_else(|| notify.name().into(), |rule| format!("{} by {rule}", notify.name()))
}

#[test]
fn the_first_rule_that_matches_decides_and_without_one_nothing_changes() {
    let two = rules("[[rule]]\nuser = 'amanda'\nnotify = 'quiet'\n[[rule]]\nnotify = 'never'", Trust::Items);
    let (amanda, eve) = (facts(&[]), facts(&[(USER, "eve")]));
    assert_eq!(decision(&two, &session(&amanda)), "quiet by 1");
    assert_eq!(decision(&two, &session(&eve)), "never by 2");
    assert_eq!(decision(&Rules::default(), &session(&amanda)), "normal");
    let plain = rules("[[rule]]", Trust::Items);
    let base = Ruling { notify: URGENT, ..Ruling::default() };
    assert_eq!(plain.judge(&session(&amanda), base), ruling(NORMAL, 1), "a rule without `notify` means normal");
    let none = rules("[[rule]]\nuser = 'zoe'", Trust::Items);
    assert_eq!(none.judge(&session(&amanda), base), base);
}

/// P3
#[test]
fn forgeable_facts_make_a_notice_more_urgent_and_never_less() {
    let with_key = format!("key = '{FINGERPRINT}'\n");
    let rest = "[[rule]]\nuser = 'amanda'\nnotify = 'REST'\n";
    let (by_su, by_remote) = (facts(&[(REMOTE_HOST, ""), (BY, "eve")]), facts(&[(BY, "eve")]));
    let (hers, reordered) = (facts(&[]), facts(&[(ORIGIN, "reordered")]));
    let without = facts(&[(ORIGIN, "")]);
    let (other, su) = (facts(&[(KEY, "")]), facts(&[(SERVICE, "su")]));
    // Whether a rule with this condition decides about these facts, rather than only raising the urgency.
    for (condition, trust, facts, decides) in [
        (with_key.as_str(), Trust::Items, &hers, false),
        (&with_key, Trust::Environment, &hers, true),
        (&with_key, Trust::Environment, &su, false),
        (&with_key, Trust::Environment, &reordered, false),
        ("by = 'eve'\n", Trust::Items, &by_su, true),
        ("by = 'eve'\n", Trust::Items, &by_remote, false),
        ("by = 'eve'\n", Trust::Environment, &by_remote, false),
        ("user = 'amanda'\n", Trust::Items, &hers, true),
        ("user = 'amanda'\n", Trust::Environment, &reordered, false),
        ("", Trust::Items, &reordered, false),
        ("", Trust::Items, &without, false),
        ("", Trust::Items, &hers, true),
        ("from = '10.1.0.0/16'\n", Trust::Items, &hers, true),
        ("from = '10.1.0.0/16'\n", Trust::Items, &reordered, false),
    ] {
        let is_proven = facts[ORIGIN].as_str() == "pam";
        for first in [Notify::Never, QUIET, NORMAL, URGENT] {
            for second in [Notify::Never, QUIET, NORMAL, URGENT] {
                let text = format!("[[rule]]\n{condition}notify = '{}'\n{rest}", first.name());
                let both = rules(&text.replace("REST", second.name()), trust);
                let found = both.judge(&session(facts), Ruling::default());
                let rest = if is_proven { second } else { second.max(NORMAL) };
                let expected = if decides { first } else { rest.max(first) };
                assert_eq!(found.notify, expected, "{text} {second:?} {facts:?}");
            }
        }
        let missing =
            format!("[[rule]]\n{condition}user = 'zoe'\nnotify = 'urgent'\n").replace("user = 'amanda'\n", "");
        assert_eq!(decision(&rules(&missing, trust), &session(&other)), "normal", "{missing}");
    }
}

/// P3: everything in a logout can be forged.
#[test]
fn a_logout_is_judged_by_its_login_and_a_lone_one_is_never_silenced() {
    let text = "[[rule]]\nevent = 'close'\nuser = 'bob'\nnotify = 'CLOSE'\n[[rule]]\nnotify = 'ANY'\n";
    let (amanda, bob) = (facts(&[]), facts(&[(USER, "bob")]));
    let base = ruling(QUIET, 9);
    for (facts, part, close, any, expected) in [
        (&bob, Part::Logout, "never", "urgent", ruling(Notify::Never, 1)),
        (&bob, Part::Logout, "urgent", "never", ruling(URGENT, 1)),
        (&amanda, Part::Logout, "never", "urgent", base),
        (&bob, Part::LoneLogout, "never", "quiet", Ruling::default()),
        (&bob, Part::LoneLogout, "never", "never", Ruling::default()),
        (&bob, Part::LoneLogout, "urgent", "never", ruling(URGENT, 1)),
        (&amanda, Part::LoneLogout, "urgent", "never", Ruling::default()),
        (&amanda, Part::LoneLogout, "never", "urgent", ruling(URGENT, 2)),
        (&bob, Part::Login, "urgent", "quiet", ruling(QUIET, 2)),
    ] {
        let rules = rules(&text.replace("CLOSE", close).replace("ANY", any), Trust::Environment);
        let base = if part == Part::Logout { base } else { Ruling::default() };
        let found = rules.judge(&Session { part, ..session(facts) }, base);
        assert_eq!(found, expected, "{close} {any} {part:?}");
    }
}

/// P3
#[test]
fn only_a_rule_that_decides_holds_repeats() {
    let hour = Some(Duration::from_hours(1));
    let by_key = format!("key = '{FINGERPRINT}'");
    let (hers, reordered) = (facts(&[]), facts(&[(ORIGIN, "reordered")]));
    for (condition, facts, trust, part, repeat) in [
        ("", &hers, Trust::Items, Part::Login, hour),
        ("user = 'eve'", &hers, Trust::Items, Part::Login, None),
        ("", &reordered, Trust::Items, Part::Login, None),
        ("", &hers, Trust::Items, Part::Logout, None),
        ("", &hers, Trust::Items, Part::LoneLogout, None),
        (&by_key, &hers, Trust::Items, Part::Login, None),
        (&by_key, &hers, Trust::Environment, Part::Login, hour),
    ] {
        let rules = rules(&format!("[[rule]]\n{condition}\nrepeat = '1h'"), trust);
        assert_eq!(rules.judge(&Session { part, ..session(facts) }, Ruling::default()).repeat, repeat, "{condition}");
    }
    let raised = format!("[[rule]]\n{by_key}\nnotify = 'urgent'\n[[rule]]\nrepeat = '1h'");
    assert_eq!(rules(&raised, Trust::Items).judge(&session(&hers), Ruling::default()), ruling(URGENT, 1));
}

#[test]
fn a_rule_that_can_never_take_effect_is_found() {
    let key = format!("key = '{FINGERPRINT}'");
    let long = "user = ['amanda', 'bob']\nfrom = '10.0.0.0/8'\nuntil = 2027-02-01";
    let rows: [(&str, &str, Trust, Option<Doubt>); 20] = [
        ("user = 'amanda'", "user = 'bob'", Trust::Items, None),
        ("user = 'amanda'", "user = ['amanda', 'bob']", Trust::Items, None),
        ("user = ['amanda', 'bob']", "user = 'bob'\nfrom = '10.0.0.1'", Trust::Items, Some(Doubt::Shadowed(1))),
        ("", "user = 'bob'", Trust::Items, Some(Doubt::Shadowed(1))),
        (long, "user = 'bob'\nfrom = '10.1.0.0/16'\nuntil = 2027-01-31", Trust::Items, Some(Doubt::Shadowed(1))),
        (long, "user = 'bob'\nfrom = '10.1.0.0/16'", Trust::Items, None),
        (long, "user = 'bob'\nfrom = '11.0.0.0/8'\nuntil = 2027-01-31", Trust::Items, None),
        (long, "user = 'bob'\nfrom = '0.0.0.0/0'\nuntil = 2027-01-31", Trust::Items, None),
        ("event = 'open'", "event = 'close'", Trust::Items, None),
        ("", "event = 'close'", Trust::Items, None),
        ("", "event = 'open'", Trust::Items, Some(Doubt::Shadowed(1))),
        ("new = true", "new = false", Trust::Items, None),
        ("new = true", "new = true\nservice = 'sshd'", Trust::Items, Some(Doubt::Shadowed(1))),
        (&key, &format!("user = 'bob'\n{key}"), Trust::Items, None),
        (&key, &format!("user = 'bob'\n{key}"), Trust::Environment, Some(Doubt::Shadowed(1))),
        ("user = 'zoe'", &format!("notify = 'never'\n{key}"), Trust::Items, Some(Doubt::ForgedKey)),
        ("user = 'zoe'", &format!("notify = 'quiet'\nservice = 'su'\n{key}"), Trust::Items, Some(Doubt::KeyOfOther)),
        ("user = 'zoe'", &format!("repeat = '1h'\n{key}"), Trust::Items, Some(Doubt::ForgedKey)),
        ("user = 'zoe'", "notify = 'never'\nby = 'a'\nfrom = '::/0'", Trust::Items, Some(Doubt::ByAndFrom)),
        ("user = 'zoe'", "until = 2026-10-31T12:00:00Z", Trust::Items, Some(Doubt::Expired(1_793_448_000_000))),
    ];
    for (first, second, trust, expected) in rows {
        let text = format!("[[rule]]\n{first}\n[[rule]]\n{second}\n");
        let rules = rules(&text, trust);
        let found: Vec<(u16, Doubt)> =
            rules.doubts(EARLIEST_MS).into_iter().map(|(rule, doubt)| (rule.place, doubt)).collect();
        assert_eq!(found, expected.map(|doubt| (2, doubt)).into_iter().collect::<Vec<_>>(), "{text}");
    }
}
