//! The present rule of every IANA zone, old names too, for hosts without the zone's file.
//!
//! `generate.py` makes `zones.txt` from Debian's tzdata. A row is a rule and the names that it is for:
//!
//! ```text
//! NZST-12NZDT,M9.5.0,M4.1.0/3 Antarctica/McMurdo Antarctica/South_Pole NZ Pacific/Auckland
//! MST7;-28800;1772964000;-25200 America/Vancouver Canada/Pacific
//! ```
//!
//! What follows the rule's semicolon is what tzdata says until the rule holds: an offset, then by turns
//! an instant and the offset from then on. So a zone agrees with tzdata from the year of its release
//! on, even where Ramadan moves the clock until 2086 (`Asia/Gaza`); before, it is an approximation.

#[cfg(test)]
mod tests;

use crate::text::nearest;
use crate::tz::posix::Rule;
use crate::tz::tzif::History;

const ZONES: &str = include_str!("zones.txt");

/// Bytes of the table: with less than one KiB of code, it adds 25 KiB to the program at most.
const SIZE_LIMIT: usize = 24 * 1024;
const _: () = assert!(ZONES.len() <= SIZE_LIMIT);

/// Finds a zone by its name, which must be spelt as in tzdata.
pub fn find(name: &str) -> Option<History> {
    find_in(ZONES, name)
}

/// The zone that a misspelt name was probably meant to be: of `Asia/Kolkatta`, `europe/berlin` or `Berlin`.
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

/// Each rule of the table, and the names that it is for.
fn rows(zones: &str) -> impl Iterator<Item = (&str, &str)> {
    zones.lines().filter(|row| !row.starts_with('#')).filter_map(|row| row.split_once(' '))
}
