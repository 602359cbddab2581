//! Text that a compromised service user writes into files and the database reaches terminals and logs only sanitized.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::home::{Home, STDOUT, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};
use crate::support::{has_mount_namespaces, skip};

/// Clears a terminal's screen, sets its title, and claims to be another line.
const ESCAPES: &str = "\x1b[2J\n\u{9b}31m\r\x1b]0;all is well\x07\nssh-session-notifier: all is well";

/// The lines of a text, all of which must be printable.
#[track_caller]
fn lines(text: &str) -> Vec<&str> {
    let hidden: Vec<char> = text.chars().filter(|sign| sign.is_control() && *sign != '\n').collect();
    assert!(hidden.is_empty(), "{text:?}");
    text.lines().collect()
}

/// Runs `send`, and returns its syslog packets, one per line.
fn send(home: &Home, syslog: &Syslog) -> (Output, String) {
    let output = home.command_in_own_dev(":", &["send"]).output().expect("unshare starts");
    (output, syslog.lines())
}

/// P3
#[test]
fn texts_in_the_database_reach_terminal_and_syslog_as_printable_lines() {
    let is_down = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&is_down);
    let server = Server::new(move |_, request, stream| {
        if fails.load(Ordering::Relaxed) {
            reply(stream, 503, "", "");
        } else if request.body.contains("'amanda' (") {
            reply(stream, 400, "", r#"{"code":40011,"error":"no"}"#);
        } else {
            taken(stream);
        }
    });
    let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    home.login("bob");
    home.send().fails();
    is_down.store(true, Ordering::Relaxed);
    let before = home.status().lines().count();
    home.queue().write_everywhere(ESCAPES);
    let status = home.status();
    let told = lines(&status);
    assert_eq!(told.len(), before + 1 + 2, "one more target and one more dead letter: {status}");
    assert!(!told.contains(&"ssh-session-notifier: all is well"), "{status}");
    if !has_mount_namespaces() {
        return skip("texts_in_the_database_reach_terminal_and_syslog_as_printable_lines", "needs mount namespaces");
    }
    let syslog = Syslog::listen(&home);
    let (output, logged) = send(&home, &syslog);
    let stderr = output.stderr();
    assert!(!lines(&stderr).contains(&"ssh-session-notifier: all is well"), "{stderr}");
    assert!(stderr.contains("is no longer a target") && logged.contains("is no longer a target"), "{stderr}\n{logged}");
    assert!(lines(&logged).iter().all(|line| line.starts_with('<')), "{logged}");
    assert_eq!(lines(&logged).len(), lines(&stderr).len(), "{logged}");
}

/// P3
#[test]
fn the_name_of_a_spool_file_is_printed_as_one_line() {
    if !has_mount_namespaces() {
        return skip("the_name_of_a_spool_file_is_printed_as_one_line", "needs mount namespaces");
    }
    let home = Home::new(STDOUT);
    home.login("amanda");
    home.sent();
    fs::create_dir_all(home.at("spool")).expect("ours");
    fs::write(home.at("spool/event-\n\x1b[2J"), "no event").expect("any name will do");
    let syslog = Syslog::listen(&home);
    let (output, logged) = send(&home, &syslog);
    output.fails().says("/spool/event-\u{fffd}\u{fffd}[2J: not a complete event");
    assert_eq!((lines(&output.stderr()).len(), lines(&logged).len()), (1, 1), "{logged}");
    assert!(logged.contains("/spool/event-\u{fffd}\u{fffd}[2J: not a complete event"), "{logged}");
}

/// P3
#[test]
fn no_other_user_can_read_the_database_whatever_its_original_mode() {
    let home = Home::new(STDOUT);
    home.login("amanda");
    assert!(home.queue().modes().iter().all(|mode| mode == "600"), "{:?}", home.queue().modes());
    for suffix in ["", "-wal"] {
        let file = home.at(&format!("state/session_events.db{suffix}"));
        fs::set_permissions(file, Permissions::from_mode(0o644)).expect("ours");
    }
    home.sent();
    let modes = home.queue().modes();
    assert!(modes.len() > 1 && modes.iter().all(|mode| mode == "600"), "{modes:?}");
}
