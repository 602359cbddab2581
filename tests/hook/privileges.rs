//! Root is given up for good before any file of the service user is opened.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::home::{Home, LOGIN, SERVICE, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, taken};
use crate::support::sshd::{self, EVE, Sshd};
use crate::support::{has, is_root, skip};

/// Whether a test that needs root and these programs can run; if not, skips it.
fn can_run(test: &str, programs: &[&str]) -> bool {
    if !is_root() {
        skip(test, "needs root");
        return false;
    }
    let missing = programs.iter().find(|name| !has(name));
    if let Some(name) = missing {
        skip(test, &format!("needs {name}"));
    }
    missing.is_none()
}

/// Returns everything below a directory with its owner.
fn owners(directory: &Path) -> Vec<(PathBuf, u32, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() {
            found.extend(owners(&entry.path()));
        }
        found.push((entry.path(), metadata.uid(), metadata.gid()));
    }
    found
}

fn assert_all_belong_to(directory: &Path, user: u32) {
    let found = owners(directory);
    assert!(!found.is_empty(), "{} is empty", directory.display());
    for (path, uid, gid) in found {
        assert_eq!((uid, gid), (user, user), "{}", path.display());
    }
}

/// P5
#[test]
fn files_that_root_makes_belong_to_the_owner_of_the_state_directory() {
    if !can_run("files_that_root_makes_belong_to_the_owner_of_the_state_directory", &[]) {
        return;
    }
    let home = Home::of_service(STDOUT);
    home.login("amanda");
    assert_all_belong_to(&home.at("state"), SERVICE);
    assert!(home.sent().contains("'amanda'"));
    assert!(home.at("state/session_events.db.lock").exists());
    assert_all_belong_to(&home.at("state"), SERVICE);
    let spool = fs::metadata(home.at("spool")).expect("the hook made it");
    assert_eq!((spool.uid(), spool.gid(), spool.mode() & 0o7777), (SERVICE, SERVICE, 0o700));
    assert_eq!(fs::metadata(home.database()).expect("a database").mode() & 0o7777, 0o600);
}

#[test]
fn spool_files_that_root_makes_belong_to_the_owner_of_the_state_directory() {
    if !can_run("spool_files_that_root_makes_belong_to_the_owner_of_the_state_directory", &[]) {
        return;
    }
    let home = Home::of_service(STDOUT);
    fs::create_dir(home.database()).expect("a directory in the database's place");
    let output = home.hook(&LOGIN);
    output.exits(0).says("waits in");
    assert_eq!(home.spooled().len(), 1, "{output:?}");
    assert_all_belong_to(&home.at("spool"), SERVICE);
    fs::remove_dir(home.database()).expect("an empty directory");
    assert!(home.sent().contains("'amanda'"));
}

#[test]
fn a_state_directory_of_root_works_and_stays_roots() {
    if !can_run("a_state_directory_of_root_works_and_stays_roots", &[]) {
        return;
    }
    let home = Home::new(STDOUT);
    home.login("amanda");
    assert!(home.sent().contains("'amanda'"));
    assert_all_belong_to(&home.at("state"), 0);
}

#[test]
fn a_missing_state_directory_is_made_for_the_service_user_if_there_is_one() {
    let test = "a_missing_state_directory_is_made_for_the_service_user_if_there_is_one";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    for (name, owner) in [("ssh-session-notifier", SERVICE), ("somebody-else", 0)] {
        let home = Home::of_service(STDOUT);
        fs::remove_dir(home.at("state")).expect("an empty directory");
        let sshd = Sshd::start(&home, &sshd::hook_line(&home));
        let line = format!("{name}:x:{SERVICE}:{SERVICE}::/nonexistent:/bin/false\n");
        let passwd = fs::read_to_string(home.at("etc/passwd")).expect("users");
        fs::write(home.at("etc/passwd"), passwd.replace("nobody:", "nemo:") + &line).expect("users");
        sshd.login("true");
        let state = fs::metadata(home.at("state")).expect("the hook made it");
        assert_eq!((state.uid(), state.mode() & 0o7777), (owner, 0o700), "{name}");
        assert_eq!(fs::metadata(home.database()).expect("a database").mode() & 0o7777, 0o600, "{name}");
        assert_eq!(home.queue().count_events(), 2);
        assert_all_belong_to(&home.at("state"), owner);
    }
}

