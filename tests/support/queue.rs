//! Reads and changes the queue's database without the program. All SQL of the tests is in this file and its
//! parts, so that a change of the schema is made in one place.

mod damage;
pub mod outsider;
mod time;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params};

/// The column `facts` of a copied event: a new uid, because two events with the same one count once.
const NEW_UID: &str = "'uid ' || lower(hex(randomblob(8))) || char(10)";

/// The columns that a copy of an event shares with it.
const COPIED: &str = "kind, user, remote_host, tty, service, session, utc_ms, boot_ms, boot_id";

/// The columns of an event in the first version of the schema, as one text.
const FIRST_COLUMNS: &str = "id || ' ' || kind || ' ' || user || ' ' || remote_host || ' ' || tty || ' ' || service
    || ' ' || session || ' ' || utc_ms || ' ' || boot_ms || ' ' || boot_id";

/// A database file. Each method opens and closes it; if no other process has it open, this also moves the
/// write-ahead log into the database.
pub struct Queue(pub PathBuf);

/// An event that a target did not accept in its turn: quarantined, or a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id.
    pub event: usize,
    /// Whether it is a dead letter and so is not retried.
    pub is_dead: bool,
    /// Why it was not delivered.
    pub error: String,
}

/// A target's state.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Failures in a row.
    pub failures: u32,
    /// The wait after the last failure.
    pub wait: Duration,
    /// The last failure; empty after a success.
    pub error: String,
}

impl Queue {
    pub fn count_events(&self) -> usize {
        self.count("SELECT count(*) FROM event", [])
    }

    pub fn count_events_of(&self, user: &str) -> usize {
        self.count("SELECT count(*) FROM event WHERE user = ?", [user])
    }

    /// The number of different session ids.
    pub fn count_sessions(&self) -> usize {
        self.count("SELECT count(DISTINCT session) FROM event", [])
    }

    /// The number of sessions that have one open and one close.
    pub fn count_complete_sessions(&self) -> usize {
        let sessions = "SELECT session FROM event GROUP BY session HAVING count(*) = 2 AND count(DISTINCT kind) = 2
                        AND min(kind) = 0 AND max(kind) = 1";
        self.count(&format!("SELECT count(*) FROM ({sessions})"), [])
    }

    /// The values of a fact without its own column, in the order of the events.
    pub fn facts(&self, name: &str) -> Vec<String> {
        let lines = self.ask_all("SELECT facts FROM event ORDER BY id");
        let lines = lines.iter().flat_map(|facts| facts.lines());
        lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(String::from).collect()
    }

    /// Every event in order, for example `open eve 192.0.2.6 sshd ssh`.
    pub fn events(&self) -> Vec<String> {
        self.ask_all(
            "SELECT CASE kind WHEN 0 THEN 'open' WHEN 1 THEN 'close' ELSE kind END
             || ' ' || user || ' ' || remote_host || ' ' || service || ' ' || tty FROM event ORDER BY id",
        )
    }

    /// Every event in order, with the columns of the first version of the schema.
    pub fn rows(&self) -> Vec<String> {
        self.ask_all(&format!("SELECT {FIRST_COLUMNS} FROM event ORDER BY id"))
    }

    /// The verdict on each event of a user, in order, its lines joined: `urgency never, rule 1`
    pub fn verdicts_of(&self, user: &str) -> Vec<String> {
        let lines = self.ask_all(&format!("SELECT judged FROM event WHERE user = '{user}' ORDER BY id"));
        lines.iter().map(|lines| lines.trim_end().replace('\n', ", ")).collect()
    }

    /// The first attempts that failed: `ntfy 8 1795758639454 2788336 295c187d-…`.
    pub fn attempts(&self) -> Vec<String> {
        self.ask_all("SELECT target || ' ' || upto || ' ' || first FROM attempt ORDER BY target, upto")
    }

    /// The time of an event by the wall clock, since 1970.
    pub fn time_of(&self, event: usize) -> Duration {
        milliseconds_of(self.ask("SELECT utc_ms FROM event WHERE id = ?", [id(event)]))
    }

    /// The number of pending events, counted once for each target.
    pub fn count_waiting(&self) -> usize {
        self.count("SELECT count(*) FROM event, target WHERE id > cursor", [])
    }

    /// The number of failed deliveries, attempts, and targets that failed or have pending events: 0 after a
    /// successful run.
    pub fn count_unsettled(&self) -> usize {
        let sql = "SELECT (SELECT count(*) FROM delivery) + (SELECT count(*) FROM attempt)
                   + (SELECT count(*) FROM target WHERE cursor < (SELECT max(id) FROM event) OR error <> '')";
        self.count(sql, [])
    }

