//! The process attributes that a caller can set up before `send` starts, and the alarm that ends a command that hangs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::home::{Home, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::Server;
use crate::support::{has, has_mount_namespaces, is_root, skip, tools, wait_for};

/// Lines of shell that a caller can run before the sender starts.
const CALLERS: [&str; 10] = [
    "exec <&-",
    "exec 2>&-",
    "exec <&- 2>&-",
    "umask 777",
    "trap '' ALRM PIPE XFSZ XCPU TERM INT HUP",
    "set -- /usr/bin/env --block-signal=ALRM,PIPE,TERM,XFSZ,CHLD \"$@\"",
    "set -- /usr/bin/env --block-signal=ALRM /bin/sh -c 'kill -ALRM $$; exec \"$@\"' sh \"$@\"",
    "ulimit -S -f 0; ulimit -S -d 16384; ulimit -S -v 65536",
    "ulimit -S -n 5",
    "mkdir gone && cd gone && rmdir ../gone",
];

/// Returns a shell that runs a line and then becomes the program, as the service user if the tests run as root.
fn after(prelude: &str, home: &Home, arguments: &[&str]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{prelude}\nexec \"$@\""), "sh"]).current_dir(&home.0);
    if is_root() && has("setpriv") {
        let id = SERVICE.to_string();
        shell.args(["/usr/bin/setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    let inner = home.command(arguments);
    shell.arg(inner.get_program()).args(inner.get_args()).env_clear();
    shell
}

fn host(config: &str) -> Home {
    if is_root() && has("setpriv") { Home::of_service(config) } else { Home::new(config) }
}

/// P3, P8
#[test]
fn closed_descriptors_blocked_signals_and_low_limits_stop_no_sender() {
    for prelude in CALLERS {
        let home = host(STDOUT);
        home.login("amanda");
        let output = after(prelude, &home, &["send"]).output().expect("sh starts");
        output.when(prelude).exits(0).prints("'amanda'");
        assert_eq!(home.sent(), "", "{prelude}");
    }
}

/// P2: instead of ending the process.
#[test]
fn a_limit_that_cannot_be_lifted_is_reported() {
    let home = host(STDOUT);
    home.login("amanda");
    after("ulimit -f 0", &home, &["send"]).output().expect("sh starts").fails();
    assert_eq!(home.sent().matches("'amanda'").count(), 1, "it is sent without the limit");
}

/// P3, P4: under a local user's fork bomb.
#[test]
fn a_host_without_a_thread_to_spare_ends_nothing_suddenly() {
    let test = "a_host_without_a_thread_to_spare_ends_nothing_suddenly";
    if !is_root() || !has("prlimit") {
        return skip(test, "needs root and prlimit");
    }
    let server = Server::well();
    let home = Home::of_service(&format!("[notification]\nservice = [\"ntfy\", \"stdout\"]\n{}", server.ntfy()));
    home.login("amanda");
    let limited = |arguments: &[&str]| {
        let inner = home.command(arguments);
        let mut command = Command::new("prlimit");
        command.arg("--nproc=0").arg(inner.get_program()).args(inner.get_args());
        command.output().expect("prlimit starts")
    };
    limited(&["send"]).fails().prints("'amanda'").says("ntfy: ").says("everything is kept");
    limited(&["test"]).exits(1).prints("stdout prints: ").prints("ntfy: ");
    limited(&["check", "--network"]).prints("network: ntfy").prints("network: stdout");
    assert_eq!(server.requests().len(), 0);
    home.run(&["send", "--now"]).exits(0);
    assert_eq!(server.requests().len(), 1);
}

/// P3, P8: timer slack survives fork and exec, and could make every sleep endless.
#[test]
fn a_callers_timer_slack_delays_nothing() {
    let test = "a_callers_timer_slack_delays_nothing";
    if !has("python3") {
        return skip(test, "needs python3");
    }
    let home = Home::new(STDOUT);
    home.login("amanda");
    let lock = fs::File::open(home.at("state/session_events.db.turn")).expect("the hook made it");
    lock.lock().expect("nobody else has it");
    let inner = home.command(&["send"]);
    let mut python = Command::new("python3");
    let script = "import ctypes, os, sys
assert ctypes.CDLL(None).prctl(29, ctypes.c_ulong(10**18), 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])";
    python.args(["-c", script]).arg(inner.get_program()).args(inner.get_args());
    let mut sender = python.stdout(Stdio::piped()).spawn().expect("python3 starts");
    thread::sleep(Duration::from_millis(500));
    lock.unlock().expect("ours");
    let has_ended = wait_for(|| sender.try_wait().is_ok_and(|ended| ended.is_some()));
    let _ = sender.kill();
    assert!(has_ended, "it sleeps endlessly");
    sender.wait_with_output().expect("ours").prints("'amanda'");
}

/// P8: SIGALRM ends a command that hangs, even if the caller ignores or blocks it.
#[test]
fn a_caller_cannot_disable_a_senders_alarm() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = silent.local_addr().expect("it is bound").port();
    let target = format!("[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{port}/t\"\n");
    for prelude in ["trap '' ALRM", "set -- /usr/bin/env --block-signal=ALRM \"$@\""] {
        let home = host(&format!("[notification]\nservice = \"ntfy\"\n{target}"));
        home.login("amanda");
        let mut sender = after(prelude, &home, &["send"]).spawn().expect("sh starts");
        silent.accept().expect("it connects, and waits for ten seconds");
        kill(pid(&sender), Signal::SIGALRM).expect("it runs");
        let started = Instant::now();
        let ended = sender.wait().expect("ours");
        assert_eq!(ended.signal(), Some(Signal::SIGALRM as i32), "{prelude}");
        assert!(started.elapsed() < Duration::from_secs(5), "{prelude}: {:?}", started.elapsed());
    }
}

