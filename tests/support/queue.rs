//! The queue's database as an outsider sees it. All SQL of the tests is here, so that a change of the
//! schema is made in one place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params};

/// What a copy of an event has in the column `facts`: a uid of its own, because two events with the same one
/// count once.
const NEW_UID: &str = "'uid ' || lower(hex(randomblob(8))) || char(10)";

/// The columns of an event that a copy of it has, too.
const COPIED: &str = "kind, user, remote_host, tty, service, session, utc_ms, boot_ms, boot_id";

/// The columns of an event that the first version of the schema had, as one text.
const FIRST_COLUMNS: &str = "id || ' ' || kind || ' ' || user || ' ' || remote_host || ' ' || tty || ' ' || service
    || ' ' || session || ' ' || utc_ms || ' ' || boot_ms || ' ' || boot_id";

/// A database file. Each method opens it and closes it again. If nobody else has it open, closing it
/// also moves the write-ahead log into the database, as `SQLite` always does.
pub struct Queue(pub PathBuf);

/// An event that a target did not get when its turn came: set aside, or a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id.
    pub event: usize,
    /// Whether it is a dead letter. Otherwise it is retried.
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
    /// The number of events.
    pub fn count_events(&self) -> usize {
        self.count("SELECT count(*) FROM event", [])
    }

    /// The number of a user's events.
    pub fn count_events_of(&self, user: &str) -> usize {
        self.count("SELECT count(*) FROM event WHERE user = ?", [user])
    }

    /// The number of session ids.
    pub fn count_sessions(&self) -> usize {
        self.count("SELECT count(DISTINCT session) FROM event", [])
    }

    /// The number of sessions that have one open and one close.
    pub fn count_complete_sessions(&self) -> usize {
        let sessions = "SELECT session FROM event GROUP BY session HAVING count(*) = 2 AND count(DISTINCT kind) = 2
                        AND min(kind) = 0 AND max(kind) = 1";
        self.count(&format!("SELECT count(*) FROM ({sessions})"), [])
    }

    /// The value of a fact without a column, of each event that has it, in order.
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

    /// Everything that the first version of the schema knew of each event, in order.
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

    /// Sets the time of an event by the wall clock, since 1970.
    pub fn set_time_of(&self, event: usize, time: Duration) {
        self.change("UPDATE event SET utc_ms = ? WHERE id = ?", [milliseconds(time), id(event)]);
    }

    /// The number of events that wait for their turn, counted once for each target.
    pub fn count_waiting(&self) -> usize {
        self.count("SELECT count(*) FROM event, target WHERE id > cursor", [])
    }

    /// The number of rows that a fully successful run leaves none of: failed deliveries, attempts, and
    /// targets that failed or still have events waiting.
    pub fn count_unsettled(&self) -> usize {
        let sql = "SELECT (SELECT count(*) FROM delivery) + (SELECT count(*) FROM attempt)
                   + (SELECT count(*) FROM target WHERE cursor < (SELECT max(id) FROM event) OR error <> '')";
        self.count(sql, [])
    }

    /// Every event that was set aside or is a dead letter, in order.
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

    /// The dead letters: event and error.
    pub fn dead_letters(&self) -> Vec<(usize, String)> {
        let dead = self.deliveries().into_iter().filter(|delivery| delivery.is_dead);
        dead.map(|delivery| (delivery.event, delivery.error)).collect()
    }

    /// The names of all targets.
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

    /// The kind of journal, for example `wal`.
    pub fn journal(&self) -> String {
        self.ask("PRAGMA journal_mode", [])
    }

    /// The names of all tables.
    pub fn tables(&self) -> Vec<String> {
        self.ask_all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    }

    /// Adds copies of the existing events, in turn, until there are `count`. (Recording a thousand logins
    /// would take too long.)
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

    /// Writes a text wherever one is stored that isn't an event's own, and adds a target of that name.
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

    /// Settles every event for every target, each as a dead letter that was reported.
    pub fn bury_everything(&self) {
        let sql = "INSERT INTO delivery (target, event, dead, error, told) SELECT name, id, 1, 'HTTP 400: no', 1
                     FROM target, event;
                   UPDATE target SET cursor = (SELECT max(id) FROM event);
                   INSERT OR REPLACE INTO meta SELECT 'judged', max(id) FROM event";
        self.open().execute_batch(sql).expect("nobody else writes");
    }

    /// The same in the first version of the schema. Every target's cursor is behind what it has not got yet,
    /// which stays at the end.
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

    /// Gives one target another name and forgets the others. The write-ahead log is kept.
    pub fn leave_only(&self, target: &str, name: &str) {
        let connection = self.open_keeping_log();
        for table in ["attempt", "delivery"] {
            let sql = format!("UPDATE {table} SET target = ? WHERE target = ?");
            connection.execute(&sql, [name, target]).expect("our table");
        }
        connection.execute("DELETE FROM target WHERE name <> ?", [target]).expect("our table");
        assert_eq!(connection.execute("UPDATE target SET name = ?", [name]), Ok(1));
    }

    /// Begins the wait of every target that waits at this moment (`UTC_MS BOOT_MS BOOT_ID`).
    pub fn begin_waits(&self, moment: &str) {
        self.change("UPDATE target SET since = ? WHERE wait_ms > 0", [moment]);
    }

    /// Writes one page into the write-ahead log, which is kept.
    pub fn write_a_page(&self) {
        self.set_version(self.version());
    }

    /// The version of the schema.
    pub fn version(&self) -> usize {
        let sql = "PRAGMA user_version";
        let version = self.open_keeping_log().query_row(sql, [], |row| row.get::<_, u32>(0));
        version.expect("a database") as usize
    }

    /// Sets the version of the schema. The write-ahead log is kept.
    pub fn set_version(&self, version: usize) {
        let sql = format!("PRAGMA user_version = {version}");
        self.open_keeping_log().execute_batch(&sql).expect("nobody else writes");
    }

    /// Gives the database a rollback journal, as one has on a file system that can't have a write-ahead log.
    pub fn do_without_wal(&self) {
        let sql = "PRAGMA journal_mode = TRUNCATE; PRAGMA application_id = 0x53534e74";
        self.open().execute_batch(sql).expect("nobody else has it open");
        assert_ne!(self.journal(), "wal");
    }

    /// Leaves the files of a database with a rollback journal as a power cut in the middle of a change does.
    pub fn cut_a_change_off(&self) {
        let connection = self.open();
        // The journal is written and synced before the database, which a small cache makes happen at once.
        let begin = "PRAGMA cache_size = 1; PRAGMA synchronous = FULL; BEGIN; UPDATE event SET user = 'nobody';
             WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 500)
             INSERT INTO meta SELECT 'n' || id, hex(randomblob(100)) FROM n";
        connection.execute_batch(begin).expect("nobody else writes");
        let files = ["", "-journal"].map(|suffix| self.0.with_file_name(format!("session_events.db{suffix}")));
        let copies = files.each_ref().map(|file| fs::read(file).expect("a file"));
        drop(connection);
        for (file, copy) in files.iter().zip(copies) {
            fs::write(file, copy).expect("ours");
        }
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

    /// Changes an event to one that was recorded before the last boot.
    pub fn move_to_an_earlier_boot(&self, event: usize) {
        self.change("UPDATE event SET boot_id = 'another' WHERE id = ?", [id(event)]);
    }

    /// Ends every wait after a failure, as if the time had passed.
    pub fn end_waits(&self) {
        self.open().execute_batch("UPDATE target SET wait_ms = 0; UPDATE delivery SET wait_ms = 0").expect("a queue");
    }

    /// Ends every wait and resets the targets' failures, so that the next wait is the shortest again.
    pub fn forget_failures(&self) {
        self.end_waits();
        self.change("UPDATE target SET failures = 0", []);
    }

    /// Sets the wait of every target.
    pub fn set_waits(&self, wait: Duration) {
        self.change("UPDATE target SET wait_ms = ?", [milliseconds(wait)]);
    }

    /// Makes every target wait for an hour after a failure at `moment` (`UTC_MS BOOT_MS BOOT_ID`).
    pub fn wait_an_hour_since(&self, moment: &str) {
        self.change("UPDATE target SET wait_ms = 3600000, failures = 1, error = 'x', since = ?", [moment]);
    }

    /// Moves the beginning of the target's wait back on the boot clock, which nobody can set.
    pub fn let_boot_time_pass(&self, time: Duration) {
        let since = earlier(&self.ask::<String>("SELECT since FROM target", []), Duration::ZERO, time);
        self.change("UPDATE target SET since = ?", [since]);
    }

    /// As if each session whose process is missing had been found so that much earlier.
    pub fn let_missing_time_pass(&self, time: Duration) {
        for state in self.ask_all("SELECT DISTINCT closed FROM open WHERE closed LIKE 'missing %'") {
            let moment = earlier(state.trim_start_matches("missing "), time, time);
            let values = [format!("missing {moment}"), state];
            self.change("UPDATE open SET closed = ? WHERE closed = ?", values);
        }
    }

    /// Moves every first attempt back by this many days on both clocks, and ends all waits.
    pub fn let_days_pass(&self, days: u32) {
        let time = Duration::from_hours(24) * days;
        for (table, condition) in [("attempt", "1"), ("delivery", "first <> ''")] {
            let sql = format!("SELECT DISTINCT first FROM {table} WHERE {condition}");
            for first in self.ask_all(&sql) {
                let sql = format!("UPDATE {table} SET first = ? WHERE first = ?");
                self.change(&sql, [earlier(&first, time, time), first]);
            }
        }
        self.end_waits();
    }

    /// Makes every event older by both clocks.
    pub fn let_events_be_older_by(&self, time: Duration) {
        let ms = milliseconds(time);
        self.change("UPDATE event SET utc_ms = utc_ms - ?1, boot_ms = boot_ms - ?1", [ms]);
    }

    /// Removes every event, as if `history_days` had passed.
    pub fn forget_history(&self) {
        self.change("DELETE FROM event", []);
    }

    /// Moves the moment when each target left the configuration back by this many days.
    pub fn let_targets_be_gone_for(&self, days: u32) {
        let time = Duration::from_hours(24) * days;
        for gone in self.ask_all("SELECT gone FROM target WHERE gone <> ''") {
            self.change("UPDATE target SET gone = ? WHERE gone = ?", [earlier(&gone, time, time), gone]);
        }
    }

    /// Adds a column to our table, with a default that `SQLite` computes.
    pub fn add_a_column(&self) {
        let sql = "ALTER TABLE event ADD COLUMN seen TEXT DEFAULT CURRENT_TIMESTAMP";
        self.open().execute_batch(sql).expect("SQLite takes it");
    }

    /// Adds a table with every kind of column constraint, an index, a view, a trigger that deletes events,
    /// statistics, and a virtual table whose module we don't have.
    pub fn add_foreign_schema(&self) {
        let sql = "
            CREATE TABLE remark (
                id INTEGER PRIMARY KEY AUTOINCREMENT, event INTEGER REFERENCES event (id) CHECK (event > 0),
                at TEXT DEFAULT CURRENT_TIMESTAMP, day TEXT AS (substr(at, 1, 10)) STORED);
            CREATE INDEX by_user ON event (user);
            CREATE VIEW latest AS SELECT user, rank() OVER (ORDER BY id) FROM event;
            CREATE TRIGGER forget AFTER INSERT ON event BEGIN DELETE FROM event; END;
            ANALYZE;
            PRAGMA writable_schema = ON;
            INSERT INTO sqlite_schema VALUES
                ('table', 'search', 'search', 0, 'CREATE VIRTUAL TABLE search USING fts5 (user)');";
        self.open().execute_batch(sql).expect("SQLite takes it");
    }

    /// Adds a table definition that no version of `SQLite` can parse.
    pub fn add_invalid_schema(&self) {
        let sql = "PRAGMA writable_schema = ON;
            INSERT INTO sqlite_schema VALUES ('table', 'bad', 'bad', 0, 'CREATE TABLE bad (a, b ~ c)');";
        self.open().execute_batch(sql).expect("SQLite takes it");
    }

    /// Overwrites the file's header. (The log, which may have another one, is moved into the database first.)
    pub fn damage_header(&self) {
        self.count_events();
        let mut bytes = fs::read(&self.0).expect("a database");
        bytes[..100].fill(0xa5);
        fs::write(&self.0, bytes).expect("ours");
    }

    /// Overwrites the first page of a table. (The log is moved into the database first.)
    pub fn damage_table(&self, table: &str) {
        let root = self.count("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table]);
        let page = self.count("PRAGMA page_size", []);
        let mut bytes = fs::read(&self.0).expect("a database");
        bytes[(root - 1) * page..root * page].fill(0xa5);
        fs::write(&self.0, bytes).expect("ours");
    }

    /// Moves the write-ahead log into the database and removes it, as `SQLite` does when the last process
    /// closes a database.
    pub fn remove_log(&self) {
        self.count_events();
        let log = self.0.with_file_name("session_events.db-wal");
        assert!(!log.exists(), "another process has the queue open");
    }

    /// Opens the database, as a backup or an administrator would, and keeps it open.
    pub fn outsider(&self) -> Outsider {
        Outsider(self.open())
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

/// A connection of somebody else's that stays open. To the program it is another process.
pub struct Outsider(Connection);

impl Outsider {
    /// Reads something, and ends the transaction.
    pub fn read(&self) {
        self.run("SELECT count(*) FROM sqlite_schema");
    }

    /// Begins a transaction that reads.
    pub fn begin_reading(&self) {
        self.run("BEGIN; SELECT count(*) FROM sqlite_schema");
    }

    /// Begins a transaction that writes.
    pub fn begin_writing(&self) {
        self.run("BEGIN IMMEDIATE");
    }

    /// Begins a transaction that writes, during which nobody else can read.
    pub fn begin_writing_alone(&self) {
        self.run("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    }

    /// Ends the transaction.
    pub fn commit(&self) {
        self.run("COMMIT");
    }

    /// Moves every target's cursor back to the first event, so that the later ones are due again.
    pub fn set_targets_back(&self) {
        self.run("UPDATE target SET cursor = 1");
    }

    /// Records an event like the last one, for another user.
    pub fn record(&self, user: &str) {
        let rest = COPIED.replace("user, ", "");
        let sql = format!(
            "INSERT INTO event (user, facts, {rest}) SELECT ?, {NEW_UID}, {rest} FROM event ORDER BY id DESC LIMIT 1"
        );
        assert_eq!(self.0.execute(&sql, [user]), Ok(1));
    }

    fn run(&self, sql: &str) {
        self.0.execute_batch(sql).expect("nobody else has the lock");
    }
}

/// Returns an earlier moment (`UTC_MS BOOT_MS BOOT_ID`).
fn earlier(moment: &str, utc: Duration, boot: Duration) -> String {
    let words: Vec<&str> = moment.splitn(3, ' ').collect();
    let [utc_ms, boot_ms, boot_id] = words[..] else { panic!("no moment: {moment:?}") };
    let back = |ms: &str, time| ms.parse::<i64>().expect("milliseconds") - milliseconds(time);
    format!("{} {} {boot_id}", back(utc_ms, utc), back(boot_ms, boot))
}

/// An event's id as `SQLite` takes it.
fn id(event: usize) -> i64 {
    i64::try_from(event).expect("a small number")
}

fn milliseconds_of(count: i64) -> Duration {
    Duration::from_millis(count.try_into().expect("no negative number"))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("a short time")
}
