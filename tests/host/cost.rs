//! The cost of a login and of an idle sender, as far as it is a count rather than a time: system calls, syncs, bytes,
//! memory. `make bench` measures the times.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::support::cost::{Cost, behind, is_possible, traced};
use crate::support::home::{Home, LOGIN, STDOUT, hook};
use crate::support::outcome::Outcome;
#[cfg(feature = "webhook")]
use crate::support::server::{Server, reply};
use crate::support::{is_root, skip};

/// Bytes that a login may write, including its share of checkpoints.
const LOGIN_BYTES: u64 = 4403;

/// System calls that a sender with nothing to do may make beyond those of an allowlisted login: to give up
/// root, keep other senders out, look into the spool and for changed settings, and ask `SQLite`. (`make bench` compares
/// the times.)
const IDLE_CALLS: usize = 200;

const CONFIG: &str = "[notification]\nservice = \"stdout\"\n[allowlist]\nips = [\"10.0.0.0/8\"]\n";

/// A host with a queue that has seen a few logins, and a sender.
fn home() -> Home {
    let home = if is_root() { Home::of_service(CONFIG) } else { Home::new(CONFIG) };
    for user in ["amanda", "bob", "carol"] {
        home.login(user);
    }
    home.sent();
    home.record("amanda", "192.0.2.7", "close_session");
    home
}

fn login_from(home: &Home, remote_host: &str) -> Cost {
    let items = LOGIN.map(|(name, value)| (name, if name == "PAM_RHOST" { remote_host } else { value }));
    traced(home, |command| hook(command, &items), &["queue"])
}

fn send(home: &Home) -> Cost {
    traced(home, |mut command| command.output().expect("strace starts"), &["send"])
}

/// P6
#[test]
fn a_login_syncs_once_and_writes_a_page() {
    if !is_possible("a_login_syncs_once_and_writes_a_page") {
        return;
    }
    let home = home();
    let cost = login_from(&home, "192.0.2.7");
    assert_eq!((cost.syncs, cost.sockets, cost.shared_maps), (1, 0, 0), "{cost:?}");
    assert!((1..=LOGIN_BYTES).contains(&cost.bytes), "{cost:?}");
    assert_eq!(home.queue().count_events(), 5);
}

/// P6: this includes checkpoints.
#[test]
fn two_hundred_logins_without_a_sender_cost_little_more_than_two_hundred_times_one() {
    if !is_possible("two_hundred_logins_without_a_sender_cost_little_more_than_two_hundred_times_one") {
        return;
    }
    let home = home();
    let (mut syncs, mut bytes, mut longest) = (0, 0, 0);
    for _ in 0..200 {
        let cost = login_from(&home, "192.0.2.7");
        syncs += cost.syncs;
        bytes += cost.bytes;
        longest = longest.max(fs::metadata(home.at("state/session_events.db-wal")).expect("a log").len());
    }
    assert!(syncs <= 220, "{syncs} syncs");
    assert!(bytes <= 200 * LOGIN_BYTES, "{bytes} bytes");
    assert!(longest <= 128 * 1024, "a log of {longest} bytes, all of which a login has to read");
    assert_eq!(home.queue().integrity(), "ok");
    assert_eq!(home.queue().count_events(), 204);
}

/// P6
#[test]
fn an_allowlisted_login_writes_nothing_and_syncs_nothing() {
    if !is_possible("an_allowlisted_login_writes_nothing_and_syncs_nothing") {
        return;
    }
    let home = home();
    let cost = login_from(&home, "10.0.0.2");
    assert_eq!((cost.bytes, cost.syncs, cost.sockets, cost.shared_maps), (0, 0, 0, 0), "{cost:?}");
    assert!(cost.calls > 0, "strace saw nothing");
    assert_eq!(home.queue().count_events(), 4);
}

