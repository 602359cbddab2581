//! The hook: one session event, from PAM's environment to the disk, within a second.
//!
//! Database, then spool, then syslog: an event goes to the first that takes it, and none is lost
//! without a word. Whatever happens, the login goes on.

use std::ffi::OsString;
use std::path::Path;
use std::slice;
use std::time::Duration;

mod harden;
mod worker;

use crate::clock::Stamp;
use crate::config::Hook;
use crate::error::{Error, Kind};
use crate::event::{Action, Environment, Event, Session, Trust, What};
use crate::log::{self, Level};
use crate::privileges;
use crate::queue::Paths;
use crate::queue::{Queue, Role, spool};

/// A login waits no longer than this, whatever the disk does. (While the processor is busy with
/// others, the login itself can't go on either, and that time isn't counted.)
const DEADLINE: Duration = Duration::from_millis(800);

/// The spool and syslog share what is then left of the second.
const LAST_RESORT: Duration = Duration::from_millis(120);

/// Records what PAM tells of, unless the allowlist has it. Fails only where PAM isn't the caller.
pub fn run(config: &Path, block: &[(OsString, OsString)]) -> Result<(), Error> {
    harden::settle();
    let (session, trust) = match Session::from_environment(block) {
        Environment::Session(session, trust) => (session, trust),
        Environment::Other => return Ok(()),
        Environment::Missing => return Err(Kind::Environment("queue is for pam_exec: PAM_TYPE is not set").into()),
    };
    let remote_host = session.remote_host.clone();
    let event = Event { what: What::Session(session), at: Stamp::now() };
    let record = |is_safe: &mut dyn FnMut()| {
        let (hook, mistake) = Hook::read(config);
        if let Some(mistake) = mistake {
            log::say(Level::Error, &format!("{mistake}\nthe allowlist counts as empty until that is mended"));
        }
        if trust == Trust::Unproven || !hook.allowlist.contains(remote_host.as_str()) {
            keep(&hook.paths.unwrap_or_default(), &event, is_safe);
        }
    };
    if let Err(why) = worker::within(DEADLINE, record) {
        let why = format!("the queue {why}");
        let rescue = |_: &mut dyn FnMut()| {
            with_place(&Hook::read(config).0.paths.unwrap_or_default(), &event, |paths| {
                keep_elsewhere(paths, &event, &why);
            });
        };
        if worker::within(LAST_RESORT, rescue).is_err() {
            log::say(Level::Critical, &testament(&event, "neither the queue nor the spool answered in time"));
        }
    }
    Ok(())
}

/// Keeps an event in the first place that takes it. Once it is safe in the queue, the login need not
/// wait for what the queue then does for itself.
fn keep(paths: &Paths, event: &Event, is_safe: &mut dyn FnMut()) {
    let append = |mut queue: Queue| {
        queue.append(slice::from_ref(event))?;
        is_safe();
        queue.leave();
        Ok(())
    };
    with_place(paths, event, |paths| {
        if let Err(why) = Queue::open(&paths.database, Role::Hook).and_then(append) {
            keep_elsewhere(paths, event, &why.to_string());
        }
    });
}

/// Gives up root, and only then does something with what the service user can write.
fn with_place(paths: &Paths, event: &Event, work: impl FnOnce(&Paths)) {
    match privileges::give_up_root(paths) {
        Ok(()) => work(paths),
        // Still root, perhaps: nothing of the service user's is opened, but syslog is safe.
        Err(why) => log::say(Level::Critical, &testament(event, &why.to_string())),
    }
}

fn keep_elsewhere(paths: &Paths, event: &Event, why: &str) {
    match spool::write(&paths.spool, event) {
        Ok(()) => log::say(Level::Warning, &format!("{why}; the event waits in {}", paths.spool.display())),
        Err(also) => log::say(Level::Critical, &testament(event, &format!("{why}; {also}"))),
    }
}

/// Writes the whole event for syslog, one field a line, for a person to read and none to be cut off.
fn testament(event: &Event, why: &str) -> String {
    let session = match &event.what {
        What::Session(session) => session,
        What::Note(text) => return format!("{text}: {why}"),
    };
    let Session { action, user, remote_host, tty, service, id } = session;
    let action = match action {
        Action::Open => "open",
        Action::Close => "close",
    };
    let at = event.at.utc_ms;
    format!(
        "session {action} could not be recorded, this is all that is left of it: {why}\n\
         at {at} ms since 1970: session {action}, id {id}\nuser '{user}'\nremote host '{remote_host}'\n\
         tty '{tty}'\nservice '{service}'"
    )
}
