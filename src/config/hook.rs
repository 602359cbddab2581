//! The part of the configuration that a login needs. It is read even if the rest of the file has mistakes.

use std::path::Path;

use nix::unistd::geteuid;

use crate::config::{SECTIONS, check_owner, queue, read_file, text};
use crate::error::Error;
use crate::queue::Paths;
use crate::rules::Allowlist;
use crate::text::Field;
use crate::toml::{Reader, Section};

/// The part of the configuration that a login needs.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Where the queue is. `None` if the file leaves that in doubt; then the event is an orphan.
    pub paths: Option<Paths>,
    /// The sessions that aren't recorded; empty if the hook found a mistake.
    pub allowlist: Allowlist,
    /// The host's name in notices; `this host` if the file has none.
    pub host: Field,
}

impl Default for Hook {
    fn default() -> Self {
        Self { paths: None, allowlist: Allowlist::default(), host: Field::new(b"this host") }
    }
}

impl Hook {
    /// Reads what the hook needs, and returns the mistakes in it. Trusts nothing in a file that somebody else could
    /// have written.
    pub fn read(file: &Path) -> (Self, Option<Error>) {
        let bytes = read_file(file)
            .and_then(|(bytes, metadata)| check_owner(file, &metadata, geteuid().as_raw()).map(|_| bytes));
        let mut hook = Self::default();
        let mistake = bytes.and_then(|bytes| hook.parse(file, &bytes)).err();
        (hook, mistake)
    }

    /// Reads as much as possible from the file's text.
    fn parse(&mut self, file: &Path, bytes: &[u8]) -> Result<(), Error> {
        let text = text(file, bytes).inspect_err(|_| {
            self.paths = paths_in_broken(file, &String::from_utf8_lossy(bytes));
        })?;
        let reader = Reader::new(file, text);
        let Some(document) = reader.parse() else {
            self.paths = paths_in_broken(file, text);
            return reader.finish(None);
        };
        let name = document.get("host").and_then(|host| host.get("name")?.as_str());
        self.host = name.map_or(self.host.clone(), |name| Field::new(name.as_bytes()));
        let mut root = reader.root(&document);
        self.paths = paths(&reader, &mut root);
        let allowlist = Allowlist::configure(root.section("allowlist"));
        self.allowlist = reader.finish(Some(allowlist))?;
        Ok(())
    }
}

/// Reads where the queue is; `None` if a mistake leaves that in doubt. A wrong key may have been meant as `path`, and
/// an unknown section as `[queue]`.
fn paths(reader: &Reader<'_>, root: &mut Section<'_>) -> Option<Paths> {
    if !root.has("queue") {
        for name in root.tables().into_iter().filter(|name| !SECTIONS.contains(name)) {
            root.section(name).refuse("is not a section");
        }
    }
    let (paths, _) = queue(root.section("queue"));
    (!reader.has_mistakes()).then_some(paths)
}

