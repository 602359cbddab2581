//! The process that records an event and is left behind if it is late: the login goes on, the event is
//! delivered once whatever order its two copies come in, and the process ends itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::home::{Home, LOGIN, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::{has, is_root, skip, wait_for};

/// How a login's notice begins.
const LINE: &str = "'amanda' (192.0.2.7) logged in";

/// What a login that didn't wait for its worker says.
const LATE: &str = "the queue took too long; the event waits in";

/// A login's second, with as much again for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a worker that is left behind ends itself, with room for a machine that is busy.
const END: std::ops::Range<Duration> = Duration::from_secs(28)..Duration::from_secs(36);

/// The lock that logins queue on.
struct Lock(#[expect(dead_code, reason = "closing it frees the lock")] File);

impl Lock {
    /// Takes it from a queue that has been used, and holds it until it is dropped.
    fn hold(home: &Home) -> Self {
        let file = File::open(home.at("state/session_events.db.turn")).expect("a login has made it");
        file.lock().expect("nobody holds it for long");
        Self(file)
    }
}

/// A host with a queue that has seen a login, which is sent.
fn used() -> Home {
    let home = if is_root() { Home::of_service(STDOUT) } else { Home::new(STDOUT) };
    home.login("bob");
    assert_eq!(home.sent().lines().count(), 1);
    home
}

/// The one worker that a login left behind. (Another one has just written the copy.)
#[track_caller]
fn worker(home: &Home) -> Pid {
    assert!(wait_for(|| home.workers().len() == 1), "{:?}", home.workers());
    home.workers()[0]
}

fn is_in_state(process: Pid, state: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with(&format!("State:\t{state}")))
}

/// Records a login that is late, and checks that it wasn't held up.
#[track_caller]
fn late_login(home: &Home, command: Command) -> Output {
    let started = Instant::now();
    let output = hook(command, &LOGIN);
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    output.exits(0).says(LATE);
    assert_eq!(home.spooled().len(), 1, "{:?}", home.spooled());
    output
}

/// Sends, and checks that exactly this login's notice comes, once.
#[track_caller]
fn assert_sent_once(home: &Home) {
    let sent = home.sent();
    assert!(sent.contains(LINE) && sent.lines().count() == 1, "{sent}");
    assert_nothing_is_left(home);
}

#[track_caller]
fn assert_nothing_is_left(home: &Home) {
    assert_eq!(home.sent(), "", "sent twice");
    assert_eq!(home.spooled(), [""; 0]);
    assert_eq!(home.queue().count_unsettled(), 0);
    home.login("zoe");
    assert_eq!(home.sent().lines().count(), 1);
}

/// P1, P2
#[test]
fn a_worker_that_is_late_still_records_and_the_event_is_sent_once() {
    let home = used();
    let lock = Lock::hold(&home);
    late_login(&home, home.command(&["queue"]));
    worker(&home);
    assert_eq!(home.queue().count_events_of("amanda"), 0);
    drop(lock);
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    assert_eq!((home.queue().count_events_of("amanda"), home.spooled().len()), (1, 1));
    assert_sent_once(&home);
    assert_eq!(home.queue().count_events_of("amanda"), 1);
}

/// P2: the spool is imported and sent before the worker records.
#[test]
fn a_worker_that_records_after_its_copy_was_sent_repeats_nothing() {
    // What comes in between doesn't matter, nor how long delivered events are kept.
    for (between, history) in [(0, 30), (3, 30), (3, 0)] {
        let home = used();
        let config = fs::read_to_string(home.at("config.toml")).expect("a configuration");
        let config = config.replace("[notification]", &format!("history_days = {history}\n[notification]"));
        fs::write(home.at("config.toml"), config).expect("it is ours");
        let lock = Lock::hold(&home);
        late_login(&home, home.command(&["queue"]));
        let worker = worker(&home);
        kill(worker, Signal::SIGSTOP).expect("it is ours");
        assert!(wait_for(|| is_in_state(worker, "T")));
        drop(lock);
        let sent = home.sent();
        assert!(sent.contains(LINE) && sent.lines().count() == 1, "{sent}");
        for number in 0..between {
            home.login(&format!("user{number}"));
            assert_eq!(home.sent().lines().count(), 1);
        }
        kill(worker, Signal::SIGCONT).expect("it is ours");
        assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
        assert_eq!(home.queue().count_events_of("amanda"), 2, "it has recorded its copy");
        assert_eq!(home.sent(), "", "{between} {history}");
        assert_nothing_is_left(&home);
    }
}