    /// Every quarantined event and dead letter, in order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let connection = self.open();
        let statement =
            connection.prepare("SELECT event, dead, error FROM delivery WHERE dead < 2 ORDER BY event, target");
        let mut statement = statement.expect("our table");
        let delivery = |row: &rusqlite::Row<'_>| {
            Ok(Delivery { event: row.get::<_, u32>(0)? as usize, is_dead: row.get(1)?, error: row.get(2)? })
        };
        statement.query_map([], delivery).expect("our table").collect::<Result<_, _>>().expect("our columns")
    }

    /// The dead letters, as event and error.
    pub fn dead_letters(&self) -> Vec<(usize, String)> {
        let dead = self.deliveries().into_iter().filter(|delivery| delivery.is_dead);
        dead.map(|delivery| (delivery.event, delivery.error)).collect()
    }

    pub fn targets(&self) -> Vec<String> {
        self.ask_all("SELECT name FROM target ORDER BY name")
    }

    /// A target by its name.
    pub fn target(&self, name: &str) -> Target {
        let sql = "SELECT failures, wait_ms, error FROM target WHERE name = ?";
        let target = |row: &rusqlite::Row<'_>| {
            Ok(Target { failures: row.get(0)?, wait: milliseconds_of(row.get(1)?), error: row.get(2)? })
        };
        self.open().query_row(sql, [name], target).expect("a target of this name")
    }

    /// The result of `SQLite`'s integrity check: `ok` if nothing is damaged.
    pub fn integrity(&self) -> String {
        self.ask("PRAGMA integrity_check", [])
    }

    /// The journal mode, for example `wal`.
    pub fn journal(&self) -> String {
        self.ask("PRAGMA journal_mode", [])
    }

    pub fn tables(&self) -> Vec<String> {
        self.ask_all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    }

    /// Copies the existing events in turn until there are `count`: recording a thousand would take too long.
    pub fn multiply_events(&self, count: usize) {
        let sql = format!(
            "WITH RECURSIVE n (id, of) AS (
               SELECT max(id) + 1, 1 FROM event UNION ALL
               SELECT id + 1, of % (SELECT max(id) FROM event) + 1 FROM n WHERE id < ?1)
             INSERT INTO event (id, facts, {COPIED})
             SELECT n.id, {NEW_UID}, {COPIED} FROM n JOIN event ON event.id = n.of WHERE n.id <= ?1 ORDER BY n.id"
        );
        self.open().execute(&sql, [id(count)]).expect("events to copy");
        assert_eq!(self.count_events(), count);
    }

    /// Writes a text to every text column of events, targets and deliveries, and adds a target of that name.
    pub fn write_everywhere(&self, text: &str) {
        let connection = self.open();
        for sql in [
            "UPDATE target SET error = ?1, since = ?1, hint = ?1, settings = ?1",
            "INSERT INTO target (name, cursor, error, failures) VALUES (?1, 999, ?1, 1)",
            "UPDATE delivery SET error = ?1, since = ?1, told = 0",
            "INSERT INTO delivery (target, event, dead, error) SELECT ?1, max(id), 1, ?1 FROM event",
            "UPDATE event SET user = ?1, remote_host = ?1, tty = ?1, service = ?1, boot_id = ?1, judged = ?1",
        ] {
            assert!(connection.execute(sql, [text]).is_ok_and(|rows| rows > 0), "{sql}");
        }
    }

    /// The permissions of the database's files, in octal.
    pub fn modes(&self) -> Vec<String> {
        let files =
            ["", "-wal", "-shm", "-journal"].map(|suffix| PathBuf::from(format!("{}{suffix}", self.0.display())));
        files
            .iter()
            .filter_map(|file| fs::metadata(file).ok())
            .map(|file| format!("{:o}", file.mode() & 0o777))
            .collect()
    }

    /// Makes every event a reported dead letter for every target.
    pub fn bury_everything(&self) {
        let sql = "INSERT INTO delivery (target, event, dead, error, told) SELECT name, id, 1, 'HTTP 400: no', 1
                     FROM target, event;
                   UPDATE target SET cursor = (SELECT max(id) FROM event);
                   INSERT OR REPLACE INTO meta SELECT 'judged', max(id) FROM event";
        self.open().execute_batch(sql).expect("nobody else writes");
    }

    /// Copies the events of a database with the first version of the schema until there are `count`. The copies
    /// come before the pending events, so that every target's cursor stays right.
    pub fn multiply_first_events(&self, count: usize) {
        let (had, count) = (self.count_events(), id(count));
        let more = count - id(had);
        let sql = format!(
            "BEGIN;
             UPDATE event SET id = id + {more} WHERE id > 5;
             UPDATE target SET cursor = cursor + {more};
             UPDATE attempt SET upto = upto + {more};
             WITH RECURSIVE n (id) AS (SELECT 6 UNION ALL SELECT id + 1 FROM n WHERE id < 5 + {more})
             INSERT INTO event (id, {COPIED})
             SELECT n.id, kind, 'user' || n.id, remote_host, tty, service, session, utc_ms, boot_ms, boot_id
             FROM n JOIN event ON event.id = n.id % 5 + 1;
             COMMIT;"
        );
        self.open().execute_batch(&sql).expect("a queue of the first version");
        assert_eq!(id(self.count_events()), count);
    }

    /// Renames one target and removes the others. Keeps the write-ahead log.
    pub fn leave_only(&self, target: &str, name: &str) {
        let connection = self.open_keeping_log();
        for table in ["attempt", "delivery"] {
            let sql = format!("UPDATE {table} SET target = ? WHERE target = ?");
            connection.execute(&sql, [name, target]).expect("our table");
        }
        connection.execute("DELETE FROM target WHERE name <> ?", [target]).expect("our table");
        assert_eq!(connection.execute("UPDATE target SET name = ?", [name]), Ok(1));
    }

    pub fn version(&self) -> usize {
        let sql = "PRAGMA user_version";
        let version = self.open_keeping_log().query_row(sql, [], |row| row.get::<_, u32>(0));
        version.expect("a database") as usize
    }

    /// Sets the version of the schema. Keeps the write-ahead log.
    pub fn set_version(&self, version: usize) {
        let sql = format!("PRAGMA user_version = {version}");
        self.open_keeping_log().execute_batch(&sql).expect("nobody else writes");
    }

    /// Gives the database a rollback journal, as on a file system that can't have a write-ahead log.
    pub fn do_without_wal(&self) {
        let sql = "PRAGMA journal_mode = TRUNCATE; PRAGMA application_id = 0x53534e74";
        self.open().execute_batch(sql).expect("nobody else has it open");
        assert_ne!(self.journal(), "wal");
    }

    /// Changes the user of every event to what `rename` returns for its id and user.
    pub fn rename_users(&self, rename: impl Fn(usize, &str) -> String) {
        let mut connection = self.open();
        let transaction = connection.transaction().expect("nobody else writes");
        let mut statement = transaction.prepare("SELECT id, user FROM event").expect("our table");
        let event = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let events: Vec<(u32, String)> =
            statement.query_map([], event).expect("our table").collect::<Result<_, _>>().expect("our columns");
        drop(statement);
        for (id, user) in events {
            let changed =
                transaction.execute("UPDATE event SET user = ? WHERE id = ?", (rename(id as usize, &user), id));
            assert_eq!(changed, Ok(1));
        }
        transaction.commit().expect("nobody else writes");
    }

    /// Moves the write-ahead log into the database and removes it: `SQLite` does this when the last process
    /// closes the database.
    pub fn remove_log(&self) {
        self.count_events();
        let log = self.0.with_file_name("session_events.db-wal");
        assert!(!log.exists(), "another process has the queue open");
    }

    fn open(&self) -> Connection {
        Connection::open(&self.0).expect("a database")
    }

    fn open_keeping_log(&self) -> Connection {
        let connection = self.open();
        let keep_log = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        connection.set_db_config(keep_log, true).expect("SQLite knows this setting");
        connection
    }

    fn count(&self, sql: &str, parameters: impl Params) -> usize {
        usize::try_from(self.ask::<i64>(sql, parameters)).expect("no negative number")
    }

    fn ask<T: FromSql>(&self, sql: &str, parameters: impl Params) -> T {
        self.open().query_row(sql, parameters, |row| row.get(0)).expect(sql)
    }

    fn ask_all(&self, sql: &str) -> Vec<String> {
        let connection = self.open();
        let mut statement = connection.prepare(sql).expect(sql);
        statement.query_map([], |row| row.get(0)).expect(sql).collect::<Result<_, _>>().expect(sql)
    }

    /// Executes a statement that must change something.
    fn change(&self, sql: &str, parameters: impl Params) {
        let changed = self.open().execute(sql, parameters).expect(sql);
        assert!(changed > 0, "{sql} changed nothing");
    }
}

/// An event's id as `SQLite` takes it.
fn id(event: usize) -> i64 {
    i64::try_from(event).expect("a small number")
}

fn milliseconds_of(count: i64) -> Duration {
    Duration::from_millis(count.try_into().expect("no negative number"))
}
