//! Locks that somebody keeps, and pipes in the places of files: no command hangs, and none ends the wrong
//! process.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::support::home::{Home, LOGIN, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::{has, has_mount_namespaces, is_root, skip, wait_for};

/// No command may take longer, a minute being the promise; this leaves room for a busy machine.
const LONGEST: Duration = Duration::from_secs(45);

/// Runs a command that must end in time.
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

/// Runs the program in time.
#[track_caller]
fn run(home: &Home, arguments: &[&str]) -> Output {
    end_of(home.command(arguments))
}

/// A process that is killed with its test.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(process.spawn().expect("it starts"))
    }

    fn is_alive(&mut self) -> bool {
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

/// A process of this user that takes locks as the program does, and keeps them: `flock` on a file, or what
/// `SQLite` takes to have a database for itself. (The test's own process may be older than a sender can be.)
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

fn turn(home: &Home) -> PathBuf {
    home.at("state/session_events.db.turn")
}

/// Whether somebody holds the open lock.
fn is_taken(home: &Home) -> bool {
    File::open(turn(home)).is_ok_and(|file| file.try_lock().is_err())
}

/// A cgroup of the test's own.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`: there is no such hierarchy here, or it can't be written.
    fn new(hierarchies: &[&str], control: &str) -> Option<Self> {
        let name = format!("ssn-test-{}", std::process::id());
        let found = hierarchies.iter().find_map(|above| {
            let path = Path::new(above).join(&name);
            fs::create_dir(&path).ok().map(|()| Self(path))
        })?;
        found.0.join(control).exists().then_some(found)
    }

    /// The same command, with its process in the cgroup.
    fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0.display());
        command.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        command
    }

    fn write(&self, control: &str, value: &str) {
        fs::write(self.0.join(control), value).expect("root may");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for (control, value) in [("cgroup.freeze", "0"), ("freezer.state", "THAWED")] {
            let path = self.0.join(control);
            let _ = path.exists().then(|| fs::write(path, value));
        }
        let _ = wait_for(|| fs::remove_dir(&self.0).is_ok());
    }
}

/// A hook that holds the open lock, and is about to wait for a database that is busy.
fn hook_with_lock(home: &Home, cgroup: Option<&Cgroup>) -> Running {
    let inner = home.command(&["queue"]);
    let mut hook = Command::new("/usr/bin/env");
    hook.arg("-i").args(LOGIN.map(|(name, value)| format!("{name}={value}")));
    hook.arg(inner.get_program()).args(inner.get_args());
    let outsider = home.queue().outsider();
    outsider.begin_writing();
    let process = Running::start(match cgroup {
        Some(cgroup) => cgroup.command(&hook),
        None => hook,
    });
    assert!(wait_for(|| is_taken(home)), "the hook takes the lock");
    process
}

/// The process that holds a file's lock.
fn holder_of(file: &Path) -> i32 {
    let inode = format!(":{}", fs::metadata(file).expect("it is there").ino());
    let locks = fs::read_to_string("/proc/locks").expect("/proc");
    let mut lines = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words[1] == "FLOCK" && words[5].ends_with(&inode)).expect("somebody has locked it");
    line[4].parse().expect("a process id")
}

