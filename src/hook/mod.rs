//! The hook reads one session event from PAM's environment and writes it to the disk, within a second.
//!
//! The event goes to the database, else to the spool, else to syslog; it is never lost silently. Whatever
//! happens, the login goes on.

mod harden;
pub mod pam;
mod worker;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};

use crate::config::Hook;
use crate::error::{Error, Kind};
use crate::event::{Event, SERVICE, text_form};
use crate::hook::pam::NoSession;
use crate::log::{self, Level};
use crate::notice::Style;
use crate::privileges::{self, Missing};
use crate::queue::{ORPHANS, Paths, Queue, Role, spool};
use crate::rules::{Items, SCHEDULERS, Verdict};
use crate::text::Field;
use crate::tz::Zone;

/// How long to wait for the queue alone. Then a second worker writes the event to the spool, which takes time on a
/// busy machine too, and the first to finish ends the wait.
const COPY_AFTER: Duration = Duration::from_millis(600);

/// How long a login waits for both, whatever the disk does. The rest of the second is for syslog.
const DEADLINE: Duration = Duration::from_millis(920);

/// The remedy for a PAM line that can't work.
pub const REMEDY: &str =
    "use it as `session optional pam_exec.so quiet PATH/ssh-session-notifier queue`, with nothing in between";

/// Records the session event in PAM's environment, unless the allowlist covers it. Fails only if the caller isn't
/// PAM.
pub fn run(config: &Path, block: &pam::Block) -> Result<(), Error> {
    harden::reset();
    let started = Instant::now();
    let event = match pam::read(block) {
        Ok((action, facts)) => Event::session(action, facts),
        Err(NoSession::NotPam) => {
            return Err(Kind::Impossible("queue is for pam_exec: PAM_TYPE is not set").into());
        }
        Err(NoSession::OtherCall(name)) => {
            log_useless(&format!("PAM called `queue` for {name}"));
            return Ok(());
        }
        Err(NoSession::Nobody) => {
            log_useless("PAM_USER and PAM_RHOST are both missing");
            return Ok(());
        }
    };
    let items = pam::proven_items(block);
    let Some(first) = worker::start(|safe| record(config, &event, items, safe)) else { return Ok(()) };
    let mut workers = vec![first];
    let Err(why) = worker::wait_for_one(&mut workers, started + COPY_AFTER) else { return Ok(()) };
    // The first worker may still finish. Both copies have the same uid, so they count as one event.
    let why = format!("the queue {why}");
    let copy = |_: &mut dyn FnMut()| write_to_spool(&Hook::read(config).0, &event, &why);
    let Some(second) = worker::start(copy) else { return Ok(()) };
    workers.push(second);
    if let Err(also) = worker::wait_for_one(&mut workers, started + DEADLINE) {
        log_event(&Hook::default().host, &event, &format!("{why}; the spool {also}"));
    }
    Ok(())
}

/// Logs that this call records nothing, and the remedy.
fn log_useless(why: &str) {
    log::write(Level::Warning, &format!("nothing is recorded: {why}; {REMEDY}"));
}

/// Records the event in the configured queue, unless the allowlist covers PAM's items. Calls `safe` once the event is
/// on the disk, so that the login doesn't wait while the queue is closed.
fn record(config: &Path, event: &Event, items: Option<Items<'_>>, safe: &mut dyn FnMut()) {
    let (hook, mistake) = Hook::read(config);
    if is_unprivileged(&hook) {
        return log_refused(&hook.host, event);
    }
    if let Some(mistake) = mistake {
        let text = format!("{mistake}\nthe allowlist counts as empty until that is corrected");
        log::write(Level::Error, &text);
    }
    match items {
        Some(items) if hook.allowlist.covers(items) || is_own_scheduler(&hook, items) => return,
        None if !hook.allowlist.is_empty() => {
            let why = "the allowlist isn't used: something between PAM and `queue` changed the order of the \
                       environment, so a user may have set any of it";
            log::write(Level::Warning, &format!("{why}; {REMEDY}"));
        }
        Some(_) | None => {}
    }
    let recorded = match &hook.paths {
        Some(paths) => append(paths, event).map_err(|why| why.to_string()),
        None => Err("the configuration doesn't say where the queue is".into()),
    };
    match recorded {
        Ok(queue) => {
            safe();
            queue.leave();
        }
        Err(why) => write_to_spool(&hook, event, &why),
    }
}

