//! The costs of a run that can be counted: system calls, syncs, bytes.

use std::fs;
use std::process::{Command, Output};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::{program, skip};

/// The costs of one run, as strace saw it.
#[derive(Debug, Default)]
pub struct Cost {
    /// System calls.
    pub calls: usize,
    /// System calls that wait for a disk.
    pub syncs: usize,
    /// Bytes written into files, without `recorded`.
    pub bytes: u64,
    /// Bytes of the record of the sender's last run, which is only kept in memory.
    pub recorded: u64,
    /// New sockets.
    pub sockets: usize,
    /// Shared mappings: writing to their memory writes to a file.
    pub shared_maps: usize,
}

impl Cost {
    /// Adds the trace of one thread, made with `-y`, which names the file of each descriptor.
    fn add(&mut self, trace: &str) {
        for line in trace.lines() {
            let Some((name, arguments)) = line.split_once('(') else { continue };
            self.calls += 1;
            match name {
                "fsync" | "fdatasync" | "sync" | "syncfs" | "msync" | "sync_file_range" => self.syncs += 1,
                "socket" => self.sockets += 1,
                "mmap" if arguments.contains("MAP_SHARED") => self.shared_maps += 1,
                "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" if is_file(arguments) => {
                    let written = line.rsplit_once("= ").and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or(0);
                    let is_record = arguments.contains("/spool/sender/");
                    *(if is_record { &mut self.recorded } else { &mut self.bytes }) += written;
                }
                _ => {}
            }
        }
    }
}

/// Whether a call's first argument is a file on a disk.
fn is_file(arguments: &str) -> bool {
    let name = arguments.split_once('<').map_or("", |(_, name)| name);
    let is_device = name.starts_with("/dev/") && !name.starts_with("/dev/shm/");
    name.starts_with('/') && !is_device && !name.starts_with("/proc/")
}

/// Whether calls can be counted here; if not, skips `test` with the reason.
pub fn is_possible(test: &str) -> bool {
    let traced = Command::new("strace").args(["-f", "-y", "-qq", "-o", "/dev/null", "true"]).output();
    let why = match traced {
        _ if program().len() > 1 => "the program runs under another one, whose costs would be counted too",
        Ok(traced) if traced.status.success() => return true,
        _ => "needs strace, and the right to trace",
    };
    skip(test, why);
    false
}

/// Puts words in front of a command: `strace -c COMMAND`.
pub fn behind(words: &[&str], command: &Command) -> Command {
    let mut longer = Command::new(words[0]);
    longer.args(&words[1..]).arg(command.get_program()).args(command.get_args()).env_clear();
    longer
}

/// Runs the program, which must succeed, and adds up the costs of all its threads.
pub fn traced(home: &Home, run: impl FnOnce(Command) -> Output, arguments: &[&str]) -> Cost {
    let traces = home.at("traces");
    let _ = fs::remove_dir_all(&traces);
    fs::create_dir(&traces).expect("a directory for the traces of all threads");
    let path = format!("{}/of", traces.display());
    run(behind(&["strace", "-ff", "-y", "-qq", "-o", &path], &home.command(arguments))).succeeds();
    let mut cost = Cost::default();
    for trace in fs::read_dir(&traces).expect("it was made").flatten() {
        cost.add(&fs::read_to_string(trace.path()).expect("strace wrote it"));
    }
    cost
}
