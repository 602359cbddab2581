//! `status` and `log` only read: whatever is in place of the queue, on a writable, read-only or full disk, as root
//! and as the service user.

use std::fs;
use std::io::pipe;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::home::{Home, SERVICE, STDOUT, copy};
use crate::support::outcome::Outcome;
use crate::support::{has, has_mount_namespaces, is_root, skip, wait_for};

/// The output of `status` if there is no queue yet.
const SILENT: &str = "nothing was recorded yet; if somebody has logged in since, `check` says why the hook is silent\n";

/// What is in place of the queue, how to make it, the exit status, and what is printed on stdout or stderr.
type Row = (&'static str, fn(&Home), i32, &'static str);

const ROWS: [Row; 15] = [
    ("no database", |_| (), 0, "nothing was recorded yet"),
    ("no database, no spool", |home| fs::remove_dir(home.at("spool")).expect("ours"), 0, "nothing was recorded yet"),
    ("an empty file", |home| fs::write(home.database(), "").expect("ours"), 0, "nothing was recorded yet"),
    ("a new queue", |home| home.login("bob"), 0, "1 pending for the first `send`"),
    ("a queue in use", used, 0, "stdout: 1 pending, 0 dead, last worked 2"),
    ("a queue without a log", |home| prepared(home, |home| home.queue().remove_log()), 0, "stdout: 1 pending"),
    ("with a rollback journal", |home| prepared(home, |home| home.queue().do_without_wal()), 0, "stdout: 1 pending"),
    ("the first schema", |home| copy(&data("v1"), &home.at("state")), 1, "the next `send` brings it up to date"),
    ("a newer schema", |home| prepared(home, |home| home.queue().set_version(99)), 1, "newer version"),
    ("the Go program's", |home| put(home, "go-pending.db"), 1, "the next `send` brings it up to date"),
    ("the Go program's, with a log", |home| copy(&data("go-hot-wal"), &home.at("state")), 1, "the next `send`"),
    ("a damaged header", |home| prepared(home, |home| home.queue().damage_header()), 1, "is damaged"),
    ("a damaged table", |home| prepared(home, |home| home.queue().damage_table("target")), 1, "is damaged"),
    ("an unfinished repair", interrupted, 0, "a repair of the queue was interrupted; the next `send` finishes it"),
    ("events in the spool", |home| prepared(home, Home::login_into_spool), 0, "1 in "),
];

/// Lists all files with contents before and after a command; `$1` is the directory.
const SCRIPT: &str = r#"
list() {
    find state spool ! -name . -printf '%p %y %s %T@ %C@ %i %m %U\n' 2>/dev/null | sort
    find state spool -type f -exec sha256sum {} + 2>/dev/null | sort
}
list >before
code=0; timeout 20 "$@" status || code=$?
timeout 20 "$@" log >/dev/null 2>&1 || [ $? = 1 ] || code=98
list >after
diff before after >&2 || code=99
exit $code"#;

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn put(home: &Home, name: &str) {
    fs::copy(data(name), home.database()).expect("a copy");
}

/// One event is sent and one is pending, both in the log.
fn used(home: &Home) {
    home.login("bob");
    assert_eq!(home.sent().lines().count(), 1);
    home.login("carol");
}

fn prepared(home: &Home, change: fn(&Home)) {
    used(home);
    change(home);
}

/// The state after a repair that was interrupted before it began a new database.
fn interrupted(home: &Home) {
    used(home);
    home.queue().remove_log();
    fs::rename(home.database(), home.at("state/session_events.db.saved")).expect("ours");
    for suffix in ["-journal", ".turn", ".lock"] {
        let _ = fs::remove_file(home.at(&format!("state/session_events.db{suffix}")));
    }
}

/// A host in this state; the service user owns all of its files.
fn host(prepare: fn(&Home)) -> Home {
    let home = Home::new(STDOUT);
    fs::create_dir(home.at("spool")).expect("a new directory");
    prepare(&home);
    for directory in ["state", "spool"] {
        let mut all = vec![home.at(directory)];
        all.extend(fs::read_dir(home.at(directory)).into_iter().flatten().flatten().map(|entry| entry.path()));
        for path in all.into_iter().filter(|path| path.exists()) {
            chown(path, Some(SERVICE), Some(SERVICE)).expect("root may");
        }
    }
    home.configure(STDOUT);
    home
}

