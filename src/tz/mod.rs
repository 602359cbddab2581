//! Time zones, by our own look-up over zoneinfo: a name goes in, a local time comes out.
//!
//! The C library's look-up believes the environment (`TZ`, `TZDIR`), musl's knows no version 4 files,
//! and neither says what is wrong with a name. Here a name is looked for in the places where systems
//! keep zoneinfo. Where they don't have it, a built-in table does: routers have no zoneinfo or only
//! their own country's, and Debian keeps old names in a package of their own. What isn't there either
//! is a mistake, unless it is a POSIX TZ string, which is taken at its word.

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

/// Where systems keep zoneinfo, the commonest first. The variable TZDIR is ignored.
const DIRECTORIES: [&str; 4] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// Where the host's own zone is: in `localtime`, else in `TZ`.
const ETC: &str = "/etc";

/// Bytes of a file. The largest in tzdata has less than 4 KiB, and in its `right` variants 6.
const FILE_LIMIT: u64 = 1 << 20;

/// Bytes of a name. The longest, `America/Argentina/ComodRivadavia`, has 32.
const NAME_LIMIT: usize = 128;

const DAY: i64 = 86_400;

/// How local time differs from UTC.
#[derive(Clone, Debug)]
pub struct Zone(History);

/// Why there is no such zone.
#[derive(Debug)]
pub enum Error {
    /// Neither a file, nor in the table, nor a rule.
    Unknown(String),
    /// There is a file, and it can't be read.
    File(PathBuf, io::Error),
    /// There is a file, and it is no zone.
    Malformed(PathBuf, Malformed),
}

impl Zone {
    /// UTC, for which nothing need be looked up.
    pub fn utc() -> Self {
        Self(History::new(0, Vec::new(), None))
    }

    /// Finds a zone by what `host.timezone` may say: an IANA name; `local`; a POSIX TZ string.
    /// The empty name is UTC and `Local` is `local`, as they were for the Go program.
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::open_in(name, &DIRECTORIES.map(Path::new), Path::new(ETC))
    }

    fn open_in(name: &str, directories: &[&Path], etc: &Path) -> Result<Self, Error> {
        match name {
            "local" | "Local" => Self::local(directories, etc),
            _ => Self::named(name, directories),
        }
    }

    /// The host's own zone. Where it states none, that is UTC; the C library says so too.
    fn local(directories: &[&Path], etc: &Path) -> Result<Self, Error> {
        if let Some(bytes) = read(&etc.join("localtime"))? {
            return Self::parse(&etc.join("localtime"), &bytes);
        }
        // OpenWrt's musl and uClibc read a POSIX TZ string from there.
        let path = etc.join("TZ");
        let bytes = read(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Self::named(text.lines().next().unwrap_or_default().trim(), directories).map_err(|why| match why {
            Error::Unknown(_) => Error::Malformed(path, Malformed("it is no zone's name and no POSIX TZ string")),
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

    /// Seconds east of UTC at an instant (seconds since 1970).
    pub fn offset_at(&self, instant: i64) -> i32 {
        self.0.offset_at(instant)
    }

    /// The first instant (seconds since 1970) at which the clock on the wall shows this, as seconds from 1970-01-01
    /// 00:00. A time that the clocks leave out counts as if they did not.
    pub fn instant_at(&self, wall: i64) -> i64 {
        let with = |offset: i32| wall - i64::from(offset);
        let (before, after) = (with(self.offset_at(wall - DAY)), with(self.offset_at(wall + DAY)));
        let is_shown = |instant: &i64| instant + i64::from(self.offset_at(*instant)) == wall;
        [before.min(after), before.max(after)].into_iter().find(is_shown).unwrap_or(before)
    }

    /// Writes an instant (milliseconds since 1970 in UTC) as the clock on the wall has it:
    /// `2026-04-25 10:00:00+12:00`. Like Go's layout, it cuts off an offset's seconds.
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

/// Writes an instant (milliseconds since 1970 in UTC) as RFC 3339 has it: `2026-04-24T22:00:00.123Z`. `None` for a
/// year that doesn't have four digits.
pub fn rfc3339(utc_ms: i64) -> Option<String> {
    let (day, ms) = (utc_ms.div_euclid(DAY * 1000), utc_ms.rem_euclid(DAY * 1000));
    let (year, month, day) = civil_from_days(day);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let is_short = (0..=9999).contains(&year);
    is_short.then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

/// Whether a name stays within the directory that it is looked for in.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte))
    };
    name.len() <= NAME_LIMIT && name.split('/').all(is_part)
}

/// Reads a small file; `None` if there is none (a directory of zones is none).
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
                let places = DIRECTORIES.join(", ");
                write!(
                    f,
                    "{name:?} is not a zone that this host has (in {places}) or that IANA knows, nor a POSIX TZ string"
                )?;
                table::near(name).map_or(Ok(()), |near| write!(f, "; did you mean {near:?}?"))
            }
            Self::File(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Malformed(path, Malformed(what)) => write!(f, "{} is malformed: {what}", path.display()),
        }
    }
}
