//! `send` as schedulers run it: from a real busybox crond as an unprivileged user, and as `send --watch`.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::home::{Home, SERVICE, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};
use crate::support::{has_mount_namespaces, program, skip, tools, wait_for};

/// A process that is killed when its test ends, and its output line by line.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    pub fn watch(home: &Home) -> Self {
        Self::start(home.command(&["send", "--watch"]))
    }

    /// Returns the next line, or an empty one if none comes in time.
    pub fn line(&self, within: Duration) -> String {
        self.lines.recv_timeout(within).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a process id")), signal).expect("it runs");
    }

    /// Counts how often it has gone to sleep (proc(5), `status`).
    fn sleeps(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).expect("proc(5)")
    }

    fn is_asleep(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/wchan", self.child.id())).is_ok_and(|place| place.contains("poll"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// P2
#[test]
fn busybox_crond_runs_send_as_an_unprivileged_user() {
    let test = "busybox_crond_runs_send_as_an_unprivileged_user";
    let (true, Some(busybox), 1) = (has_mount_namespaces(), tools::busybox(), program().len()) else {
        return skip(test, "needs root, mount namespaces, a static busybox with crond, and a binary of this machine");
    };
    let server = Server::well();
    let home = Home::of_service(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    let (binary, config) = (home.at("ssh-session-notifier"), home.at("config.toml"));
    fs::copy(&program()[0], &binary).expect("room for a copy");
    chown(&config, Some(0), Some(SERVICE)).expect("root may");
    fs::set_permissions(&config, Permissions::from_mode(0o640)).expect("it is ours");
    home.login("amanda");

    fs::create_dir(home.at("crontabs")).expect("a directory");
    let line = format!("* * * * * {} --config {} send\n", binary.display(), config.display());
    fs::write(home.at("crontabs/notifier"), line).expect("a crontab");
    // Like install.sh's user. crond runs nothing for a user without a home.
    let passwd = format!("notifier:x:{SERVICE}:{SERVICE}::{}:/bin/false\n", home.at("state").display());
    fs::write(home.at("passwd"), passwd).expect("it is ours");
    let root = home.0.display();
    let busybox = busybox.display();
    let script =
        format!("mount --bind {root}/passwd /etc/passwd && exec {busybox} crond -f -L /dev/null -c {root}/crontabs");
    let mut crond = Command::new("unshare");
    crond.args(["--mount", "sh", "-c", &script]);
    let mut crond = Running::start(crond);
    let end = Instant::now() + Duration::from_secs(130);
    while server.requests().is_empty()
        && Instant::now() < end
        && crond.child.try_wait().is_ok_and(|ended| ended.is_none())
    {
        thread::sleep(Duration::from_millis(100));
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "crond has not run it");
    assert!(requests[0].body.contains("'amanda' (192.0.2.7) logged in"), "{}", requests[0].body);
}

#[test]
fn a_watching_sender_delivers_within_a_second_and_then_sleeps() {
    assert_delivers_and_sleeps(&Home::new(STDOUT));
}

/// The record is in the spool, which the sender watches for events.
#[test]
fn the_record_of_its_last_run_does_not_wake_a_watching_sender() {
    if let Some(home) = Home::in_memory("the_record_of_its_last_run_does_not_wake_a_watching_sender", STDOUT) {
        assert_delivers_and_sleeps(&home);
        assert!(home.last_run().exists());
    }
}

fn assert_delivers_and_sleeps(home: &Home) {
    home.login("amanda");
    let watch = Running::watch(home);
    assert!(watch.line(Duration::from_secs(20)).starts_with("'amanda'"), "the pending event was not sent");
    for user in ["bob", "carol"] {
        home.login(user);
        let recorded = Instant::now();
        assert!(watch.line(Duration::from_secs(20)).starts_with(&format!("'{user}'")));
        assert!(recorded.elapsed() < Duration::from_secs(1), "{:?}", recorded.elapsed());
    }
    // Its own writes wake it once more. After that, nothing does.
    let mut before = 0;
    let is_calm = wait_for(|| {
        let now = watch.sleeps();
        let is_calm = now == std::mem::replace(&mut before, now) && watch.is_asleep();
        thread::sleep(Duration::from_millis(500));
        is_calm
    });
    assert!(is_calm, "it keeps waking up");
}

/// P2
#[test]
fn a_watching_sender_survives_the_replacement_of_its_database() {
    let home = Home::new(STDOUT);
    let watch = Running::watch(&home);
    home.login("amanda");
    assert!(watch.line(Duration::from_secs(20)).starts_with("'amanda'"));
    fs::rename(home.at("state"), home.at("old")).expect("it is ours");
    fs::create_dir(home.at("state")).expect("it is gone");
    home.login("bob");
    assert!(watch.line(Duration::from_secs(20)).starts_with("'bob'"));
}

#[test]
fn a_watching_sender_ends_cleanly_and_a_second_one_does_not_start() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let home = Home::new(STDOUT);
        let mut watch = Running::watch(&home);
        assert!(wait_for(|| watch.is_asleep()), "it does not go to sleep");
        home.run(&["send", "--watch"]).fails();
        home.send().when("another sender is running").succeeds();
        watch.signal(signal);
        assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
    }
}

