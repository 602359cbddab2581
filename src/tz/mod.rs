//! Time zones without the C library: turns a zone's name into a [`Zone`], which formats local time.
//!
//! The C library trusts the environment (`TZ`, `TZDIR`), musl cannot read version 4 files, and neither
//! reports a bad name. Here a name is looked up in the usual zoneinfo directories, then in a built-in
//! table, because routers have no zoneinfo or only their own country's, and Debian keeps old names in
//! a separate package. A name found in neither must be a POSIX TZ string.

mod civil;
mod posix;
mod table;
#[cfg(test)]
mod tests;
mod tzif;
mod written;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use civil::days_from_civil;
pub use written::Written;

use crate::files::{self, Links};
use crate::tz::civil::civil_from_days;
use crate::tz::posix::Rule;
use crate::tz::tzif::{History, Malformed};

/// Where systems keep zoneinfo, the most common place first. `TZDIR` is ignored.
const DIRECTORIES: [&str; 4] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// Holds the host's own zone, in the file `localtime` or else in the file `TZ`.
const ETC: &str = "/etc";

/// Bytes in a file. tzdata's largest has less than 4 KiB, or 6 KiB under `right/`.
const FILE_LIMIT: u64 = 1 << 20;

/// Bytes in a name. The longest, `America/Argentina/ComodRivadavia`, has 32.
const NAME_LIMIT: usize = 128;

const DAY: i64 = 86_400;

/// How local time differs from UTC.
#[derive(Clone, Debug)]
pub struct Zone(History);

/// Why a zone cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The name has no file and no row in the table, and is not a POSIX TZ string.
    Unknown(String),
    /// The zone's file cannot be read.
    File(PathBuf, io::Error),
    /// The zone's file has the wrong format.
    Malformed(PathBuf, Malformed),
}

impl Zone {
    /// UTC, without any look-up.
    pub fn utc() -> Self {
        Self(History::new(0, Vec::new(), None))
    }

    /// Finds a zone by an IANA name, `local`, or a POSIX TZ string, as `host.timezone` has it.
    /// An empty name means UTC, and `Local` means `local`; the Go program had both.
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::open_in(name, &DIRECTORIES.map(Path::new), Path::new(ETC))
    }

    fn open_in(name: &str, directories: &[&Path], etc: &Path) -> Result<Self, Error> {
        match name {
            "local" | "Local" => Self::local(directories, etc),
            _ => Self::named(name, directories),
        }
    }

    /// Finds the host's own zone: UTC if it has none, as in the C library.
    fn local(directories: &[&Path], etc: &Path) -> Result<Self, Error> {
        if let Some(bytes) = read(&etc.join("localtime"))? {
            return Self::parse(&etc.join("localtime"), &bytes);
        }
        // OpenWrt's musl and uClibc read a POSIX TZ string from there.
        let path = etc.join("TZ");
        let bytes = read(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Self::named(text.lines().next().unwrap_or_default().trim(), directories).map_err(|why| match why {
            Error::Unknown(_) => {
                Error::Malformed(path, Malformed("its first line is neither a zone's name nor a POSIX TZ string"))
            }
            Error::File(..) | Error::Malformed(..) => why,
        })
    }

    fn named(name: &str, directories: &[&Path]) -> Result<Self, Error> {
        if matches!(name, "" | "UTC" | "Etc/UTC") {
            return Ok(Self::utc());
        }
        if is_name(name) {
            for path in directories.iter().map(|directory| directory.join(name)) {
                if let Some(bytes) = read(&path)? {
                    return Self::parse(&path, &bytes);
                }
            }
            if let Some(history) = table::find(name) {
                return Ok(Self(history));
            }
        }
        let rule = Rule::parse(name).ok_or_else(|| Error::Unknown(name.into()))?;
        Ok(Self(History::new(0, Vec::new(), Some(rule))))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        History::parse(bytes).map(Self).map_err(|why| Error::Malformed(path.into(), why))
    }

    /// Returns the seconds east of UTC at an instant (seconds since 1970).
    pub fn offset_at(&self, instant: i64) -> i32 {
        self.0.offset_at(instant)
    }

    /// Finds the first instant (seconds since 1970) at which local time is `wall` (seconds from 1970-01-01 00:00 in
    /// local time). A time that the clock skips is taken with the offset before the change.
    pub fn instant_at(&self, wall: i64) -> i64 {
        let with = |offset: i32| wall - i64::from(offset);
        let (before, after) = (with(self.offset_at(wall - DAY)), with(self.offset_at(wall + DAY)));
        let is_shown = |instant: &i64| instant + i64::from(self.offset_at(*instant)) == wall;
        [before.min(after), before.max(after)].into_iter().find(is_shown).unwrap_or(before)
    }

    /// Formats an instant (milliseconds since 1970 in UTC) as local time: `2026-04-25 10:00:00+12:00`.
    /// An offset's seconds are cut off, as Go does.
    pub fn format(&self, utc_ms: i64) -> String {
        let instant = utc_ms.div_euclid(1000);
        let offset = self.offset_at(instant);
        let wall = instant + i64::from(offset);
        let ((year, month, day), second) = (civil_from_days(wall.div_euclid(DAY)), wall.rem_euclid(DAY));
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let minutes = offset / 60;
        let (sign, ahead) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
        format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{sign}{:02}:{:02}",
            ahead / 60,
            ahead % 60
        )
    }
}

/// Formats an instant (milliseconds since 1970 in UTC) as in RFC 3339: `2026-04-24T22:00:00.123Z`. `None` for a year
/// that doesn't have four digits.
pub fn rfc3339(utc_ms: i64) -> Option<String> {
    let (day, ms) = (utc_ms.div_euclid(DAY * 1000), utc_ms.rem_euclid(DAY * 1000));
    let (year, month, day) = civil_from_days(day);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let is_short = (0..=9999).contains(&year);
    is_short.then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

/// Whether a name is a path that stays inside a zoneinfo directory.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte))
    };
    name.len() <= NAME_LIMIT && name.split('/').all(is_part)
}

/// Reads a small file. `None` if it does not exist or is a directory, such as `Europe`.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match files::read(path, FILE_LIMIT, Links::Follow) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(_) if path.is_dir() => Ok(None),
        Err(why) => Err(Error::File(path.into(), why)),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let directories = DIRECTORIES.join(", ");
                write!(
                    f,
                    "unknown time zone {name:?}: not found in {directories}, not an IANA name, not a POSIX TZ string"
                )?;
                match table::near(name) {
                    Some(near) => write!(f, "; did you mean {near:?}?"),
                    None => Ok(()),
                }
            }
            Self::File(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Malformed(path, Malformed(what)) => write!(f, "{} is malformed: {what}", path.display()),
        }
    }
}
