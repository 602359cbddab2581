//! Where events are kept: whether the service user can use it, and whether it survives a reboot.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::command::check::configuration::{blocked, group, user};
use crate::command::check::finding::Finding;
use crate::files;
use crate::queue::{Paths, Queue};

/// With less free than this, logins soon go to the spool.
const LEAST_FREE: u64 = 4 << 20;

/// Directories that survive a reboot where /var does not.
const DURABLE: [&str; 3] = ["/overlay", "/etc/ssh-session-notifier", "/usr/local/lib"];

/// Examines the queue and the spool as the present user.
pub fn examine(config: &Path, paths: &Paths) -> Vec<Finding> {
    let home = paths.database.parent().unwrap_or(Path::new("/"));
    let mut findings = vec![queue(home, &paths.database)];
    findings.extend(spool(&paths.spool));
    let place = existing(home);
    findings.extend(in_memory(config, &paths.database, &place));
    if let Ok(space) = statvfs(&place) {
        let free = files::bytes_of(space.blocks_available(), &space);
        if free < LEAST_FREE {
            let text = format!("queue: {} KiB are free in {}", free / 1024, place.display());
            findings.push(Finding::warning(text, format!("du -x -a {} | sort -n | tail", place.display())));
        }
    }
    findings
}

/// Whether the database can be used, and when the hook last recorded something.
fn queue(home: &Path, database: &Path) -> Finding {
    if !home.exists() && blocked(home).is_none_or(|(path, _)| path == home) {
        return Finding::ok(format!("queue: the first login creates {}", home.display()));
    }
    if let Some(problem) = changed_by_others(home) {
        return problem;
    }
    if let Err(why) = access(home, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK) {
        return unusable(home, why);
    }
    if database.exists()
        && let Err(why) = access(database, AccessFlags::R_OK | AccessFlags::W_OK)
    {
        return unusable(database, why);
    }
    match Queue::open_to_read(database).and_then(|queue| queue.map(|queue| queue.newest_ms()).transpose()) {
        Err(why) => Finding::problem(format!("queue: {why}"), "ssh-session-notifier send # it repairs the damage"),
        Ok(None | Some(None)) => {
            let text = format!("queue: {} can be used; the hook has not recorded anything yet", database.display());
            Finding::warning(text, "log in, then run this again")
        }
        Ok(Some(Some(ms))) => {
            let time = crate::tz::Zone::utc().format(ms);
            Finding::ok(format!(
                "queue: {} can be used; the hook last recorded something at {time}",
                database.display()
            ))
        }
    }
}

/// Whether others than the owner can put files into the state directory.
fn changed_by_others(home: &Path) -> Option<Finding> {
    let mode = fs::metadata(home).ok()?.mode();
    let text = || format!("queue: {} can be changed by others (mode {:04o})", home.display(), mode & 0o7777);
    (mode & 0o022 != 0).then(|| Finding::problem(text(), format!("chmod go-w {}", home.display())))
}

fn unusable(path: &Path, why: Errno) -> Finding {
    let text = format!("queue: user {} cannot use {}: {}", user(), path.display(), why.desc());
    let remedy = if why == Errno::EROFS {
        format!("mount -o remount,rw {}", mount_of(path).map_or("/".into(), |(point, _)| point))
    } else {
        match blocked(path).filter(|(blocked, _)| blocked != path) {
            Some((above, _)) => format!("chmod o+x {}", above.display()),
            None => format!("chown -R {}:{} {} && chmod u+rwX {}", user(), group(), path.display(), path.display()),
        }
    };
    Finding::problem(text, remedy)
}

/// Whether events can go to the spool. The hook creates it if it is missing.
fn spool(spool: &Path) -> Option<Finding> {
    if !spool.exists() {
        return None;
    }
    let why = access(spool, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK).err()?;
    let text = format!("spool: user {} cannot use {}: {}", user(), spool.display(), why.desc());
    Some(Finding::problem(text, format!("chown -R {}:{} {}", user(), group(), spool.display())))
}

/// Whether the queue is in RAM.
fn in_memory(config: &Path, database: &Path, place: &Path) -> Option<Finding> {
    let (point, _) = mount_of(place).filter(|(_, kind)| matches!(kind.as_str(), "tmpfs" | "ramfs"))?;
    let text = format!("queue: {point} is in RAM: pending events are lost at a reboot");
    let is_durable = |path: &Path| mount_of(path).is_some_and(|(_, kind)| !matches!(kind.as_str(), "tmpfs" | "ramfs"));
    let beside = config.parent().unwrap_or(Path::new("/"));
    let durable = DURABLE.iter().map(Path::new).chain([beside]).find(|path| path.exists() && is_durable(path));
    let Some(durable) = durable else {
        return Some(Finding::warning(text, "put queue.path on a disk, if there is one"));
    };
    let new = durable.join("queue");
    let (new, name, config) = (new.display(), database.file_name().unwrap_or_default().display(), config.display());
    let edit = format!(
        "{{ grep -q '^\\[queue\\]' {config} || echo '[queue]' >>{config}; }} && \
         sed -i -e '/^path *=/d' -e 's|^\\[queue\\]|&\\npath = \"{new}/{name}\"|' {config}"
    );
    let remedy = format!("mkdir -p {new} && chmod 700 {new} && chown {}:{} {new} && {edit}", user(), group());
    Some(Finding::problem(text, remedy))
}

/// The nearest existing directory above a path.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).into()
}

/// Where the file system of a path is mounted, and its type (proc(5), mountinfo).
fn mount_of(path: &Path) -> Option<(String, String)> {
    let path = path.canonicalize().ok()?;
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some((before.split(' ').nth(4)?.to_owned(), after.split(' ').next()?.to_owned()))
    });
    // Of two mounts in one place, the later one hides the other.
    let mounts = mounts.filter(|(point, _)| path.starts_with(point)).enumerate();
    mounts.max_by_key(|(place, (point, _))| (point.len(), *place)).map(|(_, mount)| mount)
}
