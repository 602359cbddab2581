use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rusqlite::Connection;

use super::*;
use crate::event::{Event, Stamp, What};
use crate::queue::schema::{TABLES, VERSION, WITHOUT_LOG, beside};
use crate::queue::tests::Home;
use crate::queue::{Queue, Role, settled};
use crate::text::Field;

impl Home {
    /// A queue with pages of this size, in this journal mode.
    fn with(page_size: u32, mode: &str) -> Self {
        let home = Self::new();
        let tables = TABLES.map(|(_, statement)| statement).join(";");
        let pages = format!("PRAGMA page_size = {page_size}; PRAGMA journal_mode = {mode}");
        // Without a log it stays so: the queue doesn't try again.
        let application = if mode == "WAL" { 0 } else { WITHOUT_LOG };
        home.sql(&format!("{pages}; {tables}; PRAGMA user_version = {VERSION}; PRAGMA application_id = {application}"));
        home
    }

    /// A queue with small pages, with what was sent and what was not.
    fn used(sent: usize, waiting: usize) -> Self {
        let home = Self::with(512, "WAL");
        home.append(sent);
        home.queue().set_targets(&["a", "b"]).expect("targets");
        home.settle();
        home.append(waiting);
        home
    }

    /// Changes something as an outsider; the log stays as it is.
    fn sql(&self, sql: &str) {
        let other = Connection::open(self.path()).expect("a database");
        let keep = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        other.set_db_config(keep, true).expect("a setting");
        other.execute_batch(sql).expect(sql);
    }

    fn append(&self, count: usize) {
        let note = |number| What::Note(Field::new(format!("note {number}").as_bytes()));
        let events: Vec<Event> = (0..count).map(|number| Event { what: note(number), at: Stamp::default() }).collect();
        self.queue().append(&events).expect("room");
    }

    /// In a transaction that goes on with another page, which a half of it in the log doesn't have.
    fn settle(&self) {
        self.sql(
            "BEGIN; UPDATE target SET cursor = (SELECT ifnull(max(id), 0) FROM event);
             INSERT INTO delivery (target, event, dead, error) VALUES ('a', 1, 0, ''); DELETE FROM delivery; COMMIT",
        );
    }

