//! The hook: one session event, from PAM's environment to the disk, within a second.
//!
//! Database, then spool, then syslog: each event goes to the first of these that accepts it; none is lost
//! silently. Whatever happens, the login goes on.

mod harden;
pub mod pam;
mod worker;

use std::path::Path;
use std::slice;
use std::time::Duration;

use crate::config::Hook;
use crate::error::{Error, Kind};
use crate::event::{Event, REMOTE_HOST, text_form};
use crate::hook::pam::NoSession;
use crate::hook::worker::Message;
use crate::log::{self, Level};
use crate::privileges::{self, Missing};
use crate::queue::{ORPHANS, Paths, Queue, Role, spool};

/// A login waits no longer than this for the queue, whatever the disk does.
const DEADLINE: Duration = Duration::from_millis(800);

/// The spool and syslog share what is then left of the second.
const LAST_RESORT: Duration = Duration::from_millis(120);

/// Gives the messages of the work to the process that PAM waits for, once. It waits no longer than that.
type Report<'r> = &'r mut dyn FnMut(&[Message]);

/// Records the session event in PAM's environment, unless the allowlist covers it. Fails only if the caller
/// isn't PAM.
pub fn run(config: &Path, block: &pam::Block) -> Result<(), Error> {
    harden::reset();
    let event = match pam::read(block) {
        Ok((action, facts)) => Event::session(action, facts),
        Err(NoSession::OtherCall) => return Ok(()),
        Err(NoSession::NotPam) => return Err(Kind::Impossible("queue is for pam_exec: PAM_TYPE is not set").into()),
    };
    let messages = worker::run_with_deadline(DEADLINE, |report| record(config, &event, report)).or_else(|why| {
        // The worker may still finish; the uid makes the two copies one event.
        let why = format!("the queue {why}");
        let copy = |report: Report<'_>| report(&keep_elsewhere(Hook::read(config).0.paths.as_ref(), &event, &why));
        worker::run_with_deadline(LAST_RESORT, copy)
    });
    for Message { level, text } in
        messages.unwrap_or_else(|why| vec![syslog_record(&event, &format!("the spool {why}"))])
    {
        log::write(level, &text);
    }
    Ok(())
}

/// Records the event where the configuration says, and reports as soon as it is safe: what the queue then
/// does for itself, the login need not wait for.
fn record(config: &Path, event: &Event, report: Report<'_>) {
    let (hook, mistake) = Hook::read(config);
    let mut messages = Vec::new();
    if let Some(mistake) = mistake {
        let text = format!("{mistake}\nthe allowlist counts as empty until that is corrected");
        messages.push(Message { level: Level::Error, text });
    }
    if pam::is_proven(&event.facts) && hook.allowlist.contains(event.facts[REMOTE_HOST].as_str()) {
        return report(&messages);
    }
    let recorded = match &hook.paths {
        Some(paths) => append(paths, event).map_err(|why| why.to_string()),
        None => Err("the configuration doesn't say where the queue is".into()),
    };
    match recorded {
        Ok(queue) => {
            report(&messages);
            queue.leave();
        }
        Err(why) => {
            messages.extend(keep_elsewhere(hook.paths.as_ref(), event, &why));
            report(&messages);
        }
    }
}

fn append(paths: &Paths, event: &Event) -> Result<Queue, Error> {
    privileges::give_up_root(&paths.database, &paths.spool, Missing::Create)?;
    let mut queue = Queue::open(&paths.database, Role::Hook)?;
    queue.append(slice::from_ref(event))?;
    Ok(queue)
}

/// Keeps the event in the spool, or among the orphans while nobody knows where the spool is.
fn keep_elsewhere(paths: Option<&Paths>, event: &Event, why: &str) -> Vec<Message> {
    let default = Paths::default();
    let (paths, directories) = match paths {
        Some(paths) => (paths, vec![paths.spool.as_path()]),
        None => (&default, ORPHANS.map(Path::new).to_vec()),
    };
    // Perhaps this is still root: nothing of the service user's is opened then.
    if let Err(also) = privileges::give_up_root(&paths.database, &paths.spool, Missing::Create) {
        return vec![syslog_record(event, &format!("{why}; {also}"))];
    }
    let mut reasons = why.to_owned();
    for directory in directories {
        match spool::write(directory, event) {
            Ok(()) => {
                let text = format!("{reasons}; the event waits in {}", directory.display());
                return vec![Message { level: Level::Warning, text }];
            }
            Err(also) => reasons = format!("{reasons}; {also}"),
        }
    }
    vec![syslog_record(event, &reasons)]
}

/// The whole event for syslog, one fact a line, so that none is cut off.
fn syslog_record(event: &Event, why: &str) -> Message {
    let text = format!("this may be all that is left of an event: {why}\n{}", text_form::write(event));
    Message { level: Level::Critical, text }
}
