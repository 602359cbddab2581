//! Whole sessions: a logout says how long the session was, a missing logout is noticed and none is made up, and
//! two lines in one stack record one event.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::sshd::{self, Sshd};
use crate::support::{has, program, skip, wait_for};

/// Makes a host for a real sshd. `None`, with the reason printed, if this machine can't run one.
fn host(test: &str) -> Option<Home> {
    if let Some(why) = sshd::missing() {
        skip(test, &why);
        return None;
    }
    Some(Home::of_service(STDOUT))
}

/// A session that lasts until this is dropped.
struct Session(Child);

impl Session {
    fn open(sshd: &Sshd<'_>) -> Self {
        let before = sshd.sessions().len();
        let client = sshd.ssh("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("ssh starts");
        assert!(wait_for(|| sshd.sessions().len() > before), "{}", sshd.log());
        Self(client)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the notices that are sent now, and after each missing session has been missing for long.
fn sent_in_the_end(home: &Home) -> String {
    let first = home.sent();
    home.queue().let_missing_time_pass(Duration::from_secs(11));
    let second = home.sent();
    home.queue().let_missing_time_pass(Duration::from_secs(11));
    first + &second + &home.sent()
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// Waits for this many events, because `ssh` may return before the hook does.
fn wait_for_events(home: &Home, count: usize) {
    assert!(wait_for(|| home.queue().count_events() == count), "{:?}", home.queue().events());
}

#[test]
fn a_logout_says_how_long_the_session_was() {
    let Some(home) = host("a_logout_says_how_long_the_session_was") else { return };
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("sleep 1.1");
    let sent = home.sent();
    let logout = sent.lines().nth(1).expect("two notices");
    assert!(
        logout.contains("logged out from") && logout.contains("; after 1s") || logout.contains("; after 2s"),
        "{sent}"
    );
    assert_eq!(count(&sent, "; after "), 1, "{sent}");
}

/// P2
#[test]
fn the_end_of_a_session_whose_process_is_killed_is_noticed_once() {
    let Some(home) = host("the_end_of_a_session_whose_process_is_killed_is_noticed_once") else { return };
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("true");
    assert_eq!(home.sent().lines().count(), 2);
    let _session = Session::open(&sshd);
    wait_for_events(&home, 3);
    assert_eq!(home.sent().lines().count(), 1);
    let monitor = sshd.sessions().pop().expect("a session");
    Command::new("kill").args(["-9", &monitor]).output().expect("kill starts").exits(0);
    sshd.wait_for_the_end();
    assert_eq!(home.sent(), "", "one look is not enough: a logout may be on its way");
    assert_eq!(home.sent(), "", "nor are two immediately after each other");
    let sent = sent_in_the_end(&home);
    assert!(
        sent.starts_with("'eve' (192.0.2.6) logged out from host.example via ssh (sshd); ended, noticed at 20"),
        "{sent}"
    );
    assert_eq!(sent.lines().count(), 1, "{sent}");
    assert_eq!(sent_in_the_end(&home), "");
}

/// The stacks are those of public scripts; none of them reports the end of a session.
#[test]
fn no_logout_is_made_up_for_a_stack_that_never_reports_one() {
    let Some(home) = host("no_logout_is_made_up_for_a_stack_that_never_reports_one") else { return };
    let line = sshd::hook_line(&home);
    let hook = line.split_once("quiet ").expect("a line").1.trim();
    let wrapper = home.at("wrapper");
    fs::write(&wrapper, format!("#!/bin/sh\n{hook}\nexit 0\n")).expect("a script");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("ours");
    let stacks = [
        format!("session optional pam_permit.so\n{}", line.replace("pam_exec.so", "pam_exec.so type=open_session")),
        format!("session optional pam_exec.so quiet {}\n", wrapper.display()),
        format!("session optional pam_exec.so quiet /usr/bin/timeout 5 {hook}\n"),
    ];
    let sshd = Sshd::start(&home, &line);
    for stack in stacks {
        sshd.set_session_stack(&stack);
        sshd.login("true");
        let session = Session::open(&sshd);
        assert!(wait_for(|| !home.sent().is_empty()), "{stack}");
        let monitor = sshd.sessions().pop().expect("a session");
        Command::new("kill").args(["-9", &monitor]).output().expect("kill starts").exits(0);
        drop(session);
        sshd.wait_for_the_end();
        let sent = sent_in_the_end(&home);
        assert_eq!(count(&sent, "noticed"), 0, "{stack}{sent}");
    }
}

/// A sender that can't see the session's process draws no conclusion.
#[test]
fn no_logout_is_made_up_if_processes_cannot_be_seen() {
    let Some(home) = host("no_logout_is_made_up_if_processes_cannot_be_seen") else { return };
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("true");
    let _session = Session::open(&sshd);
    wait_for_events(&home, 3);
    let _ = home.sent();
    let send = format!("{} --config {} send", program().join(" "), home.at("config.toml").display());
    let hidden = format!("mount -t proc -o hidepid=2 proc /proc && setpriv --reuid 65534 --clear-groups {send}");
    for (options, script) in [
        (&["--mount", "--pid", "--fork", "--mount-proc"][..], send.as_str()),
        (&["--mount"], &format!("umount -l /proc; {send}")),
        (&["--mount", "--pid", "--fork"], &hidden),
    ] {
        for _ in 0..2 {
            Command::new("unshare").args(options).args(["sh", "-c", script]).output().expect("unshare starts");
            home.queue().let_missing_time_pass(Duration::from_secs(11));
        }
    }
    assert_eq!(home.queue().count_events(), 3);
    assert_eq!(home.sent(), "", "the session is still open");
}

/// P2: a logout in the spool, because the queue is busy, is not missing.
#[test]
fn no_logout_is_made_up_while_one_is_still_on_its_way() {
    let Some(home) = host("no_logout_is_made_up_while_one_is_still_on_its_way") else { return };
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("true");
    let session = Session::open(&sshd);
    wait_for_events(&home, 3);
    let _ = home.sent();
    let outsider = home.queue().outsider();
    outsider.begin_writing();
    drop(session);
    sshd.wait_for_the_end();
    outsider.commit();
    let sent = sent_in_the_end(&home);
    assert_eq!((count(&sent, "noticed"), count(&sent, "; after ")), (0, 1), "{sent}");
}

/// P2
#[test]
fn sessions_that_a_restart_ended_share_one_line() {
    let Some(home) = host("sessions_that_a_restart_ended_share_one_line") else { return };
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.login("true");
    let _sessions = [Session::open(&sshd), Session::open(&sshd)];
    wait_for_events(&home, 4);
    let _ = home.sent();
    for event in [3, 4] {
        home.queue().move_to_an_earlier_boot(event);
    }
    let sent = home.sent();
    let expected =
        ": the host was restarted, which ended 2 sessions: 'eve' (192.0.2.6, sshd), 'eve' (192.0.2.6, sshd)\n";
    assert!(sent.ends_with(expected) && sent.lines().count() == 1, "{sent}");
    assert_eq!(sent_in_the_end(&home), "");
}

/// su-l includes su, and sshd includes common-session, so the line is often read twice.
#[test]
fn two_lines_in_one_stack_record_one_event() {
    let Some(home) = host("two_lines_in_one_stack_record_one_event") else { return };
    let line = sshd::hook_line(&home);
    let sshd = Sshd::start(&home, &format!("{line}{line}"));
    sshd.login("true");
    sshd.command("su").args(["-c", "true", "eve"]).output().expect("su starts").exits(0);
    wait_for_events(&home, 8);
    let sent = home.sent();
    assert_eq!((count(&sent, "logged in to"), count(&sent, "logged out from")), (2, 2), "{sent}");
    assert_eq!((count(&sent, "; after "), count(&sent, "no login")), (2, 0), "{sent}");
    assert_eq!(sent_in_the_end(&home), "");
}

/// A mail server's process may have several sessions of one user at once.
#[test]
fn two_sessions_of_one_mail_server_process_stay_two() {
    let test = "two_sessions_of_one_mail_server_process_stay_two";
    if !has("pamtester") {
        return skip(test, "needs pamtester");
    }
    let Some(home) = host(test) else { return };
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    let mut command = sshd.command("pamtester");
    command.args(["pamtest", "eve", "open_session", "open_session", "close_session", "close_session"]);
    command.output().expect("pamtester starts").exits(0);
    let sent = home.sent();
    assert_eq!((sent.lines().count(), count(&sent, "; after ")), (4, 2), "{sent}");
}

/// P3: a user who keeps the hook from running at login (`pids.max`) can't hide the logout.
#[test]
fn a_logout_whose_login_was_not_recorded_says_so() {
    let Some(home) = host("a_logout_whose_login_was_not_recorded_says_so") else { return };
    let line = sshd::hook_line(&home);
    let only_close =
        format!("session optional pam_permit.so\n{}", line.replace("pam_exec.so", "pam_exec.so type=close_session"));
    let sshd = Sshd::start(&home, &only_close);
    sshd.login("true");
    assert_eq!(count(&home.sent(), "no login was recorded"), 0, "nothing shows yet that logins are recorded");
    sshd.set_session_stack(&line);
    sshd.login("true");
    let _ = home.sent();
    sshd.set_session_stack(&only_close);
    sshd.login("true");
    let sent = home.sent();
    assert!(sent.trim_end().ends_with("; no login was recorded") && sent.lines().count() == 1, "{sent}");
}
