//! The host to examine: its files and processes. Tests use a directory in place of `/`.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config;
use crate::files::{self, Links};

/// Bytes of a file that are read. Those of PAM, cron and systemd have a few thousand.
const FILE_LIMIT: u64 = 256 * 1024;

/// Entries of a directory that are read.
const ENTRIES: usize = 4096;

/// How long another program may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of its answer that are read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The host to examine.
pub struct Host {
    /// `/`, except in tests.
    pub root: PathBuf,
    /// This program's own binary.
    pub exe: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Every visible process.
    pub processes: Vec<Process>,
}

#[derive(Clone, Debug)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Its name, without a directory.
    pub name: String,
    /// Its command line, separated by spaces.
    pub line: String,
}

impl Host {
    /// How others have to call this program, with this configuration: `/usr/sbin/ssh-session-notifier`
    pub fn call(&self) -> String {
        let exe = self.exe.display();
        if self.config == Path::new(config::FILE) {
            return exe.to_string();
        }
        let config = path::absolute(&self.config).unwrap_or_else(|_| self.config.clone());
        format!("{exe} --config {}", config.display())
    }

    /// Reads a text file; `None` if it is missing or cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let (bytes, _) = files::read(&self.at(path), FILE_LIMIT, Links::Follow).ok()?;
        Some(String::from_utf8_lossy(&bytes).into())
    }

    /// The actual path of a path of the host.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The paths of the files in a directory, sorted; none if it is missing.
    pub fn list(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(directory)).into_iter().flatten().flatten().take(ENTRIES);
        let mut paths: Vec<String> =
            entries.map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy())).collect();
        paths.sort();
        paths
    }

    /// A process with one of these names, if any.
    pub fn process(&self, names: &[&str]) -> Option<&Process> {
        self.processes.iter().find(|process| names.contains(&process.name.as_str()))
    }

    /// The output of a program (the first existing one of these paths), stderr included. `None` if it is missing or
    /// doesn't answer in time. It gets an empty environment.
    pub fn ask(&self, programs: &[&str], arguments: &[&str]) -> Option<String> {
        let program = programs.iter().find(|program| self.has(program))?;
        ask(&self.at(program), arguments)
    }
}

/// Every process in /proc.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(|pid: u32| Process {
        pid,
        name: files::read_proc(&format!("/proc/{pid}/comm")).trim().into(),
        line: files::read_proc(&format!("/proc/{pid}/cmdline")).replace('\0', " ").trim().into(),
    })
    .collect()
}

fn ask(program: &Path, arguments: &[&str]) -> Option<String> {
    let (mut reader, writer) = io::pipe().ok()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(writer.try_clone().ok()?).stderr(writer);
    let mut child = command.spawn().ok()?;
    // Only the child has its ends of the pipe now.
    drop(command);
    let (mut answer, mut part, end) = (Vec::new(), [0; 4096], Instant::now() + PATIENCE);
    while answer.len() < ANSWER_LIMIT {
        let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now())).ok()?;
        let is_ready = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], left).ok()? > 0;
        if !is_ready {
            // It isn't waited for, because a process blocked on a disk ignores even SIGKILL.
            let _ = child.kill();
            return None;
        }
        match reader.read(&mut part).ok()? {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    Some(String::from_utf8_lossy(&answer).into())
}
