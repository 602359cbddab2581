//! A test's own control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::wait_for;

/// Where cgroups 2, and the controllers of cgroups 1, are mounted.
const ROOTS: [&str; 6] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup/cpu",
    "/sys/fs/cgroup/cpu,cpuacct",
    "/sys/fs/cgroup/freezer",
    "/sys/fs/cgroup/pids",
];

/// A control group, removed when its test ends.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a control group with the first of these settings that the kernel accepts. A setting is one or more
    /// files and their values. `None` if this machine can't make one.
    pub fn new(settings: &[&[(&str, &str)]]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ssn-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ROOTS.into_iter().find_map(|root| {
            let group = Self(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            // The kernel makes a setting's file if the controller is there.
            let set = |(file, value): &(&str, &str)| {
                group.0.join(file).exists() && fs::write(group.0.join(file), value).is_ok()
            };
            settings.iter().any(|setting| setting.iter().all(set)).then_some(group)
        })
    }

    /// Changes a setting.
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).expect("root may");
    }

    /// Returns a line of shell that puts the shell into the group.
    pub fn enter(&self) -> String {
        format!("echo $$ >{}/cgroup.procs", self.0.display())
    }

    /// Returns the same command, with its process in the group.
    pub fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("{} && exec \"$@\"", self.enter());
        command.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        command
    }

    pub fn is_empty(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
    }
}

impl Drop for Cgroup {
    /// Frozen processes could not end, so they are thawed.
    fn drop(&mut self) {
        for (file, value) in [("cgroup.freeze", "0"), ("freezer.state", "THAWED")] {
            let path = self.0.join(file);
            let _ = path.exists().then(|| fs::write(path, value));
        }
        let _ = wait_for(|| fs::remove_dir(&self.0).is_ok());
    }
}
