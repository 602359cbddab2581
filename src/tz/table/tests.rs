use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::tz::civil::days_from_civil;
use crate::tz::tests::{ZONEINFO, changes, skip};
use crate::tz::{DAY, Zone};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tz/table/generate.py");

/// 2400-01-01.
const END: i64 = 13_569_465_600;

/// Names whose clock may be another in another release of tzdata. From 2025b to 2026f there were 15.
const NEWS: usize = 60;

/// The table of this host's tzdata; without it, or python3, says that a test was skipped.
fn generated(test: &str) -> Option<String> {
    if !Path::new(ZONEINFO).join("tzdata.zi").exists() {
        skip(test, "there is no /usr/share/zoneinfo/tzdata.zi (Debian's tzdata)");
        return None;
    }
    let Ok(output) = Command::new("python3").args([SCRIPT, ZONEINFO]).output() else {
        skip(test, "there is no python3");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("a table is ASCII"))
}

/// The release that a table says it was made from, such as `2026f`.
fn release(zones: &str) -> &str {
    let words = zones.strip_prefix("# tzdata ").and_then(|rest| rest.split_once(','));
    words.expect("the first line has the release").0
}

/// The release's first instant.
fn start(zones: &str) -> i64 {
    days_from_civil(release(zones)[..4].parse().expect("a year"), 1, 1) * DAY
}

/// Every name that a directory of zoneinfo has a file for.
fn installed(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("an ASCII name"));
        // These are no zones of IANA's: variants of all, this host's own, and a default of old.
        if matches!(&*name, "posix" | "right" | "localtime" | "posixrules") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            names.extend(installed(&path, &format!("{name}/")));
        } else if fs::read(&path).expect("a file").starts_with(b"TZif") {
            names.insert(name);
        }
    }
    names
}

/// The installed names that a table doesn't know, or whose clock it changes otherwise from an instant on.
fn disagreeing(zones: &str, start: i64) -> Vec<String> {
    let mut known = Vec::<(History, Vec<(i64, i32)>)>::new();
    let mut future = |history: History| {
        if let Some((_, changes)) = known.iter().find(|(known, _)| *known == history) {
            return changes.clone();
        }
        let changes = changes(&Zone(history.clone()), start..END, 5 * DAY);
        known.push((history, changes.clone()));
        changes
    };
    let root = Path::new(ZONEINFO);
    let is_wrong = |name: &String| {
        let file = History::parse(&fs::read(root.join(name)).expect("a file")).expect("a zone");
        find_in(zones, name).is_none_or(|zone| future(zone) != future(file))
    };
    let names = installed(root, "");
    assert!(names.len() > 300, "{} names", names.len());
    names.into_iter().filter(is_wrong).collect()
}

#[test]
fn a_table_has_every_name_of_its_tzdata_and_changes_clocks_when_that_does_until_2400() {
    let test = "a_table_has_every_name_of_its_tzdata_and_changes_clocks_when_that_does_until_2400";
    let Some(zones) = generated(test) else { return };
    assert_eq!(disagreeing(&zones, start(&zones)), Vec::<String>::new(), "tzdata {}", release(&zones));
}

#[test]
fn the_built_in_table_is_what_the_script_makes_of_its_tzdata() {
    let test = "the_built_in_table_is_what_the_script_makes_of_its_tzdata";
    let Some(zones) = generated(test) else { return };
    let [here, built_in] = [&zones, ZONES].map(release);
    if here == built_in {
        return assert_eq!(zones, ZONES);
    }
    skip(test, &format!("tzdata {here} is installed, not {built_in}; compared but for the news between them"));
    let wrong = disagreeing(ZONES, start(&zones).max(start(ZONES)));
    assert!(wrong.len() <= NEWS, "{wrong:?}");
}

#[test]
fn each_name_is_there_once_in_order_and_its_rule_can_be_read() {
    let rows = ZONES.lines().skip(1).map(|row| row.split_once(' ').expect("a rule and names"));
    let rows = rows.collect::<Vec<_>>();
    assert!(rows.is_sorted_by(|(one, _), (next, _)| one < next));
    let mut all = BTreeSet::new();
    for (_, names) in rows {
        assert!(names.split(' ').is_sorted_by(|one, next| one < next), "{names}");
        for name in names.split(' ') {
            assert!(all.insert(name), "{name} is there twice");
            assert!(crate::tz::is_name(name) && find(name).is_some(), "{name}");
        }
    }
    assert!(all.len() >= 598, "{} names", all.len());
}

#[test]
fn the_comment_the_rules_and_misspelt_names_are_no_names() {
    for name in
        ["", " ", "#", "tzdata", "2026f,", "UTC0", "EST5", "europe/berlin", "Europe/Berlin ", "Europe", "Nowhere"]
    {
        assert!(find(name).is_none(), "{name:?}");
    }
}

#[test]
fn a_row_holds_as_it_says_before_its_rule_does() {
    let zones = "# a comment\nMST7;-28800;1000;-3600;2000;-25200 Here/There Over/There\n";
    let zone = find_in(zones, "Over/There").expect("a zone");
    assert_eq!(
        [999, 1000, 1999, 2000, i64::MAX].map(|at| zone.offset_at(at)),
        [-28_800, -3600, -3600, -25_200, -25_200]
    );
}

#[test]
fn a_misspelt_name_or_a_city_alone_is_understood() {
    for (name, expected) in [
        ("Asia/Kolkatta", Some("Asia/Kolkata")),
        ("europe/berlin", Some("Europe/Berlin")),
        ("Auckland", Some("Pacific/Auckland")),
        ("Ho_Chi_Minh", Some("Asia/Ho_Chi_Minh")),
        ("Middle-earth/Hobbiton", None),
    ] {
        assert_eq!(near(name), expected, "{name}");
    }
}
