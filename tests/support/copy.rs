//! This machine as a copy that a test may change: /etc, /usr and /var are overlays in a mount namespace,
//! /run is empty. What was changed stays for the next command, and the machine itself as it is.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::tree::{SCRIPT, Tree};
use crate::support::{has_mount_namespaces, skip, tools};

/// Lays the copies over this machine; `$1` is where the changes are, `$2` what lies over /usr besides.
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

/// A copy; its changed files are at `tree.at("etc/…")` and so on.
pub struct Copy(pub Tree);

impl Copy {
    /// A copy without our files and PAM services, whose crontabs are in /etc/crontabs. `None`, and said
    /// why, where that can't be had.
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

    /// A line of shell in the copy.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("unshare");
        let over = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/usr");
        command.args(["--mount", "sh", "-ec", &format!("{ENTER}\n{line}"), "sh"]).arg(&self.0.0).arg(over);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// The installer in the copy, with the binary under test.
    pub fn script(&self, arguments: &str) -> Command {
        self.shell(&format!("sh {SCRIPT} --binary {} {arguments}", env!("CARGO_BIN_EXE_ssh-session-notifier")))
    }

    /// Whether the copy has a program.
    pub fn has(&self, program: &str) -> bool {
        self.shell(&format!("command -v {program}")).output().is_ok_and(|found| found.status.success())
            || tools::find(program).is_some_and(|path| path.starts_with(Path::new("/usr")))
    }
}
