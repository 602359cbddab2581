//! The worker, which records an event and is left behind if it is late: the login goes on, the event is
//! delivered once in whatever order its two copies arrive, and the worker ends by itself.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::cgroup::Cgroup;
use crate::support::home::{Home, LOGIN, PATIENCE, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::{has, is_root, skip, wait_for};

/// The beginning of a login's notice.
const LINE: &str = "'amanda' (192.0.2.7) logged in";

/// The message of a login that didn't wait for its worker.
const LATE: &str = "the queue took too long; the event waits in";

/// The time at which a worker left behind ends by itself, with room for a busy machine.
const END: std::ops::Range<Duration> = Duration::from_secs(28)..Duration::from_secs(36);

/// The open lock, on which logins queue.
struct Lock(#[expect(dead_code, reason = "closing it frees the lock")] File);

impl Lock {
    /// Takes the lock of a queue that has been used, and holds it until this is dropped.
    fn hold(home: &Home) -> Self {
        let file = File::open(home.at("state/session_events.db.turn")).expect("a login has made it");
        file.lock().expect("nobody holds it for long");
        Self(file)
    }
}

/// Makes a host whose queue has one login, already sent.
fn used() -> Home {
    let home = if is_root() { Home::of_service(STDOUT) } else { Home::new(STDOUT) };
    home.login("bob");
    assert_eq!(home.sent().lines().count(), 1);
    home
}

/// Returns the worker that a login left behind, once the one that wrote the copy has ended.
#[track_caller]
fn worker(home: &Home) -> Pid {
    assert!(wait_for(|| home.workers().len() == 1), "{:?}", home.workers());
    home.workers()[0]
}

fn is_in_state(process: Pid, state: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with(&format!("State:\t{state}")))
}

/// Records a login whose worker is late, and checks that the login wasn't delayed.
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

/// Checks that this login's notice, and nothing else, is sent once.
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
fn a_late_worker_still_records_and_the_event_is_sent_once() {
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
    // Neither logins in between nor `history_days` make a difference.
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
        assert_eq!(home.queue().count_events_of("amanda"), 2, "the worker has recorded its copy");
        assert_eq!(home.sent(), "", "{between} {history}");
        assert_nothing_is_left(&home);
    }
}

/// P2: the worker gets the lock, but the database is still busy.
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

/// P1: a shell's `$(…)` waits until the last process has closed the pipe.
#[test]
fn a_worker_left_behind_keeps_no_descriptor_of_the_caller() {
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
    // Its stderr is a pipe to the hook, which is gone.
    for descriptor in 0..2 {
        let link = fs::read_link(format!("/proc/{worker}/fd/{descriptor}"));
        assert!(link.as_ref().is_ok_and(|path| path == Path::new("/dev/null")), "{descriptor}: {link:?}");
    }
    drop(lock);
    assert!(wait_for(|| home.workers().is_empty()));
    assert_sent_once(&home);
}

/// Held while one of the callers records its login.
static TURN: Mutex<()> = Mutex::new(());

/// P8: also if the caller ignores or blocks signals, or limits queued ones.
#[test]
fn a_worker_that_never_gets_the_lock_ends_after_half_a_minute() {
    let callers: [&[&str]; 5] = [
        &[],
        &["/usr/bin/env", "--ignore-signal=ALRM,TERM"],
        &["/usr/bin/env", "--block-signal=ALRM,TERM"],
        &["/usr/bin/env", "--ignore-signal", "--block-signal"],
        &["/usr/bin/prlimit", "--sigpending=0:0"],
    ];
    if !is_root() || !has("prlimit") {
        return skip("a_worker_that_never_gets_the_lock_ends_after_half_a_minute", "needs root and prlimit");
    }
    thread::scope(|scope| {
        for before in callers {
            scope.spawn(move || {
                let home = used();
                let lock = Lock::hold(&home);
                let inner = home.command(&["queue"]);
                let mut command = Command::new(before.first().copied().unwrap_or("/usr/bin/env"));
                command.args(before.get(1..).unwrap_or_default()).arg(inner.get_program()).args(inner.get_args());
                // One after the other: on a busy machine, five at once would be too late for the spool.
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

/// P3: under su, the hook is in the user's control group, whose limits the user may be able to set.
#[test]
fn a_login_that_gets_a_millisecond_of_processor_time_a_second_is_recorded() {
    let test = "a_login_that_gets_a_millisecond_of_processor_time_a_second_is_recorded";
    // A thousandth of a processor, in the words of cgroups 2 and 1.
    let limits: [&[_]; 2] =
        [&[("cpu.max", "1000 1000000")], &[("cpu.cfs_period_us", "1000000"), ("cpu.cfs_quota_us", "1000")]];
    let Some(group) = Cgroup::new(&limits) else {
        return skip(test, "needs a control group that limits processor time");
    };
    let home = used();
    hook(group.command(&home.command(&["queue"])), &LOGIN).exits(0);
    // The slow worker has half a minute.
    while !wait_for(|| group.is_empty()) && !home.workers().is_empty() {}
    assert_eq!(home.queue().count_events_of("amanda"), 1);
    assert_sent_once(&home);
}
