//! install.sh, run as a package would (DESTDIR) and as an administrator would, on small hosts that
//! are directories here: nothing but busybox, entered with chroot. This machine isn't touched.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::outcome::Outcome;
use crate::support::tree::{NAME, PAM, SCRIPT, Tree, failure, output};
use crate::support::{has, skip, tools};

const BINARY: &str = env!("CARGO_BIN_EXE_ssh-session-notifier");
const LINE: &str = "* * * * * /usr/sbin/ssh-session-notifier send\n";
const CONFIG: &str = "etc/ssh-session-notifier/config.toml";
const STATE: &str = "var/lib/ssh-session-notifier";
const QUEUE: &str = "var/lib/ssh-session-notifier/session_events.db";
const PROGRAM: &str = "usr/sbin/ssh-session-notifier";
const CRONTAB: &str = "etc/crontabs/ssh-session-notifier";

/// The script for a package in `tree`.
fn package(tree: &Tree, shell: &[&str]) -> Command {
    let mut command = tools::command(shell[0]);
    command.args(&shell[1..]).args([SCRIPT, "--binary", BINARY]).env("DESTDIR", &tree.0);
    command.env_remove("PREFIX").env_remove("SCHEDULER");
    command
}

/// Whether all lines about something done say that nothing had to be.
fn is_unchanged(said: &str) -> bool {
    said.contains("unchanged") && !["created", "updated", "removed", "enabled"].iter().any(|verb| said.contains(verb))
}

#[test]
fn the_script_is_correct_for_every_shell() {
    for checker in [["shellcheck", "-s", "sh"].as_slice(), &["dash", "-n"], &["busybox", "ash", "-n"]] {
        if has(checker[0]) {
            assert_eq!(output(tools::command(checker[0]).args(&checker[1..]).arg(SCRIPT)), "");
        } else {
            skip("the_script_is_correct_for_every_shell", &format!("needs {}", checker[0]));
        }
    }
}

#[test]
fn a_second_install_of_a_package_changes_nothing() {
    let unit =
        ["usr/lib/systemd/system/ssh-session-notifier.service", "lib/systemd/system/ssh-session-notifier.service"];
    let crontab = "etc/cron.d/ssh-session-notifier";
    let cases = [
        (["dash"].as_slice(), unit[0], "User=ssh-session-notifier"),
        (&["busybox", "ash"], unit[1], "User=ssh-session-notifier"),
        (&["sh"], crontab, "* * * * * ssh-session-notifier /usr/sbin/ssh-session-notifier send"),
    ];
    for (shell, schedule, line) in cases {
        if !has(shell[0]) {
            skip("a_second_install_of_a_package_changes_nothing", &format!("needs {}", shell[0]));
            continue;
        }
        let tree = Tree::new(&format!("package-{}", shell[0]));
        let place =
            schedule.trim_end_matches("/ssh-session-notifier").trim_end_matches("/system/ssh-session-notifier.service");
        fs::create_dir_all(tree.at(place)).expect(place);
        // What reads /etc/cron.d has its name in it.
        tree.write("usr/sbin/cron", "/etc/cron.d\n");
        let said = output(&mut package(&tree, shell));
        assert!(said.contains("pam_exec.so quiet /usr/sbin/ssh-session-notifier queue"), "{said}");
        assert!(tree.read(schedule).lines().any(|found| found == line));
        let before = tree.snapshot();
        assert!(is_unchanged(&output(&mut package(&tree, shell))));
        assert_eq!(tree.snapshot(), before);
    }
}

