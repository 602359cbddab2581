//! What a run costs, where that is a number and not a time: system calls, syncs, bytes.

use std::fs;
use std::process::{Command, Output};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::{program, skip};

/// What one run did, as strace saw it.
#[derive(Debug, Default)]
pub struct Cost {
    /// System calls.
    pub calls: usize,
    /// Those that wait for a disk.
    pub syncs: usize,
    /// Bytes written into files, but for the next one.
    pub bytes: u64,
    /// Bytes of the record of the sender's last run, which is kept in memory alone.
    pub recorded: u64,
    /// Sockets that were made.
    pub sockets: usize,
    /// Files that were mapped so that writing to memory writes to them.
    pub shared_maps: usize,
}

impl Cost {
    /// Adds the trace of one thread, made with `-y`, which says of each descriptor which file it is.
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

/// Whether calls can be counted and memory measured here; if not, says why for `test`.
pub fn is_possible(test: &str) -> bool {
    let traced = Command::new("strace").args(["-f", "-y", "-qq", "-o", "/dev/null", "true"]).output();
    let why = match traced {
        _ if program().len() > 1 => "the program runs behind another one, whose costs would count",
        Ok(traced) if traced.status.success() => return true,
        _ => "needs strace, and to be let trace",
    };
    skip(test, why);
    false
}

/// The same command with something in front of it.
pub fn behind(words: &[&str], command: &Command) -> Command {
    let mut longer = Command::new(words[0]);
    longer.args(&words[1..]).arg(command.get_program()).args(command.get_args()).env_clear();
    longer
}

/// Runs the program with these arguments, which must succeed, and adds up what it did.
pub fn traced(home: &Home, run: impl FnOnce(Command) -> Output, arguments: &[&str]) -> Cost {
    let traces = home.at("traces");
    let _ = fs::remove_dir_all(&traces);
    fs::create_dir(&traces).expect("a directory for a trace a thread");
    let path = format!("{}/of", traces.display());
    run(behind(&["strace", "-ff", "-y", "-qq", "-o", &path], &home.command(arguments))).succeeds();
    let mut cost = Cost::default();
    for trace in fs::read_dir(&traces).expect("it was made").flatten() {
        cost.add(&fs::read_to_string(trace.path()).expect("strace wrote it"));
    }
    cost
}
