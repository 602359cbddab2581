//! The problems for which `status` exits with 1, and the last run of `send` in its output.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::home::{Home, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::{is_root, skip, wait_for};

/// Longer than the ten minutes after which something is late.
const LATE: Duration = Duration::from_mins(25);

/// A target that always fails.
const FAILING: &[(u16, &str)] = &[(503, "")];

/// The line of `status` about the sender.
fn sender(home: &Home) -> String {
    let status = home.status();
    let line = status.lines().find(|line| line.starts_with("send "));
    line.unwrap_or_else(|| panic!("{status}")).into()
}

/// Makes the record of the last run look older.
fn let_record_be_older(home: &Home, time: Duration) {
    let text = fs::read_to_string(home.last_run()).expect("a record");
    let (first, rest) = text.split_once('\n').expect("lines");
    let words: Vec<&str> = first.split(' ').collect();
    let boot_ms = words[2].parse::<i128>().expect("milliseconds") - i128::try_from(time.as_millis()).expect("few");
    fs::write(home.last_run(), format!("{} {} {boot_ms} {}\n{rest}", words[0], words[1], words[3])).expect("ours");
}

/// A resident sender.
struct Watch(Child);

impl Watch {
    /// Starts it, and waits until it has delivered a login.
    fn start(home: &Home) -> Self {
        home.login("amanda");
        let mut watch = home.command(&["send", "--watch"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(watch.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
        assert!(line.contains("'amanda'"), "{line}");
        Self(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn status_shows_when_send_last_ran_and_that_it_succeeded() {
    let test = "status_shows_when_send_last_ran_and_that_it_succeeded";
    let Some(home) = Home::in_memory(test, STDOUT) else { return };
    home.run(&["status"]).succeeds().prints("when send last ran is unknown: queue.spool is missing");
    fs::create_dir(home.at("spool")).expect("ours");
    home.run(&["status"]).succeeds().prints("send hasn't run since the host started\n");
    home.run(&["check"]).prints("sender: `send` has not run since the host started\n");
    home.login("amanda");
    home.run(&["status"]).succeeds();
    home.sent();
    let first = sender(&home);
    assert!(first.starts_with("send last ran 20") && first.ends_with(": well"), "{first}");
    home.run(&["check"]).prints("sender: `send` last ran at 20").prints(", without an error\n");
    home.run(&["status"]).succeeds();
    // A run with nothing to do is recorded too.
    let_record_be_older(&home, Duration::from_mins(5));
    let before = fs::read(home.last_run()).expect("a record");
    home.sent();
    assert_ne!(fs::read(home.last_run()).expect("a record"), before);
}

#[test]
fn status_fails_with_the_reason_if_the_last_run_failed() {
    let test = "status_fails_with_the_reason_if_the_last_run_failed";
    let server = Server::scripted(FAILING);
    let config = format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy());
    let Some(home) = Home::in_memory(test, &config) else { return };
    home.login("amanda");
    home.send().fails().says("HTTP 503");
    let line = sender(&home);
    assert!(line.contains(": failed: ntfy: HTTP 503"), "{line}");
    home.run(&["status"]).exits(1).says_only("").prints("problem  the last run of `send` failed: ntfy: HTTP 503");
    home.run(&["check"]).prints("sender: `send` last ran at 20").prints(", and failed: ntfy: HTTP 503");
    // The next one has nothing to do until the back-off ends.
    home.send().succeeds();
    home.run(&["status"]).succeeds();
}

/// P7
#[test]
fn no_secret_is_in_the_record_of_a_run() {
    let test = "no_secret_is_in_the_record_of_a_run";
    let config = "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntoken = \"tk_s3cret\"\n\
                  topic_url = \"http://user:passw0rd@127.0.0.1:9/s3cret-topic\"\n\
                  [network]\nheartbeat_url = \"http://127.0.0.1:9/s3cret-ping\"\n";
    let config = config.replace("token = \"tk_s3cret\"\n", "");
    let Some(home) = Home::in_memory(test, &config) else { return };
    // The first run calls the monitor only, the second one fails at the target.
    for login in [false, true] {
        if login {
            home.login("amanda");
        }
        home.send().fails();
        let record = fs::read_to_string(home.last_run()).expect("a record");
        assert!(record.contains("refused"), "{record}");
        let status = home.status() + &home.run(&["status", "--json"]).stdout() + &record;
        assert!(!status.contains("s3cret") && !status.contains("passw0rd"), "{status}");
    }
}

#[test]
fn status_fails_if_the_scheduler_has_stopped() {
    let test = "status_fails_if_the_scheduler_has_stopped";
    let Some(home) = Home::in_memory(test, STDOUT) else { return };
    home.login("amanda");
    home.sent();
    let_record_be_older(&home, Duration::from_mins(9));
    home.run(&["status"]).succeeds();
    let_record_be_older(&home, Duration::from_mins(3));
    let output = home.run(&["status"]);
    output.exits(1).says_only("").prints("problem  `send` last ran 12 min ago: the scheduler has stopped\n");
    output.prints("`check` shows how to schedule it");
    home.sent();
    home.run(&["status"]).succeeds();
}

#[test]
fn status_fails_if_send_never_ran_although_something_is_pending() {
    let test = "status_fails_if_send_never_ran_although_something_is_pending";
    let uptime = fs::read_to_string("/proc/uptime").expect("proc(5)");
    let seconds: f64 = uptime.split(' ').next().and_then(|word| word.parse().ok()).expect("proc(5)");
    if seconds < 700.0 {
        return skip(test, "needs a host with an uptime of more than ten minutes");
    }
    let Some(home) = Home::in_memory(test, STDOUT) else { return };
    fs::create_dir(home.at("spool")).expect("ours");
    home.login("amanda");
    home.run(&["status"]).succeeds();
    home.queue().let_events_be_older_by(Duration::from_mins(5));
    home.run(&["status"]).exits(1).prints("problem  `send` hasn't run since the host started, although something");
    home.sent();
    home.run(&["status"]).succeeds();
}

#[test]
fn a_resident_sender_counts_as_a_running_scheduler_even_if_its_record_is_old() {
    let test = "a_resident_sender_counts_as_a_running_scheduler_even_if_its_record_is_old";
    let Some(home) = Home::in_memory(test, STDOUT) else { return };
    let watch = Watch::start(&home);
    assert!(wait_for(|| home.last_run().exists()));
    assert!(wait_for(|| sender(&home).contains(": well; send --watch is running")), "{}", sender(&home));
    let line = sender(&home);
    assert!(line.starts_with("send --watch last ran 20"), "{line}");
    // A scheduled run at the same time leaves no record, because it does nothing.
    let_record_be_older(&home, LATE);
    home.send().succeeds();
    home.run(&["status"]).succeeds();
    drop(watch);
    home.run(&["status"]).exits(1).prints("the scheduler has stopped");
}

#[test]
fn status_fails_if_an_event_is_pending_for_more_than_ten_minutes() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    home.sent();
    home.login("bob");
    home.queue().let_events_be_older_by(Duration::from_mins(9));
    home.run(&["status"]).succeeds();
    home.queue().let_events_be_older_by(Duration::from_mins(3));
    let output = home.run(&["status"]);
    output.exits(1).says_only("").prints("problem  stdout: the oldest event has been pending for 12 min\n");
    output.prints("`check --network` shows the cause");
    home.sent();
    home.run(&["status"]).succeeds();
}

#[test]
fn status_fails_if_a_spooled_event_is_older_than_ten_minutes() {
    let home = Home::new(STDOUT);
    home.login_into_spool();
    home.run(&["status"]).succeeds();
    let name = home.spooled().pop().expect("one file");
    let mut parts = name.splitn(3, '-');
    let (_, ms, rest) = (parts.next(), parts.next().expect("a time"), parts.next().expect("a process"));
    let earlier = ms.parse::<u64>().expect("a time") - 1_500_000;
    fs::rename(home.at("spool").join(&name), home.at(&format!("spool/event-{earlier:020}-{rest}"))).expect("ours");
    home.run(&["status"]).exits(1).prints("problem  1 events in ").prints("have been pending for up to 25 min");
}

#[test]
fn status_fails_while_there_is_a_dead_letter() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    home.sent();
    home.queue().bury_everything();
    home.run(&["status"]).exits(1).prints("problem  1 dead letter\n").prints("`retry --all` sends them again");
    home.run(&["drop", "--all"]).succeeds();
    home.run(&["status"]).succeeds();
}

#[test]
fn status_shows_when_the_heartbeat_last_worked_or_why_it_failed() {
    let test = "status_shows_when_the_heartbeat_last_worked_or_why_it_failed";
    let server = Server::scripted(&[(200, ""), (404, "")]);
    let config = format!("{STDOUT}[network]\nheartbeat_url = \"http://127.0.0.1:{}/ping\"\n", server.port);
    let Some(home) = Home::in_memory(test, &config) else { return };
    fs::create_dir(home.at("spool")).expect("ours");
    let line = || home.status().lines().find(|line| line.starts_with("heartbeat")).map(String::from);
    assert_eq!(line().as_deref(), Some("heartbeat: not called since the host started"));
    home.login("amanda");
    home.sent();
    let worked = line().expect("a line");
    assert!(worked.starts_with("heartbeat: last worked 20"), "{worked}");
    home.run(&["status"]).succeeds();
    home.send().fails();
    let failed = line().expect("a line");
    let when = worked.trim_start_matches("heartbeat: ");
    assert_eq!(failed, format!("heartbeat: failed: network.heartbeat_url: HTTP 404: check the address; {when}"));
    home.run(&["status"]).exits(1).prints("problem  the heartbeat failed: network.heartbeat_url: HTTP 404");
    home.configure(STDOUT);
    home.send().succeeds();
    assert_eq!(line(), None);
    home.run(&["status"]).succeeds();
}

/// P3, P8: a file that another user planted in place of the record.
#[test]
fn a_planted_record_does_not_harm_sender_or_status() {
    let test = "a_planted_record_does_not_harm_sender_or_status";
    if !is_root() {
        return skip(test, "needs root");
    }
    let Some(home) = Home::in_memory(test, STDOUT) else { return };
    chown(home.at("state"), Some(SERVICE), Some(SERVICE)).expect("root may");
    home.configure(STDOUT);
    home.login("amanda");
    home.sent();
    let (record, victim) = (home.last_run(), home.at("victim"));
    let genuine = fs::read(&record).expect("a record");
    fs::write(&victim, &genuine).expect("ours");
    fs::set_permissions(&victim, Permissions::from_mode(0o666)).expect("ours");
    let plants: [(&str, &dyn Fn()); 6] = [
        ("a link", &|| symlink(&victim, &record).expect("ours")),
        ("a pipe", &|| nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).expect("ours")),
        ("root's file", &|| fs::write(&record, &genuine).expect("ours")),
        ("a large file", &|| {
            fs::write(&record, vec![b'x'; 1 << 20]).expect("ours");
            chown(&record, Some(SERVICE), None).expect("root may");
        }),
        ("a directory", &|| fs::create_dir(&record).expect("ours")),
        ("a link to nowhere in the new file's place", &|| {
            symlink(home.at("nowhere"), record.with_extension("new")).expect("ours");
        }),
    ];
    for (case, plant) in plants {
        let _ = fs::remove_file(&record);
        plant();
        home.run(&["status"]).when(case).succeeds().prints("send hasn't run since the host started");
        home.send().when(case).succeeds();
        assert_eq!(fs::read(&victim).expect("it is there"), genuine, "{case}");
        assert!(!home.at("nowhere").exists(), "{case}");
        let is_stuck = record.is_dir();
        assert_eq!(sender(&home).starts_with("send last ran 20"), !is_stuck, "{case}");
        if is_stuck {
            fs::remove_dir(&record).expect("it is empty");
        }
    }
}

/// P7: only root and the service user learn who logs in.
#[test]
fn a_third_user_reads_neither_status_nor_the_record() {
    let test = "a_third_user_reads_neither_status_nor_the_record";
    if !is_root() {
        return skip(test, "needs root");
    }
    let Some(home) = Home::in_memory(test, STDOUT) else { return };
    chown(home.at("state"), Some(SERVICE), Some(SERVICE)).expect("root may");
    home.configure(STDOUT);
    fs::set_permissions(home.at("config.toml"), Permissions::from_mode(0o644)).expect("ours");
    fs::set_permissions(home.at("state"), Permissions::from_mode(0o700)).expect("ours");
    home.login("amanda");
    home.send().exits(0).prints_first("'amanda'");
    let as_user = |user: u32| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups"]);
        let inner = home.command(&["status"]);
        command.arg(inner.get_program()).args(inner.get_args()).output().expect("setpriv starts")
    };
    as_user(SERVICE).exits(0).prints("stdout: 0 pending").prints("send last ran 20");
    let output = as_user(65_533);
    output.exits(1).prints_only("").says("session_events.db: Permission denied");
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(home.last_run()), mode(home.at("spool/sender"))), (0o600, 0o700));
}
