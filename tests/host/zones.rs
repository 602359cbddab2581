//! Local time on hosts without zoneinfo, or with their zone where routers keep it.

use std::fs;
use std::process::Output;

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::{has_mount_namespaces, skip};

/// Hides Debian's zone files.
const BARE: &str = "mount -t tmpfs tmpfs /usr/share/zoneinfo; mount -t tmpfs tmpfs /etc";

/// The output of `send` about a login in a zone, on a host prepared by a line of shell.
fn sent(prepare: &str, zone: &str) -> Output {
    let home = Home::new(STDOUT);
    let file = home.at("config.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    fs::write(file, text.replace("[host]\n", &format!("[host]\ntimezone = \"{zone}\"\n"))).expect("it is ours");
    home.login("amanda");
    home.command_in_own_dev(prepare, &["send"]).output().expect("the program starts")
}

#[test]
fn a_host_without_zoneinfo_still_shows_local_time() {
    if !has_mount_namespaces() {
        return skip("a_host_without_zoneinfo_still_shows_local_time", "needs root and mount namespaces");
    }
    let router = format!("{BARE}; echo '<-0330>3:30' >/etc/TZ");
    for (prepare, zone, offset) in [
        ("true", "Asia/Kolkata", "+05:30"),
        (BARE, "Asia/Kolkata", "+05:30"),
        (BARE, "NZST-12", "+12:00"),
        (BARE, "local", "+00:00"),
        (&router, "local", "-03:30"),
        (&router, "Asia/Kathmandu", "+05:45"),
    ] {
        let output = sent(prepare, zone);
        let sent = output.when(zone).succeeds().stdout();
        assert!(sent.trim_end().ends_with(offset), "{zone}: {sent}");
    }
}

#[test]
fn an_unknown_zone_is_a_mistake_with_and_without_zoneinfo() {
    if !has_mount_namespaces() {
        let test = "an_unknown_zone_is_a_mistake_with_and_without_zoneinfo";
        return skip(test, "needs root and mount namespaces");
    }
    for prepare in ["true", BARE] {
        let output = sent(prepare, "Asia/Kolkatta");
        let expected = "config.toml:2: host.timezone cannot be used: unknown time zone \"Asia/Kolkatta\": not found in";
        output.fails().says(expected).says("did you mean \"Asia/Kolkata\"?").prints_only("");
    }
}
