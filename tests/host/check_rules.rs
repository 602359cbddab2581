//! `check` and rules.

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;

/// The lines about rules, with the path replaced.
fn findings(home: &Home) -> Vec<String> {
    let output = home.run(&["check"]).stdout();
    let file = home.at("config.toml").display().to_string();
    let ours = output.lines().filter(|line| line.contains("  rules: ") || line.contains("hook.trust_environment: "));
    ours.map(|line| line.replace(&file, "FILE")).collect()
}

#[test]
fn check_counts_each_rules_decisions_and_finds_rules_that_can_never_decide() {
    let key = format!("SHA256:{}", "A".repeat(43));
    let home = Home::new(&format!(
        "{STDOUT}[[rule]]\nuser = 'ansible'\nnotify = 'never'\n[[rule]]\nuser = 'ansible'\nfrom = '10.0.0.0/8'\n\
         [[rule]]\nkey = '{key}'\nnotify = 'quiet'\n[[rule]]\nuntil = 2026-10-31\nnotify = 'urgent'\n"
    ));
    let warnings = [
        "warning  rules: rule 2 (FILE:11) can never decide: rule 1 matches all of its sessions first",
        "warning  rules: rule 3 (FILE:14) makes nothing quieter: a user can forge `key` unless \
         hook.trust_environment = true",
        "warning  rules: rule 4 (FILE:17) expired at 2026-11-01 00:00:00+00:00",
    ];
    let counts = |first: u32| {
        let rules = [(8, "never", first), (11, "normal", 0), (14, "quiet", 0), (17, "urgent", 0)];
        let line = |(place, (line, notify, count)): (usize, (i32, &str, u32))| {
            format!("ok       rules: rule {place} (FILE:{line}), {notify}: {count} events in the last 30 days")
        };
        (1..).zip(rules).map(line).collect::<Vec<_>>()
    };
    assert_eq!(findings(&home), [&warnings.map(String::from)[..], &counts(0)].concat());
    home.record("ansible", "10.1.0.7", "open_session");
    home.record("ansible", "10.1.0.7", "close_session");
    home.login("amanda");
    assert_eq!(home.sent().lines().count(), 1);
    assert_eq!(findings(&home)[3..], counts(2));
    home.configure(STDOUT);
    assert_eq!(findings(&home), [""; 0], "no findings without rules");
}

#[test]
fn check_examines_the_environment_only_if_it_is_trusted() {
    let home = Home::new(&format!("{STDOUT}[hook]\ntrust_environment = true\n"));
    let found = findings(&home);
    assert!(!found.is_empty() && found.iter().all(|line| line.contains("hook.trust_environment: ")), "{found:?}");
    home.configure(&format!("{STDOUT}[hook]\ntrust_environment = false\n"));
    assert_eq!(findings(&home), [""; 0]);
}
