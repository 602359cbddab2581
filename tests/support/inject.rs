//! Injects faults: strace(1) kills a process at a system call, or makes the call fail. A first run is traced
//! to find the calls, so that the tests follow the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::home::Home;

/// Calls that change what other processes see: files, names, shared memory, connections. `?` marks those that
/// some machines don't have.
pub const CALLS: &str = "?creat,?open,openat,?mkdir,mkdirat,?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,\
                         write,pwrite64,writev,pwritev,ftruncate,?truncate,fallocate,fsync,fdatasync,sync_file_range,\
                         mmap,?chmod,fchmod,fchmodat,?chown,fchown,fchownat,connect,sendto,sendmsg,recvfrom,recvmsg";

/// One system call of a run: the n-th of its name in some thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    name: String,
    number: usize,
    /// Its line in the trace, for messages.
    shown: String,
}

impl Call {
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// The calls to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Calls on the queue's files. The hook's child makes them; without this filter, the n-th call would often
    /// be its parent's.
    Queue,
    Everywhere,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call.
    Kill,
    /// The call fails with this error.
    Once(&'static str),
    /// The call and all later ones of its name fail with this error.
    FromThenOn(&'static str),
}

/// The faults to inject at each call.
pub const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Once("ENOSPC"),
    Fault::Once("EIO"),
    Fault::Once("EROFS"),
    Fault::FromThenOn("ENOSPC"),
    Fault::FromThenOn("EIO"),
    Fault::FromThenOn("EROFS"),
];

/// Whether strace is installed and the kernel lets it inject faults.
pub fn is_possible() -> bool {
    let traced = Command::new("strace").args(["-f", "-qqq", "-e", "inject=fsync:error=EIO", "true"]).output();
    traced.is_ok_and(|traced| traced.status.success())
}

/// Puts a command under strace, which writes the trace that [`calls`] reads.
pub fn traced(home: &Home, command: &Command, place: Where) -> Command {
    with_options(home, command, place, &[])
}

/// Puts a command under strace with a fault at one of its calls.
pub fn with_fault(home: &Home, command: &Command, place: Where, call: &Call, fault: Fault) -> Command {
    with_options(home, command, place, &[option(call, fault)])
}

/// Puts a command under strace so that each sync takes this long. strace ends when all its processes have.
pub fn slowed(home: &Home, command: &Command, place: Where, delay: Duration) -> Command {
    let option = format!("--inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
    with_options(home, command, place, &[option])
}

/// Returns strace's options for tracing only calls on the queue's files.
pub fn paths(home: &Home) -> Vec<String> {
    let database = home.database().display().to_string();
    let beside = ["", "-wal", "-shm", "-journal", ".turn", ".lock"].map(|suffix| format!("{database}{suffix}"));
    let all = beside.into_iter().chain([home.at("state").display().to_string()]);
    all.flat_map(|path| ["-P".to_owned(), path]).collect()
}

/// Returns strace's option for a fault at a call.
pub fn option(call: &Call, fault: Fault) -> String {
    let (what, when) = match fault {
        Fault::Kill => ("signal=KILL".into(), call.number.to_string()),
        Fault::Once(error) => (format!("error={error}"), call.number.to_string()),
        Fault::FromThenOn(error) => (format!("error={error}"), format!("{}+", call.number)),
    };
    format!("--inject={}:{what}:when={when}", call.name)
}

fn with_options(home: &Home, command: &Command, place: Where, options: &[String]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "0", "-o"]).arg(home.at("trace")).arg(format!("--trace={CALLS}"));
    if place == Where::Queue {
        strace.args(paths(home));
    }
    strace.args(options).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    strace
}

/// Returns the calls of the last traced run that changed something.
pub fn calls(home: &Home) -> Vec<Call> {
    let trace = fs::read_to_string(home.at("trace")).expect("strace wrote it");
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut calls: Vec<Call> = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let number = counts.entry((process.into(), name.into())).or_default();
        *number += 1;
        let is_known = calls.iter().any(|call| call.name == name && call.number == *number);
        if changes_something(name, arguments) && !is_known {
            calls.push(Call { name: name.into(), number: *number, shown: rest.trim_start().into() });
        }
    }
    calls
}

fn changes_something(name: &str, arguments: &str) -> bool {
    match name {
        "open" | "openat" => arguments.contains("O_CREAT") || arguments.contains("O_TRUNC"),
        "mmap" => arguments.contains("MAP_SHARED"),
        _ => true,
    }
}

/// Whether the trace in `log` shows that the fault was injected.
pub fn came_about(log: &Path, fault: Fault) -> bool {
    let trace = fs::read_to_string(log).expect("strace wrote it");
    trace.contains(if fault == Fault::Kill { "+++ killed by SIGKILL +++" } else { "(INJECTED)" })
}
