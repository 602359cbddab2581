use std::fs;
use std::io::{BufReader, Read, Write};
use std::ops::Range;
use std::process::{Command, Stdio};

use super::*;

pub const ZONEINFO: &str = "/usr/share/zoneinfo";

/// Prints every zone's name and its offsets at many instants: every 15 days from 1900 to 2400, and
/// around each change between two of these.
const PYTHON: &str = r#"
import struct, sys, zoneinfo
from datetime import datetime
root = "/usr/share/zoneinfo"
zoneinfo.reset_tzpath(to=[root])
out = sys.stdout.buffer
first, last, step = -2208988800, 13569465600, 15 * 86400
for name in sorted(zoneinfo.available_timezones()):
    try:
        with open(f"{root}/{name}", "rb") as file:
            zone = zoneinfo.ZoneInfo.from_file(file)
    except OSError:
        continue
    at = datetime.fromtimestamp
    def offset(instant):
        delta = at(instant, zone).utcoffset()
        return delta.days * 86400 + delta.seconds
    rows, instant, before = [], first, offset(first)
    while instant < last:
        rows.append((instant, before))
        after = offset(instant + step)
        if after != before:
            low, high = instant, instant + step
            while high - low > 1:
                middle = (low + high) // 2
                if offset(middle) == before: low = middle
                else: high = middle
            rows += [(low - 1, offset(low - 1)), (low, offset(low)), (high, offset(high)), (high + 1, offset(high + 1))]
        instant, before = instant + step, after
    encoded = name.encode()
    out.write(struct.pack(">HI", len(encoded), len(rows)) + encoded)
    out.write(b"".join(struct.pack(">qi", *row) for row in rows))
"#;

pub fn skip(test: &str, why: &str) {
    let _ = writeln!(io::stderr().lock(), "SKIP: {test}: {why}");
}

#[test]
fn every_zone_agrees_with_cpython_from_1900_to_2400() {
    let test = "every_zone_agrees_with_cpython_from_1900_to_2400";
    if !Path::new(ZONEINFO).is_dir() {
        return skip(test, "no /usr/share/zoneinfo (Debian's tzdata)");
    }
    let spawned = Command::new("python3").args(["-c", PYTHON]).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = spawned else { return skip(test, "no python3") };
    let mut reader = BufReader::new(python.stdout.take().expect("it is piped"));
    let (mut zones, mut instants) = (0_u32, 0_u64);
    let mut head = [0; 6];
    while reader.read_exact(&mut head).is_ok() {
        let mut name = vec![0; usize::from(u16::from_be_bytes([head[0], head[1]]))];
        reader.read_exact(&mut name).expect("a name");
        let name = String::from_utf8(name).expect("an ASCII name");
        let zone = Zone::open(&name).unwrap_or_else(|why| panic!("{why}"));
        for _ in 0..u32::from_be_bytes([head[2], head[3], head[4], head[5]]) {
            let mut row = [0; 12];
            reader.read_exact(&mut row).expect("a row");
            let (instant, offset) = row.split_at(8);
            let instant = i64::from_be_bytes(instant.try_into().expect("eight bytes"));
            let offset = i32::from_be_bytes(offset.try_into().expect("four bytes"));
            assert_eq!(zone.offset_at(instant), offset, "{name} at {instant}");
            instants += 1;
        }
        zones += 1;
    }
    assert!(python.wait().expect("it was started").success(), "python3 failed");
    assert!(zones > 300 && instants > 3_000_000, "{zones} zones, {instants} instants");
}

/// Lists when a zone's offset changes, to the second, and to what. Compares offsets every `step` seconds.
pub fn changes(zone: &Zone, instants: Range<i64>, step: i64) -> Vec<(i64, i32)> {
    let mut found = vec![(instants.start, zone.offset_at(instants.start))];
    let mut at = instants.start;
    while at < instants.end {
        let (before, after) = (zone.offset_at(at), zone.offset_at(at + step));
        if before != after {
            let (mut low, mut high) = (at, at + step);
            while high - low > 1 {
                let middle = low.midpoint(high);
                if zone.offset_at(middle) == before { low = middle } else { high = middle }
            }
            found.push((high, after));
        }
        at += step;
    }
    found
}

