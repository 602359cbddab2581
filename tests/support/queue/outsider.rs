//! Another process that has the database open.

use rusqlite::Connection;

use crate::support::queue::{COPIED, NEW_UID, Queue};

impl Queue {
    /// Opens the database as a backup or an administrator would, and keeps it open.
    pub fn outsider(&self) -> Outsider {
        Outsider(self.open())
    }
}

/// A connection that stays open.
pub struct Outsider(Connection);

impl Outsider {
    /// Reads something and ends the transaction.
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

    /// Begins a transaction that writes and keeps others from reading.
    pub fn begin_writing_alone(&self) {
        self.run("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    }

    /// Ends the transaction.
    pub fn commit(&self) {
        self.run("COMMIT");
    }

    /// Moves every target's cursor back to the first event, so that the later ones are pending again.
    pub fn set_targets_back(&self) {
        self.run("UPDATE target SET cursor = 1");
    }

    /// Records a copy of the last event for another user.
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
