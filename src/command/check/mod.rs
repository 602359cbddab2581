//! `check`: reports what is missing on this host, and the commands that fix it. Changes nothing.
//!
//! Root examines PAM, sshd and the scheduler. Then it becomes, for good, the user that the scheduler runs `send` as,
//! and examines the rest with that user's permissions.

mod configuration;
mod environment;
mod finding;
mod host;
mod last_run;
mod machine;
mod network;
mod pam;
mod paths;
mod rules;
mod scheduler;
mod sshd;
mod stack;
#[cfg(test)]
mod tests;

pub use finding::{Finding, print};
#[cfg(feature = "email")]
pub use network::mailed;
pub use network::{PATIENCE, answered, unreachable};

use std::env;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use crate::config::{Config, Hook};
use crate::error::Health;
use crate::privileges;
use crate::rules::Trust;
use host::Host;

/// Examines everything. Returns the text to print, and whether there is no problem.
pub fn report(config: &Path, network: bool) -> (String, Health) {
    let host = Host {
        root: "/".into(),
        exe: env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/sbin/ssh-session-notifier")),
        config: config.into(),
        processes: host::processes(),
    };
    let is_root = geteuid().is_root();
    let mut around = pam::examine(&host);
    around.extend(sshd::examine(&host, is_root));
    let vouched = environment::examine(&host, is_root);
    let Sight { config, mut findings, schedule, is_senders } = as_sender(&host);
    around.extend(schedule);
    if let Some(config) = config.as_ref().filter(|_| is_senders) {
        findings.extend(rules::examine(config));
        if config.rules.trust() == Trust::Environment {
            findings.extend(vouched);
        }
        findings.extend(paths::examine(&host.config, &config.paths));
        findings.extend(last_run::examine(config));
    }
    findings.extend(around);
    findings.extend(machine::examine(&host, config.as_ref()));
    if let Some(config) = config.filter(|_| network) {
        findings.extend(network::examine(&config));
    }
    print(&findings)
}

/// What was found about the configuration.
struct Sight {
    config: Option<Config>,
    findings: Vec<Finding>,
    schedule: Vec<Finding>,
    /// Whether the user that `send` runs as saw it. What a third user can't read says nothing of the sender.
    is_senders: bool,
}

/// Reads the configuration as the user that `send` runs as, who this process is from then on, and examines the
/// scheduler. Only root can become that user.
fn as_sender(host: &Host) -> Sight {
    let paths = Hook::read(&host.config).0.paths.unwrap_or_default();
    let owner = privileges::owner_of(&paths.database);
    let mut schedule = scheduler::examine(host, &paths, owner);
    let user = schedule.user.as_ref().and_then(|name| User::from_name(name).ok().flatten());
    let (uid, gid) = user.map_or(owner, |user| (user.uid.as_raw(), user.gid.as_raw()));
    let is_senders = geteuid().is_root() || geteuid().as_raw() == uid;
    if !geteuid().is_root() {
        let text = "user: this is not root, so only what this user sees is examined";
        schedule.findings.push(Finding::warning(text, "run this check as root"));
    }
    // A sender that starts as root reads the configuration as root.
    let read = (uid == 0).then(|| configuration::examine(&host.config));
    let (uid, gid) = if uid == 0 { owner } else { (uid, gid) };
    if let Err(why) = privileges::become_sender(uid, gid) {
        schedule.findings.push(Finding::problem(format!("user: {why}"), "run this check as root"));
        return Sight { config: None, findings: Vec::new(), schedule: schedule.findings, is_senders };
    }
    let (config, mut findings) = read.unwrap_or_else(|| configuration::examine(&host.config));
    // Such a remedy would give access to a third user's group.
    let lets_in = format!(" {} ", configuration::group());
    for finding in findings.iter_mut().filter(|finding| !is_senders && finding.remedy.contains(&lets_in)) {
        finding.remedy = "run this as root".into();
    }
    Sight { config, findings, schedule: schedule.findings, is_senders }
}

/// Reads the configuration as `send` would, for a command that does what `send` does.
pub fn config_of_sender(config: &Path) -> Result<Config, Vec<Finding>> {
    let host = Host {
        root: "/".into(),
        exe: env::current_exe().unwrap_or_default(),
        config: config.into(),
        processes: Vec::new(),
    };
    let Sight { config, findings, .. } = as_sender(&host);
    let config = config.filter(|config| !config.targets.is_empty());
    config.ok_or(findings)
}
