//! A copy of this machine that a test may change: /etc, /usr and /var are overlays in a mount namespace, and
//! /run is empty. Changes are kept for the next command in the copy and never reach the machine.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::tree::{SCRIPT, Tree};
use crate::support::{has_mount_namespaces, skip, tools};

/// Mounts the overlays: `$1` holds the changes, `$2` is one more layer on /usr, if it exists.
const ENTER: &str = r#"
lower=/usr
[ ! -d "$2" ] || lower=$2:/usr
mount -t overlay -o "lowerdir=$lower,upperdir=$1/usr,workdir=$1/usr.work" overlay /usr
for directory in etc var; do
    mount -t overlay -o "lowerdir=/$directory,upperdir=$1/$directory,workdir=$1/$directory.work" overlay "/$directory"
done
mount -t tmpfs -o mode=755,size=16m tmpfs /run
mkdir -m 755 /run/sshd
"#;

/// A copy. Its changed files are at `tree.at("etc/…")` and so on.
pub struct Copy(pub Tree);

impl Copy {
    /// Makes a copy without PAM services and /etc/cron.d, with its crontabs in /etc/crontabs. `None`, with the
    /// reason printed, if this machine can't mount it.
    pub fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !has_mount_namespaces() {
            skip(test, "needs root and mount namespaces");
            return None;
        }
        let tree = Tree::new(&format!("copy-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        for directory in ["etc", "usr", "var"] {
            std::fs::create_dir_all(tree.at(directory)).expect("a directory");
            std::fs::create_dir_all(tree.at(&format!("{directory}.work"))).expect("a directory");
        }
        let copy = Self(tree);
        let begin = "rm -rf /etc/pam.d /etc/cron.d; mkdir -p /etc/pam.d /etc/crontabs";
        if !copy.shell(begin).output().is_ok_and(|done| done.status.success()) {
            skip(test, "overlays can't be mounted here");
            return None;
        }
        Some(copy)
    }

    /// Returns a command that runs a line of shell in the copy.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("unshare");
        let over = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/usr");
        command.args(["--mount", "sh", "-ec", &format!("{ENTER}\n{line}"), "sh"]).arg(&self.0.0).arg(over);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Returns a command that installs the binary under test in the copy.
    pub fn script(&self, arguments: &str) -> Command {
        self.shell(&format!("sh {SCRIPT} --binary {} {arguments}", env!("CARGO_BIN_EXE_ssh-session-notifier")))
    }

    pub fn has(&self, program: &str) -> bool {
        self.shell(&format!("command -v {program}")).output().is_ok_and(|found| found.status.success())
            || tools::find(program).is_some_and(|path| path.starts_with(Path::new("/usr")))
    }
}
