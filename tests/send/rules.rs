//! Rules, from the configuration to the notices that services get.

use std::process::Command;
use std::time::Duration;

use crate::support::home::{Home, LOGIN, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::Server;

/// A line for each notice, `amanda in` or `amanda out`.
fn reported(sent: &str) -> Vec<String> {
    let one = |line: &str| {
        let user = line.trim_start_matches(['`', '-', ' ', '\'']).split('\'').next().unwrap_or_default();
        format!("{user} {}", if line.contains(" logged in ") { "in" } else { "out" })
    };
    sent.lines().filter(|line| line.contains(" logged ")).map(one).collect()
}

fn visit(home: &Home, user: &str, remote_host: &str) {
    home.record(user, remote_host, "open_session");
    home.record(user, remote_host, "close_session");
}

#[test]
fn a_rule_silences_whole_sessions_and_the_queue_remembers_which_rule_did() {
    let home = Home::new(&format!(
        "{STDOUT}[[rule]]\nuser = 'ansible'\nfrom = '10.1.0.0/16'\nnotify = 'never'\n\
         [[rule]]\nevent = 'close'\nuser = 'carol'\nnotify = 'never'\n"
    ));
    for (user, remote_host) in
        [("ansible", "10.1.0.7"), ("amanda", "10.1.0.7"), ("carol", "192.0.2.7"), ("bob", "192.0.2.7")]
    {
        visit(&home, user, remote_host);
    }
    assert_eq!(reported(&home.sent()), ["amanda in", "amanda out", "carol in", "bob in", "bob out"]);
    assert_eq!(home.sent(), "");
    assert_eq!(home.queue().count_unsettled(), 0);
    assert_eq!(home.queue().verdicts_of("ansible")[0], "urgency never, rule 1");
    assert!(home.queue().verdicts_of("ansible")[1].starts_with("urgency never, rule 1, after "));
    assert!(home.queue().verdicts_of("carol")[1].starts_with("urgency never, rule 2, after "));
    let status = home.status();
    assert!(status.contains("stdout: 0 pending, 0 dead"), "{status}");
}

/// P3: a wrapper around the hook, or a user, can forge an environment that doesn't come from PAM.
#[test]
fn an_event_that_pam_does_not_prove_is_reported_despite_the_rules() {
    let home = Home::new(&format!("{STDOUT}[[rule]]\nnotify = 'never'\n"));
    let items = [
        ("PAM_TYPE", "open_session"),
        ("PAM_USER", "ansible"),
        ("PAM_SERVICE", "sshd"),
        ("PAM_RHOST", "10.1.0.7"),
        ("PAM_TTY", "ssh"),
    ];
    home.hook(&items).succeeds();
    home.record("eve", "10.1.0.7", "close_session");
    assert_eq!(reported(&home.sent()), ["ansible in", "eve out"], "the first is not proven, the second has no login");
}

#[test]
fn a_service_gets_the_urgency_of_the_rule() {
    let server = Server::well();
    let urgencies = [("quiet", "zoe"), ("normal", "ben"), ("urgent", "ann")];
    let rules = urgencies.map(|(urgency, user)| format!("[[rule]]\nuser = '{user}'\nnotify = '{urgency}'\n")).concat();
    let home = Home::new(&format!(
        "[notification]\nservice = ['discord', 'ntfy', 'pager']\n{}{}[notification.pager]\nservice = 'ntfy'\n\
         topic_url = 'http://127.0.0.1:{}/pager'\nurgency = 'urgent'\n{rules}",
        server.discord(),
        server.ntfy(),
        server.port
    ));
    for (urgency, user) in urgencies {
        let seen = server.requests().len();
        visit(&home, user, "192.0.2.7");
        home.send().succeeds();
        let requests = server.requests().split_off(seen);
        assert_eq!(requests.len(), if urgency == "urgent" { 3 } else { 2 }, "{urgency} {requests:?}");
        for request in requests {
            let (is_silent, priority) = match urgency {
                "quiet" => (true, 2),
                _ => (false, 5),
            };
            let json = request.json();
            assert_eq!(reported(&request.body.replace("\\n", "\n")).len(), 2, "{}", request.body);
            match json.get("topic") {
                Some(_) => assert_eq!(json["priority"], priority, "{urgency}"),
                None => assert_eq!(json["flags"] == 4096, is_silent, "{urgency}"),
            }
        }
    }
}

/// P1, P2: the hook reads no rules.
#[test]
fn a_login_is_recorded_despite_a_mistake_in_a_rule() {
    for (mistake, line) in [("[[rule]]\nuser = ['']\n", 9), ("[rule]\nuser = 'amanda'\n", 8), ("rules = 1\n", 8)] {
        let home = Home::new(&format!("{STDOUT}{mistake}"));
        home.login("amanda");
        let place = format!("{}:{line}: ", home.at("config.toml").display());
        home.send().when(mistake).fails().says(&place);
        home.configure(STDOUT);
        assert_eq!(reported(&home.sent()), ["amanda in"]);
    }
}

#[test]
fn an_expired_rule_silences_nobody() {
    for (until, expected) in [("2020-01-01", &["amanda in"][..]), ("2999-01-01", &[])] {
        let home = Home::new(&format!("{STDOUT}[[rule]]\nuntil = {until}\nnotify = 'never'\n"));
        home.login("amanda");
        assert_eq!(reported(&home.sent()), expected, "{until}");
    }
}

/// Records a login by a process that ends without a logout.
fn login_and_die(home: &Home, user: &str) {
    let inner = home.command(&["queue"]);
    let items = LOGIN.map(|(name, value)| format!("{name}={}", if name == "PAM_USER" { user } else { value }));
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\"; exit $?", "sh", "/usr/bin/env", "-i"]).args(items);
    shell.arg(inner.get_program()).args(inner.get_args()).output().expect("sh starts").succeeds();
}

/// The end of a silenced session is silenced too, even if only the sender notices it.
#[test]
fn the_noticed_end_of_a_silenced_session_is_not_reported() {
    let rule = "[[rule]]\nuser = ['ansible', 'backup']\nnotify = 'never'\n";
    let home = Home::new(&format!("{STDOUT}{rule}"));
    // Once a service has recorded a login and its logout, a missing logout means something.
    visit(&home, "amanda", "192.0.2.7");
    for user in ["ansible", "bob"] {
        login_and_die(&home, user);
    }
    assert_eq!(reported(&home.sent()), ["amanda in", "amanda out", "bob in"]);
    home.queue().let_missing_time_pass(Duration::from_secs(11));
    let noticed = home.sent() + &home.sent();
    assert_eq!(reported(&noticed), ["bob out"], "{noticed}");
    assert!(noticed.contains("; ended, noticed at "), "{noticed}");
    assert_eq!(home.queue().verdicts_of("ansible"), ["urgency never, rule 1", "urgency never, rule 1"]);

    let restart = |users: &[&str]| {
        for user in users {
            let event = home.queue().count_events() + 1;
            home.login(user);
            let _ = home.sent();
            home.queue().move_to_an_earlier_boot(event);
        }
        home.sent() + &home.sent()
    };
    assert_eq!(restart(&["backup"]), "");
    let sent = restart(&["ansible", "carol", "dave"]);
    assert!(sent.ends_with(": the host was restarted, which ended 1 session: 'dave' (192.0.2.7, sshd)\n"), "{sent}");
}
