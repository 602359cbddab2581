//! Settings that an operator corrects work at once, and lasting problems are reported once a day.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};
use crate::support::wait_for;

/// Starts a service that wants the token `tk_right`.
fn guarded() -> Server {
    Server::new(|_, request, stream| match request.header("authorization") {
        Some("Bearer tk_right") => taken(stream),
        _ => reply(stream, 401, "", r#"{"code":40101,"error":"unauthorized"}"#),
    })
}

fn with_token(server: &Server, token: &str) -> String {
    format!("[notification]\nservice = \"ntfy\"\n{}token = \"{token}\"\n", server.ntfy())
}

/// P4
#[test]
fn a_corrected_setting_works_at_the_next_run_and_an_unchanged_one_keeps_its_wait() {
    let server = guarded();
    let home = Home::as_installed(&with_token(&server, "tk_wrong"));
    home.login("amanda");
    home.send().fails().says("ntfy: HTTP 401: unauthorized");
    let tried = server.requests().len();
    home.send().succeeds();
    assert_eq!(server.requests().len(), tried, "nothing has changed");
    home.configure(&with_token(&server, "tk_right"));
    home.send().succeeds();
    assert!(server.requests().pop().expect("a request").body.contains("'amanda'"));
    // The same with a token in a file.
    let file = home.at("token");
    fs::write(&file, "tk_wrong\n").expect("a file");
    home.configure(&with_token(&server, "").replace("token = \"\"", &format!("token_file = \"{}\"", file.display())));
    home.login("bob");
    home.send().fails();
    fs::write(&file, "tk_right\n").expect("a file");
    home.send().succeeds();
    assert!(server.requests().pop().expect("a request").body.contains("'bob'"));
}

/// P4
#[test]
fn a_watching_sender_uses_a_corrected_setting_without_a_restart() {
    let server = guarded();
    let home = Home::new(&with_token(&server, "tk_wrong"));
    let mut sender = home.command(&["send", "--watch"]).stderr(Stdio::null()).spawn().expect("it starts");
    home.login("amanda");
    let is_tried = wait_for(|| !server.requests().is_empty());
    home.configure("[notification]\nservice = \"nonsense\"\n");
    home.configure(&with_token(&server, "tk_right"));
    let is_accepted =
        || server.requests().iter().any(|request| request.header("authorization") == Some("Bearer tk_right"));
    let is_accepted = wait_for(is_accepted);
    let _ = sender.kill();
    let _ = sender.wait();
    assert!(is_tried && is_accepted, "{:?}", server.requests());
}

#[test]
fn send_now_ignores_the_back_off_but_not_a_pause_that_the_service_asked_for() {
    let server = Server::new(|number, _, stream| match number {
        0 => reply(stream, 503, "", ""),
        1 => reply(stream, 429, "Retry-After: 600\r\n", ""),
        _ => taken(stream),
    });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    home.send().fails();
    home.send().succeeds();
    assert_eq!(server.requests().len(), 1, "`send` ignored the back-off");
    home.run(&["send", "--now"]).fails().says("HTTP 429");
    assert_eq!(server.requests().len(), 2, "`send --now` kept the back-off");
    home.run(&["send", "--now"]).succeeds();
    assert_eq!(server.requests().len(), 2, "the service asked for ten minutes");
}

/// The unit of a fresh install must not fail.
#[test]
fn without_a_service_send_succeeds_and_reports_it_once() {
    let home = Home::new("");
    home.login("amanda");
    let expected =
        format!("no service is configured yet, so no notice is sent: edit {}", home.at("config.toml").display());
    home.send().exits(0).says(&expected);
    home.send().exits(0).says_only("");
    home.configure(STDOUT);
    assert!(home.sent().contains("'amanda'"), "the earlier event is lost");
}

#[test]
fn a_warning_comes_once_a_day_with_a_remedy_that_works() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    let file = home.at("config.toml");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("ours");
    let remedy = format!("`chgrp ssh-session-notifier {0} && chmod 0640 {0}`", file.display());
    home.send().exits(0).says("can be read by everybody (mode 0644)").says(&remedy);
    home.send().exits(0).says_only("");
}

/// P2, P4: what it allows itself of the host's memory grows with them.
#[test]
fn a_watching_sender_delivers_to_many_targets_that_were_added() {
    let server = Server::well();
    let url = format!("http://127.0.0.1:{}/mytopic", server.port);
    let targets = |count| {
        let names: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
        let sections =
            names.iter().map(|name| format!("[notification.{name}]\nservice = \"ntfy\"\ntopic_url = \"{url}\"\n"));
        format!("[notification]\nservice = {names:?}\n{}", sections.collect::<String>())
    };
    let home = Home::as_installed(&targets(1));
    home.login("amanda");
    let mut sender = home.command(&["send", "--watch"]).stderr(Stdio::null()).spawn().expect("it starts");
    let is_well = wait_for(|| server.requests().len() == 1) && {
        home.configure(&targets(40));
        // Those that were added get events from then on.
        wait_for(|| home.queue().targets().len() == 40) && {
            home.login("bob");
            wait_for(|| server.requests().len() == 41)
        }
    };
    let _ = sender.kill();
    let _ = sender.wait();
    assert!(is_well, "{} requests", server.requests().len());
}

/// With the hook in cron's stack, each run of `send` would otherwise cause the next notice.
#[test]
fn sessions_of_cron_are_pointed_out_once_a_day_but_never_the_senders_own() {
    let home = Home::as_installed(STDOUT);
    let session = |service: &str, user: &str| {
        home.hook(&[("PAM_SERVICE", service), ("PAM_USER", user), ("PAM_TYPE", "open_session")]).succeeds();
    };
    if crate::support::is_root() {
        for service in ["cron", "crond", "atd"] {
            session(service, "nobody");
        }
        assert_eq!(home.sent(), "", "the service user's session was reported");
    }
    session("cron", "backup");
    session("sshd", "nobody");
    let output = home.send();
    output.exits(0).prints("'backup' logged in").prints("'nobody' logged in");
    output.says("cron's sessions are reported too, 1 in the last 24 hours: remove the line from /etc/pam.d/cron");
    session("cron", "backup");
    home.send().exits(0).says_only("");
}

/// With `UseDNS yes`, the owner of the address chooses the name.
#[test]
fn a_name_instead_of_an_allowlisted_address_is_reported_and_explained_once() {
    let home = Home::new(&format!("{STDOUT}[allowlist]\nips = [\"192.0.2.0/24\"]\n"));
    for (user, is_explained) in [("amanda", true), ("bob", false)] {
        let items = [
            ("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22"),
            ("PAM_SERVICE", "sshd"),
            ("PAM_USER", user),
            ("PAM_RHOST", "home.example"),
            ("PAM_TYPE", "open_session"),
        ];
        home.hook(&items).succeeds();
        let output = home.send();
        output.exits(0).prints(&format!("'{user}' (home.example) logged in to host.example (sshd)"));
        output.prints("; from 192.0.2.7");
        let expected = "the allowlist has 192.0.2.7, but sshd gave PAM the name home.example instead";
        assert_eq!(output.stderr().contains(expected), is_explained, "{}", output.stderr());
    }
}
