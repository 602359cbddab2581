//! Many at once: logins, senders, and both.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::has_mount_namespaces;
use crate::support::home::{Home, LOG_PAGES, STDOUT, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, taken};

/// The number of logins at once.
const CROWD: usize = 100;
const ROUNDS: usize = 20;

/// Starts the hooks of all users of a round at the same time, as `pam_exec` would, and waits for them.
const SCRIPT: &str = r#"
round=$1 crowd=$2 number=0
shift 2
while [ "$number" -lt "$crowd" ]; do
	env -i PAM_SERVICE=sshd PAM_USER="user-$round-$number" PAM_RHOST=192.0.2.7 PAM_TYPE=open_session "$@" ||
		echo "exit status $?" >&2 &
	number=$((number + 1))
done
wait
"#;

/// Records a round of logins at once. Returns their messages.
fn crowd(home: &Home, round: usize) -> String {
    let hook = home.command(&["queue"]);
    let mut script = Command::new("/bin/sh");
    script.args(["-c", SCRIPT, "sh", &round.to_string(), &CROWD.to_string()]);
    script.arg(hook.get_program()).args(hook.get_args());
    let mut script = if has_mount_namespaces() { home.in_own_dev(":", &script) } else { script };
    script.output().expect("the shell starts").stderr()
}

/// P1, P2
#[test]
fn a_hundred_logins_at_once_twenty_times_are_each_sent_once_while_a_sender_runs() {
    let home = Home::new(STDOUT);
    // The Go program's installer leaves an empty file, so all of the first hundred want to make the tables.
    fs::write(home.database(), "").expect("an empty file");
    let syslog = has_mount_namespaces().then(|| Syslog::listen(&home));
    let is_over = AtomicBool::new(false);
    let (errors, outputs) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut outputs = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                outputs.push(home.send());
            }
            outputs
        });
        let mut errors = String::new();
        for round in 0..ROUNDS {
            errors += &crowd(&home, round);
            errors += &syslog.as_ref().map(Syslog::lines).unwrap_or_default();
        }
        is_over.store(true, Ordering::Relaxed);
        (errors, sender.join().expect("it only collects"))
    });
    // A busy machine may not get to the last of a hundred within a second; that event is in the spool. But no
    // login may find the database locked.
    let unexpected: Vec<&str> =
        errors.lines().filter(|line| !line.contains("the queue took too long; the event waits in")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    let mut sent = String::new();
    for output in outputs.into_iter().chain([home.send()]) {
        sent += &output.succeeds().stdout();
    }
    assert!(!home.spooled().iter().any(|name| name.starts_with("event-")), "{:?}", home.spooled());
    assert_eq!(sent.lines().count(), CROWD * ROUNDS);
    for (round, number) in (0..ROUNDS).flat_map(|round| (0..CROWD).map(move |number| (round, number))) {
        assert_eq!(sent.matches(&format!("'user-{round}-{number}' ")).count(), 1, "{round} {number}");
    }
    assert_eq!(home.queue().integrity(), "ok");
}

/// P2
#[test]
fn if_many_senders_start_at_once_nothing_is_sent_twice() {
    for senders in [2, 10] {
        // Slow enough for all senders to start while the first one works.
        let server = Server::new(|_, _, stream| {
            thread::sleep(Duration::from_millis(300));
            taken(stream);
        });
        let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
        let users: Vec<String> = (0..CROWD).map(|number| format!("user-{number}-")).collect();
        for user in &users {
            home.login(user);
        }
        thread::scope(|scope| {
            for _ in 0..senders {
                scope.spawn(|| {
                    home.send().succeeds().prints_only("");
                });
            }
        });
        let bodies: String = server.requests().iter().map(|request| request.body.clone()).collect();
        for user in &users {
            assert_eq!(bodies.matches(user.as_str()).count(), 1, "{user} with {senders} senders");
        }
    }
}

/// P1: a backup may read the queue for long. The log can't be shortened meanwhile.
#[test]
fn a_long_reader_of_the_queue_delays_neither_logins_nor_the_sender() {
    let home = Home::new(STDOUT);
    let mut number = 0;
    let mut logins = |count: usize| {
        let login = |_| {
            let started = Instant::now();
            number += 1;
            home.login(&format!("user{number}"));
            started.elapsed()
        };
        (0..count).map(login).min().expect("a few")
    };
    logins(5);
    let reader = home.queue().outsider();
    reader.begin_reading();
    // Beyond the length at which a login would shorten the log.
    logins(70);
    // A login that waits for the reader takes half a second.
    let quickest = logins(5);
    assert!(quickest < Duration::from_millis(400), "{quickest:?}");
    let started = Instant::now();
    assert_eq!(home.sent().lines().count(), 80);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    reader.commit();
    logins(2);
    let pages = home.log_pages();
    assert!(pages < LOG_PAGES, "the log still has {pages} pages after the reader has gone");
}