    fn files(&self) -> [(&'static str, Vec<u8>); 2] {
        ["", "-wal"].map(|suffix| (suffix, fs::read(beside(&self.path(), suffix)).unwrap_or_default()))
    }

    /// Writes over a file: one that is emptied first is a file system's reason to write it to the disk.
    fn put(&self, suffix: &str, bytes: &[u8]) {
        let path = beside(&self.path(), suffix);
        let file = File::options().write(true).create(true).truncate(false).open(path).expect("ours");
        file.write_all_at(bytes, 0).and_then(|()| file.set_len(bytes.len() as u64)).expect("room");
    }

    fn glance(&self) -> Option<bool> {
        look(&self.path(), &["a", "b"])
    }

    /// What `SQLite` answers, if it has no complaint.
    fn truth(&self) -> Option<bool> {
        let queue = Queue::open(&self.path(), Role::Look).ok()?;
        let (has_targets, is_settled) = queue.read(|connection| settled(connection, &["a", "b"])).ok()?;
        Some(has_targets && is_settled)
    }
}

/// P2, P6: small and large pages, with and without a log, in trees of one level and of several.
#[test]
fn a_glance_sees_what_sqlite_sees() {
    for mode in ["WAL", "TRUNCATE", "DELETE"] {
        for page_size in [512, 1024, 4096, 16384] {
            let home = Home::with(page_size, mode);
            let steps: [(&str, bool); 16] = [
                ("INSERT INTO target (name, cursor) VALUES ('a', 0)", false),
                ("INSERT INTO target (name, cursor) VALUES ('b', 0)", true),
                ("APPEND 1", false),
                ("UPDATE target SET cursor = 1 WHERE name = 'a'", false),
                ("UPDATE target SET cursor = 1 WHERE name = 'b'", true),
                ("APPEND 3000", false),
                ("UPDATE target SET cursor = 3000", false),
                ("UPDATE target SET cursor = 3001", true),
                ("DELETE FROM event WHERE id < 3001", true),
                ("APPEND 1", false),
                ("UPDATE target SET cursor = 3002", true),
                ("INSERT INTO delivery (target, event, dead, error) VALUES ('a', 3002, 0, 'x')", false),
                ("UPDATE delivery SET dead = 1", false),
                ("DELETE FROM delivery", true),
                ("UPDATE target SET name = 'c' WHERE name = 'b'", false),
                ("DELETE FROM target", false),
            ];
            for (step, is_settled) in steps {
                match step.strip_prefix("APPEND ") {
                    Some(count) => home.append(count.parse().expect("a number")),
                    None => home.sql(step),
                }
                let case = format!("{mode} {page_size} {step}");
                let seen = home.glance();
                assert_eq!(seen, Some(is_settled), "{case}");
                assert_eq!(home.truth(), Some(is_settled), "{case}");
                // The same without what is in the log, or with all of it in the database.
                home.sql("PRAGMA wal_checkpoint(PASSIVE)");
                assert_eq!(home.glance(), seen, "{case}");
            }
        }
    }
}

type Spoil = fn(&Home);

/// P2: whatever isn't as usual is left to `SQLite`.
#[test]
fn what_is_unusual_is_not_settled() {
    let unusual: [(&str, Spoil); 14] = [
        ("an index", |home| home.sql("CREATE INDEX i ON event (user)")),
        ("a trigger", |home| home.sql("CREATE TRIGGER t AFTER INSERT ON target BEGIN DELETE FROM event; END")),
        ("a column", |home| home.sql("ALTER TABLE target ADD COLUMN more TEXT")),
        ("another version", |home| home.sql("PRAGMA user_version = 2")),
        ("a text where a number is", |home| home.sql("UPDATE target SET cursor = 'x'")),
        ("a long row", |home| home.sql("UPDATE target SET error = printf('%2000d', 1)")),
        ("something to be rolled back", |home| fs::write(beside(&home.path(), "-journal"), "x").expect("ours")),
        ("an unfinished repair", |home| fs::write(beside(&home.path(), ".saved"), "").expect("ours")),
        ("a link", |home| {
            fs::rename(home.path(), home.0.join("other")).expect("ours");
            symlink("other", home.path()).expect("a link");
        }),
        ("a link in the log's place", |home| {
            fs::rename(beside(&home.path(), "-wal"), home.0.join("other")).expect("ours");
            symlink("other", beside(&home.path(), "-wal")).expect("a link");
        }),
        ("a pipe in the log's place", |home| {
            fs::remove_file(beside(&home.path(), "-wal")).expect("ours");
            mkfifo(&beside(&home.path(), "-wal"), Mode::S_IRWXU).expect("a pipe");
        }),
        ("a log that is too long", |home| {
            let log = File::options().write(true).open(beside(&home.path(), "-wal")).expect("a log");
            log.set_len(1 << 21).expect("room");
        }),
        ("an empty file", |home| fs::write(home.path(), "").expect("ours")),
        ("no file", |home| fs::remove_file(home.path()).expect("ours")),
    ];
    for (what, spoil) in unusual {
        let home = Home::used(3, 0);
        assert!(is_settled(&home.path(), &["a", "b"]));
        spoil(&home);
        assert!(!is_settled(&home.path(), &["a", "b"]), "{what}");
    }
}

fn truncations(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len()).map(|length| (length, bytes[..length].to_vec()))
}

/// But for what lies amid zeros, between the places of a page's rows and the rows.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let is_used = |at: &usize| bytes[at.saturating_sub(8)..bytes.len().min(at + 8)].iter().any(|byte| *byte != 0);
    let flip = |at: usize, bit: u32| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << bit;
        (at, bytes)
    };
    (0..bytes.len()).filter(is_used).flat_map(move |at| (0..8).map(move |bit| flip(at, bit)))
}

/// P2: of a damaged queue a glance never says that nothing waits unless `SQLite` says so, too.
#[test]
fn no_truncation_and_no_flipped_bit_hides_what_waits() {
    // With the newest event in the database, and in the log.
    for (sent, waiting, is_in_log) in [(3, 1, false), (3, 1, true), (25, 0, false), (3, 0, true)] {
        let home = Home::used(sent, waiting);
        if !is_in_log {
            home.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        let expected = Some(waiting == 0);
        assert_eq!((home.glance(), home.truth()), (expected, expected));
        let mut answers = [0, 0];
        let files = home.files();
        for (suffix, bytes) in &files {
            for (at, damaged) in truncations(bytes).chain(flips(bytes)) {
                home.put(suffix, &damaged);
                let is_settled = home.glance() == Some(true);
                answers[usize::from(is_settled)] += 1;
                if is_settled {
                    assert_eq!(home.truth(), Some(true), "{sent} {waiting} {is_in_log}: {suffix} at {at}");
                    // That look may have rolled back or made something.
                    for (suffix, bytes) in &files {
                        home.put(suffix, bytes);
                    }
                }
            }
            home.put(suffix, bytes);
        }
        // Much of what is damaged in a settled queue doesn't matter.
        assert!(answers[0] > 0 && (answers[1] > 0 || waiting > 0), "{answers:?}");
    }
}