/// Whether this process is neither root's nor the service user's. `systemd` closes the sessions of its user instances,
/// and of units with `PAMName=`, in such a process.
fn is_unprivileged(hook: &Hook) -> bool {
    if geteuid().is_root() {
        return false;
    }
    let database = hook.paths.clone().unwrap_or_default().database;
    match fs::metadata(database.parent().unwrap_or(Path::new("/"))) {
        Ok(home) => home.uid() != geteuid().as_raw(),
        Err(_) => hook.paths.is_none(),
    }
}

/// Logs an event that this process can't record, and the remedy.
fn log_refused(host: &Field, event: &Event) {
    let (service, user) = (&event.facts[SERVICE], geteuid());
    let text = format!(
        "not recorded, because {service} ran `queue` as user {user}, and only root and the service user may write the \
         queue; remove the line from that service's PAM file (it is one of systemd's, or its unit has PAMName=): {}",
        notice(host, event)
    );
    log::write(Level::Warning, &text);
}

/// Whether a scheduler opened this session to run `send`. A notice about it would need another `send`, and so on.
fn is_own_scheduler(hook: &Hook, items: Items<'_>) -> bool {
    let is_schedulers = SCHEDULERS.iter().any(|name| name.as_bytes() == items.service);
    let user = || User::from_name(str::from_utf8(items.user).ok()?).ok().flatten().map(|user| user.uid.as_raw());
    let owner = || hook.paths.as_ref().map(|paths| privileges::owner_of(&paths.database).0);
    is_schedulers && user().is_some_and(|user| user != 0 && Some(user) == owner())
}

fn append(paths: &Paths, event: &Event) -> Result<Queue, Error> {
    privileges::give_up_root(&paths.database, &paths.spool, Missing::Create)?;
    worker::limit_lifetime();
    let mut queue = Queue::open(&paths.database, Role::Hook)?;
    queue.append(slice::from_ref(event))?;
    Ok(queue)
}

/// Writes the event to the spool, or to the orphans if the configuration doesn't say where the spool is. If that fails
/// too, it goes to syslog.
fn write_to_spool(hook: &Hook, event: &Event, why: &str) {
    let is_orphan = hook.paths.is_none();
    let Paths { database, spool } = hook.paths.clone().unwrap_or_default();
    // A process that is still root must not open what the service user can replace.
    if let Err(also) = privileges::give_up_root(&database, &spool, Missing::Create) {
        return log_event(&hook.host, event, &format!("{why}; {also}"));
    }
    worker::limit_lifetime();
    let mut reasons = why.to_owned();
    for directory in if is_orphan { ORPHANS.map(PathBuf::from).to_vec() } else { vec![spool] } {
        match spool::write(&directory, event) {
            Ok(()) => {
                let place = directory.display();
                let text = format!("{reasons}; the event waits in {place}: {}", notice(&hook.host, event));
                return log::write(Level::Warning, &text);
            }
            Err(also) => reasons = format!("{reasons}; {also}"),
        }
    }
    log_event(&hook.host, event, &reasons);
}

/// Logs the whole event: the reason, its notice, and its text form in one line.
fn log_event(host: &Field, event: &Event, why: &str) {
    let (notice, record) = (notice(host, event), text_form::write_line(event));
    let text = format!("this may be the only record of an event: {why}: {notice}\n{record}");
    log::write(Level::Critical, &text);
}

/// Writes the event's notice in UTC, because looking up a time zone would take time.
fn notice(host: &Field, event: &Event) -> String {
    Style { host, zone: &Zone::utc(), now: &event.at }.line(event, &Verdict::default())
}
