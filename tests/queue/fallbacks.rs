//! Where an event goes when the database can't take it: the spool, and then syslog; by real causes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use crate::support::home::{Home, LOGIN, STDOUT, Syslog, hook};
use crate::support::inject::{self, Where};
use crate::support::outcome::Outcome;
use crate::support::queue::Queue;
use crate::support::queue::outsider::Outsider;
use crate::support::{has, has_mount_namespaces, skip, tools, wait_for};

/// How a login's notice begins.
const LINE: &str = "'amanda' (192.0.2.7) logged in";

/// A login's second, with as much again for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(2);

fn has_namespaces(test: &str) -> bool {
    let can = has_mount_namespaces();
    if !can {
        skip(test, "needs root and mount namespaces");
    }
    can
}

/// Checks that a login was well, fell back to the spool, and is sent from there once.
fn assert_spooled_and_sent(home: &Home, output: &Output, cause: &str) {
    output.when(cause).exits(0).says("the event waits in").says(LINE);
    let spooled = home.spooled();
    assert!(spooled.len() == 1 && spooled[0].starts_with("event-"), "{cause}: {spooled:?}");
    let sent = home.sent();
    assert_eq!(sent.matches(LINE).count(), 1, "{cause}: {sent}");
    assert!(home.spooled().is_empty(), "{cause}: {:?}", home.spooled());
    assert_eq!(home.sent(), "", "{cause}: sent twice");
}

/// P1, P2: two ways in which others hold a database, and what a caller may leave behind.
#[test]
fn a_login_waits_at_most_a_second_for_a_database_that_another_process_holds_for_half_a_minute() {
    for (holding, hold) in
        [("writing", Outsider::begin_writing as fn(&Outsider)), ("alone", Outsider::begin_writing_alone)]
    {
        for before in [&[][..], &["--ignore-signal=ALRM"], &["--block-signal=ALRM"], &["--block-signal"]] {
            let home = Home::new(STDOUT);
            home.record("bob", "192.0.2.9", "open_session");
            let other = home.queue().outsider();
            hold(&other);
            let queue = home.command(&["queue"]);
            let mut command = Command::new("/usr/bin/env");
            command.args(before).arg(queue.get_program()).args(queue.get_args()).env_clear();
            let started = Instant::now();
            let output = hook(command, &LOGIN);
            assert!(started.elapsed() < PATIENCE, "{holding} {before:?}: {:?}", started.elapsed());
            // On a busy machine the copy is there before the worker gives up.
            let said = output.exits(0).stderr();
            assert!(said.contains("database is locked") || said.contains("the queue took too long"), "{said}");
            drop(other);
            // The worker and the copy that is made beside it may both come there.
            assert!((1..=2).contains(&home.spooled().len()), "{holding} {before:?}: {:?}", home.spooled());
            let sent = home.sent();
            assert_eq!(sent.lines().count(), 2, "{sent}");
            assert_eq!(sent.matches(LINE).count(), 1, "{sent}");
            assert_eq!(home.sent(), "");
        }
    }
}

/// P2
#[test]
fn a_directory_in_the_databases_place_sends_the_event_to_the_spool() {
    let home = Home::new(STDOUT);
    fs::create_dir(home.database()).expect("a directory");
    let output = home.hook(&LOGIN);
    fs::remove_dir(home.database()).expect("it is empty");
    assert_spooled_and_sent(&home, &output, "a directory");
}

/// P2: the header is overwritten, of a database in use and of one from which the log is gone.
#[test]
fn a_corrupt_database_sends_the_event_to_the_spool_and_the_next_send_mends_it() {
    for keeps_log in [true, false] {
        let home = Home::new(STDOUT);
        home.record("bob", "192.0.2.9", "open_session");
        if !keeps_log {
            home.queue().remove_log();
        }
        home.queue().damage_header();
        home.hook(&LOGIN).exits(0).says("is damaged");
        assert_eq!(home.spooled().len(), 1);
        let sent = home.send();
        sent.fails().says("it was moved to");
        assert_eq!(sent.stdout().matches(LINE).count(), 1, "{sent:?}");
        sent.prints("was damaged");
        home.record("zoe", "192.0.2.9", "open_session");
        assert_eq!(home.sent().lines().count(), 1);
        let names: Vec<String> = fs::read_dir(home.at("state"))
            .expect("ours")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into())
            .collect();
        assert!(names.iter().any(|name| name.contains(".damaged-")), "it was not kept aside: {names:?}");
    }
}

