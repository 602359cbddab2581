//! A small host in a directory for install.sh, which runs as a package's build does (DESTDIR) or, with chroot,
//! as an administrator does.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use crate::support::{is_root, skip, tools};

/// The installer.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");

/// The name of the program, its user, its units and its directories.
pub const NAME: &str = "ssh-session-notifier";

/// The lines of Debian's PAM file for sshd that matter here.
pub const PAM: &str = "session required pam_loginuid.so\nsession required pam_env.so user_readenv=1\n";

/// A temporary directory, removed when its test ends.
pub struct Tree(pub PathBuf);

impl Tree {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{NAME}-install-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// Makes a host with only busybox and a stand-in for the binary, because the real one may need libraries.
    /// `None`, with the reason printed, if this machine can't run it.
    pub fn host(test: &str) -> Option<Self> {
        let (true, Some(busybox)) = (is_root(), tools::busybox()) else {
            skip(test, "needs root and a static busybox with crond");
            return None;
        };
        let tree = Self::new(test);
        for directory in ["bin", "dev", "etc/crontabs", "etc/pam.d", "run", "usr/sbin", "var/lib"] {
            fs::create_dir_all(tree.at(directory)).expect(directory);
        }
        fs::copy(&busybox, tree.at("bin/busybox")).expect("busybox");
        let applets = output(Command::new(busybox).arg("--list"));
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", tree.at("bin").join(applet)).expect(applet);
        }
        let _ = Command::new("mknod").arg(tree.at("dev/null")).args(["c", "1", "3"]).status();
        symlink("/bin/busybox", tree.at("usr/sbin/crond")).expect("crond");
        tree.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh");
        tree.write("etc/group", "root:x:0:\n");
        tree.write("etc/pam.d/sshd", PAM);
        tree.write(NAME, "#!/bin/sh\nexit 0\n");
        fs::copy(SCRIPT, tree.at("install.sh")).expect("the script");
        Some(tree)
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().expect("a parent")).expect(path);
        fs::write(self.at(path), text).expect(path);
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).expect(path)
    }

    /// Returns a file's mode in octal and its owner: `640 0:999`.
    pub fn look(&self, path: &str) -> String {
        let metadata = fs::metadata(self.at(path)).expect(path);
        format!("{:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
    }

    /// Runs the script on this host, which must succeed, and returns its output.
    pub fn install(&self, arguments: &[&str]) -> String {
        output(self.script().args(arguments))
    }

    /// Returns a command that runs the script in its own mount namespace after `prepare`, a line of shell in
    /// which `$root` is this host's root.
    pub fn script_after(&self, prepare: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let script =
            format!("root=$1; mount --bind $root $root\n{prepare}\nshift; exec env -i PATH=/bin:/usr/sbin \"$@\"");
        command.args(["--mount", "sh", "-ec", &script, "sh"]).arg(&self.0);
        command.arg("chroot").arg(&self.0).args(["/bin/sh", "/install.sh"]).args(arguments);
        command
    }

    pub fn script(&self) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.0).args(["/bin/sh", "/install.sh"]).env_clear().env("PATH", "/bin:/usr/sbin");
        chroot
    }

    /// Returns mode, owner, time and content of all files outside /dev.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        let mut directories = vec![self.0.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                let metadata = fs::symlink_metadata(&path).expect("metadata");
                let mut hash = DefaultHasher::new();
                if metadata.is_file() {
                    fs::read(&path).expect("a file").hash(&mut hash);
                }
                if metadata.is_dir() && !path.ends_with("dev") {
                    directories.push(path.clone());
                }
                (metadata.uid(), metadata.gid(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hash);
                all.insert(path, format!("{:o} {:x}", metadata.mode(), hash.finish()));
            }
        }
        all.retain(|path, _| !path.ends_with("dev/null"));
        all
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command, which must succeed with nothing on stderr, and returns its output.
pub fn output(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stderr.is_empty(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into()
}

/// Runs a command, which must fail, and returns its exit status and its messages.
pub fn failure(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it can be started");
    assert!(!output.status.success(), "{command:?} must fail");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into())
}
