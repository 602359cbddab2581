//! Each condition, with a session whose facts match, are missing or differ.

use super::*;

/// A condition, facts of a session, and whether the condition matches.
type Row<'r> = (&'r str, &'r [(Fact, &'r str)], bool);

fn assert_rows(rows: &[Row<'_>]) {
    for (condition, changes, holds) in rows {
        let rules = rules(&format!("[[rule]]\n{condition}\nnotify = 'never'"), Trust::Environment);
        let expected = if *holds { "never by 1" } else { "normal" };
        assert_eq!(decision(&rules, &session(&facts(changes))), expected, "{condition} {changes:?}");
    }
}

#[test]
fn names_are_compared_exactly_and_a_missing_one_matches_nothing() {
    assert_rows(&[
        ("user = 'amanda'", &[], true),
        ("user = ['bob', 'amanda']", &[], true),
        ("user = 'Amanda'", &[], false),
        ("user = 'amand'", &[], false),
        ("user = 'amanda'", &[(USER, "")], false),
        ("user = 'amanda'", &[(USER, "amanda\u{200b}")], false),
        ("by = 'eve'", &[], false),
        ("by = 'eve'", &[(BY, "eve"), (REMOTE_HOST, "")], true),
        ("by = 'eve'", &[(BY, "bob"), (REMOTE_HOST, "")], false),
        ("service = 'sshd'", &[], true),
        ("service = ['su', 'sudo']", &[], false),
        ("service = ['su', 'sudo']", &[(SERVICE, "sudo")], true),
        ("service = 'sshd'", &[(SERVICE, "")], false),
    ]);
}

#[test]
fn from_matches_only_a_remote_host_that_is_an_address() {
    let address = Fact::find("address").expect("a fact");
    assert_rows(&[
        ("from = '10.1.0.0/16'", &[], true),
        ("from = ['192.0.2.1', '10.1.0.7']", &[], true),
        ("from = '10.2.0.0/16'", &[], false),
        ("from = '10.1.0.0/16'", &[(REMOTE_HOST, "::ffff:10.1.0.7")], true),
        ("from = '::ffff:10.1.0.7'", &[], true),
        ("from = 'fe80::/10'", &[(REMOTE_HOST, "fe80::1%eth0")], true),
        ("from = '2001:db8::/32'", &[(REMOTE_HOST, "2001:db8::1")], true),
        ("from = '2001:db8::/32'", &[(REMOTE_HOST, "2001:db8::1%eth0")], false),
        ("from = '0.0.0.0/0'", &[(REMOTE_HOST, "")], false),
        ("from = '0.0.0.0/0'", &[(REMOTE_HOST, "gateway")], false),
        ("from = '0.0.0.0/0'", &[(REMOTE_HOST, "10.1.0.7 ")], true),
        ("from = '0.0.0.0/0'", &[(REMOTE_HOST, "010.1.0.7")], false),
        ("from = '::/0'", &[], false),
        // The client's address can be forged if the remote host is a name.
        ("from = '0.0.0.0/0'", &[(REMOTE_HOST, "gateway"), (address, "10.1.0.7")], false),
    ]);
}

#[test]
fn a_key_condition_matches_any_of_the_keys_that_were_used() {
    let key_of_ours = format!("key = '{FINGERPRINT}'");
    let other = FINGERPRINT.replace("SHA256:gNS", "SHA256:xyz");
    let two = format!("ssh-rsa AAAA,{}", key());
    assert_rows(&[
        (&key_of_ours, &[], true),
        (&format!("key = ['{other}', '{FINGERPRINT}']"), &[], true),
        (&format!("key = '{other}'"), &[], false),
        (&key_of_ours, &[(KEY, "")], false),
        (&key_of_ours, &[(KEY, "ssh-ed25519 AAAA")], false),
        (&key_of_ours, &[(KEY, &two)], true),
    ]);
}

#[test]
fn all_conditions_of_a_rule_must_match() {
    let by_key = format!("key = '{FINGERPRINT}'");
    let conditions = ["user = 'amanda'", "service = 'sshd'", "from = '10.1.0.7'", by_key.as_str()];
    let wrong = [(USER, "eve"), (SERVICE, "su"), (REMOTE_HOST, "10.9.0.7"), (KEY, "")];
    for combination in 0..16_u32 {
        let changes: Vec<(Fact, &str)> =
            (0..4).filter(|place| combination & (1 << place) != 0).map(|place| wrong[place]).collect();
        let rule = format!("[[rule]]\n{}\nnotify = 'never'", conditions.join("\n"));
        let found = decision(&rules(&rule, Trust::Environment), &session(&facts(&changes)));
        assert_eq!(found == "never by 1", combination == 0, "{changes:?}");
    }
}

#[test]
fn new_matches_only_a_source_that_is_known_to_be_new() {
    let amanda = facts(&[]);
    let (nothing, address) = (New::default(), New { is_address: true, is_key: false });
    let key = New { is_address: false, is_key: true };
    for (condition, new, holds) in [
        ("new = true", nothing, false),
        ("new = true", address, true),
        ("new = true", key, true),
        ("new = false", nothing, true),
        ("new = false", address, false),
        ("new = false", key, false),
    ] {
        let rules = rules(&format!("[[rule]]\n{condition}\nnotify = 'never'"), Trust::Items);
        let found = decision(&rules, &Session { new, ..session(&amanda) });
        assert_eq!(found == "never by 1", holds, "{condition} {new:?}");
    }
}

#[test]
fn a_rule_expires_and_matches_nobody_while_the_clock_is_uncertain() {
    let amanda = facts(&[]);
    // 2026-11-01 00:00:00 in UTC.
    for (until, at_ms, holds) in [
        ("2026-11-01", Some(EARLIEST_MS), true),
        ("2026-10-31", Some(EARLIEST_MS - 1), true),
        ("2026-10-31", Some(EARLIEST_MS), false),
        ("2026-11-01T01:00:00", Some(EARLIEST_MS + 3_599_999), true),
        ("2026-11-01T01:00:00", Some(EARLIEST_MS + 3_600_000), false),
        ("2026-11-01 01:00:00+01:00", Some(EARLIEST_MS), false),
        ("2026-11-01", None, false),
        ("9999-12-31", None, false),
    ] {
        let rules = rules(&format!("[[rule]]\nuntil = {until}\nnotify = 'never'"), Trust::Items);
        let found = decision(&rules, &Session { at_ms, ..session(&amanda) });
        assert_eq!(found == "never by 1", holds, "{until} {at_ms:?}");
    }
}
