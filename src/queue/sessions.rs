//! Sessions: which are open, and which login a logout belongs to.
//!
//! The process that opens a session identifies it, because the same process closes it. Where another process closes
//! it (a hook behind a script), no login and logout are ever paired, and a missing logout means nothing.

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

/// Services where one process has one session. If such a process opens two at once with equal facts, its stack has
/// the hook twice. A mail server's process may really have two.
const ONE_SESSION: [&str; 11] =
    ["sshd", "su", "su-l", "sudo", "sudo-i", "doas", "login", "remote", "runuser", "runuser-l", "pkexec"];

/// Two calls of the hook by one stack are less than this apart, in milliseconds.
const TWIN_MS: i64 = 5000;

/// How long a closed session is remembered, in milliseconds. A session whose end was only noticed is remembered
/// longer, because its logout may still come late.
const CLOSED_MS: i64 = 10 * 60 * 1000;
const NOTICED_MS: i64 = 24 * 60 * 60 * 1000;

/// Sessions that are remembered.
const LIMIT: i64 = 10_000;

/// States of a session in the table, each followed by a moment; an open session's state is empty.
const CLOSED: &str = "closed";
const NOTICED: &str = "noticed";
const MISSING: &str = "missing";

/// The sessions with the events that opened them.
const OPEN: &str = "(SELECT session AS key, event AS opening, closed FROM open) JOIN event ON event.id = opening";

/// How an event relates to earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The same event was recorded before, by the same call of the hook or by a second one in the same stack.
    pub is_copy: bool,
    /// How long the session lasted, in milliseconds.
    pub after_ms: Option<i64>,
    /// What of a login is new for its user.
    pub new: New,
    /// Set if a session ends whose login should have been recorded but wasn't: when its process started, in UTC
    /// milliseconds.
    pub unopened_ms: Option<i64>,
    /// The login of the session that this event ends, with its verdict.
    pub login: Option<Row>,
}

/// A session that seems to be open.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The event that opened it.
    pub event: Event,
    /// Its process.
    pub process: Process,
    /// Whether its login was silenced or held.
    pub is_unreported: bool,
    /// When its process was first found missing.
    pub missing: Option<Stamp>,
    key: String,
}

impl Queue {
    /// The open sessions of services that record logouts too: those with at least one paired login and logout.
    pub fn open_sessions(&self) -> Result<Vec<OpenSession>, Error> {
        let sql = format!(
            "SELECT {}, key, closed FROM {OPEN} WHERE closed NOT LIKE '{CLOSED} %' AND closed NOT LIKE '{NOTICED} %'
             AND EXISTS (SELECT 1 FROM meta WHERE name = 'paired:' || service)",
            row::columns()
        );
        let sessions = self.read(|connection| {
            // Usually avoids reading the table.
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
            Some(OpenSession { event, process, is_unreported: verdict.is_unreported(), missing, key })
        };
        Ok(sessions.into_iter().filter_map(with_process).collect())
    }

    /// Remembers since when a session's process has been missing; `None` if it isn't.
    pub fn set_missing(&mut self, session: &OpenSession, since: Option<&Stamp>) -> Result<(), Error> {
        let state = since.map(|since| format!("{MISSING} {since}")).unwrap_or_default();
        self.write("remember a session in", |connection| set_state(connection, &session.key, &state))
    }

    /// Records that sessions ended without a logout, with one notice for each of `ended` or one for all.
    pub fn end_sessions(&mut self, ended: &[OpenSession], notices: &[Event], now: &Stamp) -> Result<(), Error> {
        self.write("record the end of sessions in", |connection| {
            for session in ended {
                set_state(connection, &session.key, &format!("{NOTICED} {now}"))?;
            }
            notices.iter().try_for_each(|notice| row::insert(connection, notice))
        })
    }
}

/// Relates an event to earlier ones, and remembers it for later ones. Must be called once for each event, in order.
pub fn place(connection: &Connection, row: &Row) -> SqlResult<Context> {
    let facts = &row.event.facts;
    let process = Process::parse(facts[SESSION].as_str()).filter(|process| process.id > 1);
    let is_proven = facts[ORIGIN].as_str() == "pam" && !row.event.at.boot_id.is_empty();
    match (row.event.action(), process) {
        (Some(Action::Open), Some(_)) if is_proven => opened(connection, row),
        // `end_sessions` has already marked this session as ended.
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
        // Only if this service is known to record logins and logouts, and if the process started after this queue was
        // created.
        let sql = "SELECT value FROM meta WHERE name = 'created' AND EXISTS (SELECT 1 FROM meta WHERE name = ?)";
        let created: Vec<String> = every(connection, sql, params![is_paired], |row| row::text(row, 0))?;
        let age = event.at.boot_ms.saturating_sub(process.started_ms());
        let started = event.at.utc_ms.saturating_sub(age);
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
        // The sender noticed the end of this session and reported it.
        NOTICED => Ok(Context { is_copy: true, ..context }),
        CLOSED => Ok(Context { is_copy: are_twins(service, &moment, &event.at), ..context }),
        _ => {
            set_state(connection, &key, &format!("{CLOSED} {}", event.at))?;
            execute(connection, "INSERT OR IGNORE INTO meta VALUES (?, '')", params![is_paired])?;
            let after_ms = Some(event.at.boot_ms.saturating_sub(open.event.at.boot_ms).max(0));
            Ok(Context { after_ms, login: Some(open), ..context })
        }
    }
}

/// Forgets sessions that have ended, and the oldest ones if there are too many.
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

/// Whether two logins are one login that a stack recorded twice.
fn is_twin(event: &Event, before: &Event) -> bool {
    let is_same = |fact: Fact| event.facts[fact] == before.facts[fact];
    let service = event.facts[SERVICE].as_str();
    [USER, REMOTE_HOST, TTY, SERVICE, BY].into_iter().all(is_same) && are_twins(service, &before.at, &event.at)
}

/// Whether two logins, or two logouts, of one process can be one that a stack recorded twice.
pub fn are_twins(service: &str, first: &Stamp, second: &Stamp) -> bool {
    ONE_SESSION.contains(&service) && (0..TWIN_MS).contains(&second.boot_ms.saturating_sub(first.boot_ms))
}

/// The key that a session's login and logout share; `None` if the event doesn't name its process.
pub fn session_key(event: &Event) -> Option<String> {
    Process::parse(event.facts[SESSION].as_str()).filter(|process| process.id > 1).map(|_| key(event))
}

fn key(event: &Event) -> String {
    let fact = |fact: Fact| event.facts[fact].as_str();
    format!("{} {} {} {} {}", fact(SESSION), fact(PIDNS), event.at.boot_id, fact(SERVICE), fact(USER))
}

/// The latest open session with this key, or else the latest one; with its full key, its state and the row that
/// opened it.
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

/// Records when the queue began to judge events: it knows nothing of earlier sessions.
pub fn set_created(connection: &Connection, now: &Stamp) -> SqlResult<()> {
    execute(connection, "INSERT OR IGNORE INTO meta VALUES ('created', ?)", params![now.to_string()]).map(drop)
}

/// Selects events that are kept although they were delivered, because they opened sessions that are still open.
pub const IS_OPEN: &str = "id IN (SELECT event FROM open WHERE closed = '' OR closed LIKE 'missing %')";
