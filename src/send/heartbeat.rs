//! The heartbeat: calls a monitor (healthchecks, Uptime Kuma, …) after each run that left nothing
//! overdue, so that somebody else notices when this host, its network or its sender is dead.

use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::http::{self, Request, Response, Url};
use crate::log::{self, Level};
use crate::queue::{Queue, Role};
use crate::send::SHORTEST_REQUEST;
use crate::send::deadline::Deadline;

/// Calls the monitor, if there is one and nothing is overdue. `Ok(false)`: it didn't answer well,
/// and that was said; the address is not, for it lets anybody call.
pub fn beat(config: &Config, deadline: &Deadline<'_>) -> Result<bool, Error> {
    let Some(url) = &config.network.heartbeat_url else { return Ok(true) };
    if config.paths.database.exists() && Queue::open(&config.paths.database, Role::Look)?.is_overdue()? {
        return Ok(true);
    }
    let timeout = config.network.timeout.min(deadline.left());
    // With less time left, the call is the next run's.
    if timeout < SHORTEST_REQUEST {
        return Ok(true);
    }
    if url.is_secure() {
        http::trust(&config.network, &config.paths.spool)?;
    }
    let why = match call(url, timeout) {
        Ok(Response { status: 200..300, .. }) => return Ok(true),
        Ok(Response { status, .. }) => format!("HTTP {status}"),
        Err(why) => why.to_string(),
    };
    log::say(Level::Warning, &format!("network.heartbeat_url: {why}"));
    Ok(false)
}

fn call(url: &Url, timeout: Duration) -> Result<Response, http::Error> {
    http::post(&Request { url: url.clone(), bearer: None, key: None, body: String::new() }, timeout)
}
