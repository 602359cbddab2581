//! install.sh on hosts with unusual places: a binary by another name, a queue elsewhere, a disk that is read-only,
//! full or in RAM.

use std::fs;
use std::process::Command;

use crate::support::outcome::Outcome;
use crate::support::tree::{NAME, PAM, Tree, failure, output};
use crate::support::{has_mount_namespaces, skip};

const PROGRAM: &str = "usr/sbin/ssh-session-notifier";
const READ_ONLY: &str = "mount -o remount,bind,ro $root";

#[test]
fn the_binary_of_make_dist_for_this_machine_is_found_next_to_the_script() {
    let Some(host) = Tree::host("the_binary_of_make_dist_for_this_machine_is_found_next_to_the_script") else { return };
    fs::remove_file(host.at(NAME)).expect("the stand-in");
    let (code, said) = failure(&mut host.script());
    assert!(code == Some(1) && said.contains("ssh-session-notifier-full-") && said.contains("make dist"), "{said}");
    assert!(!said.contains("cargo"), "{said}");

    let machine = match std::env::consts::ARCH {
        "arm" => "armv7",
        other => other,
    };
    for build in ["riscv", "lan", "appliance", "full"] {
        let target = if build == "riscv" { "other" } else { machine };
        let name = format!("dist/{NAME}-{build}-{target}-unknown-linux-musl");
        host.write(&name, &format!("#!/bin/sh\n# {build}\n"));
        if build != "riscv" {
            host.install(&[]);
            assert!(host.read(PROGRAM).contains(build), "the one with more is taken");
        }
    }
}