/// P2, P3: the file is the service user's, and so is what its schema says.
#[test]
fn what_somebody_adds_to_the_databases_schema_neither_runs_nor_stops_anything() {
    let home = Home::new(STDOUT);
    home.send().when("it makes the database").succeeds();
    home.queue().add_a_column();
    home.record("bob", "192.0.2.9", "open_session");
    home.queue().add_foreign_schema();
    home.hook(&LOGIN).succeeds();
    assert_eq!(home.spooled(), [""; 0]);
    let sent = home.sent();
    assert!(sent.contains("'bob'") && sent.contains(LINE) && sent.lines().count() == 2, "{sent}");
    assert_eq!(home.sent(), "");
    home.record("zoe", "192.0.2.9", "open_session");
    assert_eq!(home.sent().lines().count(), 1);
}

/// P2
#[test]
fn what_waits_is_saved_though_the_schema_has_something_that_no_sqlite_understands() {
    let home = Home::new(STDOUT);
    home.record("bob", "192.0.2.9", "open_session");
    home.queue().add_invalid_schema();
    home.hook(&LOGIN).exits(0).says("is damaged");
    home.send().prints("'bob'").prints(LINE).prints("1 events of it were saved");
}

/// P2: real causes, made by a line of shell in a mount namespace, before a login.
#[test]
fn a_full_and_a_read_only_disk_send_the_event_to_the_spool() {
    if !has_namespaces("a_full_and_a_read_only_disk_send_the_event_to_the_spool") {
        return;
    }
    let full = "cp -a state saved; mount -t tmpfs -o mode=700,size=200k none state; cp -a saved/. state; cat /dev/zero >state/filler || :";
    let rows = [
        ("a full disk, without a queue", false, full),
        ("a full disk, with a queue", true, full),
        ("a read-only disk, without a queue", false, "mount --bind state state; mount -o remount,bind,ro state"),
        ("a read-only disk, with a queue", true, "mount --bind state state; mount -o remount,bind,ro state"),
    ];
    for (cause, is_used, prepare) in rows {
        let home = Home::new(STDOUT);
        if is_used {
            home.record("bob", "192.0.2.9", "open_session");
            assert_eq!(home.sent().lines().count(), 1);
        }
        let _syslog = Syslog::listen(&home);
        zero(&home);
        let mut command = home.command_in_own_dev(&format!("cd {}; {prepare}", home.0.display()), &["queue"]);
        // There may be room for a small event in a page that the log has already.
        command.env("SSH_AUTH_INFO_0", format!("publickey ssh-rsa {}", "A".repeat(2900)));
        let output = hook(command, &LOGIN);
        assert_spooled_and_sent(&home, &output, cause);
    }
}

/// `cat` needs something to fill a disk with.
fn zero(home: &Home) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let readable = Mode::from_bits_truncate(0o666);
    mknod(&home.at("dev/zero"), SFlag::S_IFCHR, readable, makedev(1, 5)).expect("root may make a device");
}

/// P2, P4: what is in a spool that can't be changed is imported and sent once, and delays nothing.
#[test]
fn a_read_only_spool_is_imported_once_and_stops_nothing() {
    if !has_namespaces("a_read_only_spool_is_imported_once_and_stops_nothing") {
        return;
    }
    let home = Home::new(STDOUT);
    home.login_into_spool();
    home.record("bob", "192.0.2.9", "open_session");
    let script = "mount --bind spool spool; mount -o remount,bind,ro spool
                  for run in 1 2 3; do \"$@\" send && code=$? || code=$?; echo \"run $run: $code\"; done";
    let output = in_namespace(&home, script);
    output.exits(0).says("Read-only file system");
    let sent = output.stdout();
    assert!(sent.matches(LINE).count() == 1 && sent.matches("'bob'").count() == 1, "{sent}");
    for run in 1..=3 {
        assert!(sent.contains(&format!("run {run}: 1")), "{sent}");
    }
    assert_eq!((home.send().succeeds().stdout(), home.spooled().len()), (String::new(), 0));
}

/// P2: neither the database nor the spool can be written.
#[test]
fn with_nothing_left_to_write_to_the_whole_event_is_in_syslog_at_critical() {
    if !has_namespaces("with_nothing_left_to_write_to_the_whole_event_is_in_syslog_at_critical") {
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
        let said = syslog.messages();
        let is_critical = said.len() == 2 && said.iter().all(|message| message.starts_with("<34> "));
        assert!(is_critical && said[0].contains(LINE), "{cause}: {said:?}");
        for part in ["action open", "user amanda", "remote_host 192.0.2.7", "tty ssh", "service sshd", "session "] {
            assert!(said[1].contains(&format!(" | {part}")), "{cause}: no {part} in {said:?}");
        }
        let said = said.concat();
        assert!(!said.contains("the event waits in"), "{cause}: {said}");
    }
}

