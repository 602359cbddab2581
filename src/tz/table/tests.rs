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

/// Names whose rule may differ between two releases of tzdata. 15 did between 2025b and 2026f.
const CHANGED_LIMIT: usize = 60;

/// Generates the table from this host's tzdata. Without that or python3, skips the test.
fn generated(test: &str) -> Option<String> {
    if !Path::new(ZONEINFO).join("tzdata.zi").exists() {
        skip(test, "no /usr/share/zoneinfo/tzdata.zi (Debian's tzdata)");
        return None;
    }
    let Ok(output) = Command::new("python3").args([SCRIPT, ZONEINFO]).output() else {
        skip(test, "no python3");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("a table is ASCII"))
}

/// The tzdata release that a table was made from, such as `2026f`.
fn release(zones: &str) -> &str {
    let words = zones.strip_prefix("# tzdata ").and_then(|rest| rest.split_once(','));
    words.expect("the first line has the release").0
}

/// The first instant of the release's year.
fn start(zones: &str) -> i64 {
    days_from_civil(release(zones)[..4].parse().expect("a year"), 1, 1) * DAY
}

/// Lists every name that has a file in a zoneinfo directory.
fn installed(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("an ASCII name"));
        // Not IANA zones: two variants of the whole tree, this host's own zone, and an old default.
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

/// Lists the installed names that a table lacks or gives different transitions after an instant.
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
fn a_generated_table_agrees_with_its_tzdata_on_every_name_until_2400() {
    let test = "a_generated_table_agrees_with_its_tzdata_on_every_name_until_2400";
    let Some(zones) = generated(test) else { return };
    assert_eq!(disagreeing(&zones, start(&zones)), Vec::<String>::new(), "tzdata {}", release(&zones));
}

#[test]
fn the_built_in_table_is_the_one_that_the_script_generates() {
    let test = "the_built_in_table_is_the_one_that_the_script_generates";
    let Some(zones) = generated(test) else { return };
    let [here, built_in] = [&zones, ZONES].map(release);
    if here == built_in {
        return assert_eq!(zones, ZONES);
    }
    skip(test, &format!("tzdata {here} is installed, not {built_in}; {CHANGED_LIMIT} names may differ"));
    let wrong = disagreeing(ZONES, start(&zones).max(start(ZONES)));
    assert!(wrong.len() <= CHANGED_LIMIT, "{wrong:?}");
}

#[test]
fn each_name_is_listed_once_in_order_and_its_rule_parses() {
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
fn comments_rules_and_misspelt_names_are_not_found() {
    for name in
        ["", " ", "#", "tzdata", "2026f,", "UTC0", "EST5", "europe/berlin", "Europe/Berlin ", "Europe", "Nowhere"]
    {
        assert!(find(name).is_none(), "{name:?}");
    }
}

#[test]
fn offsets_in_a_row_apply_before_its_rule() {
    let zones = "# a comment\nMST7;-28800;1000;-3600;2000;-25200 Here/There Over/There\n";
    let zone = find_in(zones, "Over/There").expect("a zone");
    assert_eq!(
        [999, 1000, 1999, 2000, i64::MAX].map(|at| zone.offset_at(at)),
        [-28_800, -3600, -3600, -25_200, -25_200]
    );
}

#[test]
fn a_misspelt_name_or_a_city_alone_gets_a_suggestion() {
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
