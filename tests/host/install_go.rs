//! install.sh --from-go: one command on a host where the Go program runs.

use std::fs;
use std::path::Path;

use crate::support::copy::Copy;
use crate::support::server::Server;
use crate::support::tree::{NAME, output};
use crate::support::{has, skip};

/// Events that wait in the Go program's database, two of them in its log only.
const WAITING: usize = 8;

/// How often somebody logs in, and `send` runs, while the script works.
const LOGINS: usize = 25;

/// PAM's file with the Go program's line where its README had it.
const HOOKED: &str = "session required pam_env.so\n\
    session optional pam_exec.so /usr/sbin/ssh-session-notifier queue\n";

/// A host as the Go program leaves it: everything is root's, and only root can read the configuration.
fn host(test: &str, server: &Server) -> Option<Copy> {
    let copy = Copy::new(test)?;
    if !has("pamtester") {
        skip(test, "needs pamtester");
        return None;
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/go-hot-wal");
    let tree = &copy.0;
    fs::create_dir_all(tree.at("var/lib").join(NAME)).expect("a directory");
    for file in ["session_events.db", "session_events.db-wal"] {
        fs::copy(data.join(file), tree.at("var/lib").join(NAME).join(file)).expect("a copy");
    }
    let config = format!("[host]\nname = \"host.example\"\n[notification]\nservice = \"ntfy\"\n{}", server.ntfy());
    tree.write("etc/ssh-session-notifier/config.toml", &config);
    tree.write("etc/pam.d/login", HOOKED);
    tree.write("etc/crontabs/root", "*/5 * * * * /usr/sbin/ssh-session-notifier send\n");
    tree.write("usr/sbin/ssh-session-notifier", "");
    fs::copy(env!("CARGO_BIN_EXE_ssh-session-notifier"), tree.at("usr/sbin").join(NAME)).expect("a binary");
    output(
        &mut copy.shell("chmod 755 /usr/sbin/ssh-session-notifier; chmod 600 /etc/ssh-session-notifier/config.toml"),
    );
    Some(copy)
}

/// P2 P5
#[test]
fn one_command_takes_over_from_the_go_program_while_people_log_in() {
    let test = "one_command_takes_over_from_the_go_program_while_people_log_in";
    let server = Server::well();
    let Some(copy) = host(test, &server) else { return };
    let script = format!(
        "( i=0; while [ $i -lt {LOGINS} ]; do pamtester login eve open_session; $1; i=$((i + 1)); done ) >/dev/null 2>&1 & \
         sh {} --binary {} --scheduler crontab --from-go; wait\n\
         setpriv --reuid {NAME} --regid {NAME} --clear-groups $1",
        crate::support::tree::SCRIPT,
        env!("CARGO_BIN_EXE_ssh-session-notifier"),
    );
    let script = format!("useradd -M eve; set -- '/usr/sbin/{NAME} send'\n{script}");
    let said = output(&mut copy.shell(&script));
    assert!(said.contains("updated /etc/pam.d/login"), "{said}");

    // pamtester may check the new PAM file with sessions of root's own.
    let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    let told = |what: &str| bodies.iter().map(|body| body.matches(what).count()).sum::<usize>();
    // At least once is the promise.
    assert!(told("'eve'") >= LOGINS, "{bodies:?}");
    assert!(told("2026-11-23") >= WAITING, "{bodies:?}");

    let tree = &copy.0;
    let uid = output(&mut copy.shell(&format!("id -u {NAME}")));
    let owner = tree.look(&format!("var/lib/{NAME}"));
    assert!(owner.starts_with(&format!("700 {}:", uid.trim())), "{owner}");
    for entry in fs::read_dir(tree.at("var/lib").join(NAME)).expect("a directory") {
        let name = entry.expect("an entry").file_name();
        let owner = tree.look(&format!("var/lib/{NAME}/{}", name.to_string_lossy()));
        assert!(owner.contains(&format!(" {}:", uid.trim())), "{name:?} {owner}");
    }
    assert!(tree.look("etc/ssh-session-notifier/config.toml").starts_with("640 0:"));
    assert!(tree.read("etc/pam.d/login").starts_with("session optional pam_exec.so quiet /usr/sbin/"));
    assert!(!tree.at("etc/crontabs/root").exists(), "its schedule is gone");
    assert!(tree.read("etc/crontabs/ssh-session-notifier").contains("send"));

    let again = output(&mut copy.script("--scheduler crontab --from-go"));
    assert!(again.contains("unchanged") && !again.contains("updated") && !again.contains("created"), "{again}");
}

#[test]
fn a_dry_run_of_the_take_over_changes_nothing() {
    let test = "a_dry_run_of_the_take_over_changes_nothing";
    let server = Server::well();
    let Some(copy) = host(test, &server) else { return };
    let before = copy.0.snapshot();
    let said = output(&mut copy.script("--scheduler crontab --from-go --dry-run"));
    for expected in ["would create user", "would update /var/lib/ssh-session-notifier", "would update /etc/pam.d/login"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let after = copy.0.snapshot();
    // The kernel works in the overlays' own directories.
    let is_ours = |path: &Path| !path.to_string_lossy().contains(".work");
    let changed: Vec<_> =
        after.iter().filter(|(path, state)| is_ours(path) && before.get(*path) != Some(state)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}
