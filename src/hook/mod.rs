//! The hook: one session event, from PAM's environment to the disk, within a second.
//!
//! Database, then spool, then syslog: each event goes to the first of these that accepts it; none is lost
//! silently. Whatever happens, the login goes on.

mod harden;
pub mod pam;
mod worker;

use std::path::{Path, PathBuf};
use std::slice;
use std::time::Duration;

use crate::config::Hook;
use crate::error::{Error, Kind};
use crate::event::{Event, REMOTE_HOST, text_form};
use crate::hook::pam::NoSession;
use crate::log::{self, Level};
use crate::privileges::{self, Missing};
use crate::queue::{ORPHANS, Paths, Queue, Role, spool};

/// A login waits no longer than this for the queue, whatever the disk does.
const DEADLINE: Duration = Duration::from_millis(800);

/// The spool and syslog share what is then left of the second.
const LAST_RESORT: Duration = Duration::from_millis(120);

/// Records the session event in PAM's environment, unless the allowlist covers it. Fails only if the caller
/// isn't PAM.
pub fn run(config: &Path, block: &pam::Block) -> Result<(), Error> {
    harden::reset();
    let event = match pam::read(block) {
        Ok((action, facts)) => Event::session(action, facts),
        Err(NoSession::OtherCall) => return Ok(()),
        Err(NoSession::NotPam) => {
            return Err(Kind::Impossible("queue is for pam_exec: PAM_TYPE is not set").into());
        }
    };
    let Err(why) = worker::run_with_deadline(DEADLINE, |safe| record(config, &event, safe)) else { return Ok(()) };
    // The worker may still finish; the uid makes the two copies one event.
    let copy = |_: &mut dyn FnMut()| keep_elsewhere(Hook::read(config).0.paths, &event, &format!("the queue {why}"));
    if let Err(why) = worker::run_with_deadline(LAST_RESORT, copy) {
        log_record(&event, &format!("the spool {why}"));
    }
    Ok(())
}

/// Records the event where the configuration says. The login need not wait for what the queue does for itself
/// once the event is safe.
fn record(config: &Path, event: &Event, safe: &mut dyn FnMut()) {
    let (Hook { paths, allowlist }, mistake) = Hook::read(config);
    if let Some(mistake) = mistake {
        let text = format!("{mistake}\nthe allowlist counts as empty until that is corrected");
        log::write(Level::Error, &text);
    }
    if pam::is_proven(&event.facts) && allowlist.contains(event.facts[REMOTE_HOST].as_str()) {
        return;
    }
    let recorded = match &paths {
        Some(paths) => append(paths, event).map_err(|why| why.to_string()),
        None => Err("the configuration doesn't say where the queue is".into()),
    };
    match recorded {
        Ok(queue) => {
            safe();
            queue.leave();
        }
        Err(why) => keep_elsewhere(paths, event, &why),
    }
}

fn append(paths: &Paths, event: &Event) -> Result<Queue, Error> {
    privileges::give_up_root(&paths.database, &paths.spool, Missing::Create)?;
    worker::end_in_time();
    let mut queue = Queue::open(&paths.database, Role::Hook)?;
    queue.append(slice::from_ref(event))?;
    Ok(queue)
}

/// Keeps the event in the spool, or among the orphans while nobody knows where the spool is.
fn keep_elsewhere(paths: Option<Paths>, event: &Event, why: &str) {
    let is_orphan = paths.is_none();
    let Paths { database, spool } = paths.unwrap_or_default();
    // Perhaps this is still root: nothing of the service user's is opened then.
    if let Err(also) = privileges::give_up_root(&database, &spool, Missing::Create) {
        return log_record(event, &format!("{why}; {also}"));
    }
    worker::end_in_time();
    let mut reasons = why.to_owned();
    for directory in if is_orphan { ORPHANS.map(PathBuf::from).to_vec() } else { vec![spool] } {
        match spool::write(&directory, event) {
            Ok(()) => {
                let text = format!("{reasons}; the event waits in {}", directory.display());
                return log::write(Level::Warning, &text);
            }
            Err(also) => reasons = format!("{reasons}; {also}"),
        }
    }
    log_record(event, &reasons);
}

/// Leaves the whole event to syslog, one fact a line, so that none is cut off.
fn log_record(event: &Event, why: &str) {
    let text = format!("this may be all that is left of an event: {why}\n{}", text_form::write(event));
    log::write(Level::Critical, &text);
}
