//! docs/install.md and README's part about it: every command in them is run, word for word, on a host of its
//! kind, or is named here as one that can't be.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::container::{boot, eventually, image, said};
use crate::support::server::Server;
use crate::support::tree::{NAME, PAM, SCRIPT, Tree, output};
use crate::support::{has_mount_namespaces, skip};

const GUIDE: &str = include_str!("../../docs/install.md");
const README: &str = include_str!("../../README.md");
const PROGRAM: &str = "usr/sbin/ssh-session-notifier";

/// Headings of the guide, and the test here that runs what stands below them.
const SECTIONS: [(&str, &str); 9] = [
    ("The first hour", "a_first_hour_on_a_server_with_systemd"),
    ("A server with systemd", "a_first_hour_on_a_server_with_systemd"),
    ("Raspberry Pi OS", "a_first_hour_on_a_raspberry_pi"),
    ("Alpine", "a_first_hour_on_alpine"),
    ("OpenWrt", "a_first_hour_on_openwrt"),
    ("A read-only appliance", "a_first_hour_on_a_read_only_appliance"),
    ("An image", "a_first_hour_of_an_image"),
    ("Coming from the Go program", "install_go::one_command_takes_over_from_the_go_program_while_people_log_in"),
    ("Uninstall", "a_first_hour_on_a_raspberry_pi"),
];

/// What no test can run as it stands: it builds for half an hour, or needs a package manager and a daemon of
/// another system, for which others stand in.
const NOT_RUN: [&str; 11] = [
    "make dist TARGET=x86_64-unknown-linux-musl",
    "cp install.sh dist && cd dist",
    "sudo ./install.sh --pam sshd,login,su,sudo",
    "apk add openssh-server-pam linux-pam",
    "rc-service sshd restart",
    "opkg update",
    "opkg install openssh-server-pam",
    "/etc/init.d/dropbear stop",
    "/etc/init.d/dropbear disable",
    "/etc/init.d/sshd enable",
    "/etc/init.d/sshd restart",
];

