//! A damaged database, and one to whose schema somebody has added things.

use std::fs;

use crate::fallbacks::LINE;
use crate::support::home::{Home, LOGIN, STDOUT};
use crate::support::outcome::Outcome;

/// P2: the header is overwritten, with a write-ahead log and without.
#[test]
fn a_corrupt_database_sends_the_event_to_the_spool_and_the_next_send_repairs_it() {
    for keeps_log in [true, false] {
        let home = Home::new(STDOUT);
        home.record("bob", "192.0.2.9", "open_session");
        if !keeps_log {
            home.queue().remove_log();
        }
        home.queue().damage_header();
        home.hook(&LOGIN).exits(0).says("is damaged");
        assert_eq!(home.spooled().len(), 1);
        let sent = home.send();
        sent.fails().says("it was moved to");
        assert_eq!(sent.stdout().matches(LINE).count(), 1, "{sent:?}");
        sent.prints("was damaged");
        home.record("zoe", "192.0.2.9", "open_session");
        assert_eq!(home.sent().lines().count(), 1);
        let names: Vec<String> = fs::read_dir(home.at("state"))
            .expect("ours")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into())
            .collect();
        assert!(names.iter().any(|name| name.contains(".damaged-")), "it was not kept aside: {names:?}");
    }
}

/// P2, P3: the service user can write anything into the schema.
#[test]
fn a_foreign_schema_in_the_database_neither_runs_nor_stops_anything() {
    let home = Home::new(STDOUT);
    home.send().succeeds();
    home.queue().add_a_column();
    home.record("bob", "192.0.2.9", "open_session");
    home.queue().add_foreign_schema();
    home.hook(&LOGIN).succeeds();
    assert_eq!(home.spooled(), [""; 0]);
    let sent = home.sent();
    assert!(sent.contains("'bob'") && sent.contains(LINE) && sent.lines().count() == 2, "{sent}");
    assert_eq!(home.sent(), "");
    home.record("zoe", "192.0.2.9", "open_session");
    assert_eq!(home.sent().lines().count(), 1);
}

/// P2
#[test]
fn pending_events_are_saved_from_a_database_with_an_invalid_schema() {
    let home = Home::new(STDOUT);
    home.record("bob", "192.0.2.9", "open_session");
    home.queue().add_invalid_schema();
    home.hook(&LOGIN).exits(0).says("is damaged");
    home.send().prints("'bob'").prints(LINE).prints("1 of its events were saved");
}