/// P3, P8: the user who runs su can freeze the hook that su starts for him.
#[test]
fn a_hook_that_is_frozen_while_it_has_the_lock_is_ended_and_its_event_is_sent_once() {
    let test = "a_hook_that_is_frozen_while_it_has_the_lock_is_ended_and_its_event_is_sent_once";
    if !is_root() {
        return skip(test, "needs root");
    }
    let cgroup = Cgroup::new(&["/sys/fs/cgroup/unified", "/sys/fs/cgroup"], "cgroup.freeze");
    if cgroup.is_none() {
        skip(test, "there is no cgroup v2 that can be frozen; SIGSTOP was tried instead");
    }
    let home = Home::of_service(STDOUT);
    home.login("bob");
    let mut hook = hook_with_lock(&home, cgroup.as_ref());
    let freeze = |is_frozen: bool| match &cgroup {
        Some(cgroup) => cgroup.write("cgroup.freeze", if is_frozen { "1" } else { "0" }),
        None => home.workers().into_iter().for_each(|worker| {
            let _ = kill(worker, if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
        }),
    };
    freeze(true);
    assert!(is_taken(&home), "it is frozen with the lock");
    let worker = holder_of(&turn(&home));
    for arguments in [&["status"][..], &["retry", "--all"], &["drop", "1"]] {
        run(&home, arguments).fails().says(&format!("is locked by process {worker}"));
    }
    let sent = run(&home, &["send"]);
    sent.exits(0).says(&format!("process {worker} kept the queue locked; it was ended")).prints("'bob'");
    home.login("zoe");
    freeze(false);
    assert!(wait_for(|| !hook.is_alive()), "the frozen hook ends");
    let sent = run(&home, &["send"]).stdout() + &run(&home, &["send"]).stdout();
    assert_eq!((sent.matches("'amanda'").count(), sent.matches("'zoe'").count()), (1, 1), "{sent}");
}

/// P8: SIGKILL reaches a process in a frozen cgroup of version 1 only after the thaw.
#[test]
fn a_hook_that_cannot_even_be_killed_is_named_and_loses_no_event() {
    let test = "a_hook_that_cannot_even_be_killed_is_named_and_loses_no_event";
    let Some(cgroup) = Cgroup::new(&["/sys/fs/cgroup/freezer"], "freezer.state").filter(|_| is_root()) else {
        return skip(test, "needs root and a freezer of cgroup v1");
    };
    let home = Home::of_service(STDOUT);
    home.login("bob");
    let mut hook = hook_with_lock(&home, Some(&cgroup));
    cgroup.write("freezer.state", "FROZEN");
    assert!(is_taken(&home), "it is frozen with the lock");
    let worker = holder_of(&turn(&home));
    let named = format!("is locked by process {worker}");
    run(&home, &["status"]).fails().says(&named);
    // What is there is told all the same.
    let told = run(&home, &["send"]);
    told.fails().says(&named);
    let started = Instant::now();
    home.hook(&[("PAM_SERVICE", "sshd"), ("PAM_USER", "zoe"), ("PAM_TYPE", "open_session")]).exits(0);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    cgroup.write("freezer.state", "THAWED");
    assert!(wait_for(|| !hook.is_alive() && !is_taken(&home)), "the frozen hook ends");
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    let sent = told.stdout() + &run(&home, &["send"]).stdout() + &run(&home, &["send"]).stdout();
    for user in ["'bob'", "'amanda'", "'zoe'"] {
        assert_eq!(sent.matches(user).count(), 1, "{sent}");
    }
}

/// P8
#[test]
fn only_the_service_users_own_process_is_ended_when_it_keeps_the_queue_locked() {
    let test = "only_the_service_users_own_process_is_ended_when_it_keeps_the_queue_locked";
    if !is_root() || !has("python3") {
        return skip(test, "needs root and python3");
    }
    let rows = [
        (SERVICE, "flock", true),
        (SERVICE, "SQLite's locks", true),
        (0, "flock", false),
        (1, "SQLite's locks", false),
    ];
    // All at once, because each waits for long.
    thread::scope(|scope| {
        for (user, how, is_ended) in rows {
            scope.spawn(move || assert_ended(user, how, is_ended));
        }
    });
}

/// Whether a process of this user that keeps the queue locked is ended by `send`, or named and left alone.
fn assert_ended(user: u32, how: &str, is_ended: bool) {
    let case = format!("user {user}, {how}");
    let home = Home::of_service(STDOUT);
    home.login("amanda");
    let file = if how == "flock" { turn(&home) } else { home.database() };
    if user == 1 {
        // Somebody who once could open it.
        fs::set_permissions(home.at("state"), Permissions::from_mode(0o711)).expect("ours");
        fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("ours");
    }
    let mut holder = holder(user, &file, how);
    let named = format!("locked by process {}", holder.0.id());
    run(&home, &["status"]).when(&case).exits(1).says(&named);
    let sent = run(&home, &["send"]);
    let sent = sent.when(&case);
    if is_ended {
        sent.exits(0).says("kept the queue locked; it was ended").prints("'amanda'");
        assert!(!holder.is_alive(), "{case}");
    } else {
        sent.fails().says(&named).prints("'amanda'");
        assert!(holder.is_alive(), "{case}");
        holder.end();
        run(&home, &["send"]).when(&case).succeeds();
    }
}

/// P8: such a holder has no process id here; kill(2) would take 0 for every process of the caller's group.
#[test]
fn a_holder_in_another_pid_namespace_is_not_signalled_and_nobody_else_either() {
    let test = "a_holder_in_another_pid_namespace_is_not_signalled_and_nobody_else_either";
    if !has_mount_namespaces() || !has("python3") {
        return skip(test, "needs root, namespaces and python3");
    }
    // With the /proc of the new namespace, and with that of the old one, in which ids mean other processes.
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
        // The open lock alone keeps nobody from work, if nobody can tell who has it.
        let mut other = self::holder(SERVICE, &turn(&home), "flock");
        let outsider = home.queue().outsider();
        outsider.record("bob");
        drop(outsider);
        send("open lock").exits(0).prints("'bob'");
        assert!(other.is_alive(), "{options:?}");
        other.end();
    }
}

