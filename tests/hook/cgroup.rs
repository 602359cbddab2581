//! A test's own control group, with a limit on its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where cgroups 2, and the controllers of cgroups 1, are mounted.
const ROOTS: [&str; 5] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/pids",
    "/sys/fs/cgroup/cpu",
    "/sys/fs/cgroup/cpu,cpuacct",
    "/sys/fs/cgroup/unified",
];

/// A control group, removed when its test ends.
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    /// Makes a control group with the first of these limits that the kernel accepts. A limit is one or more files
    /// and their values. `None` if this machine can't make one.
    pub fn new(limits: &[&[(&str, &str)]]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ssn-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ROOTS.into_iter().find_map(|root| {
            let group = Self(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            // The kernel makes a limit's file if the controller is there.
            let set = |(file, value): &(&str, &str)| {
                group.0.join(file).exists() && fs::write(group.0.join(file), value).is_ok()
            };
            limits.iter().any(|limit| limit.iter().all(set)).then_some(group)
        })
    }

    pub fn is_empty(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