/// Runs a command on a host in a mount namespace, after a line of shell, as root or as the service user.
fn look(home: &Home, prepare: &str, before: &[&str]) -> Output {
    let inner = home.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!("cd {}; {prepare}\n{SCRIPT}", home.0.display()), "sh"]);
    command.args(before).arg(inner.get_program()).args(inner.get_args());
    command.output().expect("unshare starts")
}

/// P2, P5
#[test]
fn status_and_log_change_nothing_on_any_disk_and_report_what_is_there() {
    let test = "status_and_log_change_nothing_on_any_disk_and_report_what_is_there";
    if !has_mount_namespaces() || !has("setpriv") {
        return skip(test, "needs root, mount namespaces and setpriv");
    }
    let disks = [
        ("a disk", "", ""),
        ("a read-only disk", "mounted read-only", "mount --bind state state; mount -o remount,bind,ro state"),
        (
            "a full disk",
            "the disk is full",
            "cp -a state saved; mount -t tmpfs -o mode=700,size=200k none state; cp -a saved/. state
             chown --reference=saved state; cat /dev/zero >state/filler 2>/dev/null || :",
        ),
    ];
    let id = SERVICE.to_string();
    let service = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    for (case, prepare, code, expected) in ROWS {
        for (disk, trouble, mount) in disks {
            for before in [&[][..], &service] {
                let home = host(prepare);
                let output = look(&home, mount, before);
                let case =
                    format!("{case} on {disk} as {}", if before.is_empty() { "root" } else { "the service user" });
                let said = output.stdout() + &output.stderr();
                let output = output.when(&case);
                output.exits(if trouble.is_empty() { code } else { 1 });
                output.check(said.contains(expected), &format!("{expected:?} isn't there"));
                output.check(code != 0 || output.stderr().is_empty(), "something on stderr");
                output.check(code != 0 || said.contains(trouble), "no reason");
            }
        }
    }
}

/// P5: even if root could create a directory for a login.
#[test]
fn status_and_log_create_no_directory() {
    if !is_root() {
        return skip("status_and_log_create_no_directory", "needs root");
    }
    for missing in [&["state"][..], &["spool"], &["state", "spool"]] {
        let home = host(|_| ());
        for directory in missing {
            fs::remove_dir(home.at(directory)).expect("it is empty");
        }
        home.run(&["status"]).when(missing[0]).succeeds().prints_first(SILENT);
        for directory in missing {
            assert!(!home.at(directory).exists(), "{directory} of {missing:?}");
        }
    }
}

/// A closed pipe is no failure.
#[test]
fn a_closed_stdout_is_no_failure_of_status_and_log() {
    let home = Home::new(STDOUT);
    used(&home);
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let output = home.command(&["status"]).stdout(writer).output().expect("it starts");
    output.succeeds();
}

/// P1: a pager that nobody scrolls blocks no login and no sender.
#[test]
fn status_and_log_hold_no_lock_while_they_print() {
    if !is_root() {
        return skip("status_and_log_hold_no_lock_while_they_print", "needs root");
    }
    let home = Home::new(STDOUT);
    used(&home);
    let (reader, writer) = pipe().expect("a pipe");
    crate::support::fill(&writer);
    let mut command = home.command(&["status"]);
    let mut look = command.stdout(Stdio::from(OwnedFd::from(writer))).spawn().expect("it starts");
    let place = format!("/proc/{}/wchan", look.id());
    let is_stuck = || fs::read_to_string(&place).unwrap_or_default().contains("pipe_write");
    assert!(wait_for(is_stuck), "{:?}", fs::read_to_string(&place));
    let started = Instant::now();
    home.login("zoe");
    let sent = home.sent();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!((sent.lines().count(), home.spooled().len()), (2, 0), "{sent}");
    assert!(look.try_wait().is_ok_and(|status| status.is_none()));
    drop(reader);
    assert!(look.wait().is_ok_and(|status| status.success()));
}
