//! Links that the service user plants where the program writes. Root follows none of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::home::{Home, SERVICE, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::{has_mount_namespaces, is_root, skip};

/// Text that only root may see.
const SECRET: &str = "root:$y$j9T$secret";

/// PAM items of a login after the link is planted.
const LATER: [(&str, &str); 4] =
    [("PAM_SERVICE", "vsftpd"), ("PAM_USER", "bob"), ("PAM_RHOST", "192.0.2.8"), ("PAM_TYPE", "open_session")];

/// A kind of link, and its target.
#[derive(Clone, Copy, Debug)]
enum Link {
    /// A symbolic link to this name in the victim's directory.
    Symbolic(&'static str),
    /// A hard link to the victim's secret file. A user can make one if `protected_hardlinks` is off.
    Hard,
}

/// Links to a file, to nothing (following one would create a file), and to a directory.
const LINKS: [Link; 5] =
    [Link::Symbolic("secret"), Link::Symbolic("public"), Link::Symbolic("new"), Link::Symbolic("vault"), Link::Hard];

/// Makes the files of root that links will point to.
fn victim(home: &Home) -> PathBuf {
    let directory = home.at("victim");
    fs::create_dir_all(directory.join("vault")).expect("a new directory");
    for (name, mode) in [("secret", 0o600), ("public", 0o644), ("vault", 0o700)] {
        let path = directory.join(name);
        if name != "vault" {
            fs::write(&path, SECRET).expect("a file");
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
    }
    directory
}

fn plant(path: &Path, link: Link, victim: &Path) {
    match link {
        Link::Symbolic(name) => {
            symlink(victim.join(name), path).expect("a link");
            lchown(path, Some(SERVICE), Some(SERVICE)).expect("root may give a link away");
        }
        Link::Hard => fs::hard_link(victim.join("secret"), path).expect("a link"),
    }
}

/// Returns all metadata of all files below a directory, except the access time.
fn snapshot(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut paths = vec![directory.to_owned()];
    while let Some(path) = paths.pop() {
        let data = fs::symlink_metadata(&path).expect("it is there");
        let changed = (data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
        let bytes = if data.is_file() { fs::read(&path).expect("root may") } else { Vec::new() };
        let text = String::from_utf8_lossy(&bytes);
        found.push(format!("{} {:o} {}:{} {changed:?} {text}", path.display(), data.mode(), data.uid(), data.gid()));
        if data.is_dir() {
            paths.extend(fs::read_dir(path).expect("a directory").flatten().map(|entry| entry.path()));
        }
    }
    found.sort();
    found
}

/// Runs the hook and the commands that root runs. Checks that the victim is unchanged, that no secret was
/// shown, and that the login is reported after the link is removed, or was logged.
fn attack(home: &Home, planted: &Path, victim: &Path, what: &str) {
    let before = snapshot(victim);
    let hook = home.hook(&LATER);
    hook.when(what).exits(0);
    let mut shown = hook.stderr();
    for arguments in [&["send"][..], &["status"], &["retry", "--all"], &["send"]] {
        let output = home.run(arguments);
        shown += &(output.stderr() + &output.stdout());
    }
    assert_eq!(snapshot(victim), before, "{what}: {shown}");
    assert!(!shown.contains(SECRET), "{what}: {shown}");

    if planted.is_dir() && !planted.is_symlink() {
        fs::remove_dir_all(planted).expect("ours");
    } else {
        let _ = fs::remove_file(planted);
    }
    shown += &home.send().stdout();
    assert!(shown.contains("'bob'"), "{what}: {shown}");
    assert_eq!(snapshot(victim).len(), before.len(), "{what}");
}

/// P3, P5
#[test]
fn root_follows_no_link_in_place_of_a_file_of_the_queue() {
    if !is_root() {
        return skip("root_follows_no_link_in_place_of_a_file_of_the_queue", "needs root");
    }
    for name in ["", "-wal", "-shm", "-journal", ".lock", ".turn"] {
        for link in LINKS {
            let home = Home::of_service(STDOUT);
            let victim = victim(&home);
            home.login("amanda");
            let planted = home.at(&format!("state/session_events.db{name}"));
            let _ = fs::remove_file(&planted);
            plant(&planted, link, &victim);
            attack(&home, &planted, &victim, &format!("session_events.db{name} {link:?}"));
        }
    }
}

/// P3, P5
#[test]
fn root_follows_no_link_in_the_spool_or_in_its_place() {
    if !is_root() {
        return skip("root_follows_no_link_in_the_spool_or_in_its_place", "needs root");
    }
    for name in ["", "/event-00000000000000000001-1", "/.event-00000000000000000001-1"] {
        for link in LINKS {
            if let ("", Link::Hard) = (name, link) {
                continue;
            }
            let home = Home::of_service(STDOUT);
            let victim = victim(&home);
            if !name.is_empty() {
                fs::create_dir(home.at("spool")).expect("a new directory");
                chown(home.at("spool"), Some(SERVICE), Some(SERVICE)).expect("root may give a directory away");
            }
            let planted = home.at(&format!("spool{name}"));
            plant(&planted, link, &victim);
            // A directory in the database's place, so that the event goes to the spool.
            fs::create_dir(home.database()).expect("a new directory");
            let before = snapshot(&victim);
            let hook = home.hook(&LATER);
            hook.when(format!("{name} {link:?}")).exits(0);
            assert_eq!(snapshot(&victim), before, "{name} {link:?}: {hook:?}");
            fs::remove_dir(home.database()).expect("an empty directory");
            let shown = hook.stderr() + &home.send().stdout();
            assert!(
                (shown.contains("'bob'") || shown.contains("user bob\n")) && !shown.contains(SECRET),
                "{name} {link:?}: {shown}"
            );
            attack(&home, &planted, &victim, &format!("spool{name} {link:?}"));
        }
    }
}

/// P3, P5
#[test]
fn root_makes_no_spool_where_the_service_user_could_have_put_a_link() {
    if !is_root() {
        return skip("root_makes_no_spool_where_the_service_user_could_have_put_a_link", "needs root");
    }
    let home = Home::of_service(STDOUT);
    let victim = victim(&home);
    plant(&home.at("state/run"), Link::Symbolic("vault"), &victim);
    let text = fs::read_to_string(home.at("config.toml")).expect("a configuration");
    let spool = home.at("spool").display().to_string();
    let inside = home.at("state/run/spool").display().to_string();
    fs::write(home.at("config.toml"), text.replace(&spool, &inside)).expect("a configuration");
    attack(&home, &home.at("state/run"), &victim, "a link on the way to the spool");
}

/// P1
#[test]
fn a_pipe_in_place_of_the_database_delays_no_login() {
    let home = Home::new(STDOUT);
    let made = Command::new("mkfifo").arg(home.database()).status();
    assert!(made.is_ok_and(|made| made.success()));
    let output = home.hook(&LATER);
    output.exits(0).says("waits in");
    assert_eq!(home.spooled().len(), 1, "{output:?}");
}

/// P3, P5
#[test]
fn root_follows_no_path_in_a_configuration_that_others_could_have_written() {
    let test = "root_follows_no_path_in_a_configuration_that_others_could_have_written";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces, because the default paths are the machine's own");
    }
    for (owner, mode) in [(SERVICE, 0o600), (0, 0o666)] {
        let home = Home::of_service(STDOUT);
        fs::create_dir_all(home.at("lib/ssh-session-notifier")).expect("it is ours");
        fs::create_dir(home.at("run")).expect("it is ours");
        let (root, victim) = (home.0.display(), victim(&home));
        home.configure(STDOUT);
        let configuration = fs::read_to_string(home.at("config.toml")).expect("a configuration");
        let configuration = configuration.replace(&format!("{root}/spool"), &format!("{}/spool", victim.display()));
        fs::write(home.at("config.toml"), configuration).expect("it is ours");
        chown(home.at("config.toml"), Some(owner), None).expect("root may");
        fs::set_permissions(home.at("config.toml"), Permissions::from_mode(mode)).expect("it is ours");
        let before = snapshot(&victim);
        let own = format!("mount --bind {root}/lib /var/lib && mount --bind {root}/run /run");
        hook(home.command_in_own_dev(&own, &["queue"]), &LATER).exits(0).says("config.toml:1: the file ");
        home.send().fails();
        assert_eq!(snapshot(&victim), before, "{owner} {mode:o}");
    }
}

/// P3, P5
#[test]
fn root_follows_no_link_on_the_way_to_the_state_directory() {
    if !is_root() {
        return skip("root_follows_no_link_on_the_way_to_the_state_directory", "needs root");
    }
    let home = Home::new(STDOUT);
    let victim = victim(&home);
    fs::remove_dir(home.at("state")).expect("it is empty");
    fs::create_dir(home.at("users")).expect("it is ours");
    chown(home.at("users"), Some(SERVICE), Some(SERVICE)).expect("root may");
    let text = fs::read_to_string(home.at("config.toml")).expect("a configuration").replace("/state/", "/users/state/");
    fs::write(home.at("config.toml"), text).expect("it is ours");
    symlink(&victim, home.at("users/state")).expect("a link");
    let before = snapshot(&victim);
    hook(home.command(&["queue"]), &LATER).exits(0).says("waits in");
    assert_eq!(snapshot(&victim), before);
}

/// P5
#[test]
fn root_refuses_a_state_directory_that_others_can_write_to() {
    if !is_root() {
        return skip("root_refuses_a_state_directory_that_others_can_write_to", "needs root");
    }
    let home = Home::new(STDOUT);
    let victim = victim(&home);
    fs::set_permissions(home.at("state"), Permissions::from_mode(0o1777)).expect("it is ours");
    symlink(victim.join("new"), home.at("state/session_events.db.turn")).expect("a link");
    let before = snapshot(&victim);
    let output = hook(home.command(&["queue"]), &LATER);
    output.exits(0).says("others can write in it; `chmod go-w` it").says("user bob");
    assert_eq!(snapshot(&victim), before);
}
