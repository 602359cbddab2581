//! Sessions: which are open, and which login a logout belongs to.
//!
//! A session is told from others by the process that opened it. The same process closes it; where another one
//! does (a hook behind a script), login and logout are never found to belong together, and nothing is concluded
//! from a missing one.

use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::{Action, BY, ENDED, Event, Fact, ORIGIN, PIDNS, REMOTE_HOST, SERVICE, SESSION, TTY, USER};
use crate::process::Process;
use crate::queue::Queue;
use crate::queue::known;
use crate::queue::row::{self, Row};
use crate::queue::sql::{SqlResult, each, every, execute, value};
use crate::rules::New;

/// Services of which one process has one session. If such a process opens a second one at once, with all facts
/// equal, the hook stands in its stack twice. A mail server's process may well have two.
const ONE_SESSION: [&str; 11] =
    ["sshd", "su", "su-l", "sudo", "sudo-i", "doas", "login", "remote", "runuser", "runuser-l", "pkexec"];

/// Two calls of the hook by one stack are less apart than this, in milliseconds.
const TWIN_MS: i64 = 5000;

/// How long a session that was closed is remembered, in milliseconds; one whose logout was only noticed, for which
/// a late one may still come, for longer.
const CLOSED_MS: i64 = 10 * 60 * 1000;
const NOTICED_MS: i64 = 24 * 60 * 60 * 1000;

/// How many sessions are remembered.
const LIMIT: i64 = 10_000;

/// How a session stands in the table: with this word and the moment, or empty while it is open.
const CLOSED: &str = "closed";
const NOTICED: &str = "noticed";
const MISSING: &str = "missing";

/// The sessions with the events that opened them.
const OPEN: &str = "(SELECT session AS key, event AS opening, closed FROM open) JOIN event ON event.id = opening";

/// What a session's event is in the light of the earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The same event was recorded before: by the same call of the hook, or by a second one in one stack.
    pub is_copy: bool,
    /// How long the session lasted, in milliseconds.
    pub after_ms: Option<i64>,
    /// What of a login is new for its user.
    pub new: New,
    /// It ends, but its login was never recorded, though it should have been: its process started at this moment, in
    /// UTC milliseconds.
    pub unopened_ms: Option<i64>,
    /// The login of the session that it ends, with the verdict on that.
    pub login: Option<Row>,
}

/// A session that is open, as far as is known.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The event that opened it.
    pub event: Event,
    /// Its process.
    pub process: Process,
    /// Whether nobody was told of it.
    pub is_untold: bool,
    /// Since when the process has been missing.
    pub missing: Option<Stamp>,
    key: String,
}

impl Queue {
    /// The sessions that are open, of services whose logouts are recorded too: those of which a login and a logout
    /// were found to belong together.
    pub fn open_sessions(&self) -> Result<Vec<OpenSession>, Error> {
        let sql = format!(
            "SELECT {}, key, closed FROM {OPEN} WHERE closed NOT LIKE '{CLOSED} %' AND closed NOT LIKE '{NOTICED} %'
             AND EXISTS (SELECT 1 FROM meta WHERE name = 'paired:' || service)",
            row::columns()
        );
        let sessions = self.read(|connection| {
            // Usually spares the look through the table.
            let is_any = "SELECT EXISTS (SELECT 1 FROM meta WHERE name > 'paired:' AND name < 'paired;')";
            if !value::<bool>(connection, is_any, &[])? {
                return Ok(Vec::new());
            }
            every(connection, &sql, &[], |row| {
                let (key, state) = key_and_state(row)?;
                let missing = state.strip_prefix(MISSING).map(|moment| Stamp::parse(moment.trim()));
                Ok((row::read(row)?, key, missing))
            })
        })?;
        let with_process = |(Row { event, verdict, .. }, key, missing): (Row, String, Option<Stamp>)| {
            let process = Process::parse(event.facts[SESSION].as_str())?;
            Some(OpenSession { event, process, is_untold: verdict.is_untold(), missing, key })
        };
        Ok(sessions.into_iter().filter_map(with_process).collect())
    }

