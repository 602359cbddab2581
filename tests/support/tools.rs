//! Programs from Debian packages, which tests/setup.sh unpacks if it can't install them. They are preferred to
//! the host's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The directory in which tests/setup.sh unpacks packages.
pub const TOOLS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools");

/// A line of shell that mounts the unpacked packages over the host's /usr, so that they find their libraries
/// and helpers. For mount namespaces only.
pub const MOUNT: &str = concat!(
    "[ ! -d '",
    env!("CARGO_TARGET_TMPDIR"),
    "/../tools/usr' ] || mount -t overlay -o lowerdir='",
    env!("CARGO_TARGET_TMPDIR"),
    "/../tools/usr':/usr tools /usr\n"
);

/// Finds a program among the unpacked ones, on the PATH, or in the administrator's directories.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let path = format!("{TOOLS}/usr/bin:{TOOLS}/usr/sbin:{path}:/usr/sbin:/sbin");
    env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Whether a program can be started in a mount namespace after [`MOUNT`]. Needs root.
pub fn has_mounted(program: &str) -> bool {
    let script = format!("{MOUNT}PATH=$PATH:/usr/sbin:/sbin; command -v {program}");
    Command::new("unshare").args(["--mount", "sh", "-ec", &script]).output().is_ok_and(|found| found.status.success())
}

/// Returns a command for a program, with the libraries that were unpacked with it.
pub fn command(program: &str) -> Command {
    let path = find(program).unwrap_or_else(|| program.into());
    let mut command = Command::new(&path);
    if path.starts_with(TOOLS) {
        let found = fs::read_dir(Path::new(TOOLS).join("usr/lib")).into_iter().flatten().flatten();
        let directories = found.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("-linux-"));
        let directories = directories.flat_map(|path| [path.join("systemd"), path]);
        command.env("LD_LIBRARY_PATH", env::join_paths(directories).expect("cargo's own path has no colon"));
    }
    command
}

/// Finds a static busybox with crond. Debian's package `busybox` is neither static nor has crond.
pub fn busybox() -> Option<PathBuf> {
    let path = find("busybox")?;
    let applets = Command::new(&path).arg("--list").output().ok()?;
    let has_crond = applets.stdout.split(|byte| *byte == b'\n').any(|applet| applet == b"crond");
    (has_crond && is_static(&path)).then_some(path)
}

/// Whether an ELF file names no interpreter.
fn is_static(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| !bytes.windows(4).take(4096).any(|four| four == b"/lib"))
}
