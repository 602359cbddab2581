//! docs/recipes.md: `check` examines each recipe, and the real hook and sender run it against a server.

use std::fs;
use std::time::Duration;

use crate::check::{FILE, Host};
use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server};
use crate::support::{has_mount_namespaces, skip};

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// The recipe with `trust_environment`, which doesn't suit every host.
const ANSIBLE: &str = "Quiet for Ansible";

/// Its key, as sshd reports it.
const KEY: &str = "publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
const OTHER_KEY: &str = "publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

/// A date in a recipe, and its replacement, so that the test doesn't depend on the current date.
type Date = (&'static str, &'static str);

/// A session or a wait, and the messages that it causes.
type Step = (&'static str, &'static str);

const SCENARIOS: [(&str, Option<Date>, &[Step]); 9] = [
    ("Only logins", None, &[("amanda from 192.0.2.7", "ntfy normal: amanda in")]),
    (
        ANSIBLE,
        None,
        &[
            ("ansible from 10.1.2.3 with key", ""),
            ("ansible from 10.2.2.3 with key", "ntfy normal: ansible in, ansible out"),
            ("ansible from 10.1.2.3 with password", "ntfy normal: ansible in, ansible out"),
            ("ansible from 10.1.2.3 with other-key", "ntfy normal: ansible in, ansible out"),
            ("amanda from 10.1.2.3 with key", "ntfy normal: amanda in, amanda out"),
            ("root by ansible via sudo", "ntfy normal: root by ansible in, root by ansible out"),
        ],
    ),
    (
        "Only new addresses",
        None,
        &[
            ("amanda from 192.0.2.7", ""),
            ("amanda from 192.0.2.8", ""),
            ("a week passes", ""),
            ("amanda from 192.0.2.7", ""),
            ("amanda from 203.0.113.9", "ntfy urgent: amanda in, amanda out"),
            ("bob from 203.0.113.9", ""),
            ("root by amanda via su", ""),
        ],
    ),
    (
        "A contractor until a date",
        Some(("2027-01-31", "2999-01-31")),
        &[
            ("contractor from 192.0.2.7", "ntfy quiet: contractor in, contractor out"),
            ("amanda from 192.0.2.7", "ntfy normal: amanda in, amanda out"),
        ],
    ),
    (
        "A contractor until a date",
        Some(("2027-01-31", "2020-01-31")),
        &[("contractor from 192.0.2.7", "ntfy urgent: contractor in, contractor out")],
    ),
    (
        "Root is always urgent",
        None,
        &[
            ("root from 192.0.2.7", "ntfy urgent: root in, root out"),
            ("root by amanda via su", "ntfy urgent: root by amanda in, root by amanda out"),
            ("amanda from 192.0.2.7", "ntfy quiet: amanda in, amanda out"),
            ("a week passes", ""),
            ("amanda from 203.0.113.9", "ntfy urgent: amanda in, amanda out"),
        ],
    ),
    (
        "Who became root with sudo",
        None,
        &[
            ("root by backup via sudo", ""),
            ("root by backup via su", "ntfy urgent: root by backup in, root by backup out"),
            ("root by amanda via sudo", "ntfy urgent: root by amanda in, root by amanda out"),
            ("amanda from 192.0.2.7", "ntfy normal: amanda in, amanda out"),
        ],
    ),
    (
        "A monitoring host once an hour",
        None,
        &[
            ("monitor from 10.1.0.7", "ntfy normal: monitor in, monitor out"),
            ("monitor from 10.1.0.7", ""),
            ("monitor from 10.1.0.7", ""),
            ("monitor from 10.1.0.8", "ntfy normal: monitor in, monitor out"),
            ("an hour passes", "ntfy normal: monitor 2 more times"),
            ("monitor from 10.1.0.7", "ntfy normal: monitor in, monitor out"),
        ],
    ),
    (
        "Another channel for the team",
        None,
        &[
            ("amanda from 192.0.2.7", "everything normal: amanda in, amanda out"),
            ("root from 192.0.2.7", "everything urgent: root in, root out; team urgent: root in"),
        ],
    ),
];

/// The heading and the configuration of each recipe.
fn recipes() -> Vec<(&'static str, &'static str)> {
    let one = |section: &'static str| {
        let (heading, rest) = section.split_once('\n').expect("a heading is a line");
        let blocks: Vec<&str> = rest.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), 1, "{heading}");
        (heading, blocks[0])
    };
    RECIPES.split("\n## ").skip(1).map(one).collect()
}

/// A recipe's configuration adapted to a test host and server, without moving any line.
fn adapted(recipe: &str, date: Option<Date>, port: u16, database: &str, spool: &str) -> String {
    let (from, to) = date.unwrap_or_default();
    assert!(recipe.contains(from), "{from}");
    let recipe = if from.is_empty() { recipe.into() } else { recipe.replace(from, to) };
    let recipe = ["https://ntfy.sh/", "https://discord.com/"]
        .iter()
        .fold(recipe, |text, server| text.replace(server, &format!("http://127.0.0.1:{port}/")));
    assert!(!recipe.contains("https:"), "{recipe}");
    format!("{recipe}[queue]\npath = \"{database}\"\nspool = \"{spool}\"\n")
}

/// A host with a recipe's configuration.
fn home(recipe: &str, date: Option<Date>, server: &Server) -> Home {
    let home = Home::new("");
    let (database, spool) = (home.database().display().to_string(), home.at("spool").display().to_string());
    fs::write(home.at("config.toml"), adapted(recipe, date, server.port, &database, &spool)).expect("a configuration");
    home
}