/// The commands below a heading.
fn commands(text: &str, heading: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading).skip(1);
    let mut commands = String::new();
    let mut is_shell = false;
    for line in lines.by_ref().take_while(|line| !line.starts_with('#')) {
        match line {
            "```sh" => is_shell = true,
            "```" => is_shell = false,
            _ if is_shell => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    assert!(!commands.is_empty(), "{heading}");
    commands
}

#[test]
fn every_command_of_the_guide_is_run_or_named() {
    for heading in GUIDE.lines().filter(|line| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim();
        assert!(SECTIONS.iter().any(|(known, _)| *known == heading), "no test runs {heading:?}");
    }
    assert_eq!(commands(README, "Install").lines().collect::<Vec<_>>(), NOT_RUN[..3]);
    assert_eq!(commands(README, "Coming from the Go program"), "./install.sh --from-go\n");
    assert_eq!(commands(GUIDE, "Coming from the Go program"), "./install.sh --from-go\n");
    let named = NOT_RUN[3..].iter().filter(|command| GUIDE.contains(*command)).copied().collect::<Vec<_>>();
    skip("every_command_of_the_guide_is_run_or_named", &format!("others stand in for: {}", named.join("; ")));
}

/// P2 P8
#[test]
fn a_first_hour_on_a_server_with_systemd() {
    let test = "a_first_hour_on_a_server_with_systemd";
    let Some(tree) = image(test) else { return };
    let server = Server::well();
    for file in ["sshd", "login", "su", "sudo"] {
        tree.write(&format!("etc/pam.d/{file}"), "session required pam_env.so\n");
    }
    tree.write("usr/sbin/sshd", "libpam");
    tree.write("etc/ssh/sshd_config", "UsePAM yes\n");
    let name = format!("{NAME}-full-{}-unknown-linux-musl", std::env::consts::ARCH);
    fs::copy(env!("CARGO_BIN_EXE_ssh-session-notifier"), tree.at("root").join(name)).expect("a binary");
    fs::copy(SCRIPT, tree.at("root/install.sh")).expect("the script");
    let topic = format!("http://127.0.0.1:{}/topic", server.port);
    let all = commands(GUIDE, "A server with systemd") + &commands(GUIDE, "The first hour");
    let all = all.replace("https://ntfy.sh/a-name-that-nobody-guesses", &topic);
    let wait = "i=0; while [ ! -e /delivered ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done";
    let begin = Instant::now();
    let mut container = boot(&tree, &format!("cd /root\n{all}\npamtester su root open_session\n{wait}\n"));
    assert!(eventually(|| !server.requests().is_empty()), "{}", said(&tree));
    assert!(begin.elapsed() < Duration::from_mins(3), "a first notice takes less than three minutes");
    tree.write("delivered", "");
    assert!(container.is_over(), "{}", said(&tree));
    assert!(server.requests()[0].body.contains("'root' logged in to example.com"), "{:?}", server.requests());
    let said = said(&tree);
    assert!(said.contains("enabled ssh-session-notifier.timer") && said.contains("next: 3."), "{said}");
    for (file, word) in [("sshd", "quiet /usr"), ("login", "quiet /usr"), ("su", "seteuid"), ("sudo", "seteuid")] {
        assert!(tree.read(&format!("etc/pam.d/{file}")).lines().next().is_some_and(|line| line.contains(word)));
    }
}

/// A small host with the script, and an sshd that uses PAM as soon as its configuration says so.
fn host(test: &str) -> Option<Tree> {
    let host = Tree::host(test)?;
    host.write("usr/sbin/sshd", "libpam");
    host.write("etc/ssh/sshd_config", "#UsePAM no\n");
    for file in ["login", "sudo"] {
        host.write(&format!("etc/pam.d/{file}"), PAM);
    }
    output(Command::new("chmod").arg("755").arg(host.at("install.sh")));
    Some(host)
}

/// Programs of other systems; each notes in /calls how it was called.
fn stand_in(host: &Tree, programs: &[&str]) {
    for program in programs {
        host.write(program, "#!/bin/sh\necho \"$0 $*\" >>/calls\n");
        output(Command::new("chmod").arg("755").arg(host.at(program)));
    }
}

/// Runs a script on the host; answers what it said.
fn run(host: &Tree, script: &str) -> String {
    let mut chroot = Command::new("chroot");
    chroot.arg(&host.0).args(["/bin/sh", "-ec", script]).env_clear().env("PATH", "/bin:/usr/sbin");
    output(&mut chroot)
}

#[test]
fn a_first_hour_on_a_raspberry_pi() {
    let Some(host) = host("a_first_hour_on_a_raspberry_pi") else { return };
    host.write("etc/ssh/sshd_config", "UsePAM yes\n");
    run(&host, &commands(GUIDE, "Raspberry Pi OS"));
    for file in ["sshd", "login", "sudo"] {
        assert!(host.read(&format!("etc/pam.d/{file}")).contains(NAME), "{file}");
    }
    run(&host, &commands(GUIDE, "Uninstall"));
    assert_eq!(host.read("etc/pam.d/sshd"), PAM);
    assert!(!host.at(PROGRAM).exists() && !host.at("etc/ssh-session-notifier").exists());
}

#[test]
fn a_first_hour_on_alpine() {
    let Some(host) = host("a_first_hour_on_alpine") else { return };
    host.write("run/openrc/softlevel", "");
    stand_in(&host, &["sbin/openrc-run", "usr/sbin/apk", "usr/sbin/rc-service", "usr/sbin/rc-update"]);
    run(&host, &commands(GUIDE, "Alpine"));
    assert!(host.read("etc/pam.d/sshd").contains(NAME));
    assert!(host.read("calls").contains("rc-update -q add ssh-session-notifier default"));
}

#[test]
fn a_first_hour_on_openwrt() {
    let Some(host) = host("a_first_hour_on_openwrt") else { return };
    host.write("etc/sysupgrade.conf", "");
    stand_in(&host, &["sbin/procd", "etc/rc.common", "usr/sbin/opkg", "etc/init.d/dropbear", "etc/init.d/sshd"]);
    run(&host, &commands(GUIDE, "OpenWrt"));
    assert!(host.read("etc/pam.d/sshd").contains(NAME));
    assert!(host.read("etc/ssh-session-notifier/config.toml").contains("\npath = \"/srv/ssh-session-notifier/"));
    assert!(host.read("calls").contains("/etc/rc.common /etc/init.d/ssh-session-notifier enable"));
    let said = host.install(&[]);
    assert!(!said.contains("sysupgrade"), "all that must be listed is: {said}");
}

#[test]
fn a_first_hour_on_a_read_only_appliance() {
    let test = "a_first_hour_on_a_read_only_appliance";
    let Some(host) = host(test) else { return };
    if !has_mount_namespaces() {
        return skip(test, "needs mount namespaces");
    }
    host.write("etc/ssh/sshd_config", "UsePAM yes\n");
    for directory in ["appliance", "data", "proc", "etc/cron.d"] {
        fs::create_dir_all(host.at(directory)).expect(directory);
    }
    // A file system of its own, so that this machine's isn't remounted.
    let script = "mount -t tmpfs -o size=64m tmpfs $1/appliance\n\
         for part in bin data dev etc install.sh proc run ssh-session-notifier usr var; do cp -a $1/$part $1/appliance; done\n\
         mount -o remount,ro $1/appliance\nmount -t tmpfs -o size=1m tmpfs $1/appliance/data\n\
         mount -t proc proc $1/appliance/proc\n\
         exec env -i PATH=/bin:/usr/sbin chroot $1/appliance /bin/sh -ec \"$2\"\n";
    let after = "\nif touch /etc/new 2>/dev/null; then exit 1; fi\ncat /etc/ssh-session-notifier/config.toml /etc/pam.d/sshd\n\
        ls -ld /data/ssh-session-notifier\n";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&host.0);
    command.arg(commands(GUIDE, "A read-only appliance") + after);
    let said = output(&mut command);
    assert!(said.contains("\npath = \"/data/ssh-session-notifier/session_events.db\"\n"), "{said}");
    assert!(said.contains("\nsession optional pam_exec.so quiet /usr/sbin/ssh-session-notifier queue\n"), "{said}");
    assert!(said.contains("drwx------"), "{said}");
}

#[test]
fn a_first_hour_of_an_image() {
    let (here, tree) = (Tree::new("builder"), Tree::new("built"));
    for (file, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/pam.d/sshd", PAM),
        ("etc/ssh/sshd_config", "UsePAM yes\n"),
        ("usr/sbin/sshd", "libpam"),
        ("usr/lib/systemd/x", ""),
    ] {
        tree.write(file, text);
    }
    here.write("ssh-session-notifier-full-armv7-unknown-linux-musleabihf", "for another machine");
    fs::copy(SCRIPT, here.at("install.sh")).expect("the script");
    let mut shell = Command::new("sh");
    shell.args(["-ec", &commands(GUIDE, "An image")]).current_dir(here.at("")).env("IMAGE", &tree.0);
    output(shell.env_remove("PREFIX").env_remove("SCHEDULER").env_remove("DESTDIR"));
    assert_eq!(tree.read(PROGRAM), "for another machine");
    assert!(tree.read("etc/pam.d/sshd").contains(NAME));
}
