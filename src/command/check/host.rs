//! The host that is examined: its files and processes. A test gives a directory that stands for `/`.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config;
use crate::files::{self, Links};

/// Bytes of a file that is read. Those of PAM, cron and systemd have a few thousand.
const FILE_LIMIT: u64 = 256 * 1024;

/// Entries of a directory that are looked at.
const ENTRIES: usize = 4096;

/// How long another program may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of its answer that are read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The host.
pub struct Host {
    /// `/`, except in tests.
    pub root: PathBuf,
    /// This very binary.
    pub exe: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Every process that can be seen.
    pub processes: Vec<Process>,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it is called, without a directory.
    pub name: String,
    /// Its command line, with spaces.
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

    /// Where a path of the host is found.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The paths of the files in a directory, in order; none if it is missing.
    pub fn list(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(directory)).into_iter().flatten().flatten().take(ENTRIES);
        let mut paths: Vec<String> =
            entries.map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy())).collect();
        paths.sort();
        paths
    }

    /// The process with one of these names, if any.
    pub fn process(&self, names: &[&str]) -> Option<&Process> {
        self.processes.iter().find(|process| names.contains(&process.name.as_str()))
    }

    /// What a program (the first of these paths that exists) prints, stderr included. `None`: it is missing, or
    /// does not answer in time. Its environment is empty.
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
    // Its ends of the pipe are the child's alone now.
    drop(command);
    let (mut answer, mut part, end) = (Vec::new(), [0; 4096], Instant::now() + PATIENCE);
    while answer.len() < ANSWER_LIMIT {
        let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now())).ok()?;
        let is_ready = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], left).ok()? > 0;
        if !is_ready {
            // It isn't waited for: it may be blocked on a disk, and ignore even that.
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