/// The same for a text that isn't TOML, from the lines of the section `[queue]` alone. `None` if those are broken
/// too, or if another line mentions the queue.
fn paths_in_broken(file: &Path, text: &str) -> Option<Paths> {
    let code = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let mut is_inside = false;
    let (inside, outside): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| {
        if code(line).starts_with('[') {
            is_inside = code(line) == "[queue]";
        }
        is_inside
    });
    let section = inside.join("\n");
    if section.contains(char::REPLACEMENT_CHARACTER) || outside.iter().any(|line| code(line).contains("queue")) {
        return None;
    }
    let reader = Reader::new(file, &section);
    let document = reader.parse()?;
    paths(&reader, &mut reader.root(&document))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::path::PathBuf;
    use std::process;

    use super::*;
    use crate::rules::Items;

    const QUEUE: &str = "[queue]\npath = '/x/q.db' # here\nspool = '/x/spool'\n";
    const ALLOWLIST: &str = "[allowlist]\nips = ['10.0.0.2']\n";

    /// A configuration in a directory that its test removes.
    fn file(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("ssn-hook-{name}-{}", process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        directory.join("config.toml")
    }

    fn configure(file: &Path, text: &[u8]) {
        fs::write(file, text).expect("a file to write");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("it is ours");
    }

    fn remove(file: &Path) {
        fs::remove_dir_all(file.parent().expect("a directory")).expect("it is ours");
    }

    /// The database that the hook uses; `-` for an orphan.
    fn database(hook: &Hook) -> String {
        hook.paths.as_ref().map_or("-".into(), |paths| paths.database.display().to_string())
    }

    /// Whether the allowlist of [`ALLOWLIST`] applies.
    fn has_allowlist(hook: &Hook) -> bool {
        hook.allowlist.covers(Items { user: b"amanda", service: b"sshd", remote_host: b"10.0.0.2" })
    }

    #[test]
    fn the_hook_finds_its_queue_in_a_file_with_mistakes_or_makes_an_orphan() {
        let file = file("mistakes");
        let default = Paths::default().database.display().to_string();
        let (default, there) = (default.as_str(), "/x/q.db");
        // The text, the database, whether the allowlist applies, and whether a mistake is reported.
        let rows: [(String, &str, bool, bool); 22] = [
            (format!("{QUEUE}{ALLOWLIST}"), there, true, false),
            (ALLOWLIST.into(), default, true, false),
            (format!("{QUEUE}{ALLOWLIST}[notification]\nservice = 'nonsense'"), there, true, false),
            (format!("{QUEUE}[allowlist]\nips = ['10.0.0.2', 7]"), there, false, true),
            (format!("queue.path = '/x/q.db'\n{ALLOWLIST}"), there, true, false),
            (format!("[queue]\npath = 7\n{ALLOWLIST}"), "-", false, true),
            (format!("[queue]\npaht = '/x/q.db'\n{ALLOWLIST}"), "-", false, true),
            (format!("queue = 'x'\n{ALLOWLIST}"), "-", false, true),
            (format!("[quene]\npath = '/x/q.db'\n{ALLOWLIST}"), "-", false, true),
            (format!("[later]\nx = 1\n{QUEUE}{ALLOWLIST}"), there, true, false),
            // Not TOML.
            (format!("[host]\nname = 'x\n{QUEUE}{ALLOWLIST}"), there, false, true),
            (format!("[host]\nname = \"\"\"x\n{QUEUE}{ALLOWLIST}"), there, false, true),
            (format!("{QUEUE}[allowlist]\nips = ['10.0.0.2]\n"), there, false, true),
            (format!("{QUEUE}[allowlist\nips = ['10.0.0.2']\n"), there, false, true),
            (format!("[host]\nname = 'x\n# the queue is where it always is\n{ALLOWLIST}"), default, false, true),
            (format!("[queue]\npath = '/x/q.db\n{ALLOWLIST}"), "-", false, true),
            (format!("[queue]\npath = 7\n[host]\nname = 'x\n{ALLOWLIST}"), "-", false, true),
            (format!("[queue\npath = '/x/q.db'\n{ALLOWLIST}"), "-", false, true),
            (format!("{QUEUE}{QUEUE}{ALLOWLIST}"), "-", false, true),
            (format!("queue.path = '/x/q.db'\n[host]\nname = 'x\n{ALLOWLIST}"), "-", false, true),
            (format!("'queue' = {{ path = '/x/q.db' }}\n[host]\nname = 'x\n{ALLOWLIST}"), "-", false, true),
            (format!("[host]\nname = 'x\n[ \"queue\" ]\npath = '/x/q.db'\n{ALLOWLIST}"), "-", false, true),
        ];
        for (text, expected, allows, is_reported) in rows {
            configure(&file, text.as_bytes());
            let (hook, why) = Hook::read(&file);
            assert_eq!(database(&hook), expected, "{text}");
            assert_eq!(has_allowlist(&hook), allows, "{text}");
            assert_eq!(why.is_some(), is_reported, "{text} {why:?}");
        }
        remove(&file);
    }

    #[test]
    fn invalid_utf_8_matters_only_in_the_queue_section() {
        let file = file("bytes");
        for (text, expected) in [
            (&b"[host]\nname = 'K\xfcche'\n[queue]\npath = '/x/q.db'\n"[..], "/x/q.db"),
            (b"[host]\nname = 'x'\n[queue]\npath = '/K\xfcche/q.db'\n", "-"),
        ] {
            configure(&file, text);
            let (hook, why) = Hook::read(&file);
            assert_eq!(database(&hook), expected);
            assert!(
                why.is_some_and(|why| why.to_string().contains("config.toml:") && why.to_string().contains("UTF-8"))
            );
        }
        remove(&file);
    }

    #[test]
    fn a_file_that_is_missing_or_that_others_could_have_written_is_not_trusted() {
        let file = file("owners");
        configure(&file, format!("{QUEUE}{ALLOWLIST}").as_bytes());
        let read = |expected: &str| {
            let (hook, why) = Hook::read(&file);
            assert!(hook.paths.is_none() && !has_allowlist(&hook), "{expected}");
            assert!(why.is_some_and(|why| why.to_string().contains(expected)), "{expected}");
        };
        fs::set_permissions(&file, Permissions::from_mode(0o620)).expect("it is ours");
        read("can be written by others (mode 0620)");
        if geteuid().is_root() {
            configure(&file, QUEUE.as_bytes());
            chown(&file, Some(65534), None).expect("root may");
            read("is owned by user 65534");
        }
        fs::remove_file(&file).expect("it is ours");
        read("cannot read ");
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).expect("its place is free");
        read("not a regular file");
        remove(&file);
    }
}
