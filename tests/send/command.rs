//! A target's command: real scripts that get every event, exit with different statuses, or hang.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::support::home::{Home, SERVICE};
use crate::support::outcome::Outcome;
use crate::support::{is_root, skip};

/// A script in a directory that only root can write to, unlike the test's own directory.
struct Script(PathBuf);

impl Script {
    /// `None` if this isn't root, so that `test` is skipped.
    fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            skip(test, "needs root");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!("/run/ssn-command-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("root may");
        Some(Self(directory))
    }

    fn path(&self) -> PathBuf {
        self.0.join("alert")
    }

    /// Replaces the script.
    fn write(&self, text: &str) {
        let (draft, new) = (self.0.join("draft"), self.0.join("new"));
        fs::write(&draft, format!("#!/bin/sh\n{text}\n")).expect("root may");
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("it is ours");
        // A file that any process has open for writing can't be executed, and a child of another test may inherit ours.
        assert!(Command::new("cp").args([&draft, &new]).status().expect("cp starts").success());
        fs::rename(new, self.path()).expect("it is ours");
    }

    /// The section of a target that runs it with these arguments.
    fn target(&self, arguments: &str) -> String {
        format!("[notification.command]\ncommand = ['{}'{arguments}]\n", self.path().display())
    }

    fn home(&self, arguments: &str) -> Home {
        Home::of_service(&format!("[notification]\nservice = 'command'\n{}", self.target(arguments)))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn json(text: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// P2, P5: even a flood is complete.
#[test]
fn a_command_gets_every_event_as_json_and_runs_as_the_service_user_without_our_environment() {
    let test = "a_command_gets_every_event_as_json_and_runs_as_the_service_user_without_our_environment";
    let Some(script) = Script::new(test) else { return };
    let home = script.home(", 'a b; $(id)', '{user}'");
    let (out, about) = (home.at("state/out"), home.at("state/about"));
    script.write(&format!(
        "cat >>{}; {{ id -u; printf '%s|' \"$@\"; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; \
         while read -r name value; do [ $name != SigBlk: ] || echo $value; done </proc/$$/status; \
         ulimit -Sd; ulimit -Hd; pwd; }} >{}",
        out.display(),
        about.display()
    ));
    for user in ["amanda", "{\"ben\"}", "$(touch x)"] {
        home.login(user);
    }
    home.send().succeeds();
    let events = json(&fs::read_to_string(&out).expect("it was written"));
    let users: Vec<&str> = events.iter().filter_map(|event| event["user"].as_str()).collect();
    assert_eq!(users, ["amanda", "{\"ben\"}", "$(touch x)"]);
    let about = fs::read_to_string(about).expect("it was written");
    let expected = format!(
        "{SERVICE}\na b; $(id)|{{user}}|PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         0000000000000000\n"
    );
    let limits = about.strip_prefix(&expected).unwrap_or_else(|| panic!("{about}"));
    let [soft, hard, "/"] = limits.lines().collect::<Vec<_>>()[..] else { panic!("{about}") };
    let (_, own) = getrlimit(Resource::RLIMIT_DATA).expect("it has one");
    let own = if own == RLIM_INFINITY { "unlimited".into() } else { (own / 1024).to_string() };
    assert_eq!((soft, hard), (own.as_str(), own.as_str()), "our soft limit was inherited");

    fs::remove_file(&out).expect("it is there");
    home.queue().multiply_events(100);
    home.send().succeeds();
    let lines = fs::read_to_string(&out).expect("it was written");
    let count: usize = lines.lines().map(|line| json(line).len()).sum();
    assert_eq!(count, 97, "every event of the flood");
}

/// P4, P8
#[test]
fn a_command_that_hangs_is_killed_and_delays_only_itself() {
    let Some(script) = Script::new("a_command_that_hangs_is_killed_and_delays_only_itself") else { return };
    script.write("sleep 300 & sleep 300");
    let home = Home::of_service(&format!(
        "[network]\ntimeout = 1\n[notification]\nservice = ['command', 'stdout']\n{}",
        script.target("")
    ));
    home.login("amanda");
    let start = Instant::now();
    let run = home.send();
    run.fails().says("alert did not finish in time and was killed").prints("'amanda' (192.0.2.7) logged in");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let status = home.status();
    assert!(status.contains("command: 1 pending, 0 dead") && status.contains("stdout: 0 pending"), "{status}");
    // Fixing the script clears the back-off.
    script.write("sleep 300 & cat >/dev/null");
    let start = Instant::now();
    home.send().succeeds();
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "a background process still has the stdout: {:?}",
        start.elapsed()
    );
    assert!(home.status().starts_with("command: 0 pending, 0 dead"), "{}", home.status());
}

/// P2, P4
#[test]
fn a_commands_exit_status_decides_what_becomes_of_the_events() {
    let Some(script) = Script::new("a_commands_exit_status_decides_what_becomes_of_the_events") else { return };
    for (status, expected) in [
        (1, "command: the command exited with status 1: no"),
        (75, "command: the command exited with status 75: no"),
        (78, "command: the command exited with status 78: no; check `command`, and the program's own settings"),
    ] {
        let home = script.home("");
        script.write(&format!("echo no; exit {status}"));
        home.login("amanda");
        home.send().fails().says(expected);
        assert!(home.status().starts_with("command: 1 pending, 0 dead"), "{status}: {}", home.status());
    }
    let home = script.home("");
    script.write("grep -q '\"user\":\"eve\"' && { echo not eve; exit 65; }; exit 0");
    for user in ["amanda", "eve", "ben"] {
        home.login(user);
    }
    home.send()
        .fails()
        .says("command rejects an event, which becomes a dead letter: the command exited with status 65: not");
    assert_eq!(home.queue().dead_letters(), [(2, "the command exited with status 65: not eve".into())]);
    assert_eq!(home.queue().count_waiting(), 0);
}

/// P5
#[test]
fn a_command_that_other_users_can_change_is_not_run_and_check_shows_the_remedy() {
    let test = "a_command_that_other_users_can_change_is_not_run_and_check_shows_the_remedy";
    let Some(script) = Script::new(test) else { return };
    let home = script.home("");
    let trace = home.at("state/trace");
    script.write(&format!("touch {}", trace.display()));
    let (path, directory) = (script.path(), script.0.clone());
    home.login("amanda");
    for is_program in [true, false] {
        let part = if is_program { &path } else { &directory };
        for change in ["chown", "chmod"] {
            match change {
                "chown" => chown(part, Some(SERVICE), None).expect("root may"),
                _ => fs::set_permissions(part, Permissions::from_mode(0o775)).expect("it is ours"),
            }
            let what = "alert is not run, because users other than root can change it or a directory above it";
            let remedy = format!("chown -h root {0} && chmod go-w {0}", part.display());
            home.run(&["send", "--now"]).fails().says(&format!("{what}; {remedy}"));
            home.run(&["check"]).exits(1).prints(what).prints(&remedy);
            home.run(&["test"]).exits(1).prints(what);
            chown(part, Some(0), None).expect("root may");
            fs::set_permissions(part, Permissions::from_mode(0o755)).expect("it is ours");
        }
    }
    assert!(!trace.exists(), "it was run");
    home.run(&["test"]).exits(0).prints("command: the command accepted the notice");
    assert!(trace.exists());
    home.run(&["send", "--now"]).succeeds();
}
