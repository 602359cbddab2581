//! The layering: each room of src imports only rooms below it, and no two files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from top to bottom. docs/design.md describes each.
const ROOMS: [&str; 28] = [
    "main",
    "cli",
    "command",
    "hook",
    "send",
    "config",
    "notifier",
    "mail",
    "program",
    "http",
    "queue",
    "privileges",
    "notice",
    "rules",
    "event",
    "toml",
    "locks",
    "clock",
    "tz",
    "process",
    "files",
    "threads",
    "watchdog",
    "log",
    "error",
    "template",
    "text",
    "json",
];

type Imports = BTreeMap<String, BTreeSet<String>>;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every path `crate::…` in a text outside comments.
fn paths(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let is_path = |sign: char| sign.is_ascii_alphanumeric() || "_:".contains(sign);
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = rest.find(|sign| !is_path(sign)).unwrap_or(rest.len());
        let prefix = rest[..end].to_string();
        match rest[end..].strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => found.extend(list.split(',').map(|name| format!("{prefix}{}", name.trim()))),
            None => found.push(prefix),
        }
    }
    found
}

/// The imports of every file. Files are named by their path below src without the extension, and `queue/mod` is
/// `queue`.
fn read() -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let name = |path: &PathBuf| {
        let below = path.strip_prefix(&root).expect("it is below src").with_extension("");
        let text = below.to_string_lossy().replace('/', "::");
        text.strip_suffix("::mod").map_or(text.clone(), Into::into)
    };
    let names: BTreeSet<String> = files.iter().map(name).collect();
    let mut imports = Imports::new();
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(path).expect("UTF-8");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let found = paths(text);
        // The longest prefix of a path that is a file.
        let file = |path: &String| {
            let parts: Vec<&str> = path.split("::").collect();
            (1..=parts.len()).rev().map(|count| parts[..count].join("::")).find(|file| names.contains(file))
        };
        imports.insert(name(path), found.iter().filter_map(file).collect());
    }
    imports
}

fn room(file: &str) -> &str {
    file.split("::").next().unwrap_or(file)
}

fn floor(file: &str) -> usize {
    let room = room(file);
    ROOMS
        .iter()
        .position(|known| *known == room)
        .unwrap_or_else(|| panic!("the room {room} is in no place of the plan"))
}

#[test]
fn every_room_imports_only_rooms_below_it() {
    let imports = read();
    assert!(imports.len() > 40 && imports.contains_key("queue::spool"), "{:?}", imports.keys());
    let up: Vec<String> = imports
        .iter()
        .flat_map(|(file, others)| others.iter().map(move |other| (file, other)))
        .filter(|(file, other)| room(file) != room(other) && floor(other) <= floor(file))
        .map(|(file, other)| format!("{file} imports {other}"))
        .collect();
    assert_eq!(up, Vec::<String>::new());
    let rooms: BTreeSet<&str> = imports.keys().map(|file| room(file)).collect();
    assert_eq!(rooms, BTreeSet::from(ROOMS));
}

/// A room's own file (`mod.rs`) holds the type that its other files extend, and doesn't count here.
#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    let imports = read();
    for start in imports.keys().filter(|file| file.contains("::")) {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = vec![start];
        while let Some(file) = next.pop() {
            for other in imports.get(file).into_iter().flatten().filter(|other| other.contains("::")) {
                assert_ne!(other, start, "{start} is imported by {file}, which it imports");
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
    }
}
