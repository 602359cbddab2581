//! The spool: one small file per event, for events that the database can't take.
//!
//! A file holds the event's text form. It is written under a hidden name, synced and renamed, so that nobody reads
//! half a file. A hidden file that stays was left by a login that was killed.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::error::Error;
use crate::event::{Event, text_form};
use crate::files::{self, Links};
use crate::log::{self, Level};

/// Bytes of one file; the largest event has about ten thousand.
const FILE_LIMIT: u64 = 16 * 1024;

/// Files in the spool, and their bytes, because it is usually in memory. Ten logins a minute fill it in three hours;
/// after that, events go to syslog.
const COUNT_LIMIT: usize = 2000;
const SIZE_LIMIT: u64 = 2 << 20;

/// The file whose time says when a full spool was last reported.
const FULL: &str = ".full";

/// How often a full spool is reported.
const FULL_AGAIN: Duration = Duration::from_mins(1);

/// Events that one run imports; the next run imports more.
const RUN_LIMIT: usize = 10_000;

/// Prefix of an event's file: `event-TIME-PID`, and `.event-TIME-PID` while it is being written.
const PREFIX: &str = "event-";

/// After this time a login has renamed its file, or was killed.
const LEFT_BEHIND: Duration = Duration::from_mins(1);

/// Writes one event into `directory`; fails if that is full.
pub fn write(directory: &Path, event: &Event) -> Result<(), Error> {
    files::ensure_own_directory(directory)?;
    if is_full(directory) {
        if files::is_time_again(directory, FULL, FULL_AGAIN) {
            let text = format!(
                "the spool {} is full ({COUNT_LIMIT} files or {} MiB), and events are left to syslog alone; \
                 find out why the database can't be written, or why `send` doesn't run",
                directory.display(),
                SIZE_LIMIT >> 20
            );
            log::write(Level::Error, &text);
        }
        return Err(Error::file("write into", directory)(io::Error::other("it is full")));
    }
    let name = format!("{PREFIX}{:020}-{}", event.at.utc_ms, process::id());
    let (hidden, path) = (directory.join(format!(".{name}")), directory.join(name));
    let put = |mut file: File| file.write_all(text_form::write(event).as_bytes()).and_then(|()| file.sync_all());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden);
    file.and_then(put)
        .and_then(|()| fs::rename(&hidden, &path))
        .inspect_err(|_| drop(fs::remove_file(&hidden)))
        .map_err(Error::file("write", &path))?;
    // The spool may be on a disk.
    files::sync_directory_of(&path);
    Ok(())
}

/// Whether the limits are reached. Examines no more files than the spool may hold.
fn is_full(directory: &Path) -> bool {
    let (mut count, mut size) = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().take(COUNT_LIMIT) {
        count += 1;
        size += entry.metadata().map_or(0, |file| file.len());
    }
    count >= COUNT_LIMIT || size >= SIZE_LIMIT
}

/// Counts the events in the spool; 0 if there is no spool.
pub fn count(directory: &Path) -> Result<usize, Error> {
    paths(directory).map(|paths| paths.len())
}

/// When the oldest event in the spool happened, in UTC milliseconds, from its file's name; `None` if there is none.
pub fn oldest_ms(directory: &Path) -> Option<i64> {
    let moment = |path: &PathBuf| -> Option<i64> {
        let name = path.file_name()?.to_str()?;
        name.trim_start_matches('.').strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
    };
    paths(directory).ok()?.iter().filter_map(moment).min()
}

/// Reads the events in the spool, oldest first, each with its file, and the errors. Ignores other files, and leaves
/// those that can't be read.
pub fn read(directory: &Path) -> (Vec<(PathBuf, Event)>, Vec<Error>) {
    let (mut events, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths(directory).unwrap_or_else(|why| {
        mistakes.push(why);
        Vec::new()
    }) {
        match read_one(&path) {
            Ok(event) => events.push((path, event)),
            Err(why) => {
                // A login that was killed while the file was hidden reported its event as not recorded.
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
    let (bytes, _) = files::read(path, FILE_LIMIT, Links::Refuse).map_err(Error::file("read", path))?;
    let not_an_event =
        || Error::file("read", path)(io::Error::other("not a complete event; look at it, then delete it"));
    text_form::parse(&String::from_utf8_lossy(&bytes)).ok_or_else(not_an_event)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::event::{Action, Facts, USER};
    use crate::text::Field;

    /// P2
    #[test]
    fn the_file_of_a_killed_login_is_imported_after_a_minute() {
        let directory = std::env::temp_dir().join(format!("ssn-spool-{}", process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let path = directory.join(".event-1-2");
        let mut event = Event::session(Action::Close, Facts::default());
        event.facts[USER] = Field::new(b"amanda");
        fs::write(&path, text_form::write(&event)).expect("a file");
        assert_eq!(count(&directory).ok(), Some(0), "somebody may still be writing it");
        let file = File::options().write(true).open(&path).expect("it is there");
        file.set_modified(SystemTime::now() - LEFT_BEHIND).expect("it is ours");
        assert_eq!(read(&directory).0, [(path.clone(), event)]);
        let file = File::create(&path).expect("it is ours");
        file.set_modified(SystemTime::now() - LEFT_BEHIND).expect("it is ours");
        assert_eq!(read(&directory).1.len(), 1, "half an event is reported");
        assert_eq!(read(&directory).1.len(), 0, "once");
        fs::remove_dir_all(&directory).expect("the directory is ours");
    }
}
