//! Mistakes in rules, and the lines in their messages.

use super::*;

#[test]
fn each_mistake_in_a_rule_is_reported_with_its_line() {
    let rows = [
        ("[rule]\nuser = 'a'", "f:1: rule must be written as [[rule]]"),
        ("rule = 7", "f:1: rule must be written as [[rule]]"),
        ("rule = [7]", "f:1: rule must be written as [[rule]]"),
        ("[[rule]]\nuser = 'a'\n[[rule]]\nusr = 'b'", "f:4: rule.usr is not a setting"),
        ("[[rule]]\nuser = []", "f:2: rule.user must not be empty"),
        ("[[rule]]\nuser = [\n'a',\n'']", "f:4: rule.user has an empty name"),
        ("[[rule]]\nuser = 7", "f:2: rule.user must be a string or an array of them"),
        ("[[rule]]\nby = ' eve'", "f:2: rule.by has \" eve\", which no event can have"),
        ("[[rule]]\nservice = \"a\\u200b\"", "f:2: rule.service has \"a\\u{200b}\", which no event can have"),
        ("[[rule]]\nfrom = 'gateway'", "f:2: rule.from has \"gateway\", which is neither an address nor a network"),
        ("[[rule]]\nfrom = '10.0.0.0/33'", "f:2: rule.from has \"10.0.0.0/33\", which is neither"),
        ("[[rule]]\nkey = 'MD5:16:27'", "f:2: rule.key must be a fingerprint such as SHA256:…"),
        ("[[rule]]\nkey = 'SHA256:abc'", "f:2: rule.key must be a fingerprint such as SHA256:…"),
        ("[[rule]]\nevent = 'login'", "f:2: rule.event is \"login\", not \"open\" or \"close\""),
        ("[[rule]]\nnew = 'yes'", "f:2: rule.new must be true or false"),
        ("[[rule]]\nuntil = '2027-01-31'", "f:2: rule.until must be a date such as 2027-01-31"),
        ("[[rule]]\nuntil = 10:00:00", "f:2: rule.until must be a date such as 2027-01-31"),
        ("[[rule]]\n\nnotify = 'silent'", "f:3: rule.notify is \"silent\", not \"never\", \"quiet\", \"normal\" or"),
        ("[[rule]]\nrepeat = 3600", "f:2: rule.repeat must be a string"),
        ("[[rule]]\nnotify = 'never'\nrepeat = '1h'", "f:1: rule has `repeat`, which holds logins"),
        ("[[rule]]\nevent = 'close'\nrepeat = '1h'", "f:1: rule has `repeat`, which holds logins"),
        ("[[rule]]\nnotify = ['never']", "f:2: rule.notify must be a string"),
    ];
    for (text, expected) in rows {
        let why = read(text, Trust::Items).expect_err(text);
        assert!(why.lines().any(|line| line.contains(expected)), "{text}\n{why}");
    }
    let many = "[[rule]]\n".repeat(LIMIT + 1);
    let why = read(&many, Trust::Items).expect_err("201 rules");
    assert!(why.contains("f:201: rule is one too many; the limit is 200"), "{why}");
    assert_eq!(rules(&"[[rule]]\n".repeat(LIMIT), Trust::Items).list.len(), LIMIT);
}

#[test]
fn a_rule_knows_its_place_and_its_line() {
    let found = rules("[[rule]]\nuser = 'a'\n\n[[rule]]\nuser = 'b'\n", Trust::Items);
    let places: Vec<(u16, usize)> = found.list.iter().map(|rule| (rule.place, rule.line)).collect();
    assert_eq!(places, [(1, 1), (2, 4)]);
    let inline = rules("rule = [\n{ user = 'a' },\n{ user = 'b' },\n]", Trust::Items);
    let places: Vec<(u16, usize)> = inline.list.iter().map(|rule| (rule.place, rule.line)).collect();
    assert_eq!(places, [(1, 2), (2, 3)]);
}

#[test]
fn a_duration_has_a_number_and_a_unit() {
    for (text, seconds) in [("1s", 1), ("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800)] {
        let found = rules(&format!("[[rule]]\nrepeat = '{text}'"), Trust::Items);
        assert_eq!(found.list[0].repeat, Some(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "h", "1", "0s", "8d", "1 h", "1w", "+1h", "-1h", "1.5h", "1\u{301}", "99999999999h", "1H"] {
        let why = read(&format!("[[rule]]\nrepeat = '{text}'"), Trust::Items).expect_err(text);
        assert!(why.contains("f:2: rule.repeat must be a number and s, m, h or d"), "{why}");
    }
}
