//! Pipes in the places of files. Opening one blocks until the other end is opened, which may be never.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::locks::run;
use crate::support::home::{Home, LOGIN, STDOUT};
use crate::support::outcome::Outcome;

/// P1, P8
#[test]
fn a_pipe_in_place_of_a_lock_delays_no_command() {
    for name in [".turn", ".lock"] {
        let home = Home::new(STDOUT);
        mkfifo(&home.at(&format!("state/session_events.db{name}")), Mode::S_IRWXU).expect("its place is free");
        let started = Instant::now();
        home.login("amanda");
        assert!(started.elapsed() < Duration::from_secs(1), "{name}: {:?}", started.elapsed());
        run(&home, &["status"]).when(name).succeeds();
        run(&home, &["send"]).when(name).succeeds().prints("'amanda'");
        run(&home, &["drop", "1"]).when(name).fails().says("there is no such dead letter");
        run(&home, &["retry", "--all"]).when(name).fails().says("there is no such dead letter");
    }
}

/// P1, P2, P8
#[test]
fn a_pipe_in_place_of_a_file_of_the_database_is_named_and_loses_no_event() {
    for name in ["", "-wal", "-shm", "-journal"] {
        let home = Home::new(STDOUT);
        home.login("bob");
        let planted = home.at(&format!("state/session_events.db{name}"));
        let aside = home.at("aside");
        let had_one = fs::rename(&planted, &aside).is_ok();
        mkfifo(&planted, Mode::S_IRWXU).expect("its place is free");
        let started = Instant::now();
        home.hook(&LOGIN).when(name).exits(0).says("the event waits in");
        assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
        let expected = format!("{}: not a regular file", planted.display());
        for arguments in [&["status"][..], &["retry", "--all"], &["drop", "1"]] {
            run(&home, arguments).when(format!("{name} {arguments:?}")).exits(1).says(&expected);
        }
        // The event in the spool is sent.
        run(&home, &["send"]).when(name).exits(1).says(&expected).prints("'amanda'");
        fs::remove_file(&planted).expect("ours");
        if had_one {
            fs::rename(&aside, &planted).expect("ours");
        }
        let sent = run(&home, &["send"]).stdout();
        assert!(sent.contains("'bob'") && !sent.contains("'amanda'"), "{name}: {sent}");
    }
}

/// P8
#[test]
fn a_pipe_in_place_of_the_saved_events_of_a_repair_is_named() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    let planted = home.at("state/session_events.db.saved");
    mkfifo(&planted, Mode::S_IRWXU).expect("its place is free");
    let first = run(&home, &["send"]);
    first.fails().says(&format!("{}: not a regular file", planted.display()));
    fs::remove_file(&planted).expect("ours");
    let sent = first.stdout() + &run(&home, &["send"]).stdout();
    assert_eq!(sent.matches("'amanda'").count(), 1, "{sent}");
}
