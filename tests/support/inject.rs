//! Faults on order: strace(1) kills a process at a system call, or makes the call fail. Which calls
//! there are is found by tracing a first run, so that the tests follow the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::home::Home;

/// Calls that change what others see: files, names, shared memory, connections. Those that a machine
/// doesn't have (`?`) are no mistake.
pub const CALLS: &str = "?creat,?open,openat,?mkdir,mkdirat,?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,\
                         write,pwrite64,writev,pwritev,ftruncate,?truncate,fallocate,fsync,fdatasync,sync_file_range,\
                         mmap,?chmod,fchmod,fchmodat,?chown,fchown,fchownat,connect,sendto,sendmsg,recvfrom,recvmsg";

/// One system call of a run: the n-th of its name, in whichever thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    name: String,
    number: usize,
    /// As strace shows it.
    shown: String,
}

impl Call {
    /// Whether it is a call of this name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Which calls are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Those on the queue's files. The hook has a process of its own for them; a count of all calls
    /// would meet its parent first.
    Queue,
    /// All.
    Everywhere,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is gone before the call.
    Kill,
    /// The call fails with this.
    Once(&'static str),
    /// It does, and so does every later one of its name.
    FromThenOn(&'static str),
}

/// Each of these, at each call.
pub const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Once("ENOSPC"),
    Fault::Once("EIO"),
    Fault::Once("EROFS"),
    Fault::FromThenOn("ENOSPC"),
    Fault::FromThenOn("EIO"),
    Fault::FromThenOn("EROFS"),
];

/// Whether strace can do this here: it needs to be there, and a kernel that lets it trace.
pub fn is_possible() -> bool {
    let traced = Command::new("strace").args(["-f", "-qqq", "-e", "inject=fsync:error=EIO", "true"]).output();
    traced.is_ok_and(|traced| traced.status.success())
}

/// The same command under strace, which writes what it sees into `log`.
pub fn traced(home: &Home, command: &Command, place: Where) -> Command {
    with_options(home, command, place, &[])
}

/// The same command, with a fault at one of its calls.
pub fn with_fault(home: &Home, command: &Command, place: Where, call: &Call, fault: Fault) -> Command {
    with_options(home, command, place, &[option(call, fault)])
}

/// The same command on a disk that takes this long for each sync. It ends when every process of it has.
pub fn slowed(home: &Home, command: &Command, place: Where, delay: Duration) -> Command {
    let option = format!("--inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
    with_options(home, command, place, &[option])
}

/// What strace has to be told to look at the queue's files alone.
pub fn paths(home: &Home) -> Vec<String> {
    let database = home.database().display().to_string();
    let beside = ["", "-wal", "-shm", "-journal", ".turn", ".lock"].map(|suffix| format!("{database}{suffix}"));
    let all = beside.into_iter().chain([home.at("state").display().to_string()]);
    all.flat_map(|path| ["-P".to_owned(), path]).collect()
}

/// What strace has to be told for a fault at a call.
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

/// The calls of the last traced run that change something.
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

/// Whether the fault of the run that strace wrote down in `log` came about.
pub fn came_about(log: &Path, fault: Fault) -> bool {
    let trace = fs::read_to_string(log).expect("strace wrote it");
    trace.contains(if fault == Fault::Kill { "+++ killed by SIGKILL +++" } else { "(INJECTED)" })
}
