//! The spool, where an event goes if the database can't take it, with real causes.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use crate::disks::can_run;
use crate::support::home::{Home, LOGIN, PATIENCE, STDOUT, Syslog, hook};
use crate::support::inject::{self, Where};
use crate::support::outcome::Outcome;
use crate::support::queue::Queue;
use crate::support::queue::outsider::Outsider;
use crate::support::{has, skip, tools, wait_for};

/// The beginning of a login's notice.
pub const LINE: &str = "'amanda' (192.0.2.7) logged in";

/// Checks that a login succeeded and that its event went to the spool and is sent once.
fn assert_spooled_and_sent(home: &Home, output: &Output, cause: &str) {
    output.when(cause).exits(0).says("the event waits in").says(LINE);
    let spooled = home.spooled();
    assert!(spooled.len() == 1 && spooled[0].starts_with("event-"), "{cause}: {spooled:?}");
    let sent = home.sent();
    assert_eq!(sent.matches(LINE).count(), 1, "{cause}: {sent}");
    assert!(home.spooled().is_empty(), "{cause}: {:?}", home.spooled());
    assert_eq!(home.sent(), "", "{cause}: sent twice");
}

/// P1, P2: with two kinds of lock, and with alarms that the caller ignores or blocks.
#[test]
fn a_login_waits_at_most_a_second_for_a_locked_database() {
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
            // On a busy machine, the copy may be written before the worker gives up.
            let messages = output.exits(0).stderr();
            assert!(
                messages.contains("database is locked") || messages.contains("the queue took too long"),
                "{messages}"
            );
            drop(other);
            // The worker and the process that writes the copy may both get there.
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

/// P2
#[test]
fn a_full_or_read_only_disk_sends_the_event_to_the_spool() {
    if !can_run("a_full_or_read_only_disk_sends_the_event_to_the_spool") {
        return;
    }
    let full = "cp -a state saved; mount -t tmpfs -o mode=700,size=200k none state; cp -a saved/. state
                cat /dev/zero >state/filler || :";
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
        // A small event might fit into a free page of the log.
        command.env("SSH_AUTH_INFO_0", format!("publickey ssh-rsa {}", "A".repeat(2900)));
        let output = hook(command, &LOGIN);
        assert_spooled_and_sent(&home, &output, cause);
    }
}

/// Makes /dev/zero, with which the scripts fill a disk.
pub fn zero(home: &Home) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let readable = Mode::from_bits_truncate(0o666);
    mknod(&home.at("dev/zero"), SFlag::S_IFCHR, readable, makedev(1, 5)).expect("root may make a device");
}

/// P2, P4: the spool's files can't be removed.
#[test]
fn a_read_only_spool_is_imported_once_and_stops_nothing() {
    if !can_run("a_read_only_spool_is_imported_once_and_stops_nothing") {
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

/// P1, P2: FUSE with direct I/O and jffs2 can't map the memory that processes share.
#[test]
fn the_queue_works_on_a_file_system_that_cannot_share_memory() {
    let test = "the_queue_works_on_a_file_system_that_cannot_share_memory";
    if !can_run(test) {
        return;
    }
    if !tools::has_mounted("unionfs") || !fs::exists("/dev/fuse").unwrap_or(false) {
        return skip(test, "needs unionfs-fuse and /dev/fuse");
    }
    // Two logins before the first send, which needs no shared memory; two at once after it.
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

/// Runs a script in a mount namespace, in the host's directory. `"$@"` is the program with its configuration.
fn in_namespace(home: &Home, script: &str) -> Output {
    let inner = home.command(&[]);
    Command::new("unshare")
        .args(["--mount", "sh", "-ec", &format!("cd {}\n{script}", home.0.display()), "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()
        .expect("unshare starts")
}

/// P1, P2: a frozen file system behaves like a hung disk: a process blocked on it ignores even SIGKILL.
#[test]
fn a_hung_disk_delays_a_login_by_at_most_a_second() {
    let test = "a_hung_disk_delays_a_login_by_at_most_a_second";
    if !can_run(test) {
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
        # If this test is killed, the disk must not stay frozen with processes blocked on it.
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
    let messages = syslog.lines();
    assert!(messages.lines().any(|line| line.starts_with("<34>") && line.contains(" | user zoe | ")), "{messages}");
    // The disk works again, so the workers left behind finish.
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    let sent = home.sent();
    assert_eq!(sent.matches(LINE).count(), 1, "{sent}");
    assert!(sent.matches("'zoe'").count() <= 1, "{sent}");
    assert_eq!(home.sent(), "", "sent twice");
}

/// P1, P2: each sync takes longer than a login waits. The uid makes two copies one event.
#[test]
fn events_on_a_disk_too_slow_for_a_login_are_kept_and_sent_once() {
    let test = "events_on_a_disk_too_slow_for_a_login_are_kept_and_sent_once";
    if !can_run(test) {
        return;
    }
    if !inject::is_possible() {
        return skip(test, "needs strace");
    }
    // The delay of a sync, and whether the spool is on that disk too.
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
        // An event that was only in syslog when the login went on is in the queue once the disk is done.
        let messages = syslog.lines();
        assert!(is_everywhere || !messages.contains("only record of an event"), "{row}: {messages}");
        assert_eq!(messages.contains(LINE), milliseconds > 600, "{row}: {messages}");
        assert_eq!((home.queue().count_events_of("amanda"), home.workers().len()), (1, 0), "{row}");
        assert_eq!(home.sent().matches(LINE).count(), 1, "{row}");
        assert_eq!((home.sent(), home.spooled().len()), (String::new(), 0), "{row}");
    }
}