/// Records a session such as `root by amanda via sudo`, or lets time pass.
fn happen(home: &Home, step: &str) {
    match step {
        "a week passes" => return home.queue().let_learning_time_pass(Duration::from_hours(7 * 24)),
        "an hour passes" => return home.queue().let_repeats_pass(Duration::from_hours(1)),
        _ => {}
    }
    let words: Vec<&str> = step.split(' ').collect();
    let value = |word: &str| words.iter().position(|found| *found == word).map(|place| words[place + 1]);
    let authentication = match value("with") {
        Some("key") => KEY,
        Some("other-key") => OTHER_KEY,
        _ => "password",
    };
    for kind in ["open_session", "close_session"] {
        let items = [
            ("SSH_AUTH_INFO_0", Some(authentication)),
            ("PAM_SERVICE", Some(value("via").unwrap_or("sshd"))),
            ("PAM_USER", Some(words[0])),
            ("PAM_TTY", Some(if value("by").is_some() { "/dev/pts/0" } else { "ssh" })),
            ("PAM_RHOST", value("from")),
            ("PAM_RUSER", value("by")),
            ("PAM_TYPE", Some(kind)),
        ];
        let items: Vec<(&str, &str)> = items.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        home.hook(&items).when(step).succeeds();
    }
}

/// A message in the form of the scenarios: `ntfy normal: amanda in, amanda out`.
fn message(home: &Home, request: &Request) -> String {
    let json = request.json();
    let path = request.target().split('?').next().unwrap_or_default();
    let (target, text) = match json.get("topic") {
        Some(_) => ("ntfy", &json["message"]),
        None => (path.rsplit('/').next().unwrap_or_default(), &json["content"]),
    };
    let lines: Vec<String> = text.as_str().expect("a text").lines().map(notice).collect();
    let user = lines[0].split(' ').next().unwrap_or_default();
    let verdict = home.queue().verdicts_of(user).pop().unwrap_or_default();
    let urgency = verdict.split(", ").find_map(|part| part.strip_prefix("urgency ")).unwrap_or("normal");
    let is_silent = json["priority"] == 2 || json["flags"] == 4096;
    assert_eq!(is_silent, urgency == "quiet", "{verdict}: {}", request.body);
    format!("{target} {urgency}: {}", lines.join(", "))
}

/// `root by amanda in`, `amanda out`, `monitor 2 more times`
fn notice(line: &str) -> String {
    let quoted = |mark: &str| line.split_once(mark)?.1.split('\'').next();
    let by = quoted("(by '").map(|by| format!(" by {by}")).unwrap_or_default();
    let action = match line.split_once(" until ").and_then(|(before, _)| before.split_once("(sshd) ")) {
        Some((_, times)) => times,
        None if line.contains(" logged in ") => "in",
        None => "out",
    };
    format!("{}{by} {action}", quoted("'").unwrap_or_default())
}

#[test]
fn each_recipe_has_a_scenario_and_each_scenario_a_recipe() {
    let mut tested = SCENARIOS.map(|(heading, ..)| heading).to_vec();
    tested.dedup();
    let written: Vec<&str> = recipes().into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(written, tested);
}

#[test]
fn each_recipe_causes_the_notices_of_its_scenario() {
    for (heading, date, steps) in SCENARIOS {
        let (_, recipe) = recipes().into_iter().find(|(found, _)| *found == heading).expect(heading);
        let server = Server::well();
        let home = home(recipe, date, &server);
        let mut seen = 0;
        for (step, expected) in steps {
            happen(&home, step);
            home.send().when(heading).succeeds();
            let requests = server.requests().split_off(seen);
            seen += requests.len();
            let mut messages: Vec<String> = requests.iter().map(|request| message(&home, request)).collect();
            messages.sort();
            assert_eq!(messages.join("; "), *expected, "{heading}: {step}");
        }
        assert_eq!(home.queue().count_unsettled(), 0, "{heading}");
    }
}

#[test]
fn check_finds_nothing_wrong_with_a_recipe() {
    for (heading, recipe) in recipes() {
        let server = Server::well();
        let date = SCENARIOS.iter().find(|(found, ..)| *found == heading).and_then(|(_, date, _)| *date);
        let home = home(recipe, date, &server);
        let findings = home.run(&["check"]).stdout();
        let is_ours = |line: &&str| line.contains("  configuration: ") || line.contains("  rules: ");
        let (well, others): (Vec<_>, Vec<_>) =
            findings.lines().filter(is_ours).partition(|line| line.starts_with("ok "));
        assert_eq!(others, [""; 0], "{heading}");
        assert_eq!(well.len(), 1 + recipe.matches("[[rule]]").count(), "{heading}: {findings}");
    }
}

/// P3: a module before the hook could let users forge the key.
#[test]
fn check_trusts_the_key_if_the_hook_comes_first_as_the_recipe_promises() {
    let test = "check_trusts_the_key_if_the_hook_comes_first_as_the_recipe_promises";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let host = Host::new("");
    let (_, recipe) = recipes().into_iter().find(|(heading, _)| *heading == ANSIBLE).expect("a recipe");
    let (database, spool) = (host.at("var/state/q.db").display().to_string(), host.at("run").display().to_string());
    host.write(FILE, &adapted(recipe, None, 9, &database, &spool));
    let section = RECIPES.split(ANSIBLE).nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let promised = section.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let findings = host.run("check").stdout();
    assert!(findings.contains(promised), "{findings}");
    let findings = host.run("sed -i '1i session required pam_env.so' /etc/pam.d/sshd; check").stdout();
    assert!(findings.contains("problem  hook.trust_environment: /etc/pam.d/sshd:1 sets variables"), "{findings}");
    host.write(FILE, &adapted(&recipe.replace("= true", "= false"), None, 9, &database, &spool));
    let findings = host.run("check").stdout();
    assert!(findings.contains("makes nothing quieter: a user can forge `key`"), "{findings}");
}
