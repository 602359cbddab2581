//! The hook: one session event, from PAM's environment to the disk, within a second.
//!
//! Database, then spool, then syslog: each event goes to the first of these that accepts it; none is lost
//! silently. Whatever happens, the login goes on.

mod harden;
pub mod pam;
mod worker;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use nix::unistd::User;

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

/// The queue has this long to itself. Then a copy for the spool is begun next to it, because on a busy machine
/// that takes its time, too; the first of the two that is done ends the wait.
const COPY_AFTER: Duration = Duration::from_millis(600);

/// A login waits no longer than this for either, whatever the disk does. The rest of the second is for syslog.
const DEADLINE: Duration = Duration::from_millis(920);

/// What to do about a line of PAM's that can't work.
pub const REMEDY: &str =
    "use it as `session optional pam_exec.so quiet PATH/ssh-session-notifier queue`, with nothing in between";

/// Records the session event in PAM's environment, unless the allowlist covers it. Fails only if the caller
/// isn't PAM.
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
    // The first worker may still finish; the uid makes the two copies one event.
    let why = format!("the queue {why}");
    let copy = |_: &mut dyn FnMut()| keep_elsewhere(&Hook::read(config).0, &event, &why);
    let Some(second) = worker::start(copy) else { return Ok(()) };
    workers.push(second);
    if let Err(also) = worker::wait_for_one(&mut workers, started + DEADLINE) {
        log_record(&Hook::default().host, &event, &format!("{why}; the spool {also}"));
    }
    Ok(())
}

/// Says of a call that it records nothing, and what to do about it.
fn log_useless(why: &str) {
    log::write(Level::Warning, &format!("nothing is recorded: {why}; {REMEDY}"));
}

/// Records the event where the configuration says, unless the allowlist covers what PAM itself said. The login
/// need not wait for what the queue does for itself once the event is safe.
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
        Some(items) if hook.allowlist.covers(items) || is_senders_own(&hook, items) => return,
        None if !hook.allowlist.is_empty() => {
            let text = format!(
                "the allowlist isn't used: something between PAM and `queue` changed the order of the \
                                environment, so that a user may have set any of it; {REMEDY}"
            );
            log::write(Level::Warning, &text);
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
        Err(why) => keep_elsewhere(&hook, event, &why),
    }
}

/// Whether this is neither root nor the service user. `systemd` closes the sessions of a unit with `PAMName=`, and
/// of its own user instances, in such a process.
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

/// Says of an event that it can't be recorded by this process, and what to do about it.
fn log_refused(host: &Field, event: &Event) {
    let (service, user) = (&event.facts[SERVICE], geteuid());
    let text = format!(
        "not recorded, because {service} ran `queue` as user {user}, and only root and the service user may write the \
         queue; remove the line from that service's PAM file (it is one of systemd's, or its unit has PAMName=): {}",
        notice(host, event)
    );
    log::write(Level::Warning, &text);
}

/// Whether a scheduler opens this session to run `send`: to tell of that would cause the next one, for ever.
fn is_senders_own(hook: &Hook, items: Items<'_>) -> bool {
    let is_schedulers = SCHEDULERS.iter().any(|name| name.as_bytes() == items.service);
    let user = || User::from_name(str::from_utf8(items.user).ok()?).ok().flatten().map(|user| user.uid.as_raw());
    let owner = || hook.paths.as_ref().map(|paths| privileges::owner_of(&paths.database).0);
    is_schedulers && user().is_some_and(|user| user != 0 && Some(user) == owner())
}

fn append(paths: &Paths, event: &Event) -> Result<Queue, Error> {
    privileges::give_up_root(&paths.database, &paths.spool, Missing::Create)?;
    worker::end_in_time();
    let mut queue = Queue::open(&paths.database, Role::Hook)?;
    queue.append(slice::from_ref(event))?;
    Ok(queue)
}

/// Keeps the event in the spool, or among the orphans while nobody knows where the spool is.
fn keep_elsewhere(hook: &Hook, event: &Event, why: &str) {
    let is_orphan = hook.paths.is_none();
    let Paths { database, spool } = hook.paths.clone().unwrap_or_default();
    // Perhaps this is still root: nothing of the service user's is opened then.
    if let Err(also) = privileges::give_up_root(&database, &spool, Missing::Create) {
        return log_record(&hook.host, event, &format!("{why}; {also}"));
    }
    worker::end_in_time();
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
    log_record(&hook.host, event, &reasons);
}

/// Leaves the whole event to syslog: why, what a person reads of it, and its text form in one line.
fn log_record(host: &Field, event: &Event, why: &str) {
    let (notice, record) = (notice(host, event), text_form::write_line(event));
    let text = format!("this may be all that is left of an event: {why}: {notice}\n{record}");
    log::write(Level::Critical, &text);
}

/// The notice's one line, in UTC: no time zone is looked up while somebody waits.
fn notice(host: &Field, event: &Event) -> String {
    Style { host, zone: &Zone::utc(), now: &event.at }.line(event, &Verdict::default())
}
