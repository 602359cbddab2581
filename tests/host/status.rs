//! `status` and the hook.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::wait_for;

/// The line of `status` about recorded sessions.
fn recorded(home: &Home) -> String {
    let status = home.status();
    let line = status.lines().find(|line| line.contains("session"));
    line.unwrap_or_else(|| panic!("{status}")).into()
}

#[test]
fn status_names_each_service_with_its_last_session_newest_first() {
    let home = Home::new(STDOUT);
    let su = [("PAM_SERVICE", "su"), ("PAM_USER", "root"), ("PAM_RUSER", "amanda"), ("PAM_TYPE", "open_session")];
    home.hook(&su).succeeds();
    home.login("amanda");
    home.login("bob");
    // Neither delivery nor judging changes when a session was last recorded.
    let before = recorded(&home);
    home.send().succeeds();
    assert_eq!(recorded(&home), before);
    let parts: Vec<&str> = before.trim_start_matches("sessions last recorded: ").split(", ").collect();
    let services: Vec<&str> = parts.iter().filter_map(|part| part.split_once(" at 20")).map(|part| part.0).collect();
    assert_eq!(services, ["sshd", "su"], "{before}");
}

/// Events are deleted after `history_days`, but not the record that the hook worked.
#[test]
fn status_shows_each_services_last_session_after_its_events_are_deleted() {
    let home = Home::new(STDOUT);
    for service in ["su", "sshd"] {
        home.hook(&[("PAM_SERVICE", service), ("PAM_USER", "amanda"), ("PAM_TYPE", "open_session")]).succeeds();
    }
    home.sent();
    let before = recorded(&home);
    assert!(before.contains("su at 20") && before.contains("sshd at 20"), "{before}");
    home.queue().forget_history();
    assert_eq!(recorded(&home), before);
    // Even if a program keeps calling the hook with new service names, few services are forgotten.
    for number in 0..20 {
        let service = format!("service{number}");
        home.hook(&[("PAM_SERVICE", service.as_str()), ("PAM_USER", "amanda"), ("PAM_TYPE", "open_session")])
            .succeeds();
    }
    home.sent();
    home.queue().forget_history();
    let line = recorded(&home);
    assert_eq!(line.matches(" at 20").count(), 16, "{line}");
    assert!(line.contains("service19 at") && !line.contains("su at"), "{line}");
}

#[test]
fn status_gives_advice_if_the_hook_recorded_no_session() {
    let home = Home::new(STDOUT);
    home.send().succeeds();
    home.run(&["status"]).succeeds();
    let status = home.status();
    assert!(status.contains("if somebody has logged in since, `check` says why the hook is silent"), "{status}");
    home.login("amanda");
    assert!(!home.status().contains("silent"), "{}", home.status());
}

#[test]
fn status_shows_when_a_targets_oldest_pending_event_happened() {
    let home = Home::new(STDOUT);
    let oldest = |home: &Home| {
        home.status()
            .lines()
            .next()
            .and_then(|line| line.split_once("; the oldest from ").map(|(_, date)| date.to_string()))
    };
    home.login("amanda");
    home.send().succeeds();
    assert_eq!(oldest(&home), None, "nothing waits");
    let newest = || recorded(&home).rsplit_once("sshd at ").expect("a date").1.to_string();
    // A date has no fractions of a second.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let log_in_a_second_later = |user: &str| {
        let first = second();
        assert!(wait_for(|| second() > first));
        home.login(user);
    };
    let amandas = newest();
    log_in_a_second_later("bob");
    let bobs = oldest(&home).expect("one waits");
    assert!(bobs > amandas, "{bobs}: hers was delivered at {amandas}");
    log_in_a_second_later("carol");
    assert_eq!(oldest(&home).as_ref(), Some(&bobs), "the oldest stays the oldest");
    assert!(newest() > bobs);
}

#[test]
fn status_counts_the_daily_sessions_of_a_hooked_cron_and_names_the_line_to_move() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    assert!(!home.status().contains("cron"), "{}", home.status());
    for kind in ["open_session", "close_session", "open_session"] {
        home.hook(&[("PAM_SERVICE", "cron"), ("PAM_USER", "backup"), ("PAM_TTY", "cron"), ("PAM_TYPE", kind)])
            .succeeds();
    }
    let status = home.status();
    let line = status.lines().find(|line| line.starts_with("cron's sessions are reported too"));
    let line = line.unwrap_or_else(|| panic!("{status}"));
    assert!(line.contains(", 2 in the last 24 hours") && line.contains("from /etc/pam.d/cron"), "{line}");
}
