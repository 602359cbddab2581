//! The main job: somebody logs in through the real sshd and PAM, and the service gets a notice.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::home::{Home, LOGIN, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server};
use crate::support::sshd::{self, CLIENT, Sshd};
use crate::support::{has, skip};

/// Whether this machine can do a real login; if not, skips `test`.
fn can_log_in(test: &str) -> bool {
    let missing = sshd::missing();
    if let Some(why) = &missing {
        skip(test, why);
    }
    missing.is_none()
}

/// The time as a notice shows it in UTC.
fn now() -> String {
    Command::new("date").args(["-u", "+%Y-%m-%d %H:%M:%S+00:00"]).output().expect("date starts").stdout().trim().into()
}

/// Returns the only request after the first `seen`.
fn next_request(server: &Server, seen: usize) -> Request {
    let requests = server.requests();
    assert_eq!(requests.len(), seen + 1, "{requests:?}");
    requests[seen].clone()
}

/// P2
#[test]
fn a_login_and_a_logout_through_sshd_become_two_notices_in_order() {
    if !can_log_in("a_login_and_a_logout_through_sshd_become_two_notices_in_order") {
        return;
    }
    let server = Server::well();
    let home = Home::of_service(&format!("[notification]\nservice = \"discord\"\n{}", server.discord()));
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));

    let before = now();
    // The end of the client's input ends cat(1) and the session.
    let mut client = sshd.ssh("echo I am in; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh");
    let mut answer = String::new();
    BufReader::new(client.stdout.take().expect("it is piped")).read_line(&mut answer).expect("text");
    assert_eq!(answer, "I am in\n", "{}", sshd.log());
    home.send().succeeds();
    let login = next_request(&server, 0);
    drop(client.stdin.take());
    assert!(client.wait().is_ok_and(|status| status.success()));
    sshd.wait_for_the_end();
    home.send().succeeds();
    let logout = next_request(&server, 1);
    let after = now();

    let listed = Command::new("ssh-keygen").arg("-lf").arg(home.at("key.pub")).output().expect("ssh-keygen").stdout();
    let key = format!("; key ED25519 {}", listed.split(' ').nth(1).expect("a fingerprint"));
    for (request, doing, has_key) in [(login, "logged in to", true), (logout, "logged out from", false)] {
        assert_eq!(request.body.contains(&key), has_key, "{key} {}", request.body);
        let content = request.json()["content"].as_str().unwrap_or_default().to_owned();
        let (sentence, time) = content.split_once(" at ").unwrap_or_default();
        assert_eq!(sentence, format!("```- 'eve' ({CLIENT}) {doing} host.example via ssh (sshd)"), "{content}");
        let time = time.trim_end_matches("```").split(';').next().unwrap_or_default();
        assert!((before.as_str()..=after.as_str()).contains(&time), "{before} {content} {after}");

        assert_eq!((request.method(), request.target()), ("POST", "/api/webhooks/1/s3cret?wait=true"));
        assert_eq!(request.header("Host"), Some(format!("127.0.0.1:{}", server.port).as_str()));
        assert_eq!(request.header("Content-Type"), Some("application/json"));
        let length = request.body.len().to_string();
        assert_eq!(request.header("Content-Length"), Some(length.as_str()));
        let body = serde_json::json!({
            "username": "host.example", "content": content, "allowed_mentions": {"parse": []}
        });
        assert_eq!(request.json(), body);
    }
}

#[test]
fn ntfy_gets_a_real_login_with_its_token() {
    if !can_log_in("ntfy_gets_a_real_login_with_its_token") {
        return;
    }
    let server = Server::well();
    let home = Home::of_service(&format!("[notification]\nservice = \"ntfy\"\n{}token = \"tk_1\"\n", server.ntfy()));
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("true");
    home.send().succeeds();
    let request = next_request(&server, 0);
    assert_eq!((request.method(), request.target()), ("POST", "/"));
    assert_eq!(request.header("Authorization"), Some("Bearer tk_1"));
    let json = request.json();
    let message = json["message"].as_str().unwrap_or_default();
    let sentences: Vec<_> = message.lines().filter_map(|line| line.split(" at ").next()).collect();
    let expected = ["logged in to", "logged out from"]
        .map(|doing| format!("'eve' ({CLIENT}) {doing} host.example via ssh (sshd)"));
    assert_eq!(sentences, expected, "{message}");
    let envelope = (&json["topic"], &json["title"], &json["priority"], &json["tags"][0]);
    assert_eq!(envelope, (&"mytopic".into(), &"host.example".into(), &5.into(), &"rotating_light".into()));
}