/// Files under `right/` count leap seconds in their transitions; our instants don't.
#[test]
fn a_file_that_counts_leap_seconds_has_the_transitions_of_the_plain_one() {
    let mut compared = 0;
    for name in ["Europe/Lisbon", "Asia/Pyongyang", "Pacific/Auckland", "America/Caracas", "Etc/UTC"] {
        let names = [name.to_owned(), format!("right/{name}")];
        let [Ok(plain), Ok(right)] = names.map(|name| Zone::open(&name)) else { continue };
        // From 1900 to 2025: some of these files end where the list of leap seconds does.
        let [plain, right] = [plain, right].map(|zone| changes(&zone, -2_208_988_800..1_735_689_600, 5 * DAY));
        assert_eq!(right, plain, "{name}");
        compared += 1;
    }
    if compared == 0 {
        skip("a_file_that_counts_leap_seconds_has_the_transitions_of_the_plain_one", "no zoneinfo/right");
    }
}

/// Real files to damage.
const SAMPLES: [&str; 6] =
    ["Etc/UTC", "Pacific/Auckland", "Africa/Casablanca", "America/Godthab", "Africa/Monrovia", "right/Europe/Lisbon"];

/// Instants to try on a damaged file that still parses.
const INSTANTS: [i64; 9] =
    [i64::MIN, -62_135_596_800, -2_208_988_800, -1, 0, 1_777_068_000, 4_102_444_800, 253_402_300_800, i64::MAX];

fn try_all(bytes: &[u8]) {
    if let Ok(history) = History::parse(bytes) {
        for instant in INSTANTS {
            let offset = history.offset_at(instant);
            assert!((-93_600..=93_600).contains(&offset));
            let _ = Zone(history.clone()).format(instant);
        }
    }
}

#[test]
fn every_truncated_file_is_refused_and_no_flipped_bit_panics() {
    let mut tried = 0;
    for name in SAMPLES {
        let Ok(whole) = fs::read(Path::new(ZONEINFO).join(name)) else { continue };
        assert!(History::parse(&whole).is_ok(), "{name}");
        for length in 0..whole.len() {
            assert!(History::parse(&whole[..length]).is_err(), "{name} cut to {length}");
        }
        let mut bytes = whole.clone();
        for bit in 0..whole.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            try_all(&bytes);
            bytes[bit / 8] = whole[bit / 8];
        }
        tried += 1;
    }
    if tried == 0 {
        skip("every_truncated_file_is_refused_and_no_flipped_bit_panics", "no zoneinfo");
    }
}

#[test]
fn a_file_with_counts_beyond_its_length_is_refused() {
    let mut bytes = [0; 44];
    bytes[..4].copy_from_slice(b"TZif");
    for version in [0, b'2'] {
        bytes[4] = version;
        bytes[20..].fill(0xff);
        assert!(History::parse(&bytes).is_err());
    }
}

#[test]
fn a_posix_string_is_a_zone() {
    // 2026-01-15, 2026-07-15 and 2024-02-29 at noon in UTC.
    let (january, july, leap) = (1_768_478_400, 1_784_116_800, 1_709_208_000);
    let rows = [
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", [13, 12, 13].map(|hours| hours * 3600)),
        ("CET-1CEST,M3.5.0,M10.5.0/3", [3600, 7200, 3600]),
        ("EST5EDT,M3.2.0,M11.1.0", [-18_000, -14_400, -18_000]),
        ("<+0330>-3:30", [12_600; 3]),
        ("<-03>3", [-10_800; 3]),
        ("XXX-5:30:15", [19_815; 3]),
        ("EST5EDT4,0/0,J365/25", [-14_400; 3]),
        ("AAA0BBB,J60,J300", [0, 3600, 0]),
        ("AAA0BBB,59,300", [0, 3600, 3600]),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", [0, 3600, 0]),
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", [-7200, -3600, -7200]),
        ("AAA3BBB,J1/-167,J2/167", [-10_800, -10_800, -10_800]),
    ];
    for (text, offsets) in rows {
        let zone = Zone::open_in(text, &[], Path::new("/nonexistent")).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!([january, july, leap].map(|instant| zone.offset_at(instant)), offsets, "{text}");
        for instant in INSTANTS {
            let _ = zone.format(instant);
        }
    }
}

/// As in the C library (POSIX.1-2024 §8.3).
#[test]
fn daylight_saving_that_ends_at_its_next_start_or_later_lasts_all_year() {
    let rows = [
        ("EST5EDT4,0/0,J365/25", -14_400),
        ("XXX3EDT4,0/0,J365/23", -14_400),
        // Day 365 is the day after December 31, except in leap years.
        ("EST5EDT4,0/0,365/25", -14_400),
        ("EST5EDT,0/0,J365/167", -14_400),
        ("AAA-1BBB-2,J1/-100,J365/30", 7200),
    ];
    for (text, offset) in rows {
        let rule = Rule::parse(text).unwrap_or_else(|| panic!("{text}"));
        // Every seven hours from 2023-12-25 to 2029.
        for instant in (1_703_462_400..1_861_920_000).step_by(7 * 3600) {
            assert_eq!(rule.offset_at(instant), offset, "{text} at {instant}");
        }
    }
}

