//! A booted systemd in a container. Its /usr is an overlay on this machine's.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::tree::{Tree, output};
use crate::support::{is_root, skip, tools, wait_for};

/// The target that the container boots into: basic.target, which starts paths and timers, and one script.
const TARGET: &str = "[Unit]\nRequires=basic.target try.service\nAfter=basic.target\n";
const SERVICE: &str = "[Service]\nType=oneshot\nStandardOutput=file:/said\nStandardError=file:/said\n\
    ExecStart=/bin/sh -e /try.sh\nExecStopPost=/bin/sh -c 'systemctl --no-block poweroff 2>/dev/null'\n";

/// Makes an image before its first boot: /etc with little in it, an empty /var, a PAM service `login` and the
/// user root. `None`, with the reason printed, if this machine can't boot it.
pub fn image(test: &str) -> Option<Tree> {
    let needed = ["systemd-nspawn", "systemctl", "pamtester"];
    if let Some(missing) = needed.into_iter().find(|name| tools::find(name).is_none()) {
        skip(test, &format!("needs {missing}"));
        return None;
    }
    if !is_root() || !fs::exists("/usr/lib/systemd/systemd").is_ok_and(|is_there| is_there) {
        skip(test, "needs root and systemd");
        return None;
    }
    let tree = Tree::new(test);
    for directory in ["etc", "proc", "sys", "dev", "run", "tmp", "root", "usr/lib/systemd", "var/lib"] {
        fs::create_dir_all(tree.at(directory)).expect(directory);
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), tree.at(link)).expect(link);
    }
    tree.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    tree.write("etc/group", "root:x:0:\n");
    tree.write("etc/pam.d/login", "session required pam_env.so\n");
    tree.write("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
    // systemd-firstboot would ask for a root password.
    fs::create_dir_all(tree.at("etc/systemd/system")).expect("a directory");
    symlink("/dev/null", tree.at("etc/systemd/system/systemd-firstboot.service")).expect("a link");
    output(Command::new("cp").arg("-L").arg("/etc/os-release").arg(tree.at("etc")));
    output(
        Command::new("cp")
            .args(["-a", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/alternatives"])
            .arg(tree.at("etc")),
    );
    tree.write("etc/systemd/system/try.target", TARGET);
    tree.write("etc/systemd/system/try.service", SERVICE);
    tree.write("try.sh", "");
    let is_up = boot(&tree, "echo up").is_over() && said(&tree).contains("up");
    if !is_up {
        skip(test, "containers can't be booted here");
        return None;
    }
    // The next boot is to be the first one again.
    for place in ["etc/machine-id", "said"] {
        let _ = fs::remove_file(tree.at(place));
    }
    Some(tree)
}

/// Returns the output of the script in the container.
pub fn said(tree: &Tree) -> String {
    fs::read_to_string(tree.at("said")).unwrap_or_default()
}

/// Waits up to a minute, because a container on a busy machine is slow. Returns whether the condition held.
pub fn eventually(mut what: impl FnMut() -> bool) -> bool {
    (0..6).any(|_| wait_for(&mut what))
}

/// Held by the running container: two in this process's control group would get in each other's way.
static ONE: Mutex<()> = Mutex::new(());

/// A running container. It ends when its script ends, or the test.
pub struct Container(Child, #[expect(dead_code, reason = "held until the end")] MutexGuard<'static, ()>);

impl Container {
    /// Waits for the container to shut down. Returns whether it did.
    pub fn is_over(&mut self) -> bool {
        eventually(|| self.0.try_wait().is_ok_and(|ended| ended.is_some()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots the image and runs `script` as root once the system is up; then the container ends.
pub fn boot(tree: &Tree, script: &str) -> Container {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    tree.write("try.sh", script);
    let log = fs::File::create(tree.at("boot.log")).expect("a log");
    let name = format!("ssn{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut command = tools::command("systemd-nspawn");
    command.args(["--quiet", "--register=no", "--keep-unit", "--boot", "--machine", &name, "--directory"]);
    command.arg(&tree.0).arg(format!("--overlay=/usr:{}:/usr", tree.at("usr").display()));
    command.args(["--", "--unit=try.target"]).stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    Container(command.spawn().expect("systemd-nspawn starts"), one)
}