/// P6
#[test]
fn an_idle_send_makes_few_more_calls_than_an_allowlisted_login() {
    let test = "an_idle_send_makes_few_more_calls_than_an_allowlisted_login";
    if !is_possible(test) {
        return;
    }
    let home = home();
    // Even while the log is long, and after a checkpoint.
    for round in 0..3 {
        send(&home);
        let (idle, allowed) = (send(&home), login_from(&home, "10.0.0.2"));
        assert!(idle.calls > 0 && idle.calls <= allowed.calls + IDLE_CALLS, "round {round}: {idle:?}, {allowed:?}");
        for _ in 0..30 {
            home.login("bob");
        }
    }
}

/// P6
#[test]
fn an_idle_send_writes_nothing_syncs_nothing_and_opens_no_socket() {
    if !is_possible("an_idle_send_writes_nothing_syncs_nothing_and_opens_no_socket") {
        return;
    }
    let home = home();
    let busy = send(&home);
    assert!(busy.bytes > 0 && busy.syncs > 0, "{busy:?}");
    let idle = send(&home);
    assert_eq!((idle.bytes, idle.syncs, idle.sockets, idle.shared_maps), (0, 0, 0, 0), "{idle:?}");
}

/// P6: where the spool is in memory, an idle run records itself there; on a disk it does not.
#[test]
fn an_idle_send_writes_only_the_record_of_the_run_and_only_in_memory() {
    let test = "an_idle_send_writes_only_the_record_of_the_run_and_only_in_memory";
    if !is_possible(test) {
        return;
    }
    let Some(home) = Home::in_memory(test, CONFIG) else { return };
    home.login("amanda");
    home.sent();
    let idle = send(&home);
    assert_eq!((idle.bytes, idle.syncs, idle.sockets, idle.shared_maps), (0, 0, 0, 0), "{idle:?}");
    assert!((20..200).contains(&idle.recorded), "{idle:?}");
    assert_eq!(mode_of(&home.last_run()), 0o100_600);
    let disk = Home::new(CONFIG);
    if statfs(&disk.0).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) {
        return skip(test, "needs a directory for temporary files on a disk");
    }
    disk.sent();
    let idle = send(&disk);
    assert_eq!((idle.bytes, idle.recorded), (0, 0), "{idle:?}");
    assert!(!disk.last_run().exists());
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode()
}

/// Runs a command and returns its peak memory in KiB, as the kernel counts it.
fn memory(home: &Home, run: impl FnOnce(Command) -> Output, arguments: &[&str]) -> u64 {
    let launch = launcher(home);
    let script = "exec \"$0\" 3 \"$@\" 3>&1 >/dev/null";
    let words = ["sh", "-c", script, launch.to_str().expect("a path without surprises")];
    let output = run(behind(&words, &home.command(arguments)));
    let text = output.succeeds().stdout();
    let figures: Vec<u64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    // `status` also exits with 1 if something needs attention.
    let is_fine = |status| status == 0 || arguments == ["status"] && status == 1;
    assert!(figures.len() == 4 && is_fine(figures[3]), "{output:?}");
    figures[2]
}

/// The benchmark's launcher: a child of this process would have its memory counted as its own.
fn launcher(home: &Home) -> PathBuf {
    let (source, launch) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/launch.c"), home.at("launch"));
    Command::new("cc").args(["-O", "-static", source, "-o"]).arg(&launch).output().expect("cc starts").exits(0);
    launch
}

/// Whether this is a release build, perhaps static, rather than cargo's test build.
fn is_shipped() -> bool {
    std::env::var_os("SSN_BINARY").is_some()
}

/// The limits are for release builds (`make bench` checks them too). A test build, which is neither optimized for
/// size nor stripped, gets two MiB more.
fn limit(mib: u64) -> u64 {
    (mib + if is_shipped() { 0 } else { 2 }) * 1024
}

/// P6
#[test]
fn a_static_build_starts_with_fewer_than_30_system_calls() {
    let test = "a_static_build_starts_with_fewer_than_30_system_calls";
    if !is_shipped() {
        return skip(test, "is for a static build in SSN_BINARY");
    }
    if is_possible(test) {
        let cost = traced(&home(), |mut command| command.output().expect("strace starts"), &["--version"]);
        assert!((5..30).contains(&cost.calls), "{cost:?}");
    }
}