    /// Remembers that a session's process is missing, or that it isn't.
    pub fn set_missing(&mut self, session: &OpenSession, since: Option<&Stamp>) -> Result<(), Error> {
        let state = since.map(|since| format!("{MISSING} {since}")).unwrap_or_default();
        self.write("remember a session in", |connection| set_state(connection, &session.key, &state))
    }

    /// Records that sessions have ended of which no logout came: one notice for each of `ended`, or another one for
    /// all.
    pub fn end_sessions(&mut self, ended: &[OpenSession], notices: &[Event], now: &Stamp) -> Result<(), Error> {
        self.write("record the end of sessions in", |connection| {
            for session in ended {
                set_state(connection, &session.key, &format!("{NOTICED} {now}"))?;
            }
            notices.iter().try_for_each(|notice| row::insert(connection, notice))
        })
    }
}

/// Finds out what an event is in the light of the earlier ones, and remembers it for the later ones. To be called
/// once for each event, in their order.
pub fn place(connection: &Connection, row: &Row) -> SqlResult<Context> {
    let facts = &row.event.facts;
    let process = Process::parse(facts[SESSION].as_str()).filter(|process| process.id > 1);
    let is_proven = facts[ORIGIN].as_str() == "pam" && !row.event.at.boot_id.is_empty();
    match (row.event.action(), process) {
        (Some(Action::Open), Some(_)) if is_proven => opened(connection, row),
        // The sender has ended the session before it recorded this.
        (Some(Action::Close), Some(_)) if is_proven && !facts[ENDED].is_empty() => {
            let login = newest(connection, &key(&row.event))?.map(|(_, _, login)| login);
            Ok(Context { login, ..Context::default() })
        }
        (Some(Action::Close), Some(process)) if is_proven => closed(connection, &row.event, process),
        _ => Ok(Context::default()),
    }
}

fn opened(connection: &Connection, row: &Row) -> SqlResult<Context> {
    let key = key(&row.event);
    if let Some((_, state, before)) = newest(connection, &key)?
        && state.is_empty()
        && is_twin(&row.event, &before.event)
    {
        return Ok(Context { is_copy: true, ..Context::default() });
    }
    let sql = "INSERT OR REPLACE INTO open VALUES (?, ?, '')";
    execute(connection, sql, params![format!("{key}#{:020}", row.id.0), row.id])?;
    Ok(Context { new: known::learn(connection, row.id, &row.event)?, ..Context::default() })
}

fn closed(connection: &Connection, event: &Event, process: Process) -> SqlResult<Context> {
    let service = event.facts[SERVICE].as_str();
    let is_paired = format!("paired:{service}");
    let context = Context::default();
    let Some((key, state, open)) = newest(connection, &key(event))? else {
        // Only where logins and logouts of this service are known to be recorded, and only if the process began
        // when this queue was there.
        let sql = "SELECT value FROM meta WHERE name = 'created' AND EXISTS (SELECT 1 FROM meta WHERE name = ?)";
        let created: Vec<String> = every(connection, sql, params![is_paired], |row| row::text(row, 0))?;
        let started = event.at.utc_ms - (event.at.boot_ms - process.started_ms());
        let is_later = |created: Stamp| {
            if created.boot_id == event.at.boot_id {
                process.started_ms() > created.boot_ms
            } else {
                started > created.utc_ms
            }
        };
        let is_unopened = created.first().is_some_and(|created| is_later(Stamp::parse(created)));
        return Ok(Context { unopened_ms: is_unopened.then_some(started), ..context });
    };
    let mut words = state.splitn(2, ' ');
    let (word, moment) = (words.next().unwrap_or_default(), Stamp::parse(words.next().unwrap_or_default()));
    match word {
        // The sender has noticed its end, and told of it.
        NOTICED => Ok(Context { is_copy: true, ..context }),
        CLOSED => Ok(Context { is_copy: are_twins(service, &moment, &event.at), ..context }),
        _ => {
            set_state(connection, &key, &format!("{CLOSED} {}", event.at))?;
            execute(connection, "INSERT OR IGNORE INTO meta VALUES (?, '')", params![is_paired])?;
            let after_ms = Some((event.at.boot_ms - open.event.at.boot_ms).max(0));
            Ok(Context { after_ms, login: Some(open), ..context })
        }
    }
}

