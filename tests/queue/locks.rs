//! Locks that another process keeps: no command hangs, and none kills the wrong process.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::support::home::{Home, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::{has, has_mount_namespaces, is_root, skip};

/// The time that a command may take. The promise is a minute.
const LONGEST: Duration = Duration::from_secs(45);

/// Runs a command, which must end within [`LONGEST`].
#[track_caller]
fn end_of(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let started = Instant::now();
    while child.try_wait().expect("ours").is_none() {
        if started.elapsed() > LONGEST {
            let _ = child.kill();
            panic!("{command:?} hangs");
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("it has ended")
}

/// Runs the program, which must end within [`LONGEST`].
#[track_caller]
pub fn run(home: &Home, arguments: &[&str]) -> Output {
    end_of(home.command(arguments))
}

/// A process that is killed with its test.
pub struct Running(Child);

impl Running {
    pub fn start(mut command: Command) -> Self {
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(process.spawn().expect("it starts"))
    }

    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("ours").is_none()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a process of this user that takes and keeps a lock as the program does: `flock`, or `SQLite`'s exclusive
/// lock. (Not the test's own process, which may be older than a sender can be.)
fn holder(user: u32, file: &Path, how: &str) -> Running {
    let script = "import fcntl, os, sys, time
user = int(sys.argv[1])
if user != os.getuid(): os.setgroups([]); os.setgid(user); os.setuid(user)
file = os.open(sys.argv[2], os.O_RDONLY if os.path.isdir(sys.argv[2]) else os.O_RDWR | os.O_CREAT, 0o600)
if sys.argv[3] == 'flock': fcntl.flock(file, fcntl.LOCK_EX)
else: fcntl.lockf(file, fcntl.LOCK_EX, 512, 1 << 30)
print('locked', flush=True)
time.sleep(120)";
    let mut python = Command::new("python3");
    python.args(["-c", script, &user.to_string()]).arg(file).arg(how);
    let mut process = Running::start(python);
    let mut line = String::new();
    let stdout = process.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "locked\n");
    process
}

pub fn turn(home: &Home) -> PathBuf {
    home.at("state/session_events.db.turn")
}

/// Whether a process holds the open lock.
pub fn is_taken(home: &Home) -> bool {
    File::open(turn(home)).is_ok_and(|file| file.try_lock().is_err())
}

/// P8
#[test]
fn send_kills_only_the_service_users_process_for_keeping_the_queue_locked() {
    let test = "send_kills_only_the_service_users_process_for_keeping_the_queue_locked";
    if !is_root() || !has("python3") {
        return skip(test, "needs root and python3");
    }
    let rows = [
        (SERVICE, "flock", true),
        (SERVICE, "SQLite's locks", true),
        (0, "flock", false),
        (1, "SQLite's locks", false),
    ];
    // At the same time, because each takes long.
    thread::scope(|scope| {
        for (user, how, is_ended) in rows {
            scope.spawn(move || assert_ended(user, how, is_ended));
        }
    });
}

/// Checks that `send` kills a process of this user that keeps the queue locked, or names it and leaves it alone.
fn assert_ended(user: u32, how: &str, is_ended: bool) {
    let case = format!("user {user}, {how}");
    let home = Home::of_service(STDOUT);
    home.login("amanda");
    let file = if how == "flock" { turn(&home) } else { home.database() };
    if user == 1 {
        // A user who could once open the file.
        fs::set_permissions(home.at("state"), Permissions::from_mode(0o711)).expect("ours");
        fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("ours");
    }
    let mut holder = holder(user, &file, how);
    let named = format!("locked by process {}", holder.0.id());
    run(&home, &["status"]).when(&case).exits(1).says(&named);
    let sent = run(&home, &["send"]);
    let sent = sent.when(&case);
    if is_ended {
        sent.exits(0).says("kept the queue locked and was ended").prints("'amanda'");
        assert!(!holder.is_alive(), "{case}");
    } else {
        sent.fails().says(&named).prints("'amanda'");
        assert!(holder.is_alive(), "{case}");
        holder.end();
        run(&home, &["send"]).when(&case).succeeds();
    }
}

/// P8: the holder has no process id here but 0, which kill(2) takes for every process of the caller's group.
#[test]
fn a_holder_in_another_pid_namespace_makes_send_signal_nobody() {
    let test = "a_holder_in_another_pid_namespace_makes_send_signal_nobody";
    if !has_mount_namespaces() || !has("python3") {
        return skip(test, "needs root, namespaces and python3");
    }
    // With the new namespace's /proc, and with the old one's, in which the same ids are other processes.
    for options in [&["--pid", "--fork", "--mount-proc"][..], &["--pid", "--fork"]] {
        let home = Home::of_service(STDOUT);
        home.login("amanda");
        let mut holder = holder(SERVICE, &home.database(), "SQLite's locks");
        let send = |case: &str| {
            let inner = home.command(&["send"]);
            let mut command = Command::new("unshare");
            // The shell and its bystander are in the sender's process group.
            let script = "sleep 100 & bystander=$!; \"$@\"; code=$?
                          kill -0 $bystander && echo the bystander lives; kill $bystander; exit $code";
            command.args(options).args(["sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
            let output = end_of(command);
            output.when(format!("{case} {options:?}")).prints("the bystander lives");
            output
        };
        send("locked").fails().says("is locked by a process that can't be seen from here").prints("'amanda'");
        assert!(holder.is_alive(), "{options:?}");
        holder.end();
        home.login("bob");
        send("free").exits(0).prints("'bob'");
        // If the holder is unknown, the open lock alone stops nobody.
        let mut other = self::holder(SERVICE, &turn(&home), "flock");
        let outsider = home.queue().outsider();
        outsider.record("bob");
        drop(outsider);
        send("open lock").exits(0).prints("'bob'");
        assert!(other.is_alive(), "{options:?}");
        other.end();
    }
}

/// P2: senders that can't make the lock file still exclude each other.
#[test]
fn the_directory_is_locked_if_the_senders_lock_file_cannot_be_made() {
    if !has("python3") {
        return skip("the_directory_is_locked_if_the_senders_lock_file_cannot_be_made", "needs python3");
    }
    let home = Home::new(STDOUT);
    mkfifo(&home.at("state/session_events.db.lock"), Mode::S_IRWXU).expect("its place is free");
    home.login("amanda");
    let other = holder(geteuid().as_raw(), &home.at("state"), "flock");
    run(&home, &["send"]).when("another sender is running").succeeds().prints_only("");
    drop(other);
    run(&home, &["send"]).succeeds().prints("'amanda'");
}

/// P8
#[test]
fn a_sender_in_another_pid_namespace_is_reported_unless_it_is_resident() {
    let test = "a_sender_in_another_pid_namespace_is_reported_unless_it_is_resident";
    if !has_mount_namespaces() || !has("python3") {
        return skip(test, "needs root, namespaces and python3");
    }
    let home = Home::of_service(STDOUT);
    home.login("amanda");
    let lock = home.at("state/session_events.db.lock");
    let elsewhere = || {
        let inner = home.command(&["send"]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
        end_of(command)
    };
    let other = holder(SERVICE, &lock, "flock");
    run(&home, &["send"]).when("another sender is running").succeeds().prints_only("");
    elsewhere().fails().says(&format!("cannot send: {} is locked by a process that can't be seen", lock.display()));
    drop(other);
    let mut watch = Running::start(home.command(&["send", "--watch"]));
    let mut line = String::new();
    BufReader::new(watch.0.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
    assert!(line.contains("'amanda'"), "{line}");
    elsewhere().when("a resident sender is running").succeeds().prints_only("");
}

/// P3, P7: other users could read who logs in from where, and lock any file that they can open.
#[test]
fn the_files_of_the_queue_get_mode_600_however_they_were_made() {
    let home = Home::new(STDOUT);
    let files = || {
        let entries = fs::read_dir(home.at("state")).expect("ours").flatten();
        let mode = |path: PathBuf| (fs::metadata(&path).expect("ours").mode() & 0o7777, path);
        entries.map(|entry| mode(entry.path())).collect::<Vec<_>>()
    };
    let assert_private = |when: &str, least: usize| {
        let files = files();
        assert!(files.len() >= least && files.iter().all(|(mode, _)| *mode == 0o600), "{when}: {files:?}");
    };
    let open_up = || {
        for (_, path) in files() {
            fs::set_permissions(path, Permissions::from_mode(0o666)).expect("ours");
        }
    };
    // The Go program's installer made an empty file.
    File::create(home.database()).expect("ours").write_all(b"").expect("ours");
    open_up();
    home.login("amanda");
    assert_private("made by hand", 3);
    open_up();
    home.login("bob");
    assert_private("opened up, then a login", 3);
    open_up();
    assert_eq!(home.sent().lines().count(), 2);
    assert_private("opened up, then a sender", 4);
    fs::remove_dir_all(home.at("state")).expect("ours");
    fs::create_dir(home.at("state")).expect("ours");
    for mask in ["000", "777", "027"] {
        let mut shell = Command::new("/bin/sh");
        let inner = home.command(&["send"]);
        shell.args(["-c", &format!("umask {mask}; exec \"$@\""), "sh"]).arg(inner.get_program()).args(inner.get_args());
        end_of(shell).when(mask).succeeds();
        assert_private(mask, 2);
    }
}

/// P8
#[test]
fn a_command_waits_for_a_lock_that_is_held_briefly() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    let file = File::open(turn(&home)).expect("the hook made it");
    file.lock().expect("nobody else has it");
    thread::scope(|scope| {
        let sender = scope.spawn(|| run(&home, &["send"]));
        thread::sleep(Duration::from_secs(1));
        file.unlock().expect("ours");
        sender.join().expect("it ends").succeeds().prints("'amanda'");
    });
}
