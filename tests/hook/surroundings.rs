//! The process attributes that a caller can set up before the hook starts. Under su, the caller is an ordinary
//! user; he can neither hide his session nor delay a login.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::home::{Home, LOGIN, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::queue::outsider::Outsider;
use crate::support::sshd::{self, Sshd};
use crate::support::{fill, has, is_root, skip, wait_for};

/// A user whose processes only this file starts, so that a limit on their number concerns nothing else.
const ALONE: u32 = 61_235;

/// Lines of shell that an ordinary user can run before he starts su.
const ANYBODY: [&str; 12] = [
    "exec <&-",
    "exec >&-",
    "exec 2>&-",
    "exec <&- >&- 2>&-",
    "umask 000",
    "umask 777",
    "trap '' ALRM TERM INT HUP XFSZ XCPU SEGV PIPE",
    "set -- /usr/bin/env --block-signal=ALRM,TERM,INT,HUP,XFSZ,CHLD,PIPE,USR1 \"$@\"",
    // A blocked signal stays pending across execve(2).
    "set -- /usr/bin/env --block-signal=TERM,ALRM /bin/sh -c 'kill -TERM $$; kill -ALRM $$; exec \"$@\"' sh \"$@\"",
    "mkdir gone && cd gone && rmdir ../gone",
    "ulimit -c 0; ulimit -l 0; ulimit -t 1",
    "ulimit -n 64; ulimit -s 1024",
];

/// Returns the words that start the hook as su does: with an ordinary real user if the tests run as root.
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

/// Returns a shell that runs a line and then becomes the hook.
pub fn after(prelude: &str, home: &Home) -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = format!("{prelude}\nexec \"$@\"");
    shell.args(["-c", &script, "sh"]).args(as_su_would(home, &LOGIN)).current_dir(&home.0).env_clear();
    shell
}

/// Makes a host whose database another process has locked, so that its hook waits half a second.
pub fn busy_host() -> (Home, Outsider) {
    let home = Home::as_installed(STDOUT);
    home.record("bob", "192.0.2.8", "open_session");
    let lock = home.queue().outsider();
    lock.begin_writing();
    (home, lock)
}

/// Waits up to ten seconds for a process to end.
pub fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let child = std::cell::RefCell::new(child);
    wait_for(|| child.borrow_mut().try_wait().is_ok_and(|status| status.is_some()));
    child.into_inner().try_wait().expect("it is ours")
}

pub fn assert_recorded(home: &Home, output: &Output, prelude: &str) {
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
fn closed_descriptors_blocked_signals_and_low_limits_lose_no_event() {
    let test = "closed_descriptors_blocked_signals_and_low_limits_lose_no_event";
    if is_root() && !has("setpriv") {
        return skip(test, "needs setpriv");
    }
    for prelude in ANYBODY {
        let home = Home::as_installed(STDOUT);
        let output = after(prelude, &home).output().expect("sh starts");
        assert_recorded(&home, &output, prelude);
    }
}

/// P3
#[test]
fn a_hook_that_gets_almost_no_processor_time_loses_no_event() {
    let test = "a_hook_that_gets_almost_no_processor_time_loses_no_event";
    if !has("taskset") || !has("chrt") || (is_root() && !has("setpriv")) {
        return skip(test, "needs taskset, chrt and setpriv");
    }
    for priority in ["nice -n 19", "chrt --idle 0"] {
        let busy = Busy::start(8);
        let home = Home::as_installed(STDOUT);
        let prelude = format!("set -- /usr/bin/taskset -c 0 /usr/bin/{priority} \"$@\"");
        let output = after(&prelude, &home).output().expect("sh starts");
        output.when(priority).exits(0);
        drop(busy);
        // The event may be in the spool, or still with the worker, which lives for half a minute.
        assert!((0..4).any(|_| wait_for(|| home.workers().is_empty())), "{priority}: {output:?}");
        assert_eq!(home.sent().lines().count(), 1, "{priority}: {output:?}");
    }
}

/// Processes that keep the first processor busy, at a lower priority than the other tests.
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

/// P1
#[test]
fn a_full_pipe_or_a_stopped_terminal_on_stderr_delays_no_login() {
    let test = "a_full_pipe_or_a_stopped_terminal_on_stderr_delays_no_login";
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
        let home = Home::as_installed(STDOUT);
        // A mistake, so that there is a message.
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
        // If the deadline had ended the hook, the event would be in the spool.
        assert_eq!(home.queue().count_events(), 1, "terminal: {is_terminal}");
        assert!(home.spooled().is_empty(), "terminal: {is_terminal}");
        drop(reader);
    }
}

/// P3
#[test]
fn the_tightest_limits_that_su_survives_hide_no_session() {
    let test = "the_tightest_limits_that_su_survives_hide_no_session";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let home = Home::as_installed(STDOUT);
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    // With lower limits, su itself fails.
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

/// The system's python3. The one on the PATH may be out of other users' reach.
const PYTHON: &str = "/usr/bin/python3";

/// Python that makes every sleep and every timeout endless (prctl(2)), then becomes the program in its arguments.
const ENDLESS_SLACK: &str = "import ctypes, os, sys
slack = ctypes.c_ulong(10**18)
assert ctypes.CDLL(None).prctl(29, slack, 0, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])";

/// P1, P3: timer slack survives fork, execve and the set-user-id bit.
#[test]
fn an_endless_timer_slack_set_before_su_delays_no_login() {
    let test = "an_endless_timer_slack_set_before_su_delays_no_login";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    if !fs::exists(PYTHON).unwrap_or(false) {
        return skip(test, "needs a python3 that every user may run");
    }
    let (home, lock) = busy_host();
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
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
    // A second each for open and close, doubled for a busy machine.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    assert_eq!(home.sent().matches("'root' (by 'eve')").count(), 2);
}

/// P3: in the process that PAM waits for and in its workers.
#[test]
fn timer_slack_oom_score_and_soft_limits_of_the_caller_are_reset() {
    let test = "timer_slack_oom_score_and_soft_limits_of_the_caller_are_reset";
    if !is_root() || !has("setpriv") || !fs::exists(PYTHON).unwrap_or(false) {
        return skip(test, "needs root, setpriv and python3");
    }
    let (home, lock) = busy_host();
    let prelude = format!(
        "ulimit -S -t 5; ulimit -S -s 256; ulimit -S -f 0; ulimit -S -c unlimited
         echo 900 >/proc/self/oom_score_adj
         set -- {PYTHON} -c '{ENDLESS_SLACK}' \"$@\""
    );
    let mut hook = after(&prelude, &home).stderr(Stdio::piped()).spawn().expect("sh starts");
    let hooks = [Pid::from_raw(i32::try_from(hook.id()).expect("a process id"))];
    assert!(wait_for(|| home.workers().len() == 2), "{:?}", home.workers());
    let found = home.workers().iter().chain(&hooks).map(|process| settings(*process)).collect::<Vec<_>>();
    // Without its host's directory, the hook would write the event to this machine's orphans.
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

/// Returns timer slack, OOM score and soft limits of a process.
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
