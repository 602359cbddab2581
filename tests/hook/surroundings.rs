//! What a caller leaves to the hook. Under su that is an ordinary user: whatever he sets up before
//! his session begins, it is recorded, and nothing is held up.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::home::{self, Home, LOGIN, SERVICE, STDOUT, Syslog};
use crate::support::outcome::Outcome;
use crate::support::sshd::{self, EVE, Sshd};
use crate::support::{fill, has, has_mount_namespaces, is_root, skip, wait_for};

/// A user of whom no other test runs a process, so that a limit on their number is this test's own.
const ALONE: u32 = 61_235;

/// What an ordinary user can do before he starts su, as a line of shell.
const ANYBODY: [&str; 12] = [
    "exec <&-",
    "exec >&-",
    "exec 2>&-",
    "exec <&- >&- 2>&-",
    "umask 000",
    "umask 777",
    "trap '' ALRM TERM INT HUP XFSZ XCPU SEGV PIPE",
    "set -- /usr/bin/env --block-signal=ALRM,TERM,INT,HUP,XFSZ,CHLD,PIPE,USR1 \"$@\"",
    // A signal that is blocked waits, across execve(2) too.
    "set -- /usr/bin/env --block-signal=TERM,ALRM /bin/sh -c 'kill -TERM $$; kill -ALRM $$; exec \"$@\"' sh \"$@\"",
    "mkdir gone && cd gone && rmdir ../gone",
    "ulimit -c 0; ulimit -l 0; ulimit -t 1",
    "ulimit -n 64; ulimit -s 1024",
];

/// Limits that can be lowered: bytes of a file, descriptors, memory, the stack, processes, seconds.
const LIMITS: [&str; 7] = ["-f 0", "-n 4", "-v 65536", "-d 16384", "-s 128", "-p 1", "-t 1"];

/// The hook as su starts it: the real user is an ordinary one. Where the tests don't run as root, it
/// is the user's own.
fn as_su_would(home: &Home, items: &[(&str, &str)]) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if is_root() {
        let id = ALONE.to_string();
        let su = ["/usr/bin/setpriv", "--ruid", &id, "--euid", "0", "--rgid", &id, "--egid", "0", "--keep-groups"];
        words.extend(su.map(Into::into));
    }
    words.extend(["/usr/bin/env", "-i"].map(Into::into));
    words.extend(items.iter().map(|(name, value)| format!("{name}={value}").into()));
    let command = home.command(&["queue"]);
    words.push(command.get_program().into());
    words.extend(command.get_args().map(Into::into));
    words
}

/// A shell that does something and then becomes the hook.
fn after(prelude: &str, home: &Home) -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = format!("{prelude}\nexec \"$@\"");
    shell.args(["-c", &script, "sh"]).args(as_su_would(home, &LOGIN)).current_dir(&home.0).env_clear();
    shell
}

/// A host as the tests can have it: with root, the state directory is the service user's.
fn host() -> Home {
    if is_root() { Home::of_service(STDOUT) } else { Home::new(STDOUT) }
}

/// Waits for a process's end, ten seconds at most.
fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let child = std::cell::RefCell::new(child);
    wait_for(|| child.borrow_mut().try_wait().is_ok_and(|status| status.is_some()));
    child.into_inner().try_wait().expect("it is ours")
}

fn assert_recorded(home: &Home, output: &Output, prelude: &str) {
    output.when(prelude).succeeds();
    assert_eq!(home.queue().count_events_of("amanda"), 1, "{prelude}");
    assert_eq!(home.queue().integrity(), "ok", "{prelude}");
    assert!(home.spooled().is_empty(), "{prelude}: {output:?}");
    let data = fs::metadata(home.database()).expect("a database");
    assert_eq!(data.mode() & 0o7777, 0o600, "{prelude}");
    assert!(!is_root() || data.uid() == SERVICE, "{prelude}: {}", data.uid());
}

/// P1, P3
#[test]
fn whatever_a_caller_closes_ignores_blocks_or_lowers_the_event_is_recorded() {
    let test = "whatever_a_caller_closes_ignores_blocks_or_lowers_the_event_is_recorded";
    if is_root() && !has("setpriv") {
        return skip(test, "needs setpriv");
    }
    for prelude in ANYBODY {
        let home = host();
        let output = after(prelude, &home).output().expect("sh starts");
        assert_recorded(&home, &output, prelude);
    }
}