#[test]
fn there_is_a_warning_about_a_binary_with_shared_libraries() {
    let tree = Tree::new("shared");
    for (head, is_warned) in [("\0/lib64/ld-linux-x86-64.so.2\0", true), ("\0/lib/ld.so.1", true), ("\0gold\0", false)]
    {
        tree.write("binary", &format!("\u{7f}ELF{}{head}", " ".repeat(800)));
        let mut install = Command::new("sh");
        install.args([SCRIPT, "--binary"]).arg(tree.at("binary")).env("DESTDIR", tree.at("root")).env_remove("PREFIX");
        assert_eq!(
            output(&mut install).contains("note: ") && output(&mut install).contains("a static one"),
            is_warned,
            "{head:?}"
        );
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let test = "systemd_finds_nothing_wrong_with_the_units";
    let known = tools::find("systemd-analyze").map(|analyze| analyze.with_file_name("../lib/systemd/system"));
    let Some(known) = known.filter(|known| known.is_dir()) else {
        return skip(test, "needs systemd-analyze, and the units that come with it");
    };
    let tree = Tree::new("units");
    fs::create_dir_all(tree.at("usr/lib/systemd")).expect("a directory");
    output(Command::new("cp").arg("-a").args([&known, &tree.at("usr/lib/systemd/system")]));
    tree.write("bin/sh", "#!/bin/sh\n");
    fs::set_permissions(tree.at("bin/sh"), Permissions::from_mode(0o755)).expect("chmod");
    output(&mut package(&tree, &["sh"]));
    let units = ["service", "timer", "path"].map(|kind| format!("{NAME}.{kind}"));
    let mut verify = tools::command("systemd-analyze");
    verify.args(["verify", "--man=no", &format!("--root={}", tree.0.display())]).args(units);
    assert_eq!(output(&mut verify), "");
}

#[test]
fn the_umask_of_the_caller_changes_no_mode() {
    let modes = ["000", "077"].map(|umask| {
        let tree = Tree::new(&format!("umask-{umask}"));
        fs::create_dir_all(tree.at("usr/lib/systemd")).expect("a directory");
        let run = format!("umask {umask}; exec sh {SCRIPT} --binary {BINARY}");
        output(Command::new("sh").args(["-c", &run]).env("DESTDIR", &tree.0).env_remove("PREFIX"));
        let paths = [CONFIG, "etc/ssh-session-notifier", STATE, PROGRAM, "usr/sbin", "etc"];
        paths.map(|path| tree.look(path).split(' ').next().unwrap_or_default().to_owned())
    });
    assert_eq!(modes, [["640", "750", "700", "755", "755", "755"]; 2]);
}

#[test]
fn the_program_knows_every_setting_in_the_first_configuration() {
    let tree = Tree::new("template");
    output(&mut package(&tree, &["sh"]));
    let status = |file: &Path| Command::new(BINARY).arg("--config").arg(file).arg("status").output().expect("status");
    // As it is written, only the services are missing, which is no mistake.
    status(&tree.at(CONFIG)).succeeds();

    let template = tree.read(CONFIG).replace("/var/lib/ssh-session-notifier/", &format!("{}/", tree.0.display()));
    let skipped = ["# service = \"", "# ips", "# token_file", "# webhook_url_file"];
    let is_setting = |line: &str| line.starts_with("# [") || line.contains(" = ") && line.starts_with("# ");
    let is_on = |line: &str| !line.starts_with('#') || !skipped.iter().any(|skip| line.starts_with(skip));
    let all: String = template
        .lines()
        .filter(|line| is_on(line))
        .flat_map(|line| [if is_setting(line) { &line[2..] } else { line }, "\n"])
        .collect();
    let all = all.replace("/run/ssh-session-notifier", &tree.0.to_string_lossy());
    tree.write("all.toml", &all);
    status(&tree.at("all.toml")).when(&all).exits(0);
}

#[test]
fn a_host_with_only_busybox_gets_everything_once() {
    let Some(host) = Tree::host("a_host_with_only_busybox_gets_everything_once") else { return };
    let before = host.snapshot();
    let said = host.install(&["--dry-run"]);
    assert!(said.contains("would create user ssh-session-notifier"), "{said}");
    assert_eq!(host.snapshot(), before, "a dry run changes nothing");

    let said = host.install(&["--binary", "/ssh-session-notifier"]);
    assert!(said.contains("after line 1 (pam_loginuid.so)"), "{said}");
    assert!(host.read("etc/passwd").contains("\nssh-session-notifier:x:999:999::/var/lib/ssh-session-notifier:/bin/"));
    let looks = [PROGRAM, "etc/ssh-session-notifier", CONFIG, STATE, CRONTAB].map(|path| host.look(path));
    assert_eq!(looks, ["755 0:0", "750 0:999", "640 0:999", "700 999:999", "600 0:0"]);
    assert_eq!(host.read(CRONTAB), LINE);
    assert_eq!(host.read("etc/crontabs/cron.update"), "ssh-session-notifier\n");

    let before = host.snapshot();
    assert!(is_unchanged(&host.install(&[])));
    assert_eq!(host.snapshot(), before);

    fs::remove_dir_all(host.at("etc/pam.d")).expect("pam.d");
    assert!(host.install(&[]).contains("there is no PAM on this host"));
}

#[test]
fn the_configuration_can_never_be_read_by_others_while_it_is_made() {
    let test = "the_configuration_can_never_be_read_by_others_while_it_is_made";
    let Some(host) = Tree::host(test) else { return };
    let (log, root) = (host.at("trace"), host.0.display());
    let calls = "trace=umask,open,openat,chmod,fchmodat,chown,lchown,fchownat";
    let trace = format!("umask 0; strace -f -qq -e {calls} -o {} chroot {root} sh install.sh", log.display());
    if !Command::new("sh").args(["-c", &trace]).output().is_ok_and(|done| done.status.success()) {
        return skip(test, "needs strace, and the right to trace");
    }
    let traced = fs::read_to_string(&log).expect("a trace");
    let (mut is_given, mut steps) = (false, Vec::new());
    assert!(traced.lines().any(|line| line.contains("umask(077)")), "{traced}");
    let strict = traced.lines().skip_while(|line| !line.contains("umask(077)"));
    for line in strict.filter(|line| line.contains("config.toml.new")) {
        is_given |= line.contains("chown") && line.contains("0, 999");
        let mode = line.split(", 0").last().and_then(|rest| u32::from_str_radix(rest.split(')').next()?, 8).ok());
        if line.contains("O_CREAT") && line.contains("O_EXCL") {
            assert!(!is_given, "{line}");
            steps.push("create");
        } else if line.contains("chmod") {
            assert!(is_given && mode == Some(0o640), "a group may read only when it is the right one: {line}");
            steps.push("chmod");
        } else if line.contains("O_WRONLY") {
            steps.push("write");
        }
    }
    assert_eq!(steps, ["create", "chmod", "write"], "{traced}");
}

#[test]
fn an_existing_configuration_and_queue_are_left_as_they_are() {
    let Some(host) = Tree::host("an_existing_configuration_and_queue_are_left_as_they_are") else { return };
    host.install(&[]);
    host.write(CONFIG, "old = true\n");
    host.write(QUEUE, "events");
    chown(host.at(QUEUE), Some(999), Some(999)).expect("chown");
    for (mode, uid, gid) in [(0o640, 1000, 999), (0o660, 0, 999), (0o600, 0, 0), (0o644, 0, 0), (0o640, 0, 999)] {
        chown(host.at(CONFIG), Some(uid), Some(gid)).expect("chown");
        fs::set_permissions(host.at(CONFIG), Permissions::from_mode(mode)).expect("chmod");
        let before = host.snapshot();
        let said = host.install(&[]);
        assert!(is_unchanged(&said), "{mode:o} {uid}:{gid}: {said}");
        assert_eq!(host.snapshot(), before);
    }
}

#[test]
fn if_root_owns_the_queue_send_stays_root_until_somebody_changes_that() {
    let Some(host) = Tree::host("if_root_owns_the_queue_send_stays_root_until_somebody_changes_that") else { return };
    host.write(QUEUE, "events");
    host.write("etc/crontabs/root", "0 4 * * * backup");
    let said = host.install(&[]);
    assert!(
        said.contains("chown -R ssh-session-notifier: /var/lib/ssh-session-notifier, then run this again"),
        "{said}"
    );
    assert_eq!(host.read("etc/crontabs/root"), format!("0 4 * * * backup\n{LINE}"));
    assert!(!host.at(CRONTAB).exists());

    for path in [STATE, QUEUE] {
        chown(host.at(path), Some(999), Some(999)).expect("chown");
    }
    host.install(&[]);
    assert_eq!(host.read("etc/crontabs/root"), "0 4 * * * backup\n");
    assert_eq!(host.read(CRONTAB), LINE);
}

#[test]
fn systemd_is_reloaded_once() {
    let Some(host) = Tree::host("systemd_is_reloaded_once") else { return };
    fs::create_dir_all(host.at("run/systemd/system")).expect("a directory");
    let systemctl = "usr/sbin/systemctl";
    host.write(systemctl, "#!/bin/sh\ncase $2 in is-*) [ -f /on ]; exit;; esac\necho \"$*\" >>/calls\n: >/on\n");
    fs::set_permissions(host.at(systemctl), Permissions::from_mode(0o755)).expect("chmod");
    host.install(&[]);
    let units = "ssh-session-notifier.timer ssh-session-notifier.path";
    assert_eq!(host.read("calls"), format!("daemon-reload\n-q enable {units}\nrestart {units}\n"));
    assert_eq!(host.look("run/ssh-session-notifier"), "700 999:999");
    assert_eq!(host.look("etc/systemd/system/ssh-session-notifier.service"), "644 0:0");
    assert!(is_unchanged(&host.install(&[])));
    assert_eq!(host.read("calls").lines().count(), 3);
    host.install(&["--uninstall"]);
    assert!(host.read("calls").ends_with(&format!("-q disable --now {units}\ndaemon-reload\n")));
    assert_eq!(fs::read_dir(host.at("etc/systemd/system")).expect("a directory").count(), 0);
}

#[test]
fn uninstalling_takes_only_what_is_ours_and_never_while_pam_calls_it() {
    let Some(host) = Tree::host("uninstalling_takes_only_what_is_ours_and_never_while_pam_calls_it") else { return };
    host.install(&[]);
    host.write(QUEUE, "events");
    host.write(CRONTAB, &format!("0 * * * * mine\n{LINE}"));
    let line = format!("session required pam_exec.so /usr/sbin/{NAME} queue\n");
    host.write("etc/pam.d/sshd", &format!("{PAM}{line}"));
    host.write("etc/pam.d/odd", &line.replace("pam_exec.so ", "pam_exec.so /usr/bin/env "));
    host.write("etc/pam.d/auth", &line.replacen("session", "auth", 1));
    let before = host.snapshot();
    let (code, said) = failure(host.script().arg("--uninstall"));
    assert!(code == Some(1) && said.contains("/etc/pam.d/auth calls"), "{said}");
    assert_eq!(host.snapshot(), before);

    fs::remove_file(host.at("etc/pam.d/auth")).expect("a file");
    host.install(&["--uninstall", "--dry-run"]);
    assert!(host.at(PROGRAM).exists());
    assert!(host.install(&["--uninstall"]).contains("kept /etc/ssh-session-notifier, /var/lib/ssh-session-notifier"));
    assert!(!host.at(PROGRAM).exists());
    assert_eq!((host.read("etc/pam.d/sshd"), host.read("etc/pam.d/odd")), (PAM.into(), String::new()));
    assert_eq!(host.read(CRONTAB), "0 * * * * mine\n");
    assert_eq!(host.read(QUEUE), "events");
    assert!(host.at(CONFIG).exists() && host.read("etc/passwd").contains(NAME));
}

#[test]
fn a_mistake_is_reported_with_its_remedy_before_anything_is_changed() {
    let (code, said) = failure(Command::new("sh").args([SCRIPT, "--frobnicate"]));
    assert!(code == Some(2) && said.contains("--help"), "{said}");
    let Some(host) = Tree::host("a_mistake_is_reported_with_its_remedy_before_anything_is_changed") else { return };
    host.write("foreign", "\u{7f}ELF of another machine");
    let before = host.snapshot();
    for (binary, remedy) in [("/none", "--binary FILE"), ("/foreign", "does not run on this machine")] {
        let (code, said) = failure(host.script().args(["--binary", binary]));
        assert!(code == Some(1) && said.contains(remedy), "{said}");
    }
    let mut after = host.snapshot();
    // A binary that doesn't run was written beside its place, and removed again.
    after.insert(host.at("usr/sbin"), before[&host.at("usr/sbin")].clone());
    assert_eq!(after, before);

    let (code, said) =
        failure(Command::new("sh").arg(host.at("install.sh")).env_remove("DESTDIR").uid(65534).gid(65534));
    assert!(code == Some(1) && said.contains("run it as root"), "{said}");
}

#[test]
fn the_program_is_asked_to_check_the_host_at_the_end() {
    let Some(host) = Tree::host("the_program_is_asked_to_check_the_host_at_the_end") else { return };
    host.write(NAME, "#!/bin/sh\ncase $* in\n*check) echo \"problem: $*\"; exit 1 ;;\nesac\n");
    let said = host.install(&["--config", "/srv/etc"]);
    assert!(said.contains("problem: --config /srv/etc/config.toml check\nnext: 1."), "{said}");
    assert!(
        said.contains("next: 3. /usr/sbin/ssh-session-notifier --config /srv/etc/config.toml test, then "),
        "{said}"
    );
    // The second time there is nothing to do; a problem is the host's, not the script's.
    assert!(is_unchanged(&host.install(&["--config", "/srv/etc"])));
}
