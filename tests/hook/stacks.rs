//! PAM stacks as people write them: wrappers, wrong lines, processes without rights; and the allowlist.

use std::fs;
use std::process::Command;

use crate::support::cgroup::Cgroup;
use crate::support::home::{Home, LOGIN, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::sshd::{self, EVE, Sshd};
use crate::support::{has, is_root, skip};

/// An allowlist that covers everything in [`LOGIN`].
const ALL_OF_IT: &str = "[allowlist]\nusers = [\"amanda\"]\nservices = [\"sshd\"]\nips = [\"192.0.2.7\"]\n";

/// Runs `send` and returns its notices without the times.
fn sentences(home: &Home) -> Vec<String> {
    home.sent().lines().filter_map(|line| line.split(" at ").next()).map(String::from).collect()
}

/// Whether the hook wrote nothing.
fn is_untouched(home: &Home) -> bool {
    let is_empty = |path: &str| fs::read_dir(home.at(path)).map_or(true, |mut entries| entries.next().is_none());
    is_empty("state") && is_empty("spool")
}

/// P2, P3: bash passes variables on in its own order, which proves nothing about where they come from.
#[test]
fn a_wrapper_loses_no_fact_and_the_log_says_why_the_allowlist_is_not_used() {
    let test = "a_wrapper_loses_no_fact_and_the_log_says_why_the_allowlist_is_not_used";
    if !has("bash") {
        return skip(test, "needs bash");
    }
    let why = "the allowlist isn't used: something between PAM and `queue`";
    for (allowlist, is_said) in [("", false), (ALL_OF_IT, true)] {
        let home = Home::new(&format!("{STDOUT}{allowlist}"));
        let inner = home.command(&["queue"]);
        let mut command = Command::new("bash");
        command.args(["-c", "exec \"$@\"", "bash"]).arg(inner.get_program()).args(inner.get_args());
        let output = hook(command, &LOGIN);
        output.exits(0);
        assert_eq!(output.stderr().matches(why).count(), usize::from(is_said), "{output:?}");
        assert!(output.stderr().lines().count() <= 1, "{output:?}");
        assert_eq!(home.queue().facts("origin"), ["reordered"]);
        assert_eq!(sentences(&home), ["'amanda' (192.0.2.7) logged in to host.example via ssh (sshd)"]);
    }
}

/// P2: a shell puts variables of its own between the items. The last value of each item counts.
#[test]
fn items_with_other_variables_between_them_are_all_reported() {
    let home = Home::new(&format!("{STDOUT}{ALL_OF_IT}"));
    let items = [
        ("PAM_USER", "eve"),
        ("PAM_SERVICE", "sshd"),
        ("PAM_USER", "amanda"),
        ("PAM_TTY", "ssh"),
        ("PAM_RHOST", "192.0.2.7"),
        ("PWD", "/"),
        ("PAM_TYPE", "open_session"),
    ];
    home.hook(&items).exits(0).says("the allowlist isn't used");
    assert_eq!(sentences(&home), ["'amanda' (192.0.2.7) logged in to host.example via ssh (sshd)"]);
}

/// The exit status stays 0, so that nobody is locked out.
#[test]
fn a_call_without_a_session_gets_one_line_with_the_remedy() {
    let user = ("PAM_USER", "amanda");
    let rows = [
        (&["queue"][..], &[("PAM_TYPE", "open_session")][..], "PAM_USER and PAM_RHOST are both missing"),
        (&["queue"], &[("PAM_SERVICE", "sshd"), ("PAM_TYPE", "close_session")], "PAM_USER and PAM_RHOST are both"),
        (&["queue"], &[user, ("PAM_TYPE", "auth")], "PAM called `queue` for auth"),
        (&["queue"], &[user, ("PAM_TYPE", "account\u{1b}[2J\nroot")], "PAM called `queue` for account"),
        (&[], &[user, ("PAM_TYPE", "open_session")], "which command?"),
        (&["quue"], &[user, ("PAM_TYPE", "open_session")], "unknown command: \"quue\""),
    ];
    for (arguments, items, what) in rows {
        let home = Home::new(STDOUT);
        let output = hook(home.command(arguments), items);
        output.when(what).exits(0).says(what).says("nothing is recorded").says("`session optional pam_exec.so quiet");
        assert_eq!(output.stderr().lines().count(), 1, "{output:?}");
        assert!(!output.stderr().trim_end().contains(char::is_control), "{output:?}");
        assert!(is_untouched(&home), "{what}");
    }
}

/// P1: the line is in `auth` and `account` of a real stack.
#[test]
fn a_line_in_the_wrong_stack_keeps_nobody_out_and_says_where_it_belongs() {
    let test = "a_line_in_the_wrong_stack_keeps_nobody_out_and_says_where_it_belongs";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let home = Home::of_service(STDOUT);
    let log = home.at("log");
    let line = sshd::hook_line(&home).replace("optional", "required");
    let line = line.replace("quiet", &format!("quiet log={}", log.display()));
    let stack = ["auth", "account"].map(|stack| line.replace("session ", &format!("{stack} "))).concat();
    let sshd = Sshd::start(&home, &format!("{stack}session required pam_permit.so\n"));
    sshd.command("su").args(["eve", "-c", "true"]).output().expect("su starts").exits(0);
    let messages = fs::read_to_string(&log).expect("pam_exec wrote it");
    for stack in ["auth", "account"] {
        assert_eq!(
            messages.matches(&format!("PAM called `queue` for {stack}; use it as `session ")).count(),
            1,
            "{messages}"
        );
    }
    assert!(is_untouched(&home));
}

/// P3: systemd's sd-pam closes the session of a unit with `PAMName=` in this way.
#[test]
fn a_close_hook_without_rights_logs_one_line_with_cause_and_remedy() {
    let test = "a_close_hook_without_rights_logs_one_line_with_cause_and_remedy";
    if !is_root() || !has("setpriv") {
        return skip(test, "needs root and setpriv");
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    // The user can't read the first configuration and can read the second.
    for permissions in [0o640, 0o644] {
        let home = Home::of_service(STDOUT);
        fs::set_permissions(home.at("config.toml"), mode(permissions)).expect("it is ours");
        let (inner, id) = (home.command(&["queue"]), EVE.to_string());
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let items = [("PAM_SERVICE", "systemd-user"), ("PAM_USER", "eve"), ("PAM_TYPE", "close_session")];
        let output = hook(command, &items);
        output.exits(0).says(&format!("systemd-user ran `queue` as user {EVE}")).says("PAMName=");
        output.says("remove the line").says("'eve' logged out from ");
        assert_eq!(output.stderr().lines().count(), 1, "{output:?}");
        assert!(is_untouched(&home));
    }
}

/// P3, P6: with the real su and the real sshd.
#[test]
fn an_allowlisted_user_or_service_leaves_no_trace_and_others_are_reported() {
    let test = "an_allowlisted_user_or_service_leaves_no_trace_and_others_are_reported";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let rows = [
        ("users = [\"root\"]", true, ["'eve'"; 2].as_slice()),
        ("services = [\"su\"]", true, &["'eve'"; 2]),
        ("users = [\"eve\", \"root\"]", true, &[]),
        // eve becomes root, who isn't on the list. Names match neither in part nor in another case.
        ("users = [\"eve\"]", false, &["'root' (by 'eve')"; 2]),
        (
            "users = [\"roo\", \"ROOT\", \"root \", \"eve*\"]\nservices = [\"su-l\", \"ssh\"]",
            false,
            &["'root' (by 'eve')", "'root' (by 'eve')", "'eve'", "'eve'"],
        ),
        ("services = [\"sshd\"]", false, &["'root' (by 'eve')"; 2]),
        ("ips = [\"\"]", true, &["'eve'"; 2]),
    ];
    for (allowlist, hides_su, reported) in rows {
        let home = Home::of_service(&format!("{STDOUT}[allowlist]\n{allowlist}\n"));
        let sshd = Sshd::start(&home, &sshd::hook_line(&home));
        sshd.command_of_eve("su").args(["root", "-c", "true"]).output().expect("su starts").when(allowlist).exits(0);
        assert_eq!(is_untouched(&home), hides_su, "{allowlist}");
        sshd.login("true");
        let sentences = sentences(&home);
        let users: Vec<&str> = sentences
            .iter()
            .map(|line| line.split(" (1").next().unwrap_or(line))
            .map(|line| line.split(" logged").next().unwrap_or(line))
            .collect();
        assert_eq!(users, reported, "{allowlist}");
    }
}

/// P3
#[test]
fn only_the_exact_form_of_an_address_is_allowlisted() {
    let home = Home::new(&format!("{STDOUT}[allowlist]\nips = [\"10.0.0.2\", \"fe80::/10\", \"UNKNOWN\"]\n"));
    let rows = [
        ("10.0.0.2", true),
        ("::ffff:10.0.0.2", true),
        ("fe80::1%eth0", true),
        ("UNKNOWN", true),
        ("10.0.0.2%evil", false),
        ("10.0.0.2 ", false),
        (" 10.0.0.2", false),
        ("10.0.0.2\n", false),
        ("unknown", false),
        ("UNKNOWN ", false),
        ("", false),
    ];
    let mut expected = 0;
    for (remote_host, is_allowed) in rows {
        home.record("amanda", remote_host, "open_session");
        home.record("amanda", remote_host, "close_session");
        expected += if is_allowed { 0 } else { 2 };
        let recorded = if home.database().exists() { home.queue().count_events() } else { 0 };
        assert_eq!(recorded, expected, "{remote_host:?}");
    }
}

/// P3: `pam_exec` can't fork. docs/pam.md recommends `required` for su because of this.
#[test]
fn a_user_who_leaves_su_no_process_gets_no_session_if_the_hook_is_required() {
    let test = "a_user_who_leaves_su_no_process_gets_no_session_if_the_hook_is_required";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let Some(group) = Cgroup::new(&[&[("pids.max", "1")]]) else {
        return skip(test, "needs a control group that limits processes");
    };
    for (control, is_refused) in [("required", true), ("optional", false)] {
        let home = Home::of_service(STDOUT);
        // A second module, because a single one decides alone, even if it is `optional`.
        let line = sshd::hook_line(&home).replace("optional", control);
        let sshd = Sshd::start(&home, &format!("session required pam_permit.so\n{line}"));
        let script =
            format!("{} && exec setpriv --reuid {EVE} --regid {EVE} --clear-groups su root -c true", group.enter());
        let output = sshd.command("sh").args(["-c", &script]).output().expect("sh starts");
        // With `optional`, su goes on until it forks, which the user may allow by then.
        output.when(control).exits(1).says("su: ");
        assert_eq!(output.stderr().contains("cannot open session"), is_refused, "{output:?}");
        assert!(is_untouched(&home), "{control}");
    }
}