/// P3
#[test]
fn a_hook_that_gets_next_to_no_time_to_run_keeps_the_event() {
    let test = "a_hook_that_gets_next_to_no_time_to_run_keeps_the_event";
    if !has("taskset") || !has("chrt") || (is_root() && !has("setpriv")) {
        return skip(test, "needs taskset, chrt and setpriv");
    }
    for priority in ["nice -n 19", "chrt --idle 0"] {
        let busy = Busy::start(8);
        let home = host();
        let prelude = format!("set -- /usr/bin/taskset -c 0 /usr/bin/{priority} \"$@\"");
        let output = after(&prelude, &home).output().expect("sh starts");
        output.when(priority).exits(0);
        drop(busy);
        // It may have come out of time, and left the event to the spool or to its worker.
        // A worker lives for half a minute.
        assert!((0..4).any(|_| wait_for(|| home.workers().is_empty())), "{priority}: {output:?}");
        assert_eq!(home.sent().lines().count(), 1, "{priority}: {output:?}");
    }
}

/// Processes that keep the first processor busy, of a lower priority than the other tests.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> Self {
        let start = |_| {
            let mut shell = Command::new("taskset");
            shell.args(["-c", "0", "nice", "-n", "10", "sh", "-c", "while :; do :; done"]);
            shell.spawn().expect("taskset starts")
        };
        Self((0..count).map(start).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Each limit by itself, and all at once; `kind` is `-S ` for soft ones, nothing for hard ones too.
fn lowered(kind: &str) -> Vec<String> {
    let mut lines: Vec<_> = LIMITS.map(|limit| format!("ulimit {kind}{limit}")).into();
    lines.push(lines.join("; "));
    lines
}

fn assert_limits_stop_nothing(kind: &str) {
    for prelude in lowered(kind) {
        let home = host();
        let output = after(&prelude, &home).output().expect("sh starts");
        assert_recorded(&home, &output, &prelude);
    }
}

/// P1, P3
#[test]
fn soft_limits_that_a_user_lowers_stop_nothing() {
    if is_root() && !has("setpriv") {
        return skip("soft_limits_that_a_user_lowers_stop_nothing", "needs setpriv");
    }
    assert_limits_stop_nothing("-S ");
}

/// P1, P3
#[test]
fn hard_limits_that_a_user_lowers_before_su_stop_nothing() {
    let test = "hard_limits_that_a_user_lowers_before_su_stop_nothing";
    if !is_root() || !has("setpriv") {
        return skip(test, "needs root and setpriv");
    }
    if !may_lift_hard_limits() {
        return skip(test, "root may not lift limits here (CAP_SYS_RESOURCE)");
    }
    assert_limits_stop_nothing("");
}

/// Whether this process has `CAP_SYS_RESOURCE`, number 24, which containers often drop.
fn may_lift_hard_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap_or_default();
    u64::from_str_radix(set, 16).is_ok_and(|set| set >> 24 & 1 == 1)
}

/// P2
#[test]
fn a_limit_that_cannot_be_lifted_leaves_the_event_to_syslog_whole() {
    let test = "a_limit_that_cannot_be_lifted_leaves_the_event_to_syslog_whole";
    if !has_mount_namespaces() || !has("setpriv") {
        return skip(test, "needs root, mount namespaces and setpriv");
    }
    let home = host();
    let syslog = Syslog::listen(&home);
    let mut command = home.command_in_own_dev("ulimit -f 0", &["queue"]);
    if may_lift_hard_limits() {
        let inner = command;
        command = Command::new("/usr/bin/setpriv");
        command.args(["--bounding-set", "-sys_resource"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    }
    home::hook(command, &LOGIN).exits(0);
    let lines = syslog.lines();
    for part in ["action open", "user amanda", "remote_host 192.0.2.7", "tty ssh", "service sshd"] {
        assert!(lines.contains(&format!(" | {part} | ")) && lines.starts_with("<34>"), "{part}: {lines}");
    }
    assert!(home.spooled().iter().all(|name| name.starts_with('.')), "{:?}", home.spooled());
}

/// P1, P3
#[test]
fn no_signal_that_can_be_blocked_ends_the_hook_while_it_waits() {
    let test = "no_signal_that_can_be_blocked_ends_the_hook_while_it_waits";
    if is_root() && !has("setpriv") {
        return skip(test, "needs setpriv");
    }
    let home = host();
    home.record("bob", "192.0.2.8", "open_session");
    let lock = home.queue().outsider();
    lock.begin_writing();
    let mut hook = after("", &home).stderr(Stdio::piped()).spawn().expect("sh starts");
    let status = format!("/proc/{}/status", hook.id());
    // Half a second for the lock, after which the event goes to the spool.
    let is_deaf = || {
        let lines = fs::read_to_string(&status).unwrap_or_default();
        let mask = lines.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap_or_default();
        // SIGKILL and SIGSTOP can't be blocked; the C library keeps 32 to 34 for itself.
        u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & 0x7fff_ffff == 0x7ffb_feff)
    };
    assert!(wait_for(is_deaf), "{}", fs::read_to_string(&status).unwrap_or_default());
    let process = Pid::from_raw(i32::try_from(hook.id()).expect("a process id"));
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        kill(process, signal).expect("it runs");
    }
    let ended = end_of(&mut hook);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    drop(lock);
    assert!(home.sent().contains("'amanda'"));
}

