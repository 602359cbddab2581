//! A disk that can lose its power: replays the writes that strace(1) saw, and finds what a power cut would
//! leave. POSIX guarantees a file's bytes after fsync of the file, and its name after fsync of the directory;
//! everything else may survive or not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::home::Home;
use crate::support::inject;

/// The part of the data that no sync had secured that survives the power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// The names of files, without the bytes in them.
    Names,
    /// Everything in the database file itself, but no name and nothing in its journals.
    Database,
    /// Every name, and everything in the journals, but nothing in the database file itself.
    Journals,
}

/// Every case.
pub const WAYS: [Left; 4] = [Left::Nothing, Left::Names, Left::Database, Left::Journals];

/// The files of one directory, as programs see them and as the disk has them.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    on_disk: Vec<u8>,
}

/// Puts a command under strace, which records what [`Disk::replay`] needs and injects these faults.
pub fn traced(home: &Home, command: &Command, log: &Path, faults: &[String]) -> Command {
    let calls = format!("--trace={}", inject::CALLS);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-xx", "-s", "65536", &calls, "-o"]).arg(log);
    strace.args(inject::paths(home)).args(faults).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    strace
}

impl Disk {
    /// Makes a disk with the files of `directory`, all of them synced.
    pub fn with(directory: &Path) -> Self {
        let mut disk = Self::default();
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let bytes = fs::read(entry.path()).expect("a file");
            disk.names.insert(entry.file_name().to_string_lossy().into(), disk.files.len());
            disk.files.push(File { on_disk: bytes.clone(), bytes });
        }
        disk.safe_names.clone_from(&disk.names);
        disk
    }

    /// Replays the calls in `directory` that the trace in `log` has, and calls `after` after each.
    pub fn replay(&mut self, log: &Path, directory: &Path, mut after: impl FnMut(&Self, &str)) {
        let prefix = format!("{}/", directory.display());
        for call in calls(&fs::read_to_string(log).expect("strace wrote it")) {
            let known = |text: &str| text.strip_prefix(&prefix).map(str::to_owned);
            let Some(path) = call.texts.first() else { continue };
            let is_directory = *path == directory.display().to_string();
            let Some(name) = known(path).or_else(|| is_directory.then(String::new)) else { continue };
            // After a boot, the first process that opens the database makes the shared memory again.
            if name.ends_with("-shm") || !self.does(&call, &name) {
                continue;
            }
            after(self, &format!("{} {name}", call.name));
        }
    }

    /// Replays one call. Returns whether it changed anything.
    fn does(&mut self, call: &Call, name: &str) -> bool {
        match call.name.as_str() {
            "open" | "openat" => {
                assert!(!call.line.contains("O_TRUNC"), "this disk cannot replay {}", call.line);
                if !call.line.contains("O_CREAT") || self.names.contains_key(name) {
                    return false;
                }
                self.names.insert(name.into(), self.files.len());
                self.files.push(File::default());
            }
            "unlink" => drop(self.names.remove(name)),
            "pwrite64" => {
                let offset = call.number(1);
                let bytes = call.bytes.clone();
                let file = self.file(name);
                file.bytes.resize(file.bytes.len().max(offset + bytes.len()), 0);
                file.bytes[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            "ftruncate" => {
                let length = call.number(1);
                self.file(name).bytes.resize(length, 0);
            }
            "fsync" | "fdatasync" if name.is_empty() => self.safe_names.clone_from(&self.names),
            "fsync" | "fdatasync" => {
                let file = self.file(name);
                file.on_disk.clone_from(&file.bytes);
            }
            "fchown" | "fchmod" => return false,
            _ => panic!("this disk cannot replay {}", call.line),
        }
        true
    }

    fn file(&mut self, name: &str) -> &mut File {
        let number = self.names[name];
        &mut self.files[number]
    }

    /// Writes to `directory` the files that a power cut would leave now.
    pub fn leave(&self, left: Left, directory: &Path) {
        let names = if matches!(left, Left::Names | Left::Journals) { &self.names } else { &self.safe_names };
        for (name, number) in names {
            let file = &self.files[*number];
            let is_whole = match left {
                Left::Nothing | Left::Names => false,
                Left::Database => !is_journal(name),
                Left::Journals => is_journal(name),
            };
            let bytes = if is_whole { &file.bytes } else { &file.on_disk };
            fs::write(directory.join(name), bytes).expect("room");
        }
    }
}

fn is_journal(name: &str) -> bool {
    name.ends_with("-wal") || name.ends_with("-journal")
}

/// One call of a trace.
struct Call {
    name: String,
    /// The paths of its descriptors or arguments.
    texts: Vec<String>,
    /// The bytes that it writes.
    bytes: Vec<u8>,
    line: String,
}

impl Call {
    /// Returns a number among the arguments, counted from the end; 1 is the last.
    fn number(&self, from_end: usize) -> usize {
        let arguments = self.line.rsplit_once(')').map_or("", |(before, _)| before);
        let number = arguments.rsplit(", ").nth(from_end - 1).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no number in {}", self.line))
    }
}

/// Returns the successful calls of a trace in which all strings are hexadecimal.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(process, start.into());
            continue;
        }
        let whole = match rest.split_once(" resumed>") {
            Some((_, end)) => begun.remove(process).unwrap_or_default() + end,
            None => rest.into(),
        };
        let Some((name, arguments)) = whole.split_once('(') else { continue };
        if !whole.contains(") = -1 ") && !whole.contains(" = ?") && !whole.starts_with('+') {
            let (texts, bytes) = strings(name, arguments);
            calls.push(Call { name: name.into(), texts, bytes, line: whole.clone() });
        }
    }
    calls
}

/// Returns the paths and the bytes among a call's arguments.
fn strings(name: &str, arguments: &str) -> (Vec<String>, Vec<u8>) {
    let text = |hex: &str| String::from_utf8_lossy(&unescape(hex)).into_owned();
    let quoted = arguments.split('"').nth(1).unwrap_or_default();
    let is_by_path = matches!(name, "open" | "openat" | "unlink");
    if is_by_path {
        return (vec![text(quoted)], Vec::new());
    }
    let path = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
    (vec![text(path)], unescape(quoted))
}

fn unescape(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).expect("two hexadecimal digits")).collect()
}