/// Forgets the sessions that are over, and the oldest ones if there are too many.
pub fn forget(connection: &Connection, now: &Stamp) -> SqlResult<()> {
    for (word, kept) in [(CLOSED, CLOSED_MS), (NOTICED, NOTICED_MS)] {
        let sql =
            "DELETE FROM open WHERE closed LIKE ?1 || ' %' AND CAST(substr(closed, length(?1) + 2) AS INTEGER) < ?2";
        execute(connection, sql, params![word, now.utc_ms - kept])?;
    }
    let sql = "SELECT count(*) FROM open";
    if value::<i64>(connection, sql, &[])? > LIMIT {
        let sql = "DELETE FROM open WHERE event <= (SELECT event FROM open ORDER BY event DESC LIMIT 1 OFFSET ?)";
        execute(connection, sql, params![LIMIT])?;
    }
    Ok(())
}

/// Whether two opens are one that two lines of one stack recorded.
fn is_twin(event: &Event, before: &Event) -> bool {
    let is_same = |fact: Fact| event.facts[fact] == before.facts[fact];
    let service = event.facts[SERVICE].as_str();
    [USER, REMOTE_HOST, TTY, SERVICE, BY].into_iter().all(is_same) && are_twins(service, &before.at, &event.at)
}

/// Whether two logins, or two logouts, of one process can be one that two lines of one stack recorded.
pub fn are_twins(service: &str, first: &Stamp, second: &Stamp) -> bool {
    ONE_SESSION.contains(&service) && (0..TWIN_MS).contains(&(second.boot_ms - first.boot_ms))
}

/// What login and logout of one session have in common; `None` if the event doesn't tell its process.
pub fn session_key(event: &Event) -> Option<String> {
    Process::parse(event.facts[SESSION].as_str()).filter(|process| process.id > 1).map(|_| key(event))
}

fn key(event: &Event) -> String {
    let fact = |fact: Fact| event.facts[fact].as_str();
    format!("{} {} {} {} {}", fact(SESSION), fact(PIDNS), event.at.boot_id, fact(SERVICE), fact(USER))
}

/// The session with this key that is open and was opened last, else the one that was; with its whole key, its
/// state and the row that opened it.
fn newest(connection: &Connection, key: &str) -> SqlResult<Option<(String, String, Row)>> {
    let sql = format!(
        "SELECT {}, key, closed FROM {OPEN} WHERE key > ?1 || '#' AND key < ?1 || '$'
         ORDER BY closed = '' OR closed LIKE '{MISSING} %' DESC, key DESC LIMIT 1",
        row::columns()
    );
    let mut found = None;
    each(connection, &sql, params![key], &mut |row| {
        let (key, state) = key_and_state(row)?;
        found = Some((key, state, row::read(row)?));
        Ok(std::ops::ControlFlow::Break(()))
    })?;
    Ok(found)
}

fn key_and_state(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, String)> {
    let column = |name| row.as_ref().column_index(name);
    Ok((row::text(row, column("key")?)?, row::text(row, column("closed")?)?))
}

fn set_state(connection: &Connection, key: &str, state: &str) -> SqlResult<()> {
    execute(connection, "UPDATE open SET closed = ? WHERE session = ?", params![state, key]).map(drop)
}

/// When the queue began to judge events: what happened before, it can't know.
pub fn set_created(connection: &Connection, now: &Stamp) -> SqlResult<()> {
    execute(connection, "INSERT OR IGNORE INTO meta VALUES ('created', ?)", params![now.to_string()]).map(drop)
}

/// Whether an event is among those that are kept although they were delivered: it opened a session that still is.
pub const IS_OPEN: &str = "id IN (SELECT event FROM open WHERE closed = '' OR closed LIKE 'missing %')";