/// P3
#[test]
fn a_user_cannot_kill_the_hook_that_su_starts_for_him() {
    let test = "a_user_cannot_kill_the_hook_that_su_starts_for_him";
    if !is_root() || !has("setpriv") {
        return skip(test, "needs root and setpriv");
    }
    let home = host();
    home.record("bob", "192.0.2.8", "open_session");
    let lock = home.queue().outsider();
    lock.begin_writing();
    let mut hook = after("", &home).stderr(Stdio::piped()).spawn().expect("sh starts");
    // What PAM waits for opens nothing, and stays root; its child is the one that gives root up.
    let parent = hook.id().to_string();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child = || fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
    let is_user = |process: &str, user: u32| {
        let ids = format!("Uid:\t{user}\t{user}\t{user}\t{user}\n");
        fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|lines| lines.contains(&ids))
    };
    assert!(wait_for(|| is_user(&parent, 0) && is_user(&child(), SERVICE)), "{parent} {}", child());
    let (id, child) = (EVE.to_string(), child());
    for (signal, process) in [("-KILL", &parent), ("-STOP", &parent), ("-KILL", &child), ("-STOP", &child)] {
        let mut attack = Command::new("/usr/bin/setpriv");
        attack.args(["--reuid", &id, "--regid", &id, "--clear-groups", "/bin/kill", signal, process]);
        attack.output().expect("setpriv starts").when(signal).says("not permitted");
    }
    assert!(end_of(&mut hook).is_some_and(|status| status.success()));
    drop(lock);
    assert!(home.sent().contains("'amanda'"));
}

/// P1
#[test]
fn a_full_pipe_or_a_stopped_terminal_on_stderr_holds_nobody_up() {
    let test = "a_full_pipe_or_a_stopped_terminal_on_stderr_holds_nobody_up";
    if !has("python3") || (is_root() && !has("setpriv")) {
        return skip(test, "needs python3 and setpriv");
    }
    let stopped = "import os, pty, sys, termios
ours, theirs = pty.openpty()
termios.tcflow(theirs, termios.TCOOFF)
os.set_inheritable(ours, True)
os.dup2(theirs, 2)
os.execv(sys.argv[1], sys.argv[1:])";
    for is_terminal in [false, true] {
        let home = host();
        // There is something to say.
        home.configure("[allowlist]\nips = [7]\n");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = if is_terminal {
            let mut python = Command::new("python3");
            python.args(["-c", stopped]).args(as_su_would(&home, &LOGIN));
            python
        } else {
            fill(&writer);
            after("", &home)
        };
        let mut hook = command.stderr(writer).stdin(Stdio::null()).spawn().expect("it starts");
        let ended = end_of(&mut hook);
        let _ = hook.kill();
        assert!(ended.is_some_and(|status| status.success()), "terminal: {is_terminal}");
        // It wasn't the deadline that ended it, which leaves the event to the spool.
        assert_eq!(home.queue().count_events(), 1, "terminal: {is_terminal}");
        assert!(home.spooled().is_empty(), "terminal: {is_terminal}");
        drop(reader);
    }
}

