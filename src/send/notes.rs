//! Notes: the outcome of each message, kept in the spool directory in case the queue can't record it.
//!
//! Each target has one file, `notes-TARGET`. A line is written before its message is posted. Afterwards its first
//! word is overwritten in place, which needs no room even if the disk has filled up meanwhile:
//!
//! ```text
//! delivered 00f3a8b2c4d5e6f7 8c1d2e3f40516273
//! begun     1122334455667788
//! rejected  99aabbccddeeff00
//! waits     3 240000 1795758639470 2788352 295c187d-2d9e-4c59-a2a9-93d694b9557f
//! ```
//!
//! The numbers are the events' uids. A line with `begun` is from a sender that was killed: nobody knows whether the
//! message arrived, so it is sent once more. Usually the queue records everything, and a run removes the files.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use crate::clock::Stamp;
use crate::config::Config;
use crate::error::{Error, Health};
use crate::event::Uid;
use crate::files::{self, Links};
use crate::log;
use crate::notifier::{Name, Notifier};
use crate::queue::{Noted, TargetState, Wait};

/// Bytes of one target's file, enough for sixty thousand events. A message whose note doesn't fit is not posted.
const FILE_LIMIT: u64 = 1 << 20;

/// Whether a message may be posted without a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Yes: the queue seems able to record the outcome.
    Optional,
    /// No: the note is the only record.
    Required,
}

/// The first word of a line. All have the same length, so that one can overwrite another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The message is being posted.
    Begun,
    /// The service accepted it.
    Delivered,
    /// The service did not accept it, so it stays due.
    Kept,
    /// The service will never accept this event.
    Rejected,
    /// The target's back-off.
    Waits,
}

/// A note of a message that is being posted.
pub struct Note {
    file: File,
    start: u64,
}

impl Word {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Begun, "begun    "),
        (Self::Delivered, "delivered"),
        (Self::Kept, "kept     "),
        (Self::Rejected, "rejected "),
        (Self::Waits, "waits    "),
    ];

    fn text(self) -> &'static str {
        Self::ALL.into_iter().find(|(word, _)| *word == self).map_or("", |(_, text)| text)
    }
}

impl Note {
    /// Notes the outcome of the message.
    pub fn end(&self, word: Word) -> io::Result<()> {
        self.file.write_all_at(word.text().as_bytes(), self.start)
    }
}

/// Notes that a message with these events is about to be posted to `target`. `None` if an optional note can't be
/// written.
pub fn begin(config: &Config, target: &Name, need: Need, uids: &[Uid]) -> Result<Option<Note>, Error> {
    let uids: Vec<String> = uids.iter().map(Uid::to_string).collect();
    match append(config, target, need, Word::Begun, &uids.join(" ")) {
        Ok(note) => Ok(Some(note)),
        Err(_) if need == Need::Optional => Ok(None),
        Err(why) => Err(why),
    }
}

/// Notes that the service rejects an event for good.
pub fn reject(config: &Config, target: &Name, uid: Uid) -> Result<(), Error> {
    append(config, target, Need::Required, Word::Rejected, &uid.to_string()).map(drop)
}

/// Notes a target's back-off.
pub fn wait(config: &Config, target: &Name, state: &TargetState) -> Result<(), Error> {
    let text = format!("{} {} {}", state.failures, state.wait.ms, state.wait.since);
    append(config, target, Need::Required, Word::Waits, &text).map(drop)
}

/// Whether there are any notes.
pub fn exist(config: &Config) -> bool {
    config.targets.iter().any(|target| path(config, &target.name).symlink_metadata().is_ok())
}

/// Reads a target's notes. Skips incomplete lines.
pub fn read(config: &Config, target: &Name) -> Result<Noted, Error> {
    let path = path(config, target);
    match files::read(&path, FILE_LIMIT, Links::Refuse) {
        Ok((bytes, _)) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Noted::default()),
        Err(why) => Err(Error::file("read", &path)(why)),
    }
}

/// Reads the notes of all targets, in their order. Unreadable notes are logged and count as empty. They can't be
/// written either, so nothing is posted that needs a note.
pub fn read_all(config: &Config) -> Vec<Noted> {
    let read = |target: &Notifier| {
        read(config, &target.name).unwrap_or_else(|why| {
            let _ = log::failed(&why);
            Noted::default()
        })
    };
    config.targets.iter().map(read).collect()
}

/// Removes all notes, because the queue has recorded everything.
pub fn remove(config: &Config) -> Health {
    let remove = |target: &Notifier| {
        let path = path(config, &target.name);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => log::failed(&Error::file("remove", &path)(why)),
            _ => Health::Well,
        }
    };
    config.targets.iter().map(remove).fold(Health::Well, Health::and)
}

fn path(config: &Config, target: &Name) -> PathBuf {
    config.paths.spool.join(format!("notes-{target}"))
}

fn append(config: &Config, target: &Name, need: Need, word: Word, rest: &str) -> Result<Note, Error> {
    files::ensure_own_directory(&config.paths.spool)?;
    let path = path(config, target);
    write(&path, need, &format!("{} {rest}\n", word.text())).map_err(Error::file("write", &path))
}