#[test]
fn a_change_up_to_a_week_into_the_next_year_is_found() {
    // Daylight saving ends on January 5 and begins again on January 6, at 23:00.
    let rule = Rule::parse("AAA0BBB,J365/167,J364/160").expect("a rule");
    // 2026-01-02, 2026-01-06 at 18:00, 2026-01-08 and 2026-12-31.
    let instants = [1_767_312_000, 1_767_722_400, 1_767_830_400, 1_798_675_200];
    assert_eq!(instants.map(|instant| rule.offset_at(instant)), [3600, 0, 3600, 3600]);
}

#[test]
fn text_that_is_neither_a_name_nor_a_posix_string_is_refused() {
    for name in [
        "Nowhere/Land",
        "/etc/passwd",
        "../zoneinfo/Etc/UTC",
        "Etc/../Etc/UTC",
        "Etc/./UTC",
        ".",
        "..",
        "Etc",
        "Etc/",
        "/",
        "Etc//UTC",
        "Etc/UTC\0",
        "Etc/UTC\n",
        "NZ\u{301}",
        "AB5",
        "EST5X",
        "EST25",
        "EST5EDT,M13.1.0,M1.1.0",
        "EST5EDT,M3.2.0",
        "EST5EDT,M3.2.7,M1.1.0",
        "EST5EDT,M3.6.0,M1.1.0",
        "EST5EDT,J0,J1",
        "EST5EDT,J366,J1",
        "EST5EDT,366,1",
        "EST5EDT,1/168,2",
        "EST5:60",
        "EST-",
        "<EST5",
        "<E>5",
        "EST5EDT,M3.2.0,M11.1.0x",
        "zone.tab",
        "tzdata.zi",
        &"A".repeat(5000),
    ] {
        let result = Zone::open_in(name, &[Path::new("/nonexistent")], Path::new("/nonexistent"));
        assert!(matches!(result, Err(Error::Unknown(_))), "{name:?}: {result:?}");
    }
    assert!(Zone::open("Etc").is_err() && Zone::open("../../../etc/localtime").is_err());
}

/// Makes a temporary directory for one test.
fn scratch(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("ssn-tz-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    directory
}

/// A `TZif` file that has a rule and no transitions (RFC 9636 §3).
fn tzif(rule: &str) -> Vec<u8> {
    let block = [b"TZif2".as_slice(), &[0; 31], &[0, 0, 0, 1, 0, 0, 0, 1], &[0; 7]].concat();
    [&block, &block, b"\n".as_slice(), rule.as_bytes(), b"\n"].concat()
}

#[test]
fn a_file_takes_precedence_over_a_posix_string_of_the_same_name() {
    let directory = scratch("file");
    fs::write(directory.join("EST5"), tzif("AAA-12")).expect("a file");
    fs::write(directory.join("Broken"), "TZif").expect("a file");
    let open = |name: &str| Zone::open_in(name, &[&directory], &directory);
    assert_eq!(open("EST5").expect("a file").offset_at(0), 43_200);
    assert_eq!(open("EST6").expect("a rule").offset_at(0), -21_600);
    let why = open("Broken").expect_err("a broken file").to_string();
    assert!(why.ends_with("Broken is malformed: it is shorter than a header"), "{why}");
    fs::remove_dir_all(&directory).expect("the directory is ours");
}

#[test]
fn local_is_the_hosts_own_zone_and_utc_if_it_has_none() {
    let etc = scratch("local");
    // The Go program called it `Local`.
    let hours = || {
        let [ours, gos] = ["local", "Local"].map(|name| Zone::open_in(name, &[], &etc));
        let [ours, gos] = [ours?, gos?].map(|zone| zone.offset_at(0));
        assert_eq!(ours, gos);
        Ok::<i32, Error>(ours / 3600)
    };
    let write = |name: &str, content: &[u8]| fs::write(etc.join(name), content).expect("a file");
    assert_eq!(hours().expect("UTC"), 0);
    // OpenWrt without zoneinfo: /etc/localtime points to nothing, and /etc/TZ has a rule.
    std::os::unix::fs::symlink("/nonexistent", etc.join("localtime")).expect("a link");
    for (content, expected) in [
        ("", 0),
        ("\n", 0),
        ("UTC\n", 0),
        ("GMT0\n", 0),
        ("<-03>3\n", -3),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1),
        ("  MSK-3  \r\nEET-2\n", 3),
        ("Asia/Tokyo\n", 9),
    ] {
        write("TZ", content.as_bytes());
        assert_eq!(hours().expect(content), expected, "{content:?}");
    }
    for content in ["local\n", "Nowhere/Land", "EST5EDT5", "../localtime", "\u{0}", "\u{fffd}"] {
        write("TZ", content.as_bytes());
        let why = hours().expect_err(content).to_string();
        assert!(why.ends_with("its first line is neither a zone's name nor a POSIX TZ string"), "{why}");
    }
    write("TZ", b"UTC\xff0");
    assert!(hours().is_err());
    // A localtime file takes precedence over TZ.
    fs::remove_file(etc.join("localtime")).expect("it is there");
    write("localtime", &tzif("AAA-9"));
    assert_eq!(hours().expect("a file"), 9);
    fs::remove_dir_all(&etc).expect("the directory is ours");
}

