//! The hook: one session event, from PAM's environment to the disk, within a second.
//!
//! Database, then spool, then syslog: an event goes to the first that takes it, and none is lost
//! without a word. Whatever happens, the login goes on.

use std::ffi::OsString;
use std::path::Path;
use std::process;
use std::slice;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::config::{Hook, Place};
use crate::error::Error;
use crate::event::{Action, Environment, Event, Session, Stamp, Trust, What};
use crate::log::{self, Level};
use crate::privileges;
use crate::queue::{Queue, Role, spool};
use crate::surroundings;

/// A login waits no longer than this, whatever the disk does. (While the processor is busy with
/// others, the login itself can't go on either, and that time isn't counted.)
const DEADLINE: Duration = Duration::from_millis(900);

/// The spool and syslog share what is then left of the second.
const LAST_RESORT: Duration = Duration::from_millis(80);

/// The watchdog writes one file and one datagram.
const WATCHDOG_STACK: usize = 64 * 1024;

/// Where events may be kept, once that is known and root is given up.
type Kept = Arc<OnceLock<Place>>;

/// Records what PAM tells of, unless the allowlist has it. Fails only where PAM isn't the caller.
pub fn run(config: &Path, block: &[(OsString, OsString)]) -> Result<(), Error> {
    let (session, trust) = match Session::from_environment(block) {
        Environment::Session(session, trust) => (session, trust),
        Environment::Other => return Ok(()),
        Environment::Missing => return Err(Error::Environment("queue is for pam_exec: PAM_TYPE is not set")),
    };
    surroundings::settle();
    let remote_host = session.remote_host.clone();
    let event = Arc::new(Event { what: What::Session(session), at: Stamp::now() });
    let kept = arm_watchdog(&event);
    let (hook, mistake) = Hook::read(config);
    if let Some(mistake) = mistake {
        log::say(Level::Error, &format!("{mistake}\nthe allowlist counts as empty until that is mended"));
    }
    if trust == Trust::Unproven || !hook.allowlist.contains(remote_host.as_str()) {
        keep(hook.place, &event, &kept);
    }
    Ok(())
}

/// Keeps an event in the first place that takes it.
fn keep(place: Place, event: &Event, kept: &Kept) {
    if let Err(why) = privileges::give_up_root(&place) {
        // Still root, perhaps: nothing of the service user's is opened, but syslog is safe.
        return log::say(Level::Critical, &testament(event, &why.to_string()));
    }
    let place = kept.get_or_init(|| place);
    let append = |mut queue: Queue| {
        let appended = queue.append(slice::from_ref(event));
        queue.leave();
        appended
    };
    if let Err(why) = Queue::open(&place.path, Role::Hook).and_then(append) {
        keep_elsewhere(place, event, &why.to_string());
    }
}

fn keep_elsewhere(place: &Place, event: &Event, why: &str) {
    match spool::write(&place.spool, event) {
        Ok(()) => log::say(Level::Warning, &format!("{why}; the event waits in {}", place.spool.display())),
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

/// Starts a thread that ends the process when anything takes too long; the process usually ends
/// first. SIGALRM would do too, but what its handler may do is next to nothing. Without memory for a
/// thread the locks still have their bound; only the disk has none.
fn arm_watchdog(event: &Arc<Event>) -> Kept {
    let kept = Kept::default();
    let (event, place) = (Arc::clone(event), Arc::clone(&kept));
    let _ = thread::Builder::new().stack_size(WATCHDOG_STACK).spawn(move || {
        thread::sleep(DEADLINE);
        while surroundings::is_starved() {
            thread::sleep(LAST_RESORT);
        }
        end_in_time(place, &event);
    });
    kept
}

fn end_in_time(place: Kept, event: &Arc<Event>) -> ! {
    // The spool may be on the disk that hangs: it gets a thread of its own too.
    let (done, finished) = channel();
    let again = Arc::clone(event);
    let spool = move || {
        if let Some(place) = place.get() {
            keep_elsewhere(place, &again, "the queue took too long");
            let _ = done.send(());
        }
    };
    let spawned = thread::Builder::new().stack_size(WATCHDOG_STACK).spawn(spool);
    let mut answer = finished.recv_timeout(LAST_RESORT);
    while answer == Err(RecvTimeoutError::Timeout) && surroundings::is_starved() {
        answer = finished.recv_timeout(LAST_RESORT);
    }
    if spawned.is_err() || answer.is_err() {
        // Not on stderr: a thread that hangs may have it locked.
        log::to_syslog(Level::Critical, &testament(event, "neither the queue nor the spool answered in time"));
    }
    process::exit(0);
}