#[test]
fn open_and_close_share_a_session_id_that_no_other_session_has() {
    if !can_log_in("open_and_close_share_a_session_id_that_no_other_session_has") {
        return;
    }
    let home = Home::of_service(STDOUT);
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    for _ in 0..3 {
        sshd.login("true");
    }
    assert_eq!((home.queue().count_events(), home.queue().count_complete_sessions()), (6, 3));
}

/// P1
#[test]
fn a_login_succeeds_when_nothing_can_be_recorded() {
    if !can_log_in("a_login_succeeds_when_nothing_can_be_recorded") {
        return;
    }
    let home = Home::of_service("[allowlist]\nips = [7]\n");
    std::fs::remove_dir(home.at("state")).expect("an empty directory");
    std::fs::write(home.at("state"), "a file where a directory should be").expect("a file");
    std::fs::write(home.at("spool"), "here too").expect("a file");
    // `required`, so that any exit status but 0 would refuse the session.
    let line = sshd::hook_line(&home).replace("optional", "required");
    let sshd = Sshd::start(&home, &line);
    sshd.login("echo I am in").prints_only("I am in\n");
}

#[test]
fn a_session_of_pamtester_is_reported_unless_its_address_is_allowlisted() {
    let test = "a_session_of_pamtester_is_reported_unless_its_address_is_allowlisted";
    if !can_log_in(test) {
        return;
    }
    if !has("pamtester") {
        return skip(test, "needs pamtester");
    }
    let home = Home::of_service("[notification]\nservice = \"stdout\"\n[allowlist]\nips = [\"10.0.0.0/8\"]\n");
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    // The first two are in the allowlist; the last only looks like it.
    let remote_hosts = ["10.0.0.2", "::ffff:10.0.0.2", "192.0.2.9", "10.0.0.2.example.org"];
    for remote_host in remote_hosts {
        sshd.pamtester(remote_host, "pts/3").exits(0);
    }
    let sent = home.sent();
    let sentences: Vec<_> = sent.lines().filter_map(|line| line.split(" at ").next()).collect();
    let notice = |host: &str, doing: &str| format!("'eve' ({host}) {doing} host.example via pts/3 (pamtest)");
    let both = |host: &&str| ["logged in to", "logged out from"].map(|doing| notice(host, doing));
    let expected: Vec<_> = remote_hosts[2..].iter().flat_map(both).collect();
    assert_eq!(sentences, expected, "{sent}");
}

/// P1
#[test]
fn the_hook_never_uses_the_network() {
    let test = "the_hook_never_uses_the_network";
    if !has("strace") {
        return skip(test, "needs strace");
    }
    let targets = "[notification.discord]\nwebhook_url = \"https://discord.com/api/webhooks/1/x\"\n
                   [notification.ntfy]\ntopic_url = \"http://ntfy.example/mytopic\"\n";
    let home = Home::new(&format!("[notification]\nservice = [\"discord\", \"ntfy\"]\n{targets}"));
    let inner = home.command(&["queue"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-e", "trace=%network,execve", "-o"]).arg(home.at("trace")).arg(inner.get_program());
    traced.args(inner.get_args());
    hook(traced, &LOGIN).succeeds();
    assert_eq!(home.queue().count_events(), 1);
    let trace = std::fs::read_to_string(home.at("trace")).expect("a trace");
    assert_eq!(trace.matches("execve(").count(), 1, "{trace}");
    assert!(!trace.contains("AF_INET") && !trace.contains("AF_NETLINK"), "{trace}");
}
