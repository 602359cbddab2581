//! Rules about a key, with the real sshd: which key it was, only sshd knows.

use std::process::Command;

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::skip;
use crate::support::sshd::{self, Sshd};

/// P3
#[test]
fn a_key_silences_its_sessions_only_where_the_environment_is_trusted_and_raises_them_always() {
    if let Some(why) = sshd::missing() {
        let test = "a_key_silences_its_sessions_only_where_the_environment_is_trusted_and_raises_them_always";
        return skip(test, &why);
    }
    let home = Home::of_service(STDOUT);
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    let listed = Command::new("ssh-keygen").arg("-lf").arg(home.at("key.pub")).output().expect("ssh-keygen").stdout();
    let rule = format!("[[rule]]\nkey = '{}'\n", listed.split(' ').nth(1).expect("a fingerprint"));
    let other = format!("[[rule]]\nkey = 'SHA256:{}'\n", "A".repeat(43));
    let trust = "[hook]\ntrust_environment = true\n";
    let mut seen = 0;
    for (settings, lines, verdict) in [
        (format!("{rule}notify = 'never'\n"), 2, ""),
        (format!("{trust}{rule}notify = 'never'\n"), 0, "urgency never, rule 1"),
        (format!("{trust}{other}notify = 'never'\n"), 2, ""),
        (format!("{rule}notify = 'urgent'\n"), 2, "urgency urgent, rule 1"),
    ] {
        home.configure(&format!("{STDOUT}{settings}"));
        sshd.login("true");
        sshd.wait_for_the_end();
        assert_eq!(home.sent().lines().count(), lines, "{settings}");
        let verdicts = home.queue().verdicts_of("eve");
        assert_eq!(verdicts.len(), seen + 2, "{verdicts:?}");
        for found in &verdicts[seen..] {
            assert_eq!(found.split("after").next().unwrap_or_default().trim_end_matches(", "), verdict, "{settings}");
        }
        seen += 2;
    }
}
