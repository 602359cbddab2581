//! Damages the database, or adds what this program would never write.

use std::fs;

use crate::support::queue::Queue;

impl Queue {
    /// Leaves the files of a database with a rollback journal as a power cut in the middle of a change would.
    pub fn cut_a_change_off(&self) {
        let connection = self.open();
        // A small cache makes SQLite sync the journal and write to the database before the commit.
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

    /// Adds a column to our table with a default that `SQLite` computes.
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

    /// Overwrites the file's header, after moving the log, which may have a copy of it, into the database.
    pub fn damage_header(&self) {
        self.count_events();
        let mut bytes = fs::read(&self.0).expect("a database");
        bytes[..100].fill(0xa5);
        fs::write(&self.0, bytes).expect("ours");
    }

    /// Overwrites the first page of a table, after moving the log into the database.
    pub fn damage_table(&self, table: &str) {
        let root = self.count("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table]);
        let page = self.count("PRAGMA page_size", []);
        let mut bytes = fs::read(&self.0).expect("a database");
        bytes[(root - 1) * page..root * page].fill(0xa5);
        fs::write(&self.0, bytes).expect("ours");
    }
}
