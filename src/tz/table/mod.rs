//! A built-in table with the current rule of every IANA zone, old names included, for hosts without zoneinfo.
//!
//! `generate.py` makes `zones.txt` from Debian's tzdata. A row is a rule and the names of its zones:
//!
//! ```text
//! NZST-12NZDT,M9.5.0,M4.1.0/3 Antarctica/McMurdo Antarctica/South_Pole NZ Pacific/Auckland
//! MST7;-28800;1772964000;-25200 America/Vancouver Canada/Pacific
//! ```
//!
//! A rule may be followed by the offsets before it applies: the first offset, then pairs of an instant and
//! the offset from then on. So a zone agrees with tzdata from the year of the release on, even where the
//! clock follows Ramadan until 2086 (`Asia/Gaza`). Earlier times are an approximation.

#[cfg(test)]
mod tests;

use crate::text::nearest;
use crate::tz::posix::Rule;
use crate::tz::tzif::History;

const ZONES: &str = include_str!("zones.txt");

/// Bytes in the table. With less than 1 KiB of code, it adds at most 25 KiB to the program.
const SIZE_LIMIT: usize = 24 * 1024;
const _: () = assert!(ZONES.len() <= SIZE_LIMIT);

/// Finds a zone by its exact name in tzdata. `None` if it has none of that name.
pub fn find(name: &str) -> Option<History> {
    find_in(ZONES, name)
}

/// Suggests a zone for a misspelt name, such as `Asia/Kolkatta`, `europe/berlin` or `Berlin`.
pub fn near(name: &str) -> Option<&'static str> {
    let names = || rows(ZONES).flat_map(|(_, names)| names.split(' '));
    let city = |zone: &str| zone.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    nearest(name, names()).or_else(|| names().find(|zone| city(zone) == city(name)))
}

fn find_in(zones: &str, name: &str) -> Option<History> {
    let (rule, _) = rows(zones).find(|(_, names)| names.split(' ').any(|known| known == name))?;
    let (rule, until) = rule.split_once(';').unwrap_or((rule, "0"));
    let rule = Rule::parse(rule)?;
    let numbers = until.split(';').map(|number| number.parse().ok()).collect::<Option<Vec<i64>>>()?;
    let (first, changes) = numbers.split_first()?;
    let offset = |seconds: i64| i32::try_from(seconds).ok();
    let transitions = changes.chunks_exact(2).map(|change| Some((change[0], offset(change[1])?)));
    Some(History::new(offset(*first)?, transitions.collect::<Option<Vec<_>>>()?, Some(rule)))
}

/// Splits the table into rules, each with the names of its zones.
fn rows(zones: &str) -> impl Iterator<Item = (&str, &str)> {
    zones.lines().filter(|row| !row.starts_with('#')).filter_map(|row| row.split_once(' '))
}