/// P2: its turn comes, but the database is still busy: there are two copies in the spool.
#[test]
fn a_late_worker_that_meets_a_busy_database_leaves_a_second_copy_that_is_not_sent() {
    let home = used();
    let (lock, writer) = (Lock::hold(&home), home.queue().outsider());
    writer.begin_writing();
    late_login(&home, home.command(&["queue"]));
    drop(lock);
    assert!(wait_for(|| home.workers().is_empty()), "{:?}", home.workers());
    drop(writer);
    assert_eq!((home.spooled().len(), home.queue().count_events_of("amanda")), (2, 0), "{:?}", home.spooled());
    assert_sent_once(&home);
}

/// P1: a shell's `$(…)` waits until nobody has the pipe any more.
#[test]
fn a_worker_that_is_left_behind_holds_nothing_of_the_callers() {
    let home = used();
    let lock = Lock::hold(&home);
    let inner = home.command(&["queue"]);
    let script = "out=$(env -i PAM_SERVICE=sshd PAM_USER=amanda PAM_RHOST=192.0.2.7 PAM_TYPE=open_session \"$@\" 2>&1)
                  printf %s \"$out\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let started = Instant::now();
    let output = shell.output().expect("sh starts");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    output.exits(0).prints(LATE);
    let worker = worker(&home);
    // Its stderr leads to the hook, which is gone.
    for descriptor in 0..2 {
        let link = fs::read_link(format!("/proc/{worker}/fd/{descriptor}"));
        assert!(link.as_ref().is_ok_and(|path| path == Path::new("/dev/null")), "{descriptor}: {link:?}");
    }
    drop(lock);
    assert!(wait_for(|| home.workers().is_empty()));
    assert_sent_once(&home);
}

/// Held by the one caller of several that records its login.
static TURN: Mutex<()> = Mutex::new(());

/// P8: whatever the caller did to signals, and to what a process may queue of them.
#[test]
fn a_worker_that_is_not_let_in_is_gone_after_half_a_minute() {
    let callers: [&[&str]; 5] = [
        &[],
        &["/usr/bin/env", "--ignore-signal=ALRM,TERM"],
        &["/usr/bin/env", "--block-signal=ALRM,TERM"],
        &["/usr/bin/env", "--ignore-signal", "--block-signal"],
        &["/usr/bin/prlimit", "--sigpending=0:0"],
    ];
    if !is_root() || !has("prlimit") {
        return skip("a_worker_that_is_not_let_in_is_gone_after_half_a_minute", "needs root and prlimit");
    }
    thread::scope(|scope| {
        for before in callers {
            scope.spawn(move || {
                let home = used();
                let lock = Lock::hold(&home);
                let inner = home.command(&["queue"]);
                let mut command = Command::new(before.first().copied().unwrap_or("/usr/bin/env"));
                command.args(before.get(1..).unwrap_or_default()).arg(inner.get_program()).args(inner.get_args());
                // One after the other: five at once on a busy machine would have no time left for the spool.
                let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
                let started = Instant::now();
                late_login(&home, command);
                drop(turn);
                let worker = worker(&home);
                let is_gone = || wait_for(|| home.workers().is_empty());
                while started.elapsed() < END.end && !is_gone() {}
                let lived = started.elapsed();
                if lived >= END.end {
                    kill(worker, Signal::SIGKILL).expect("it is ours");
                }
                assert!(END.contains(&lived), "{before:?}: {lived:?}");
                assert_eq!(home.queue().count_events_of("amanda"), 0, "{before:?}");
                drop(lock);
                assert_sent_once(&home);
            });
        }
    });
}

/// A control group of this test's own that gets a thousandth of a processor.
struct Throttled(PathBuf);

impl Throttled {
    /// `None` where none can be made.
    fn new() -> Option<Self> {
        let name = format!("ssn-test-{}", std::process::id());
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"];
        roots.into_iter().find_map(|root| {
            let group = Self(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            let set = |file: &str, value: &str| {
                // Only the kernel makes files in a control group.
                group.0.join(file).exists() && fs::write(group.0.join(file), value).is_ok()
            };
            let is_set = set("cpu.max", "1000 1000000")
                || set("cpu.cfs_period_us", "1000000") && set("cpu.cfs_quota_us", "1000");
            is_set.then_some(group)
        })
    }

    fn is_empty(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// P3: under su the hook is in the user's control group, which may be his own to set.
#[test]
fn a_login_that_gets_a_millisecond_of_processor_time_a_second_is_recorded() {
    let test = "a_login_that_gets_a_millisecond_of_processor_time_a_second_is_recorded";
    let Some(group) = Throttled::new() else {
        return skip(test, "needs a control group that limits processor time");
    };
    let home = used();
    let inner = home.command(&["queue"]);
    let mut command = Command::new("/bin/sh");
    let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.0.display());
    command.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    hook(command, &LOGIN).exits(0);
    // The worker is slow, too. It has half a minute.
    while !wait_for(|| group.is_empty()) && !home.workers().is_empty() {}
    assert_eq!(home.queue().count_events_of("amanda"), 1);
    assert_sent_once(&home);
}
