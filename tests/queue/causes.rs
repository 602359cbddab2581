//! A sender whose state directory is missing or unusable: messages name the real cause and the remedy.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::disks::{HIDE, can_run, host, on_a_small_disk};
use crate::support::home::{Home, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::{has, skip, wait_for};

fn has_setpriv(test: &str) -> bool {
    if !has("setpriv") {
        skip(test, "needs setpriv");
    }
    can_run(test) && has("setpriv")
}

/// Not `SQLite`'s "disk I/O error", "unable to open database file" or "attempt to write a readonly database".
#[test]
fn an_error_names_the_real_cause_and_the_remedy() {
    if !can_run("an_error_names_the_real_cause_and_the_remedy") {
        return;
    }
    let rows = [
        ("a full disk", "fill state", "the disk is full: 0 KiB are left on the one with"),
        ("a read-only disk", "protect state", "is on a file system that is mounted read-only"),
        ("a read-only directory", "chmod 500 state", "owns (Permission denied); check its mode and attributes"),
        ("another owner's directory", "chown 1 state", "session_events.db, which user 65534 owns (Permission denied)"),
        ("another owner's file", "chown 1 state/session_events.db", "state/session_events.db, which user 1 owns"),
        (
            "another owner's log",
            "chown 1 state/session_events.db-wal",
            "state/session_events.db-wal, which user 1 owns",
        ),
        (
            "a directory in its place",
            "rm state/*; mkdir state/session_events.db",
            "session_events.db: not a regular file",
        ),
    ];
    for (case, cause, expected) in rows {
        let (_discord, _ntfy, home) = host(SERVICE);
        let script = format!(
            "user=bob login \"$@\"
             {cause}
             SSH_AUTH_INFO_0=\"publickey ssh-rsa $(printf %02900d 0)\"
             run queue env -i SSH_AUTH_INFO_0=\"$SSH_AUTH_INFO_0\" PAM_SERVICE=sshd PAM_USER=amanda \
                 PAM_TYPE=open_session \"$@\" queue 2>said
             run send \"$@\" send"
        );
        let output = on_a_small_disk(&home, SERVICE, &script);
        let output = output.when(case);
        output.exits(0).prints("queue: 0").prints("send: 1").says("cannot write to the queue").says(expected);
        let logins = fs::read_to_string(home.at("said")).expect("the script wrote it");
        assert!(logins.is_empty() || logins.contains(expected), "{case}: {logins}");
        for vague in ["disk I/O error", "unable to open database file", "readonly database"] {
            assert!(!(output.stderr() + &logins).contains(vague), "{case}: {logins}{}", output.stderr());
        }
    }
}

/// With every limit from too few descriptors for anything to enough.
#[test]
fn too_few_descriptors_are_named_as_the_cause() {
    let home = Home::new(STDOUT);
    home.login("bob");
    let mut causes = 0;
    for limit in 4..16 {
        let inner = home.command(&["send"]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
        let output = command.arg(inner.get_program()).args(inner.get_args()).output().expect("sh starts");
        let errors = output.stderr();
        for vague in ["disk I/O error", "unable to open database file"] {
            assert!(!errors.contains(vague), "{limit}: {errors}");
        }
        let is_well = output.status.success();
        assert!(
            is_well || errors.contains("Too many open files") || errors.contains("error while loading"),
            "{limit}: {errors}"
        );
        causes += usize::from(!is_well && errors.contains("queue"));
    }
    assert!(causes > 0, "no limit was just too low for the queue");
    assert_eq!(home.queue().count_waiting(), 0);
}

/// The database has a rollback journal, as on a file system that can't have a write-ahead log.
#[test]
fn status_reports_an_interrupted_change_and_send_undoes_it() {
    let home = Home::new(STDOUT);
    home.login("bob");
    home.sent();
    home.queue().do_without_wal();
    home.queue().cut_a_change_off();
    home.run(&["status"])
        .fails()
        .says("a change to it was interrupted, perhaps by a power cut; the next `send` undoes it");
    home.send().succeeds();
    home.run(&["status"]).succeeds();
    assert_eq!(home.queue().count_events_of("bob"), 1);
}

/// Returns a command that runs `send` as the service user, with a heartbeat to request.
fn unprivileged(config: &str) -> (Server, Home, Command) {
    let monitor = Server::well();
    let heartbeat = format!("[network]\nheartbeat_url = \"http://127.0.0.1:{}/ping\"\n", monitor.port);
    let home = Home::of_service(&format!("{config}{heartbeat}"));
    let inner = home.command(&["send"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!("{HIDE}; exec \"$@\""), "sh", "setpriv"]);
    command.args(["--reuid", &SERVICE.to_string(), "--regid", &SERVICE.to_string(), "--clear-groups"]);
    command.arg(inner.get_program()).args(inner.get_args());
    (monitor, home, command)
}

/// A host that keeps /var in memory has no state directory until the first login after a boot.
#[test]
fn an_unprivileged_send_without_a_state_directory_succeeds_and_requests_the_heartbeat() {
    let test = "an_unprivileged_send_without_a_state_directory_succeeds_and_requests_the_heartbeat";
    if !has_setpriv(test) {
        return;
    }
    let (monitor, home, mut send) = unprivileged(STDOUT);
    fs::remove_dir(home.at("state")).expect("it is empty");
    send.output().expect("setpriv starts").succeeds().prints_only("");
    assert_eq!(monitor.requests().len(), 1);
    assert!(!home.at("state").exists());

    // A directory that can't be entered is an error.
    fs::create_dir_all(home.at("state/inner")).expect("a directory");
    fs::set_permissions(home.at("state"), fs::Permissions::from_mode(0o700)).expect("ours");
    let config = fs::read_to_string(home.at("config.toml")).expect("ours").replace("state/", "state/inner/");
    fs::write(home.at("config.toml"), config).expect("ours");
    send.output().expect("setpriv starts").fails().says("Permission denied");
    assert_eq!(monitor.requests().len(), 1);
}

/// P2
#[test]
fn the_spool_is_delivered_once_even_without_a_state_directory() {
    if !has_setpriv("the_spool_is_delivered_once_even_without_a_state_directory") {
        return;
    }
    let (monitor, home, mut send) = unprivileged(STDOUT);
    home.login_into_spool();
    fs::remove_dir_all(home.at("state")).expect("ours");
    let mut run = || send.output().expect("setpriv starts");
    run().fails().says("state is missing").prints("'amanda'");
    assert_eq!((monitor.requests().len(), home.spooled()), (0, vec!["notes-stdout".to_owned()]));
    run().succeeds().prints_only("");
}

/// P2
#[test]
fn a_resident_send_waits_for_the_state_directory_to_appear() {
    if !has_setpriv("a_resident_send_waits_for_the_state_directory_to_appear") {
        return;
    }
    let (monitor, home, mut send) = unprivileged(STDOUT);
    fs::remove_dir(home.at("state")).expect("it is empty");
    let out = File::create(home.at("out")).expect("a file");
    let mut watch = send.arg("--watch").stdout(out).spawn().expect("setpriv starts");
    let is_called = wait_for(|| monitor.requests().len() == 1);
    fs::create_dir(home.at("state")).expect("its place is free");
    chown(home.at("state"), Some(SERVICE), Some(SERVICE)).expect("root may");
    home.login("amanda");
    let is_sent = wait_for(|| fs::read_to_string(home.at("out")).is_ok_and(|out| out.contains("'amanda'")));
    watch.kill().expect("it runs");
    watch.wait().expect("it is ours");
    assert!(is_called && is_sent, "the heartbeat was requested: {is_called}; sent within ten seconds: {is_sent}");
}
