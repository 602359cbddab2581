//! `send` as schedulers run it: by a real busybox crond as an unprivileged user, and staying
//! (`send --watch`).

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

/// A process that is ended with its test, and what it prints, line by line.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn watch(home: &Home) -> Self {
        Self::start(home.command(&["send", "--watch"]))
    }

    /// The next line, or an empty one if none comes in time.
    fn line(&self, within: Duration) -> String {
        self.lines.recv_timeout(within).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a process id")), signal).expect("it runs");
    }

    /// How often it went to sleep so far (proc(5), `status`).
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
    // As install.sh makes the user: crond runs nothing for one whose home isn't there.
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
    assert_eq!(requests.len(), 1, "crond runs it each minute");
    assert!(requests[0].body.contains("'amanda' (192.0.2.7) logged in"), "{}", requests[0].body);
}

#[test]
fn a_watching_sender_delivers_within_a_second_and_is_no_busy_one() {
    delivers_and_rests(&Home::new(STDOUT));
}

/// What it records of its rounds is where it watches for events, and must not wake it.
#[test]
fn a_watching_sender_that_records_its_rounds_is_no_busy_one() {
    if let Some(home) = Home::in_memory("a_watching_sender_that_records_its_rounds_is_no_busy_one", STDOUT) {
        delivers_and_rests(&home);
        assert!(home.last_run().exists());
    }
}

fn delivers_and_rests(home: &Home) {
    home.login("amanda");
    let watch = Running::watch(home);
    assert!(watch.line(Duration::from_secs(20)).starts_with("'amanda'"), "what waits is sent at once");
    for user in ["bob", "carol"] {
        home.login(user);
        let recorded = Instant::now();
        assert!(watch.line(Duration::from_secs(20)).starts_with(&format!("'{user}'")));
        assert!(recorded.elapsed() < Duration::from_secs(1), "{:?}", recorded.elapsed());
    }
    // It looks once more, because its own writes woke it. Then nothing wakes it.
    let mut before = 0;
    let is_calm = wait_for(|| {
        let now = watch.sleeps();
        let is_calm = now == std::mem::replace(&mut before, now) && watch.is_asleep();
        thread::sleep(Duration::from_millis(500));
        is_calm
    });
    assert!(is_calm, "it never stops looking");
}

/// P2
#[test]
fn a_watching_sender_survives_that_the_database_is_replaced() {
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
        assert!(wait_for(|| watch.is_asleep()), "it goes to sleep");
        home.run(&["send", "--watch"]).fails();
        home.send().when("another sender leaves it the work").succeeds();
        watch.signal(signal);
        assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
    }
}

/// P4
#[test]
fn a_signal_ends_a_rest_that_the_service_asked_for() {
    let server = Server::scripted(&[(429, r#"{"code":42901,"http":429}"#)]);
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    let mut watch = Running::watch(&home);
    // The rest is six seconds long; the signal comes at its beginning.
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
    // A minute is long for a test: the wait is shortened to three seconds.
    home.queue().set_waits(Duration::from_secs(3));
    let watch = Running::watch(&home);
    assert!(wait_for(|| server.requests().len() == 2), "{:?}", server.requests());
    assert!(wait_for(|| home.queue().target("ntfy").error.is_empty()));
    drop(watch);
}

#[test]
fn the_heartbeat_is_called_when_nothing_is_overdue_and_only_then() {
    let (server, monitor) = (Server::scripted(&[(503, ""), (200, r#"{"id":"1"}"#)]), Server::well());
    let home = Home::new("");
    let config = format!(
        "[notification]\nservice = \"ntfy\"\n{}[network]\nheartbeat_url = \"http://127.0.0.1:{}/ping/s3cret\"\n",
        server.ntfy(),
        monitor.port
    );
    home.configure(&config);
    home.send().succeeds();
    assert_eq!(monitor.requests().len(), 1, "a host without sessions is well");
    let call = &monitor.requests()[0];
    assert_eq!((call.method(), call.target(), call.body.as_str()), ("POST", "/ping/s3cret", ""));

    home.login("amanda");
    home.send().when("the service fails").fails();
    home.send().when("it is not tried again before its time").succeeds();
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
fn a_watching_sender_beats() {
    let monitor = Server::well();
    let home = Home::new(&format!("{STDOUT}[network]\nheartbeat_url = \"http://127.0.0.1:{}/ping\"\n", monitor.port));
    let watch = Running::watch(&home);
    assert!(wait_for(|| monitor.requests().len() == 1));
    for user in ["amanda", "bob"] {
        home.login(user);
        assert!(watch.line(Duration::from_secs(20)).contains(user));
    }
    assert_eq!(monitor.requests().len(), 1, "no more than once a minute");
}

/// P4
#[test]
fn a_target_that_rests_holds_up_no_other_one() {
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
    assert!(wait_for(|| well.requests().len() == 2), "it is sent while Discord rests for twenty seconds");
    assert_eq!(throttled.requests().len(), 1);
}

/// P6
#[test]
fn what_cannot_be_settled_makes_no_busy_loop() {
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