/// P1, P2: a host without syslog, or with one that has stopped reading.
#[test]
fn a_missing_or_stopped_syslog_keeps_no_event_from_its_place() {
    if !has_namespaces("a_missing_or_stopped_syslog_keeps_no_event_from_its_place") {
        return;
    }
    for is_there in [false, true] {
        let home = Home::new(STDOUT);
        fs::create_dir(home.database()).expect("a directory in the database's place");
        let syslog = is_there.then(|| Syslog::listen(&home));
        // Nobody reads: the socket's buffer fills up.
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

/// P1, P2: the memory that processes share can't be mapped on FUSE with direct I/O, nor on jffs2.
#[test]
fn a_file_system_that_cannot_share_memory_holds_the_queue_all_the_same() {
    let test = "a_file_system_that_cannot_share_memory_holds_the_queue_all_the_same";
    if !has_namespaces(test) {
        return;
    }
    if !tools::has_mounted("unionfs") || !fs::exists("/dev/fuse").unwrap_or(false) {
        return skip(test, "needs unionfs-fuse and /dev/fuse");
    }
    // Two logins before the first send, which alone needs to share it; two at once after it.
    let script = "
        mkdir below; unionfs -o allow_other,default_permissions,direct_io \"$PWD/below=RW\" state
        trap 'umount state' EXIT
        login() { env -i PAM_SERVICE=sshd PAM_USER=\"$user\" PAM_TYPE=open_session \"$@\" queue; }
        user=a; login \"$@\"; user=b; login \"$@\"; \"$@\" send
        user=c; login \"$@\" & user=d; login \"$@\" & wait
        \"$@\" send; \"$@\" send";
    let home = Home::new(STDOUT);
    let output = in_namespace(&home, &format!("{}{script}", tools::MOUNT));
    let sent = output.succeeds().stdout();
    let users: Vec<&str> = sent.lines().filter_map(|line| line.split('\'').nth(1)).collect();
    assert_eq!((&users[..2], users.len()), (&["a", "b"][..], 4), "{sent}");
    assert!(users.contains(&"c") && users.contains(&"d"), "{sent}");
    assert_eq!(home.spooled().len(), 0);
    assert_eq!(Queue(home.at("below/session_events.db")).integrity(), "ok");
}

/// A script in a mount namespace of its own, in the host's directory, with the program and its
/// configuration as its arguments.
fn in_namespace(home: &Home, script: &str) -> Output {
    let inner = home.command(&[]);
    Command::new("unshare")
        .args(["--mount", "sh", "-ec", &format!("cd {}\n{script}", home.0.display()), "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()
        .expect("unshare starts")
}

/// P1, P2: what waits for a disk that hangs can't be ended, not even by SIGKILL: a frozen file system
/// is such a disk.
#[test]
fn a_disk_that_does_not_answer_at_all_holds_a_login_up_for_no_more_than_a_second() {
    let test = "a_disk_that_does_not_answer_at_all_holds_a_login_up_for_no_more_than_a_second";
    if !has_namespaces(test) {
        return;
    }
    if !has("mkfs.ext4") || !has("fsfreeze") || !fs::exists("/dev/loop-control").unwrap_or(false) {
        return skip(test, "needs e2fsprogs, fsfreeze and loop devices");
    }
    let script = "
        truncate -s 16M disk; mkfs.ext4 -q disk; mount -o loop disk state
        mkdir spool state/spool; mount --bind dev /dev
        login() { env -i PAM_SERVICE=sshd PAM_USER=\"$user\" PAM_RHOST=192.0.2.7 PAM_TYPE=open_session \"$@\" queue; }
        timed() {
            start=$(date +%s%N); login \"$@\"
            echo $((($(date +%s%N) - start) / 1000000))
        }
        user=bob login \"$@\"
        fsfreeze -f state
        # Whoever ends this test early must not leave a frozen disk behind, and those who wait for it.
        setsid sh -c 'sleep 20; fsfreeze -u state' >/dev/null 2>&1 & thaw=$!
        trap 'fsfreeze -u state || :; umount -l state || :; kill $thaw || :' EXIT
        trap 'exit 1' INT TERM HUP
        user=amanda timed \"$@\"
        mount --bind state/spool spool
        user=zoe timed \"$@\"";
    let home = Home::new(STDOUT);
    let syslog = Syslog::listen(&home);
    let output = in_namespace(&home, script);
    output.exits(0);
    let took: Vec<Duration> =
        output.stdout().lines().filter_map(|line| line.parse().ok()).map(Duration::from_millis).collect();
    assert!(took.len() == 2 && took.iter().all(|took| *took < PATIENCE), "{took:?}");
    let said = syslog.lines();
    assert!(said.lines().any(|line| line.starts_with("<34>") && line.contains(" | user zoe | ")), "{said}");
    // The disk answers again, and so the workers that were left behind finish.
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    let sent = home.sent();
    assert_eq!(sent.matches(LINE).count(), 1, "{sent}");
    assert!(sent.matches("'zoe'").count() <= 1, "{sent}");
    assert_eq!(home.sent(), "", "sent twice");
}

/// P2: the largest event there is, and a syslog daemon that has stopped reading: its socket holds eleven packets.
#[test]
fn the_largest_event_is_whole_in_syslog_though_nobody_reads_yet() {
    if !has_namespaces("the_largest_event_is_whole_in_syslog_though_nobody_reads_yet") {
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
    let said = syslog.messages();
    assert_eq!(said.len(), 2, "{said:?}");
    let parts = ["service", "user", "tty", "remote_host", "by"].map(|name| format!(" | {name} {long} | "));
    for part in parts.into_iter().chain([format!(" | key {key} | ")]) {
        assert!(said[1].contains(&part), "no {part} in {said:?}");
    }
    // It can be put into the spool by hand.
    let record = said[1].strip_prefix("<34> ").expect("it is critical").replace(" | ", "\n") + "\n";
    fs::remove_dir(home.database()).expect("it is empty");
    fs::remove_file(home.at("spool")).expect("it is ours");
    fs::create_dir(home.at("spool")).expect("its place is free");
    fs::write(home.at("spool/event-1"), record).expect("a file");
    let sent = home.sent();
    assert!(sent.lines().count() == 1 && sent.contains("logged out from host.example"), "{sent}");
    assert_eq!((home.queue().facts("key"), home.queue().facts("by")), (vec![key], vec![long]));
}

/// P2, P6: a spool is in memory as a rule. What it can't hold is in syslog, which hears once a minute why.
#[test]
fn a_full_spool_leaves_each_event_to_syslog_and_says_once_a_minute_that_it_is_full() {
    if !has_namespaces("a_full_spool_leaves_each_event_to_syslog_and_says_once_a_minute_that_it_is_full") {
        return;
    }
    // 2 MiB, but for a byte, in 127 files.
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
        let said = |login: usize| {
            let said = syslog.messages();
            assert!(said.iter().any(|line| line.starts_with("<34> ") && line.contains(LINE)), "{login}: {said:?}");
            assert!(said.iter().any(|line| line.contains(" | user amanda | ")), "{login}: {said:?}");
            said.iter()
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
            reports.push(said(number));
        }
        assert_eq!(reports, [1, 0, 0, 1], "{count}");
        let files = home.spooled().iter().filter(|name| name.starts_with("event-")).count();
        assert!(files <= 2000 && files == count, "{files}");
    }
}

/// P1, P2: every write that the queue syncs takes longer than a login waits. The uid makes two copies one event.
#[test]
fn on_a_disk_too_slow_for_a_login_each_event_is_kept_and_sent_once() {
    let test = "on_a_disk_too_slow_for_a_login_each_event_is_kept_and_sent_once";
    if !has_namespaces(test) {
        return;
    }
    if !inject::is_possible() {
        return skip(test, "needs strace");
    }
    // Whether the spool is on that disk too.
    let rows = [(300, false), (700, false), (2000, false), (700, true), (2000, true)];
    for (milliseconds, is_everywhere) in rows {
        let row = format!("{milliseconds} {is_everywhere}");
        let home = Home::new(STDOUT);
        home.record("bob", "192.0.2.9", "open_session");
        assert_eq!(home.sent().lines().count(), 1);
        let syslog = Syslog::listen(&home);
        let mut shell = Command::new("/bin/sh");
        let queue = home.command(&["queue"]);
        shell.args(["-c", &format!("\"$@\"; echo >{}", home.at("returned").display()), "sh"]);
        shell.arg(queue.get_program()).args(queue.get_args());
        let shell = home.in_own_dev(":", &shell);
        let place = if is_everywhere { Where::Everywhere } else { Where::Queue };
        let started = SystemTime::now();
        hook(inject::slowed(&home, &shell, place, Duration::from_millis(milliseconds)), &LOGIN).exits(0);
        let returned = fs::metadata(home.at("returned")).and_then(|file| file.modified()).expect("it returned");
        let took = returned.duration_since(started).unwrap_or_default();
        assert!(took < PATIENCE, "{row}: {took:?}");
        // What was in syslog alone when the login went on is kept, too, as soon as the disk is done.
        let said = syslog.lines();
        assert!(is_everywhere || !said.contains("all that is left"), "{row}: {said}");
        assert_eq!(said.contains(LINE), milliseconds > 600, "{row}: {said}");
        assert_eq!((home.queue().count_events_of("amanda"), home.workers().len()), (1, 0), "{row}");
        assert_eq!(home.sent().matches(LINE).count(), 1, "{row}");
        assert_eq!((home.sent(), home.spooled().len()), (String::new(), 0), "{row}");
    }
}
