//! The spool: one small file an event, in memory (`/run`), for when the database can't take it.
//!
//! A file is written under a hidden name, synced and renamed, so that none is ever read half; a hidden
//! one that stays was left by a login that was killed. Each line is a name, a space and a value; values
//! are [`Field`]s, and so have no line breaks.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::{Action, Event, Session, What};
use crate::files;
use crate::text::Field;

/// Bytes of one file: nine short lines.
const FILE_LIMIT: u64 = 8 * 1024;

/// Events that one run takes in; the next run goes on.
const RUN_LIMIT: usize = 10_000;

/// What the files of events are called: `event-TIME-PID`, and while they are written `.event-TIME-PID`.
const PREFIX: &str = "event-";

/// A login that writes a file has renamed it long before this, or was killed.
const LEFT_BEHIND: Duration = Duration::from_mins(1);

/// Writes one event into `directory`.
pub fn write(directory: &Path, event: &Event) -> Result<(), Error> {
    files::ensure_own_directory(directory)?;
    let name = format!("{PREFIX}{:020}-{}", event.at.utc_ms, process::id());
    let (hidden, path) = (directory.join(format!(".{name}")), directory.join(name));
    let put = |file: &mut File| file.write_all(text(event).as_bytes()).and_then(|()| file.sync_all());
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&hidden)
        .and_then(|mut file| put(&mut file))
        .and_then(|()| fs::rename(&hidden, &path))
        .inspect_err(|_| drop(fs::remove_file(&hidden)))
        .map_err(Error::file("write", &path))?;
    // The spool may be on a disk.
    files::sync_directory_of(&path);
    Ok(())
}

/// How many events are in the spool.
pub fn count(directory: &Path) -> Result<usize, Error> {
    paths(directory).map(|paths| paths.len())
}

/// The events in the spool, oldest first, each with its file. What isn't one of ours is left alone;
/// what is but can't be read is answered as a mistake, and stays there too.
pub fn read(directory: &Path) -> (Vec<(PathBuf, Event)>, Vec<Error>) {
    let (mut events, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths(directory).unwrap_or_else(|why| {
        mistakes.push(why);
        Vec::new()
    }) {
        match read_one(&path) {
            Ok(event) => events.push((path, event)),
            Err(why) => {
                // What was cut off while it was hidden counted as kept for nobody.
                if path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".")) {
                    let _ = fs::remove_file(&path);
                }
                mistakes.push(why);
            }
        }
    }
    (events, mistakes)
}

fn paths(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read", directory))?,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().filter(is_event).map(|entry| entry.path()).collect();
    paths.sort();
    paths.truncate(RUN_LIMIT);
    Ok(paths)
}

fn is_event(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    match name.strip_prefix('.') {
        None => name.starts_with(PREFIX),
        Some(hidden) => {
            let age = entry.metadata().and_then(|file| file.modified()).map(|time| time.elapsed().unwrap_or_default());
            hidden.starts_with(PREFIX) && age.is_ok_and(|age| age >= LEFT_BEHIND)
        }
    }
}

fn read_one(path: &Path) -> Result<Event, Error> {
    let mut bytes = Vec::new();
    let nofollow = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(nofollow).open(path).map_err(Error::file("read", path))?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).ok_or_else(|| Error::file("read", path)(io::Error::other("this is no event; delete it")))
}

fn text(event: &Event) -> String {
    let Stamp { utc_ms, boot_ms, boot_id } = &event.at;
    let moment = format!("utc_ms {utc_ms}\nboot_ms {boot_ms}\nboot_id {boot_id}\n");
    let what = match &event.what {
        What::Note(note) => format!("action note\nuser {note}\n"),
        What::Session(Session { action, user, remote_host, tty, service, id }) => format!(
            "action {}\nuser {user}\nremote_host {remote_host}\ntty {tty}\nservice {service}\nsession {id}\n",
            match action {
                Action::Open => "open",
                Action::Close => "close",
            }
        ),
    };
    moment + &what + "end\n"
}

/// Reads what [`text`] wrote. The last line proves that it is whole.
fn parse(text: &str) -> Option<Event> {
    let text = text.strip_suffix("end\n")?;
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
    let field = |name| value(name).map(|value| Field::new(value.as_bytes()));
    let session = |action| {
        Some(What::Session(Session {
            action,
            user: field("user")?,
            remote_host: field("remote_host")?,
            tty: field("tty")?,
            service: field("service")?,
            id: field("session")?.as_str().into(),
        }))
    };
    let what = match value("action")? {
        "open" => session(Action::Open)?,
        "close" => session(Action::Close)?,
        "note" => What::Note(field("user")?),
        _ => return None,
    };
    let boot_id = field("boot_id")?.as_str().into();
    Some(Event {
        what,
        at: Stamp { utc_ms: value("utc_ms")?.parse().ok()?, boot_ms: value("boot_ms")?.parse().ok()?, boot_id },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: &[u8]) -> Event {
        let what = What::Session(Session {
            action: Action::Close,
            user: Field::new(user),
            remote_host: Field::new(b"192.0.2.6"),
            tty: Field::default(),
            service: Field::new(b"sshd"),
            id: "17-4711".into(),
        });
        Event { what, at: Stamp { utc_ms: -1, boot_ms: 2, boot_id: "b".into() } }
    }

    #[test]
    fn what_a_login_that_was_killed_left_behind_is_found_after_a_minute() {
        let directory = std::env::temp_dir().join(format!("ssn-spool-{}", process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let path = directory.join(".event-1-2");
        fs::write(&path, text(&event(b"amanda"))).expect("a file");
        assert_eq!(count(&directory).ok(), Some(0), "somebody may still be writing it");
        let file = File::options().write(true).open(&path).expect("it is there");
        file.set_modified(std::time::SystemTime::now() - LEFT_BEHIND).expect("it is ours");
        assert_eq!(read(&directory).0, [(path.clone(), event(b"amanda"))]);
        let file = File::create(&path).expect("it is ours");
        file.set_modified(std::time::SystemTime::now() - LEFT_BEHIND).expect("it is ours");
        assert_eq!(read(&directory).1.len(), 1, "half an event is said to be");
        assert_eq!(read(&directory).1.len(), 0, "once");
        fs::remove_dir_all(&directory).expect("the directory is ours");
    }

    #[test]
    fn an_event_survives_the_spool_whatever_is_in_its_names() {
        for user in [&b"amanda"[..], b"", b"a\nend\n", b"user root\naction open", b"\xff\x00", &vec![b'x'; 70_000]] {
            let event = event(user);
            assert_eq!(parse(&text(&event)), Some(event));
        }
        let note = Event { what: What::Note(Field::new(b"two events")), at: Stamp::default() };
        assert_eq!(parse(&text(&note)), Some(note));
    }

    #[test]
    fn a_truncated_file_is_no_event_and_no_flipped_bit_panics() {
        let whole = text(&event(b"amanda"));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