/// P4
#[test]
fn a_signal_ends_a_pause_that_the_service_asked_for() {
    let server = Server::scripted(&[(429, r#"{"code":42901,"http":429}"#)]);
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    let mut watch = Running::watch(&home);
    // The pause lasts six seconds; the signal comes at its beginning.
    assert!(wait_for(|| !server.requests().is_empty() && watch.is_asleep()));
    let signalled = Instant::now();
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
    assert_eq!(home.queue().count_events(), 1);
}

#[test]
fn a_due_retry_wakes_a_watching_sender() {
    let server = Server::new(|number, _, stream| match number {
        0 => reply(stream, 503, "", ""),
        _ => taken(stream),
    });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    home.send().fails();
    // Three seconds instead of a minute.
    home.queue().set_waits(Duration::from_secs(3));
    let watch = Running::watch(&home);
    assert!(wait_for(|| server.requests().len() == 2), "{:?}", server.requests());
    assert!(wait_for(|| home.queue().target("ntfy").error.is_empty()));
    drop(watch);
}

#[test]
fn the_heartbeat_is_requested_only_if_nothing_is_overdue() {
    let (server, monitor) = (Server::scripted(&[(503, ""), (200, r#"{"id":"1"}"#)]), Server::well());
    let home = Home::new("");
    let config = format!(
        "[notification]\nservice = \"ntfy\"\n{}[network]\nheartbeat_url = \"http://127.0.0.1:{}/ping/s3cret\"\n",
        server.ntfy(),
        monitor.port
    );
    home.configure(&config);
    home.send().succeeds();
    assert_eq!(monitor.requests().len(), 1, "a host without sessions is healthy");
    let call = &monitor.requests()[0];
    assert_eq!((call.method(), call.target(), call.body.as_str()), ("POST", "/ping/s3cret", ""));

    home.login("amanda");
    home.send().when("the service fails").fails();
    home.send().when("the retry is not due").succeeds();
    assert_eq!(monitor.requests().len(), 1, "something is overdue");
    home.queue().end_waits();
    home.send().succeeds();
    assert_eq!(monitor.requests().len(), 2);

    drop(monitor);
    let output = home.send();
    output.fails().says("network.heartbeat_url: ");
    assert!(!output.stderr().contains("s3cret"), "{output:?}");
}

#[test]
fn a_watching_sender_requests_the_heartbeat() {
    let monitor = Server::well();
    let home = Home::new(&format!("{STDOUT}[network]\nheartbeat_url = \"http://127.0.0.1:{}/ping\"\n", monitor.port));
    let watch = Running::watch(&home);
    assert!(wait_for(|| monitor.requests().len() == 1));
    for user in ["amanda", "bob"] {
        home.login(user);
        assert!(watch.line(Duration::from_secs(20)).contains(user));
    }
    assert_eq!(monitor.requests().len(), 1, "it was requested twice in a minute");
}

/// P4
#[test]
fn a_pause_of_one_target_delays_no_other() {
    let throttled = Server::new(|_, _, stream| reply(stream, 429, "Retry-After: 20\r\n", ""));
    let well = Server::well();
    let home = Home::new(&format!(
        "[notification]\nservice = [\"discord\", \"ntfy\"]\n{}{}",
        throttled.discord(),
        well.ntfy()
    ));
    home.login("amanda");
    let _watch = Running::watch(&home);
    assert!(wait_for(|| well.requests().len() == 1 && throttled.requests().len() == 1));
    home.login("bob");
    assert!(wait_for(|| well.requests().len() == 2), "it waits for Discord's pause of twenty seconds");
    assert_eq!(throttled.requests().len(), 1);
}

/// P6
#[test]
fn an_unreadable_file_in_the_spool_causes_no_busy_loop() {
    let home = Home::new(STDOUT);
    fs::create_dir(home.at("spool")).expect("it is ours");
    fs::write(home.at("spool/event-1-1"), "no event").expect("it is ours");
    let watch = Running::watch(&home);
    assert!(wait_for(|| watch.is_asleep()));
    let before = watch.sleeps();
    thread::sleep(Duration::from_secs(3));
    let sleeps = watch.sleeps() - before;
    assert!(sleeps < 20, "{sleeps} in three seconds");
}