/// P3
#[test]
fn a_user_who_leaves_su_what_it_barely_lives_with_is_recorded() {
    let test = "a_user_who_leaves_su_what_it_barely_lives_with_is_recorded";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let home = host();
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    // As low as su itself can live with.
    let limits = "ulimit -S -f 0; ulimit -S -n 20; ulimit -s 256; ulimit -t 1; ulimit -l 0; umask 777
                  trap '' TERM INT HUP ALRM XFSZ; exec su root -c true <&- >&- 2>&-";
    sshd.command_of_eve("sh").args(["-c", limits]).output().expect("sh starts").exits(0);
    let sent = home.sent();
    let sentences: Vec<_> = sent.lines().filter_map(|line| line.split(" at ").next()).collect();
    assert_eq!(
        sentences,
        ["'root' (by 'eve') logged in to host.example (su)", "'root' (by 'eve') logged out from host.example (su)"]
    );
}

/// Not one of a user's own that a path may lead to.
const PYTHON: &str = "/usr/bin/python3";

/// A line of Python that makes every sleep and every wait with a time limit endless (prctl(2)), and then
/// becomes the program in its arguments.
const ENDLESS_SLACK: &str = "import ctypes, os, sys
slack = ctypes.c_ulong(10**18)
assert ctypes.CDLL(None).prctl(29, slack, 0, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])";

/// P1, P3: timer slack survives fork, execve and the set-user-id bit. The database is busy, so the hook waits.
#[test]
fn a_user_who_sets_an_endless_timer_slack_before_su_holds_nobody_up() {
    let test = "a_user_who_sets_an_endless_timer_slack_before_su_holds_nobody_up";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    if !fs::exists(PYTHON).unwrap_or(false) {
        return skip(test, "needs a python3 that every user may run");
    }
    let home = host();
    home.record("bob", "192.0.2.8", "open_session");
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    let lock = home.queue().outsider();
    lock.begin_writing();
    let started = Instant::now();
    let mut su = sshd.command_of_eve(PYTHON);
    let mut su = su.args(["-c", ENDLESS_SLACK, "su", "root", "-c", "true"]).spawn().expect("python3 starts");
    let ended = end_of(&mut su);
    let took = started.elapsed();
    if ended.is_none() {
        for process in home.workers() {
            let _ = kill(process, Signal::SIGKILL);
        }
        let _ = su.wait();
    }
    drop(lock);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    // A second for the open, one for the close, and as much again for a busy machine.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    assert_eq!(home.sent().matches("'root' (by 'eve')").count(), 2);
}

/// P3: what matters of a caller's settings is reset in the process that PAM waits for, and in its worker.
#[test]
fn what_a_caller_lowered_or_raised_is_reset() {
    let test = "what_a_caller_lowered_or_raised_is_reset";
    if !is_root() || !has("setpriv") || !fs::exists(PYTHON).unwrap_or(false) {
        return skip(test, "needs root, setpriv and python3");
    }
    let home = host();
    home.record("bob", "192.0.2.8", "open_session");
    let lock = home.queue().outsider();
    lock.begin_writing();
    let prelude = format!(
        "ulimit -S -t 5; ulimit -S -s 256; ulimit -S -f 0; ulimit -S -c unlimited
         echo 900 >/proc/self/oom_score_adj
         set -- {PYTHON} -c '{ENDLESS_SLACK}' \"$@\""
    );
    let mut hook = after(&prelude, &home).stderr(Stdio::piped()).spawn().expect("sh starts");
    let hooks = [Pid::from_raw(i32::try_from(hook.id()).expect("a process id"))];
    assert!(wait_for(|| home.workers().len() == 2), "{:?}", home.workers());
    let found = home.workers().iter().chain(&hooks).map(|process| settings(*process)).collect::<Vec<_>>();
    // A host that is gone would make its event one of this machine's orphans.
    let ended = end_of(&mut hook);
    for process in home.workers() {
        let _ = kill(process, Signal::SIGKILL);
    }
    for found in found {
        assert_eq!(found, ["50000", "0", "unlimited", "8388608", "unlimited", "0"]);
    }
    assert!(ended.is_some_and(|status| status.success()));
    drop(lock);
    assert!(home.sent().contains("'amanda'"));
}

/// Timer slack, the score for want of memory, and the soft limits of a process.
fn settings(process: Pid) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let limits = read("limits");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    let mut found = vec![read("timerslack_ns").trim().to_owned(), read("oom_score_adj").trim().to_owned()];
    found.extend(["Max cpu time", "Max stack size", "Max file size", "Max core file size"].map(limit));
    found
}
