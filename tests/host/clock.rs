//! A host whose clock is wrong, like a router's without a battery until it has asked the network. libfaketime sets
//! the wall clock of one process; the clock since boot stays real.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::home::{Home, LOGIN, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply};
use crate::support::skip;

/// Debian's libfaketime, in this architecture's directory. A static binary wouldn't load it.
fn libfaketime(test: &str) -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = found.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if library.is_none() || std::env::var_os("SSN_BINARY").is_some() {
        skip(test, "needs libfaketime, and a binary that is linked dynamically");
        return None;
    }
    library
}

/// Gives a command another wall clock, which runs on from `@2026-12-24 10:00:00`.
fn at(mut command: Command, library: &PathBuf, time: &str) -> Command {
    command.env("LD_PRELOAD", library).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", "UTC");
    command
}

fn year(text: &str) -> i32 {
    let at = text.split(" at ").nth(1).unwrap_or_else(|| panic!("no time in {text:?}"));
    at[..4].parse().expect("a year")
}

#[test]
fn a_time_is_corrected_if_the_clock_is_set_in_the_same_boot_and_is_uncertain_otherwise() {
    let test = "a_time_is_corrected_if_the_clock_is_set_in_the_same_boot_and_is_uncertain_otherwise";
    let Some(library) = libfaketime(test) else { return };
    let home = Home::new(STDOUT);
    for _ in 0..2 {
        let output = hook(at(home.command(&["queue"]), &library, "@1970-01-01 00:00:09"), &LOGIN);
        output.succeeds();
    }
    assert!(home.queue().time_of(1) < Duration::from_mins(1), "the clock was not wrong");
    // The second one was recorded in an earlier boot.
    home.queue().move_to_an_earlier_boot(2);
    let now: i32 = Command::new("date").arg("+%Y").output().expect("date").stdout().trim().parse().expect("a year");
    let sent = home.sent();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!(lines.len(), 2, "{sent}");
    assert!(now - year(lines[0]) <= 1 && !lines[0].contains("uncertain"), "{sent}");
    assert!(year(lines[1]) == 1970 && lines[1].ends_with("; time uncertain"), "{sent}");
}

/// P4
#[test]
fn a_clock_that_goes_back_delays_nothing_beyond_the_back_off() {
    let test = "a_clock_that_goes_back_delays_nothing_beyond_the_back_off";
    let Some(library) = libfaketime(test) else { return };
    let server = Server::new(|_, _, stream| reply(stream, 503, "", ""));
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    at(home.command(&["send"]), &library, "@2031-01-01 00:00:00")
        .output()
        .expect("it starts")
        .fails()
        .says("ntfy: HTTP 503");
    home.send().succeeds();
    assert_eq!(server.requests().len(), 1, "within the back-off it waits");
    // As if a minute had passed by the clock since boot.
    home.queue().let_boot_time_pass(Duration::from_mins(1));
    home.send().fails();
    assert_eq!(server.requests().len(), 2, "it is tried again, years before the clock's next try");
}