/// Writes one line. An optional note replaces earlier ones, which the queue has recorded.
fn write(path: &Path, need: Need, line: &str) -> io::Result<Note> {
    let file = open(path)?;
    if need == Need::Optional {
        file.set_len(0)?;
    }
    let end = file.metadata()?.len();
    if end + line.len() as u64 >= FILE_LIMIT {
        return Err(io::Error::other(format!("it has reached the limit of {FILE_LIMIT} bytes")));
    }
    // An incomplete last line is ended first, so that this line is not appended to it.
    let mut last = [b'\n'];
    file.read_exact_at(&mut last, end.saturating_sub(1)).or_else(|why| if end == 0 { Ok(()) } else { Err(why) })?;
    let gap = if last == *b"\n" { "" } else { "\n" };
    let written = file.write_all_at(format!("{gap}{line}").as_bytes(), end).and_then(|()| match need {
        Need::Optional => Ok(()),
        Need::Required => file.sync_data(),
    });
    written.inspect_err(|_| drop(file.set_len(end)))?;
    Ok(Note { file, start: end + gap.len() as u64 })
}

/// Opens or creates the file. It must belong to the service user, as the directory does.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.uid() == geteuid().as_raw() && metadata.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file that this user owns"))
    }
}

fn parse(text: &str) -> Noted {
    let mut noted = Noted::default();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let word = Word::ALL.into_iter().find_map(|(word, text)| Some((word, line.strip_prefix(text)?)));
        let Some((word, rest)) = word.and_then(|(word, rest)| Some((word, rest.strip_prefix(' ')?))) else { continue };
        let uids = || rest.split(' ').map(uid).collect::<Option<HashSet<Uid>>>().unwrap_or_default();
        match word {
            Word::Begun => noted.unknown.extend(uids()),
            Word::Delivered => noted.delivered.extend(uids()),
            Word::Rejected => noted.rejected.extend(uids()),
            Word::Waits => noted.waits = waits(rest).or(noted.waits),
            Word::Kept => {}
        }
    }
    noted.unknown.retain(|uid| !noted.delivered.contains(uid) && !noted.rejected.contains(uid));
    noted
}

fn uid(text: &str) -> Option<Uid> {
    Uid::parse(text).filter(|uid| uid.to_string() == text)
}

/// Reads `FAILURES MS STAMP`.
fn waits(text: &str) -> Option<(u32, Wait)> {
    let mut parts = text.splitn(3, ' ');
    let failures = parts.next()?.parse().ok()?;
    let ms = parts.next()?.parse().ok()?;
    Some((failures, Wait { ms, since: Stamp::parse(parts.next()?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "delivered 00f3a8b2c4d5e6f7 8c1d2e3f40516273
begun     1122334455667788
kept      00000000000000aa
rejected  99aabbccddeeff00
waits     3 240000 1795758639470 2788352 295c187d
begun     8c1d2e3f40516273
";

    #[test]
    fn notes_are_read_as_they_were_written_and_a_repeated_message_by_its_best_outcome() {
        let noted = parse(TEXT);
        assert_eq!(noted.delivered, HashSet::from([Uid(0x00f3_a8b2_c4d5_e6f7), Uid(0x8c1d_2e3f_4051_6273)]));
        assert_eq!(noted.unknown, HashSet::from([Uid(0x1122_3344_5566_7788)]));
        assert_eq!(noted.rejected, HashSet::from([Uid(0x99aa_bbcc_ddee_ff00)]));
        let since = Stamp { utc_ms: 1_795_758_639_470, boot_ms: 2_788_352, boot_id: "295c187d".into() };
        assert_eq!(noted.waits, Some((3, Wait { since, ms: 240_000 })));
    }

    /// P2: a truncated or damaged note can't settle an event that was not delivered.
    #[test]
    fn no_truncated_note_counts_and_no_flipped_bit_panics() {
        for length in 0..TEXT.find('\n').expect("a line") {
            assert_eq!(parse(&TEXT[..length]), Noted::default(), "{length}");
        }
        for bit in 0..TEXT.len() * 8 {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&String::from_utf8_lossy(&bytes)).delivered.len() <= 4);
        }
        let strange = ["delivered", "delivered ", "delivered  00f3a8b2c4d5e6f7", "delivered +0f3a8b2c4d5e6f7"];
        for line in strange.into_iter().chain(["delivered 00F3a8b2c4d5e6f7", "done      00f3a8b2c4d5e6f7", "waits 1 2"])
        {
            assert_eq!(parse(&format!("{line}\n")), Noted::default(), "{line}");
        }
    }

    /// P3, P5: a planted link is not followed, and a planted pipe is not waited for.
    #[test]
    fn a_note_goes_only_to_our_own_regular_file_and_never_onto_an_incomplete_line() {
        let directory = std::env::temp_dir().join(format!("ssn-notes-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let (path, other) = (directory.join("notes-a"), directory.join("other"));
        fs::write(&other, "").expect("room");
        std::os::unix::fs::symlink(&other, &path).expect("room");
        assert!(write(&path, Need::Required, "x\n").is_err());
        fs::remove_file(&path).expect("ours");
        fs::hard_link(&other, &path).expect("room");
        assert!(write(&path, Need::Required, "x\n").is_err());
        fs::remove_file(&path).expect("ours");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("room");
        assert!(write(&path, Need::Required, "x\n").is_err());
        fs::remove_file(&path).expect("ours");

        fs::write(&path, "begun     00f3a8").expect("room");
        let line = |uid: u64| format!("{} {}\n", Word::Begun.text(), Uid(uid));
        let note = write(&path, Need::Required, &line(1)).expect("room");
        note.end(Word::Delivered).expect("room");
        drop(write(&path, Need::Required, &line(2)).expect("room"));
        let noted = parse(&fs::read_to_string(&path).expect("ours"));
        assert_eq!((noted.delivered, noted.unknown), (HashSet::from([Uid(1)]), HashSet::from([Uid(2)])));
        drop(write(&path, Need::Optional, &line(3)).expect("room"));
        assert_eq!(fs::read_to_string(&path).expect("ours"), line(3));
        fs::remove_dir_all(&directory).expect("ours");
    }
}