#[test]
fn a_name_without_a_file_is_looked_up_in_the_table() {
    let directory = scratch("part");
    fs::create_dir_all(directory.join("Europe")).expect("a temporary directory");
    // Like a router with only its own country's package, or Debian without the old names.
    fs::write(directory.join("Europe/Berlin"), tzif("AAA-5")).expect("a file");
    // 2026-07-15 at noon.
    let hours = |name: &str, directories: &[&Path]| {
        Zone::open_in(name, directories, Path::new("/nonexistent")).map(|zone| zone.offset_at(1_784_116_800) / 3600)
    };
    let nowhere = [Path::new("/nonexistent"), Path::new("/etc/passwd")];
    for (name, in_part, in_none) in [
        ("Europe/Berlin", 5, 2),
        ("Europe/Dublin", 1, 1),
        ("US/Pacific", -7, -7),
        ("EST5EDT", -4, -4),
        ("Africa/Casablanca", 1, 1),
        ("Etc/GMT+5", -5, -5),
        ("GMT0", 0, 0),
    ] {
        assert_eq!(hours(name, &[&directory]).expect("a zone"), in_part, "{name}");
        assert_eq!(hours(name, &nowhere).expect("a zone"), in_none, "{name}");
    }
    for misspelt in ["Europe/Berln", "europe/dublin", "Europe", "Pacific", "posix/Europe/Dublin"] {
        let why = hours(misspelt, &[&directory]).expect_err(misspelt);
        assert!(matches!(why, Error::Unknown(_)), "{why}");
        assert!(hours(misspelt, &nowhere).is_err(), "{misspelt}");
    }
    fs::remove_dir_all(&directory).expect("the directory is ours");
}

#[test]
fn a_time_is_formatted_as_the_go_program_did() {
    let rule = |text: &str| Zone::named(text, &[]).unwrap_or_else(|why| panic!("{why}"));
    let rows = [
        (Zone::utc(), 0, "1970-01-01 00:00:00+00:00"),
        (Zone::utc(), -1, "1969-12-31 23:59:59+00:00"),
        (Zone::utc(), 1_777_068_000_999, "2026-04-24 22:00:00+00:00"),
        (rule("NZST-12"), 1_777_068_000_000, "2026-04-25 10:00:00+12:00"),
        (rule("<-0330>3:30"), 0, "1969-12-31 20:30:00-03:30"),
        (rule("LMT0:44:30"), 0, "1969-12-31 23:15:30-00:44"),
        (rule("LMT0:00:30"), 0, "1969-12-31 23:59:30+00:00"),
        (Zone::utc(), 253_402_300_800_000, "10000-01-01 00:00:00+00:00"),
        (Zone::utc(), -62_167_219_200_000, "0000-01-01 00:00:00+00:00"),
    ];
    for (zone, utc_ms, expected) in rows {
        assert_eq!(zone.format(utc_ms), expected);
    }
}

#[test]
fn an_instant_is_written_as_rfc_3339_has_it_if_its_year_has_four_digits() {
    for (utc_ms, expected) in [
        (1_777_068_000_123, Some("2026-04-24T22:00:00.123Z")),
        (-1, Some("1969-12-31T23:59:59.999Z")),
        (253_402_300_800_000, None),
        (i64::MAX, None),
        (i64::MIN, None),
    ] {
        assert_eq!(rfc3339(utc_ms).as_deref(), expected, "{utc_ms}");
    }
}
