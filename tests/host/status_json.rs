//! `status --json`: exactly the members that docs/json.md describes, and safe with hostile names.

use std::fs;

use serde_json::{Value, json};

use crate::support::home::{Home, STDOUT};
use crate::support::outcome::Outcome;
use crate::support::server::Server;

fn read(home: &Home) -> Value {
    let output = home.run(&["status", "--json"]);
    output.says_only("");
    let value: Value = serde_json::from_str(&output.stdout()).unwrap_or_else(|why| panic!("{why}: {output:?}"));
    assert_eq!(output.stdout().lines().count(), 1, "one object, one line");
    assert_eq!(output.status.code(), Some(i32::from(value["well"] != json!(true))));
    value
}

/// The members of an object and of its parts: `targets[].name`.
fn paths(value: &Value, prefix: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                paths(value, &path, found);
                found.push(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{prefix}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_utc(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2026-04-24T22:00:00.123Z".len() && text.starts_with("20") && text.ends_with('Z')
}

/// A host where every part of the status has something to report.
fn eventful(test: &str) -> Option<(Home, Server)> {
    let server = Server::scripted(&[(503, "")]);
    let config = format!(
        "[notification]\nservice = \"ntfy\"\n{}[network]\nheartbeat_url = \"http://127.0.0.1:{}/\"\n",
        server.ntfy(),
        server.port
    );
    let home = Home::in_memory(test, &config)?;
    home.login("amanda");
    home.send().fails();
    home.queue().bury_everything();
    home.login_into_spool();
    home.login("bob");
    Some((home, server))
}

#[test]
fn the_json_has_the_same_facts_as_the_text_with_times_in_utc() {
    let Some((home, _server)) = eventful("the_json_has_the_facts_of_the_text_with_moments_in_utc") else { return };
    let all = read(&home);
    assert_eq!((&all["version"], &all["host"], &all["well"]), (&json!(1), &json!("host.example"), &json!(false)));
    let target = &all["targets"][0];
    for (name, expected) in [
        ("name", json!("ntfy")),
        ("configured", json!(true)),
        ("pending", json!(1)),
        ("dead", json!(1)),
        ("last_success", json!(null)),
        ("failures", json!(1)),
        ("kept_until", json!(null)),
    ] {
        assert_eq!(target[name], expected, "{name}: {all:#}");
    }
    assert!(target["error"].as_str().is_some_and(|why| why.contains("HTTP 503")), "{all:#}");
    assert!(target["next_try_ms"].as_i64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{all:#}");
    assert!(is_utc(&all["time"]) && is_utc(&target["oldest"]) && is_utc(&all["send"]["last"]), "{all:#}");
    assert_eq!((&all["send"]["result"], &all["send"]["mode"]), (&json!("failed"), &json!("once")));
    assert_eq!(all["queue"]["path"].as_str(), home.database().to_str());
    assert_eq!((&all["queue"]["state"], &all["services"][0]["service"]), (&json!("ready"), &json!("sshd")));
    assert_eq!((&all["spools"][0]["kind"], &all["spools"][0]["events"]), (&json!("spool"), &json!(1)));
    let letters = &all["dead_letters"];
    assert_eq!((&letters["count"], &letters["newest"][0]["target"]), (&json!(1), &json!("ntfy")));
    assert!(letters["newest"][0]["notice"].as_str().is_some_and(|notice| notice.contains("'amanda'")));
    let codes: Vec<&Value> = all["problems"].as_array().expect("an array").iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["dead", "failed"], "{all:#}");
}

#[test]
fn the_documentation_describes_exactly_the_members() {
    let Some((home, _server)) = eventful("every_member_is_described_and_nothing_else_is") else { return };
    let mut found = Vec::new();
    let mut all = read(&home);
    // Notes exist only while the database can't be written.
    all["noted"] = json!([{ "target": "ntfy", "done": 1, "unknown": 1 }]);
    paths(&all, "", &mut found);
    found.sort();
    found.dedup();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).expect("a page");
    let section = page.split("\n## ").find(|section| section.starts_with("`status --json`")).expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut described: Vec<String> = rows.map(String::from).collect();
    described.sort();
    assert_eq!(found, described);
}

/// P3
#[test]
fn hostile_names_do_not_break_the_json() {
    let home = Home::new(STDOUT);
    let hostile = "\"}],\\ \u{1b}[2J\u{202e}\n{\"version\":2}";
    home.login("amanda");
    home.sent();
    home.rename("a \"quoted\\ host");
    home.queue().bury_everything();
    home.queue().write_everywhere(hostile);
    let all = read(&home);
    assert_eq!((&all["version"], &all["host"]), (&json!(1), &json!("a \"quoted\\ host")));
    let names: Vec<&str> =
        all["targets"].as_array().expect("two").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!((names.len(), names.contains(&"stdout")), (2, true), "{all:#}");
}

#[test]
fn a_fresh_host_is_well() {
    let Some(home) = Home::in_memory("a_fresh_host_is_well", STDOUT) else { return };
    let all = read(&home);
    assert_eq!((&all["well"], &all["queue"]["state"]), (&json!(true), &json!("missing")));
    assert_eq!((&all["send"]["result"], &all["heartbeat"]), (&json!("unknown"), &json!(null)));
    assert_eq!((&all["targets"], &all["problems"]), (&json!([]), &json!([])));
}
