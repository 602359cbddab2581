//! Known sources: the addresses and keys that each user has logged in with, so that new ones stand out.

use std::net::IpAddr;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::clock::{EARLIEST_MS, Stamp};
use crate::event::{Event, REMOTE_HOST, SERVICE, USER, authentication};
use crate::files;
use crate::queue::sql::{SqlResult, every, execute};
use crate::queue::{EventId, row};
use crate::rules::New;

/// Addresses, and keys, that are remembered for each user.
const LIMIT: i64 = 64;

/// A younger queue knows too little to call anything new.
const LEARNING_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The service whose keys are learned. With other services the user can set `SSH_AUTH_INFO_0` to anything.
const WITH_KEYS: &str = "sshd";

/// Looks up the source of a proven login, and learns it. A user's first address and first key are not new, and
/// nothing is new in the queue's first week.
pub fn learn(connection: &Connection, id: EventId, event: &Event) -> SqlResult<New> {
    let has_learned_enough = has_learned_enough(connection, event)?;
    let user = event.facts[USER].as_str();
    let address = event.facts[REMOTE_HOST].as_str().parse().map(network);
    let keys =
        if event.facts[SERVICE].as_str() == WITH_KEYS { authentication::fingerprints(&event.facts) } else { vec![] };
    let is_address = match address {
        Ok(address) => learn_value(connection, user, "address", &address, id)?,
        Err(_) => false,
    };
    let mut is_key = false;
    for key in keys {
        is_key |= learn_value(connection, user, "key", &key, id)?;
    }
    Ok(New { is_address: is_address && has_learned_enough, is_key: is_key && has_learned_enough })
}

/// Whether the queue is lost at a reboot, so that nothing can be called new.
pub fn is_in_memory(path: &Path) -> bool {
    path.parent().is_some_and(files::is_in_memory)
}

/// Remembers a value. Returns whether the user had others but not this one.
fn learn_value(connection: &Connection, user: &str, kind: &str, value: &str, id: EventId) -> SqlResult<bool> {
    let sql = "SELECT value = ? FROM known WHERE user = ? AND kind = ? ORDER BY 1 DESC LIMIT 1";
    let is_known: Option<bool> = every(connection, sql, params![value, user, kind], |row| row.get(0))?.pop();
    let last = format!("{:020}", id.0);
    execute(connection, "INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", params![user, kind, value, last])?;
    if is_known == Some(false) {
        let sql = "DELETE FROM known WHERE user = ?1 AND kind = ?2 AND last < ifnull((SELECT last FROM known
             WHERE user = ?1 AND kind = ?2 ORDER BY last DESC LIMIT 1 OFFSET ?3), '')";
        execute(connection, sql, params![user, kind, LIMIT - 1])?;
    }
    Ok(is_known == Some(false))
}

/// Whether the queue has learned for long enough, counted from the first login with a plausible clock.
fn has_learned_enough(connection: &Connection, event: &Event) -> SqlResult<bool> {
    if event.at.utc_ms < EARLIEST_MS {
        return Ok(false);
    }
    let sql = "INSERT OR IGNORE INTO meta VALUES ('learning', ?)";
    execute(connection, sql, params![event.at.to_string()])?;
    let since = every(connection, "SELECT value FROM meta WHERE name = 'learning'", &[], |row| row::text(row, 0))?;
    let since = since.first().map(|moment| Stamp::parse(moment)).unwrap_or_default();
    Ok(event.at.utc_ms.saturating_sub(since.utc_ms) >= LEARNING_MS)
}

/// The IPv4 address, or the IPv6 network that one customer usually gets.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}
