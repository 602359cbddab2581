//! The rules: which ones can never take effect, and how often each has decided lately.

use crate::clock::{Stamp, milliseconds};
use crate::command::check::finding::Finding;
use crate::config::Config;
use crate::queue::Queue;
use crate::rules::{Doubt, Rule};
use crate::send::DAY;

/// Days that are counted.
const DAYS: u32 = 30;

/// Examines the rules as the current user.
pub fn examine(config: &Config) -> Vec<Finding> {
    let now = Stamp::now();
    let mut findings: Vec<Finding> =
        config.rules.doubts(now.utc_ms).iter().map(|(rule, doubt)| warning(config, rule, *doubt)).collect();
    if config.rules.list.is_empty() {
        return findings;
    }
    let since = now.utc_ms - milliseconds(DAY * DAYS);
    let queue = Queue::open_to_read(&config.paths.database).ok().flatten();
    // Errors of the queue are reported by its own examination.
    let counts = queue.and_then(|queue| queue.count_ruled(since).ok()).unwrap_or_default();
    findings.extend(config.rules.list.iter().map(|rule| {
        let count = counts.get(&rule.place).copied().unwrap_or(0);
        let text = format!("{}, {}: {count} events in the last {DAYS} days", name(config, rule), rule.notify.name());
        Finding::ok(text)
    }));
    findings
}

fn warning(config: &Config, rule: &Rule, doubt: Doubt) -> Finding {
    let (what, remedy) = match doubt {
        Doubt::Expired(ms) => (format!("expired at {}", config.zone.format(ms)), "remove the rule from"),
        Doubt::Shadowed(place) => {
            let what = format!("can never decide: rule {place} matches all of its sessions first");
            (what, "put the narrower rule first in")
        }
        Doubt::ForgedKey => {
            let what = "makes nothing quieter: a user can forge `key` unless hook.trust_environment = true";
            (what.into(), "use `user` and `from` instead of `key`, or let the hook run first, in")
        }
        Doubt::KeyOfOther => {
            ("makes nothing quieter: only sshd's keys are trusted".into(), "write service = \"sshd\" in")
        }
        Doubt::ByAndFrom => {
            let what = "makes nothing quieter: `by` is trusted only without a remote host";
            (what.into(), "remove `by` or `from` from the rule in")
        }
    };
    Finding::warning(format!("{} {what}", name(config, rule)), format!("{remedy} {}", config.file.display()))
}

/// `rules: rule 2 (/etc/ssh-session-notifier/config.toml:14)`
fn name(config: &Config, rule: &Rule) -> String {
    format!("rules: rule {} ({}:{})", rule.place, config.file.display(), rule.line)
}
