//! Events that neither the database nor the spool can take are in syslog.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime};

use crate::disks::can_run;
use crate::fallbacks::{LINE, zero};
use crate::support::home::{Home, LOGIN, PATIENCE, STDOUT, Syslog, hook};
use crate::support::outcome::Outcome;

/// P2
#[test]
fn without_database_and_spool_the_whole_event_goes_to_syslog_as_critical() {
    if !can_run("without_database_and_spool_the_whole_event_goes_to_syslog_as_critical") {
        return;
    }
    let rows = [
        ("a full spool", "mount -t tmpfs -o mode=700,size=4k none spool; cat /dev/zero >spool/filler || :"),
        ("a spool of somebody else's", "chown 1 spool"),
        ("a file in the spool's place", "rmdir spool; echo >spool"),
        ("a read-only spool", "mount --bind spool spool; mount -o remount,bind,ro spool"),
    ];
    for (cause, prepare) in rows {
        let home = Home::new(STDOUT);
        fs::create_dir(home.at("spool")).expect("a directory");
        fs::set_permissions(home.at("spool"), fs::Permissions::from_mode(0o700)).expect("ours");
        let syslog = Syslog::listen(&home);
        zero(&home);
        let read_only = "mount --bind state state; mount -o remount,bind,ro state";
        let prepare = format!("cd {}; {read_only}; {prepare}", home.0.display());
        hook(home.command_in_own_dev(&prepare, &["queue"]), &LOGIN).when(cause).exits(0);
        let messages = syslog.messages();
        let is_critical = messages.len() == 2 && messages.iter().all(|message| message.starts_with("<34> "));
        assert!(is_critical && messages[0].contains(LINE), "{cause}: {messages:?}");
        for part in ["action open", "user amanda", "remote_host 192.0.2.7", "tty ssh", "service sshd", "session "] {
            assert!(messages[1].contains(&format!(" | {part}")), "{cause}: no {part} in {messages:?}");
        }
        let messages = messages.concat();
        assert!(!messages.contains("the event waits in"), "{cause}: {messages}");
    }
}

/// P1, P2: also if syslog's daemon has stopped reading.
#[test]
fn a_missing_or_stopped_syslog_keeps_no_event_out_of_the_spool() {
    if !can_run("a_missing_or_stopped_syslog_keeps_no_event_out_of_the_spool") {
        return;
    }
    for is_there in [false, true] {
        let home = Home::new(STDOUT);
        fs::create_dir(home.database()).expect("a directory in the database's place");
        let syslog = is_there.then(|| Syslog::listen(&home));
        // Nobody reads, so the socket's buffer fills up.
        for _ in 0..40 {
            let started = Instant::now();
            hook(home.command_in_own_dev(":", &["queue"]), &LOGIN).exits(0);
            assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        }
        drop(syslog);
        assert_eq!(home.spooled().len(), 40);
        fs::remove_dir(home.database()).expect("it is empty");
        assert_eq!(home.sent().lines().count(), 40);
    }
}

/// P2: the socket of a daemon that does not read holds eleven packets.
#[test]
fn syslog_gets_the_largest_event_whole_even_if_its_daemon_reads_late() {
    if !can_run("syslog_gets_the_largest_event_whole_even_if_its_daemon_reads_late") {
        return;
    }
    let home = Home::new(STDOUT);
    fs::create_dir(home.database()).expect("a directory in the database's place");
    fs::write(home.at("spool"), "a file in the spool's place").expect("a file");
    let syslog = Syslog::listen(&home);
    let mut command = home.command_in_own_dev(":", &["queue"]);
    let key = "A".repeat(2900);
    command.env("SSH_AUTH_INFO_0", format!("publickey {key}")).env("SSH_CONNECTION", "9".repeat(300));
    let long = "ä".repeat(250);
    let names = ["PAM_SERVICE", "PAM_USER", "PAM_TTY", "PAM_RHOST", "PAM_RUSER"];
    let items = names.map(|name| (name, long.as_str())).into_iter().chain([("PAM_TYPE", "close_session")]);
    hook(command, &items.collect::<Vec<_>>()).exits(0);
    let messages = syslog.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    let parts = ["service", "user", "tty", "remote_host", "by"].map(|name| format!(" | {name} {long} | "));
    for part in parts.into_iter().chain([format!(" | key {key} | ")]) {
        assert!(messages[1].contains(&part), "no {part} in {messages:?}");
    }
    // An administrator can put the event into the spool.
    let record = messages[1].strip_prefix("<34> ").expect("it is critical").replace(" | ", "\n") + "\n";
    fs::remove_dir(home.database()).expect("it is empty");
    fs::remove_file(home.at("spool")).expect("it is ours");
    fs::create_dir(home.at("spool")).expect("its place is free");
    fs::write(home.at("spool/event-1"), record).expect("a file");
    let sent = home.sent();
    assert!(sent.lines().count() == 1 && sent.contains("logged out from host.example"), "{sent}");
    assert_eq!((home.queue().facts("key"), home.queue().facts("by")), (vec![key], vec![long]));
}

/// P2, P6: the spool is usually in memory.
#[test]
fn a_full_spool_leaves_events_to_syslog_and_is_reported_once_a_minute() {
    if !can_run("a_full_spool_leaves_events_to_syslog_and_is_reported_once_a_minute") {
        return;
    }
    // 127 files with one byte less than 2 MiB.
    let large = "x".repeat(16_513);
    for (count, text) in [(2000, "x"), (128, &large)] {
        let home = Home::new(STDOUT);
        fs::create_dir(home.database()).expect("a directory in the database's place");
        fs::create_dir(home.at("spool")).expect("a directory");
        for number in 0..count - 1 {
            fs::write(home.at(&format!("spool/event-{number}")), text).expect("a file");
        }
        let syslog = Syslog::listen(&home);
        let login = || hook(home.command_in_own_dev(":", &["queue"]), &LOGIN).exits(0).stderr();
        assert!(login().contains("the event waits in"), "there is room for one more");
        syslog.lines();
        let count_reports = |login: usize| {
            let messages = syslog.messages();
            assert!(
                messages.iter().any(|line| line.starts_with("<34> ") && line.contains(LINE)),
                "{login}: {messages:?}"
            );
            assert!(messages.iter().any(|line| line.contains(" | user amanda | ")), "{login}: {messages:?}");
            messages
                .iter()
                .filter(|line| line.starts_with("<35> ") && line.contains("is full (2000 files or 2 MiB)"))
                .count()
        };
        let mut reports = Vec::new();
        for number in 0..4 {
            if number == 3 {
                let stamp = fs::File::options().write(true).open(home.at("spool/.full")).expect("a stamp");
                stamp.set_modified(SystemTime::now() - Duration::from_secs(61)).expect("it is ours");
            }
            login();
            reports.push(count_reports(number));
        }
        assert_eq!(reports, [1, 0, 0, 1], "{count}");
        let files = home.spooled().iter().filter(|name| name.starts_with("event-")).count();
        assert!(files <= 2000 && files == count, "{files}");
    }
}