/// P6
#[test]
fn a_login_and_an_idle_send_need_less_than_4_mib() {
    let test = "a_login_and_an_idle_send_need_less_than_4_mib";
    if !is_possible(test) {
        return;
    }
    let home = home();
    // The shell changes the order of the environment, which is reported if there is an allowlist.
    home.configure(STDOUT);
    // The kernel also counts pages of the binary that it maps ahead: half a MiB more or less from run to run. The
    // smallest of several runs is closest to what the program itself needs.
    let login = (0..8).map(|_| memory(&home, |command| hook(command, &LOGIN), &["queue"])).min();
    assert!(login.is_some_and(|login| (100..limit(4)).contains(&login)), "a login: {login:?} KiB");
    home.sent();
    let idle = (0..8).map(|_| memory(&home, |mut command| command.output().expect("it starts"), &["send"])).min();
    assert!(idle.is_some_and(|idle| (100..limit(4)).contains(&idle)), "an idle send: {idle:?} KiB");
}

/// P6
#[test]
fn ten_thousand_waiting_events_are_sent_with_less_than_8_mib() {
    if !is_possible("ten_thousand_waiting_events_are_sent_with_less_than_8_mib") {
        return;
    }
    let home = home();
    let sent = 3;
    home.queue().multiply_events(10_000 + sent);
    let peak = memory(&home, |mut command| command.output().expect("it starts"), &["send"]);
    assert!((100..limit(8)).contains(&peak), "{peak} KiB");
    assert_eq!(home.queue().count_waiting(), 0);
}

/// P6
#[cfg(feature = "webhook")]
#[test]
fn ten_thousand_waiting_events_are_reported_with_less_than_8_mib() {
    if !is_possible("ten_thousand_waiting_events_are_reported_with_less_than_8_mib") {
        return;
    }
    let server = Server::new(|_, _, stream| reply(stream, 204, "", ""));
    let url = format!("http://127.0.0.1:{}/", server.port);
    let home = Home::new(&format!("[notification]\nservice = 'webhook'\n[notification.webhook]\nurl = '{url}'\n"));
    home.login("amanda");
    home.queue().multiply_events(10_000);
    let peak = memory(&home, |mut command| command.output().expect("it starts"), &["send"]);
    assert!((100..limit(8)).contains(&peak), "{peak} KiB");
    assert_eq!(home.queue().count_waiting(), 0);
    let events = server.requests().iter().map(|request| request.json().as_array().map_or(0, Vec::len)).sum::<usize>();
    assert_eq!(events, 10_000);
}

/// P6
#[test]
fn a_status_of_300_000_rows_needs_less_than_8_mib_and_an_idle_send_costs_no_more_than_without_them() {
    let test = "a_status_of_300_000_rows_needs_less_than_8_mib_and_an_idle_send_costs_no_more_than_without_them";
    if !is_possible(test) {
        return;
    }
    let run = |mut command: Command| command.output().expect("it starts");
    let home = home();
    home.sent();
    let (few, memory_of_few) = (send(&home), memory(&home, run, &["send"]));
    home.queue().multiply_events(300_000);
    let waiting = memory(&home, run, &["status"]);
    assert!((100..limit(8)).contains(&waiting), "of what waits: {waiting} KiB");
    home.queue().bury_everything();
    let dead = memory(&home, run, &["status"]);
    assert!((100..limit(8)).contains(&dead), "of what is dead: {dead} KiB");
    // The sender keeps a thousand of them once it has something to do, and reports that.
    home.login("bob");
    home.send().succeeds().prints("stdout did not get 299000 events");
    assert!(home.status().starts_with("stdout: 0 pending, 1000 dead"), "{}", home.status());
    let (many, memory_of_many) = (send(&home), memory(&home, run, &["send"]));
    assert!(many.calls <= few.calls + 10 && many.bytes == 0, "{many:?}, and without them {few:?}");
    assert!(memory_of_many <= memory_of_few + 512, "{memory_of_many} KiB, and without them {memory_of_few} KiB");
}