/// P1, P8
#[test]
fn a_pipe_in_the_place_of_a_lock_holds_nobody_up() {
    for name in [".turn", ".lock"] {
        let home = Home::new(STDOUT);
        mkfifo(&home.at(&format!("state/session_events.db{name}")), Mode::S_IRWXU).expect("its place is free");
        let started = Instant::now();
        home.login("amanda");
        assert!(started.elapsed() < Duration::from_secs(1), "{name}: {:?}", started.elapsed());
        run(&home, &["status"]).when(name).succeeds();
        run(&home, &["send"]).when(name).succeeds().prints("'amanda'");
        run(&home, &["drop", "1"]).when(name).fails().says("there is no such dead letter");
        run(&home, &["retry", "--all"]).when(name).fails().says("there is no such dead letter");
    }
}

/// P1, P2, P8: to open a pipe is to wait for whoever is at its other end.
#[test]
fn a_pipe_in_the_place_of_any_file_of_the_database_is_named_and_loses_no_event() {
    for name in ["", "-wal", "-shm", "-journal"] {
        let home = Home::new(STDOUT);
        home.login("bob");
        let planted = home.at(&format!("state/session_events.db{name}"));
        let aside = home.at("aside");
        let had_one = fs::rename(&planted, &aside).is_ok();
        mkfifo(&planted, Mode::S_IRWXU).expect("its place is free");
        let started = Instant::now();
        home.hook(&LOGIN).when(name).exits(0).says("the event waits in");
        assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
        let said = format!("{}: not a regular file", planted.display());
        for arguments in [&["status"][..], &["retry", "--all"], &["drop", "1"]] {
            run(&home, arguments).when(format!("{name} {arguments:?}")).exits(1).says(&said);
        }
        // What is in the spool is told all the same.
        run(&home, &["send"]).when(name).exits(1).says(&said).prints("'amanda'");
        fs::remove_file(&planted).expect("ours");
        if had_one {
            fs::rename(&aside, &planted).expect("ours");
        }
        let sent = run(&home, &["send"]).stdout();
        assert!(sent.contains("'bob'") && !sent.contains("'amanda'"), "{name}: {sent}");
    }
}

/// P8
#[test]
fn a_pipe_in_the_place_of_a_repairs_events_is_named() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    let planted = home.at("state/session_events.db.saved");
    mkfifo(&planted, Mode::S_IRWXU).expect("its place is free");
    let told = run(&home, &["send"]);
    told.fails().says(&format!("{}: not a regular file", planted.display()));
    fs::remove_file(&planted).expect("ours");
    let sent = told.stdout() + &run(&home, &["send"]).stdout();
    assert_eq!(sent.matches("'amanda'").count(), 1, "{sent}");
}

/// P2: two senders that can't make the file still exclude each other.
#[test]
fn where_the_senders_file_cannot_be_made_its_directory_is_locked() {
    if !has("python3") {
        return skip("where_the_senders_file_cannot_be_made_its_directory_is_locked", "needs python3");
    }
    let home = Home::new(STDOUT);
    mkfifo(&home.at("state/session_events.db.lock"), Mode::S_IRWXU).expect("its place is free");
    home.login("amanda");
    let other = holder(geteuid().as_raw(), &home.at("state"), "flock");
    run(&home, &["send"]).when("another one is at work").succeeds().prints_only("");
    drop(other);
    run(&home, &["send"]).succeeds().prints("'amanda'");
}

/// P8
#[test]
fn a_sender_that_cannot_be_seen_is_reported_unless_it_stays() {
    let test = "a_sender_that_cannot_be_seen_is_reported_unless_it_stays";
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
    run(&home, &["send"]).when("another one is at work").succeeds().prints_only("");
    elsewhere().fails().says(&format!("cannot send: {} is locked by a process that can't be seen", lock.display()));
    drop(other);
    let mut watch = Running::start(home.command(&["send", "--watch"]));
    let mut line = String::new();
    BufReader::new(watch.0.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
    assert!(line.contains("'amanda'"), "{line}");
    elsewhere().when("one that stays does the work").succeeds().prints_only("");
}

/// P3, P7: others could read who logs in from where, and lock what they can open.
#[test]
fn the_files_of_the_queue_are_their_owners_alone_however_they_were_made() {
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
    // By hand, as the Go program's installer did.
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

/// P8: a login's lock that passes on is waited for.
#[test]
fn a_lock_that_is_held_for_a_moment_costs_a_command_only_that() {
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
