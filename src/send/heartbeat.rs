//! The heartbeat: calls a monitor (healthchecks, Uptime Kuma, …) after each run that left nothing overdue, so that
//! somebody notices if this host, its network or its sender dies.

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health};
use crate::http::{self, Method, Request, Response};
use crate::log::{self, Level};
use crate::queue::Queue;
use crate::send::deadline::{Deadline, SHORTEST_REQUEST};
use crate::send::limits;
use crate::text::Field;

/// Calls the monitor if there is one and nothing is overdue; `None` if it was not called. A failure is logged without
/// the address, because anyone who has it can call the monitor.
pub fn ping(config: &Config, deadline: &Deadline<'_>) -> Result<Option<Health>, Error> {
    let Some(url) = &config.network.heartbeat_url else { return Ok(None) };
    if let Some(queue) = Queue::open_to_read(&config.paths.database)?
        && queue.work(&config.target_names(), &config.limits, &Stamp::now())?.is_failing
    {
        return Ok(None);
    }
    let timeout = config.network.timeout.min(deadline.left());
    // With less time left, the call is up to the next run.
    if timeout < SHORTEST_REQUEST {
        return Ok(None);
    }
    if url.is_secure() {
        http::trust(&config.network, &config.paths.spool)?;
    }
    limits::memory(1);
    let client = http::Client::new(&config.network);
    let request = Request {
        method: Method::Post,
        url: url.clone(),
        bearer: None,
        key: None,
        headers: Vec::new(),
        body: String::new(),
        is_direct: false,
    };
    let answer = match client.send(&request, timeout) {
        // Some monitors, such as Uptime Kuma 1, accept only GET.
        Ok(Response { status: 404 | 405 | 501, .. }) if deadline.left() >= SHORTEST_REQUEST => {
            let timeout = config.network.timeout.min(deadline.left());
            client.send(&Request { method: Method::Get, ..request }, timeout)
        }
        answer => answer,
    };
    let why = match answer {
        Ok(Response { status: 200..300, .. }) => return Ok(Some(Health::Well)),
        Ok(response) if (300..400).contains(&response.status) => {
            let to = Field::new(response.header("location").unwrap_or_default().as_bytes());
            format!("HTTP {}: redirects are not followed; this one leads to {to}", response.status)
        }
        Ok(Response { status, .. }) => format!("HTTP {status}: check the address"),
        Err(why) => why,
    };
    let text = format!("network.heartbeat_url: {why}");
    log::write(Level::Warning, &text);
    Ok(Some(Health::Failed(text)))
}
