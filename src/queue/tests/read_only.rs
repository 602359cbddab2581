//! Read-only opening: nothing is created or changed.

use super::*;

/// A state of the files, how to make it, and how many events a reader finds.
type State<'a> = (&'a str, &'a dyn Fn(&Home), Option<i64>);

/// The files in the queue's directory: names and contents.
fn snapshot(home: &Home) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(&home.0)
        .expect("ours")
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into(), fs::read(entry.path()).expect("readable")))
        .collect();
    files.sort();
    files
}

fn recorded(home: &Home) {
    fill(&mut home.queue(), 3);
    set_targets(&mut home.queue(), &["a"]);
}

/// When `SQLite` closes a database, it moves the log into it and deletes the log.
fn without_wal_file(home: &Home) {
    recorded(home);
    let connection = Connection::open(home.path()).expect("a database");
    connection.query_row("SELECT count(*) FROM event", [], |_| Ok(())).expect("readable");
    drop(connection);
    assert!(!schema::with_suffix(&home.path(), "-wal").exists());
}

fn empty_wal_file(home: &Home) {
    without_wal_file(home);
    fs::write(schema::with_suffix(&home.path(), "-wal"), "").expect("room");
}

fn rollback_journal(home: &Home) {
    recorded(home);
    let connection = Connection::open(home.path()).expect("a database");
    connection.execute_batch("PRAGMA journal_mode = TRUNCATE; PRAGMA application_id = 1397968500").expect("alone");
}

/// P6
#[test]
fn a_read_only_open_creates_and_changes_nothing_in_any_state() {
    let states: [State<'_>; 6] = [
        ("no database", &|_| {}, None),
        ("an empty file", &|home| fs::write(home.path(), "").expect("room"), None),
        ("events in the log", &recorded, Some(3)),
        ("an empty log", &empty_wal_file, Some(3)),
        ("no log file", &without_wal_file, Some(3)),
        ("a rollback journal", &rollback_journal, Some(3)),
    ];
    for (name, make, count) in states {
        let home = Home::new();
        make(&home);
        let before = snapshot(&home);
        let look = || Queue::open_to_read(&home.path()).unwrap_or_else(|why| panic!("{name}: {why}"));
        let queue = look();
        assert_eq!(queue.as_ref().map(|queue| queue.count().expect("readable")), count, "{name}");
        if let Some(queue) = &queue {
            assert_eq!(queue.work(&["a"], &LIMITS, &now(0)).expect("readable").due, Due::Now, "{name}");
            assert_eq!(queue.targets(&|_, _, _| true).expect("readable")[0].1.pending, 3, "{name}");
        }
        drop(queue);
        assert!(snapshot(&home) == before, "{name}");
    }
}

/// P6
#[test]
fn a_reader_shares_the_database_with_a_sender_that_has_it_open() {
    let home = Home::new();
    let mut queue = home.queue();
    fill(&mut queue, 2);
    let look = Queue::open_to_read(&home.path()).expect("readable").expect("a queue");
    assert_eq!(look.count().expect("readable"), 2);
    drop(look);
    fill(&mut queue, 1);
    assert_eq!(queue.count().expect("readable"), 3);
}

#[test]
fn the_error_about_an_older_queue_names_the_remedy() {
    let home = first_schema();
    let before = snapshot(&home);
    let Err(why) = Queue::open_to_read(&home.path()) else { panic!("an older schema was read") };
    assert!(why.to_string().contains("the next `send` brings it up to date"), "{why}");
    assert!(snapshot(&home) == before);
}