#[test]
fn a_read_only_root_is_reported_in_one_line_even_by_a_dry_run() {
    let test = "a_read_only_root_is_reported_in_one_line_even_by_a_dry_run";
    let Some(host) = Tree::host(test) else { return };
    if !has_mount_namespaces() {
        return skip(test, "needs mount namespaces");
    }
    let before = host.snapshot();
    // The second has only its last step on a read-only file system.
    for prepare in
        [READ_ONLY, "mount --bind $root/etc/crontabs $root/etc/crontabs; mount -o remount,bind,ro $root/etc/crontabs"]
    {
        for arguments in [&["--dry-run"], &[] as &[&str]] {
            let (code, said) = failure(&mut host.script_after(prepare, arguments));
            assert_eq!(code, Some(1), "{said}");
            assert!(said.starts_with("install.sh: cannot write in /") && said.contains("remount,rw"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert_eq!(host.snapshot(), before, "nothing is done by half");
        }
    }
    host.install(&[]);
    let said = output(&mut host.script_after(READ_ONLY, &[]));
    assert!(said.contains("unchanged") && !said.contains("created"), "{said}");
    let (code, said) = failure(&mut host.script_after(READ_ONLY, &["--uninstall"]));
    assert!(code == Some(1) && said.starts_with("install.sh: cannot write in ") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_full_disk_is_reported_in_one_line() {
    let test = "a_full_disk_is_reported_in_one_line";
    let Some(host) = Tree::host(test) else { return };
    if !has_mount_namespaces() {
        return skip(test, "needs mount namespaces");
    }
    host.write("large", &format!("#!/bin/sh\nexit 0\n{}", "#".repeat(200_000)));
    let full = "mount -t tmpfs -o size=64k tmpfs $root/usr/sbin";
    let (code, said) = failure(&mut host.script_after(full, &["--binary", "/large"]));
    assert!(code == Some(1) && said.starts_with("install.sh: cannot write /usr/sbin/"), "{said}");
    assert!(said.contains("full?") && said.lines().count() == 1, "{said}");
}

#[test]
fn queue_configuration_and_binary_may_be_anywhere() {
    let Some(host) = Tree::host("queue_configuration_and_binary_may_be_anywhere") else { return };
    let arguments = ["--state", "/data/queue", "--config=/data/etc", "--scheduler", "systemd", "--pam", "login"];
    fs::create_dir_all(host.at("data")).expect("a directory");
    host.write("etc/pam.d/login", PAM);
    host.write("usr/sbin/systemctl", "#!/bin/sh\n");
    output(Command::new("chmod").arg("755").arg(host.at("usr/sbin/systemctl")));
    let mut script = host.script();
    output(script.env("PREFIX", "/data").args(arguments));
    assert!(host.read("data/etc/config.toml").contains("\n[queue]\npath = \"/data/queue/session_events.db\"\n"));
    assert_eq!(host.look("data/queue"), "700 999:999");
    let unit = host.read("etc/systemd/system/ssh-session-notifier.service");
    for line in [
        "ExecStart=/data/sbin/ssh-session-notifier --config /data/etc/config.toml send",
        "ReadWritePaths=-/data/queue -/run/ssh-session-notifier",
        "RequiresMountsFor=/data/queue /data/etc",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
    }
    let path = host.read("etc/systemd/system/ssh-session-notifier.path");
    assert!(path.contains("PathChanged=/data/queue/session_events.db\n"), "{path}");
    assert!(host.read("etc/passwd").contains("::/data/queue:"));
    assert!(
        host.read("etc/pam.d/login")
            .contains("quiet /data/sbin/ssh-session-notifier --config /data/etc/config.toml queue\n")
    );

    // Another schedule takes the first one away, and has the same places.
    let arguments = ["--config", "/data/etc", "--scheduler", "crontab"];
    output(host.script().env("PREFIX", "/data").args(arguments));
    let line = "* * * * * /data/sbin/ssh-session-notifier --config /data/etc/config.toml send\n";
    assert_eq!(host.read("etc/crontabs/ssh-session-notifier"), line);
    assert!(!host.at("etc/systemd/system/ssh-session-notifier.timer").exists());

    output(host.script().args(["--config", "/data/etc", "--uninstall", "--purge"]));
    let left =
        Command::new("find").arg(host.at("")).args(["-mindepth", "2", "-name", "*session*"]).output().expect("find");
    assert_eq!(left.stdout(), "");
}

#[test]
fn the_queue_of_an_existing_configuration_is_used() {
    let Some(host) = Tree::host("the_queue_of_an_existing_configuration_is_used") else { return };
    let configs = [
        "[queue] # here\n  path = '/srv/a/b.db'\nspool=\"/srv/spool\"\n",
        "queue.path = \"/srv/a/b.db\"\nqueue . spool = \"/srv/spool\"\n[x]\npath = \"/no\"\n",
    ];
    for config in configs {
        host.write("etc/ssh-session-notifier/config.toml", config);
        host.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nssh-session-notifier:x:999:999::/old:/bin/false\n");
        host.write("etc/group", "root:x:0:\nssh-session-notifier:x:999:\n");
        host.write("usr/sbin/systemctl", "#!/bin/sh\n");
        output(Command::new("chmod").arg("755").arg(host.at("usr/sbin/systemctl")));
        let said = host.install(&["--scheduler", "systemd"]);
        assert!(said.contains("updated user ssh-session-notifier (home /srv/a)"), "{said}");
        let unit = host.read("etc/systemd/system/ssh-session-notifier.service");
        assert!(unit.contains("ReadWritePaths=-/srv/a -/srv/spool\n"), "{unit}");
        let tmpfiles = host.read("etc/tmpfiles.d/ssh-session-notifier.conf");
        assert_eq!(tmpfiles, "d /srv/spool 0700 ssh-session-notifier ssh-session-notifier -\n");
        assert_eq!(host.look("srv/a"), "700 999:999");
        assert!(!host.at("var/lib/ssh-session-notifier").exists());
    }
    let (code, said) = failure(host.script().args(["--state", "/elsewhere"]));
    assert!(code == Some(1) && said.contains("says that the queue is /srv/a/b.db"), "{said}");
}

#[test]
fn a_queue_in_ram_and_files_that_sysupgrade_drops_are_reported_with_the_remedy() {
    let test = "a_queue_in_ram_and_files_that_sysupgrade_drops_are_reported_with_the_remedy";
    let Some(host) = Tree::host(test) else { return };
    if !has_mount_namespaces() {
        return skip(test, "needs mount namespaces");
    }
    host.write("etc/sysupgrade.conf", "/etc/pam.d/\n");
    fs::create_dir_all(host.at("proc")).expect("a directory");
    let ram = "mount -t proc proc $root/proc; mount -t tmpfs -o size=1m tmpfs $root/var";
    let said = output(&mut host.script_after(ram, &[]));
    assert!(said.contains("/var/lib/ssh-session-notifier is in RAM") && said.contains("--state /srv/"), "{said}");
    assert!(said.contains("/etc/sysupgrade.conf: /usr/sbin/ssh-session-notifier /etc/ssh-session-notifier/"), "{said}");
    assert!(!said.contains("/etc/pam.d/\n"), "what is listed already is left out: {said}");
    let said = output(&mut host.script_after("mount -t proc proc $root/proc", &[]));
    assert!(!said.contains("in RAM"), "{said}");
}