fn pid(process: &Child) -> Pid {
    Pid::from_raw(process.id().try_into().expect("a process id"))
}

/// P8: such as a network file system whose server has stopped.
#[test]
fn each_command_ends_after_a_minute_on_a_hung_file_system() {
    let test = "each_command_ends_after_a_minute_on_a_hung_file_system";
    if !has_mount_namespaces() || !tools::has_mounted("unionfs") || !fs::exists("/dev/fuse").unwrap_or(false) {
        return skip(test, "needs root, namespaces, unionfs-fuse and /dev/fuse");
    }
    let home = Home::new(STDOUT);
    // The shell limits each command, so that the test can't hang with it. The caller ignores SIGALRM.
    let script = "
        mkdir below; unionfs -o allow_other,default_permissions,direct_io \"$PWD/below=RW\" state
        server=$(pgrep -f \"$PWD/below=RW\")
        trap 'kill -CONT $server; umount state' EXIT
        env -i PAM_SERVICE=sshd PAM_USER=amanda PAM_TYPE=open_session \"$@\" queue
        kill -STOP $server
        for process in $server; do until grep -q '^State:.T' /proc/$process/status; do sleep 0.1; done; done
        trap '' ALRM
        for command in send status 'retry --all' 'drop 1'; do
            { timeout -s KILL 80 \"$@\" $command && code=$? || code=$?; echo \"$command: $code\"; } &
        done
        wait";
    let inner = home.command(&[]);
    let started = Instant::now();
    let output: Output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("cd {}\n{}{script}", home.0.display(), tools::MOUNT), "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()
        .expect("unshare starts");
    // With cached files, a command may fail before it hangs.
    let (alarm, killed) = (128 + Signal::SIGALRM as i32, 128 + Signal::SIGKILL as i32);
    output.prints(&format!("send: {alarm}\n")).prints(&format!("status: {alarm}\n"));
    for command in ["retry --all: ", "drop 1: "] {
        output.prints(command);
    }
    assert!(!output.stdout().contains(&killed.to_string()), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(75), "{:?}", started.elapsed());
}

/// P8
#[test]
fn the_alarm_spares_a_watching_sender_and_a_status_that_waits_for_its_reader() {
    let home = Home::new(STDOUT);
    let mut watch = home.command(&["send", "--watch"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    crate::support::fill(&writer);
    let mut status = home.command(&["status"]).stdout(writer).spawn().expect("it starts");
    thread::sleep(Duration::from_secs(65));
    assert!(watch.try_wait().expect("ours").is_none(), "the watching sender has ended");
    assert!(status.try_wait().expect("ours").is_none(), "`status` has ended");
    let _ = watch.kill();
    let _ = watch.wait();
    drop(reader);
    assert_eq!(status.wait().expect("ours").code(), Some(0));
}