/// Returns the system calls of one run that change ids or name a file, including those that failed.
fn trace(home: &Home, before: &[&str], command: &Command, items: &[(&str, &str)]) -> String {
    let file = home.at("trace");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-o"]).arg(&file).args(["-e", "trace=%file,%creds,setgroups,fchown,fchmod", "--"]);
    traced.args(before).arg(command.get_program()).args(command.get_args()).env_clear();
    let output: Output = hook(traced, items);
    output.exits(0);
    let text = fs::read_to_string(file).expect("a trace");
    // strace aligns results in a column.
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// Checks that real, effective and saved ids were the service user's before the first file in its directories
/// was named, and that root's could not be regained.
fn assert_given_up_first(home: &Home, trace: &str) {
    let position =
        |what: &str| trace.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}: {trace}"));
    let gone = ["setgroups(0, []) = 0", "setresgid(65534, 65534, 65534) = 0", "setresuid(65534, 65534, 65534) = 0"]
        .map(position);
    assert!(gone.is_sorted(), "{trace}");
    let tried = position("setresuid(0, 0, 0) = -1 EPERM");
    let inside = ["state/", "spool/"].map(|directory| home.at(directory).display().to_string());
    let named = trace.lines().position(|line| inside.iter().any(|path| line.contains(path.as_str())));
    let opened = named.expect("the database is opened");
    assert!(gone[2] < tried && tried < opened, "{gone:?} {tried} {opened}\n{trace}");
}

/// P5
#[test]
fn root_is_given_up_for_good_before_a_file_of_the_service_user_is_named() {
    let test = "root_is_given_up_for_good_before_a_file_of_the_service_user_is_named";
    if !can_run(test, &["strace", "setpriv"]) {
        return;
    }
    // As under sshd, where root may have more groups, and as under su, where the real user is another.
    let eve = EVE.to_string();
    let su = ["/usr/bin/setpriv", "--ruid", &eve, "--euid", "0", "--rgid", &eve, "--egid", "0", "--groups", "0,4,27"];
    let callers: [&[&str]; 3] = [&[], &["/usr/bin/setpriv", "--groups", "0,4,27"], &su];
    for before in callers {
        let home = Home::of_service(STDOUT);
        for command in ["queue", "send", "status"] {
            let items: &[(&str, &str)] = if command == "queue" { &LOGIN } else { &[("PATH", "/usr/bin")] };
            let trace = trace(&home, before, &home.command(&[command]), items);
            assert_given_up_first(&home, &trace);
        }
        assert_all_belong_to(&home.at("state"), SERVICE);
    }
}

/// P5
#[test]
fn a_sender_started_by_root_has_no_id_group_or_capability_of_root_while_it_sends() {
    let test = "a_sender_started_by_root_has_no_id_group_or_capability_of_root_while_it_sends";
    if !can_run(test, &["setpriv"]) {
        return;
    }
    let (arrived, seen) = std::sync::mpsc::channel();
    let (go, answer) = std::sync::mpsc::channel::<()>();
    let answer = std::sync::Mutex::new(answer);
    let server = Server::new(move |_, _, stream| {
        let _ = arrived.send(());
        let _ = answer.lock().expect("no test panics with the lock").recv();
        taken(stream);
    });
    let home = Home::of_service(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    let inner = home.command(&["send"]);
    let mut command = Command::new("setpriv");
    command.args(["--groups", "0,4,27"]).arg(inner.get_program()).args(inner.get_args());
    let mut send = command.spawn().expect("setpriv starts");
    seen.recv().expect("a request comes");
    let tasks = fs::read_dir(format!("/proc/{}/task", send.id())).expect("it runs").flatten();
    let statuses: Vec<_> =
        tasks.map(|task| fs::read_to_string(task.path().join("status")).expect("a thread")).collect();
    drop(go);
    assert!(send.wait().is_ok_and(|status| status.success()));
    assert!(!statuses.is_empty());
    for status in statuses {
        let values = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((values("Uid:"), values("Gid:")), (vec!["65534".into(); 4], vec!["65534".into(); 4]));
        assert_eq!(values("Groups:"), Vec::<String>::new());
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(values(set), ["0000000000000000"], "{set}");
        }
    }
}

/// P3, P5
#[test]
fn a_session_that_su_opens_for_an_ordinary_user_is_recorded_by_the_service_user() {
    let test = "a_session_that_su_opens_for_an_ordinary_user_is_recorded_by_the_service_user";
    if let Some(why) = sshd::missing() {
        return skip(test, &why);
    }
    let home = Home::of_service(STDOUT);
    let sshd = Sshd::start(&home, &sshd::hook_line(&home));
    sshd.command_of_eve("su").args(["root", "-c", "id -u"]).output().expect("su starts").prints_only("0\n");
    assert_eq!((home.queue().count_events(), home.queue().count_sessions()), (2, 1));
    let sent = home.sent();
    let sentences: Vec<_> = sent.lines().filter_map(|line| line.split(" at ").next()).collect();
    assert_eq!(
        sentences,
        ["'root' (by 'eve') logged in to host.example (su)", "'root' (by 'eve') logged out from host.example (su)"]
    );
    assert_all_belong_to(&home.at("state"), SERVICE);
}
