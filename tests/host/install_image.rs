//! install.sh into the tree of an image or a package, and the image booted.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::container::{boot, eventually, image, said};
use crate::support::server::Server;
use crate::support::tree::{NAME, SCRIPT, Tree, output};
use crate::support::{is_root, skip, tools};

const BINARY: &str = env!("CARGO_BIN_EXE_ssh-session-notifier");

/// The script for this tree: `--root` for an image, `DESTDIR` for a package.
fn script(tree: &Tree, is_image: bool, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args([SCRIPT, "--binary", BINARY]).args(arguments).env_remove("PREFIX").env_remove("SCHEDULER");
    if is_image {
        command.arg("--root").arg(&tree.0).env_remove("DESTDIR");
    } else {
        command.env("DESTDIR", &tree.0);
    }
    command
}

#[test]
fn no_link_in_an_image_leads_the_script_out_of_it() {
    let tree = Tree::new("links");
    let outside = Tree::new("outside");
    outside.write("etc/passwd", "outside\n");
    fs::create_dir_all(outside.at("lib")).expect("a directory");
    let way = outside.0.to_str().expect("a path");
    // As the image sees it, the same path is a directory of its own.
    for directory in ["real/etc", "usr/lib/systemd", "tmp/var", way.trim_start_matches('/')] {
        fs::create_dir_all(tree.at(directory)).expect(directory);
    }
    for (link, target) in
        [("etc", "/real/etc"), ("var", "/tmp/var"), ("usr/sbin", way), ("real/etc/pam.d", "../../../../../real/pam")]
    {
        symlink(target, tree.at(link)).expect(link);
    }
    tree.write("real/pam/sshd", "session required pam_env.so\n");
    tree.write("usr/lib/libpam", "");
    tree.write("real/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    tree.write("real/etc/group", "root:x:0:\n");
    fs::create_dir_all(tree.at("real/etc/ssh")).expect("a directory");
    tree.write("real/etc/ssh/sshd_config", "UsePAM yes\n");
    fs::write(tree.at(&format!("{}/sshd", &way[1..])), "libpam").expect("sshd");

    let before = outside.snapshot();
    output(&mut script(&tree, true, &["--pam", "sshd"]));
    assert_eq!(outside.snapshot(), before);
    assert!(tree.at(&format!("{}/{NAME}", &way[1..])).exists(), "/usr/sbin is where the image has it");
    assert!(tree.at("tmp/var/lib").join(NAME).exists());
    assert!(tree.read("real/etc/passwd").contains(NAME));
    assert!(tree.read("real/pam/sshd").starts_with("session optional pam_exec.so quiet"));
    let wants = tree.at("real/etc/systemd/system/timers.target.wants/ssh-session-notifier.timer");
    let timer = fs::read_link(wants).expect("a link");
    assert_eq!(timer.to_str(), Some("/usr/lib/systemd/system/ssh-session-notifier.timer"));

    let before = tree.snapshot();
    assert!(!output(&mut script(&tree, true, &["--pam", "sshd"])).contains("created"));
    assert_eq!(tree.snapshot(), before);
    output(&mut script(&tree, true, &["--uninstall", "--purge"]));
    let left = output(Command::new("find").arg(&tree.0).args(["-mindepth", "1", "-name", "*session-notifier*"]));
    let left: Vec<_> = left.lines().filter(|path| !path.ends_with(way) && !path.contains("-outside")).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(outside.snapshot().len(), 3);
}

#[test]
fn an_image_without_systemd_has_its_user_and_a_schedule() {
    for (files, schedule, link) in [
        (
            ["sbin/openrc-run", "etc/init.d/x"],
            "etc/init.d/ssh-session-notifier",
            "etc/runlevels/default/ssh-session-notifier",
        ),
        (["sbin/procd", "etc/rc.common"], "etc/init.d/ssh-session-notifier", "etc/rc.d/S95ssh-session-notifier"),
        (["etc/crontabs/root", "etc/x"], "etc/crontabs/ssh-session-notifier", ""),
    ] {
        let tree = Tree::new(&format!("image-{}", files[0].replace('/', "-")));
        tree.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        tree.write("etc/group", "root:x:0:\n");
        for file in files {
            tree.write(file, "");
        }
        output(&mut script(&tree, true, &[]));
        assert!(tree.read(schedule).contains("/usr/sbin/ssh-session-notifier"), "{schedule}");
        assert!(tree.read("etc/passwd").contains("ssh-session-notifier:x:999:999::/var/lib/ssh-session-notifier:"));
        if is_root() {
            assert_eq!(tree.look("var/lib/ssh-session-notifier"), "700 999:999");
            assert_eq!(tree.look("etc/ssh-session-notifier/config.toml"), "640 0:999");
        }
        if !link.is_empty() {
            let link = fs::read_link(tree.at(link)).expect("a link");
            assert!(link.to_string_lossy().ends_with("init.d/ssh-session-notifier"), "{link:?}");
            output(tools::command("dash").arg("-n").arg(tree.at(schedule)));
        }
    }
}

/// Runs after the boot, as root: before anything is configured, then a session, then what came of it.
const TRY: &str = r#"
systemctl start ssh-session-notifier.service
echo "fresh: $(systemctl show -P ActiveState ssh-session-notifier.service)"
echo "lines: $(journalctl -q -o cat -u ssh-session-notifier.service | wc -l)"
systemctl is-active ssh-session-notifier.timer ssh-session-notifier.path
stat -c '%a %U:%G %n' /var/lib/ssh-session-notifier /etc/ssh-session-notifier /etc/ssh-session-notifier/config.toml
cat /configured >>/etc/ssh-session-notifier/config.toml
pamtester login root open_session >/dev/null
i=0
while [ ! -e /delivered ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done
sleep 0.3
echo "after: $(systemctl show -P ActiveState ssh-session-notifier.service)"
systemctl start ssh-session-notifier.service
echo "idle lines: $(journalctl -q -o cat -u ssh-session-notifier.service | wc -l)"
"#;

/// P2 P5 P8
#[test]
fn a_booted_image_and_a_booted_package_notify() {
    for (is_image, kind) in [(true, "image"), (false, "package")] {
        let Some(tree) = image(&format!("a_booted_{kind}_notifies")) else { return };
        let begin = Instant::now();
        output(&mut script(&tree, is_image, &["--pam", "login"]));
        if !is_image {
            assert!(!tree.read("etc/passwd").contains(NAME), "sysusers makes it");
        }
        let server = Server::well();
        tree.write("configured", &format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
        // The template's own section would be a second one.
        let config = "etc/ssh-session-notifier/config.toml";
        let text = tree.read(config).replace("\n[notification]\n", "\n");
        fs::write(tree.at(config), text).expect("a configuration");
        let mut container = boot(&tree, TRY);
        assert!(eventually(|| !server.requests().is_empty()), "{}", said(&tree));
        assert!(begin.elapsed() < Duration::from_mins(3), "a first notice takes less than three minutes");
        tree.write("delivered", "");
        assert!(container.is_over(), "{}", said(&tree));
        let expected = "fresh: inactive\nlines: 0\nactive\nactive\n\
            700 ssh-session-notifier:ssh-session-notifier /var/lib/ssh-session-notifier\n\
            750 root:ssh-session-notifier /etc/ssh-session-notifier\n\
            640 root:ssh-session-notifier /etc/ssh-session-notifier/config.toml\n\
            after: inactive\nidle lines: 0\n";
        assert_eq!(said(&tree), expected);
        assert!(server.requests()[0].body.contains("'root' logged in"), "{:?}", server.requests());
    }
}

#[test]
fn the_unit_is_confined_and_yet_sees_the_processes() {
    if tools::find("systemd-analyze").is_none() {
        return skip("the_unit_is_confined_and_yet_sees_the_processes", "needs systemd-analyze");
    }
    let tree = Tree::new("confined");
    fs::create_dir_all(tree.at("usr/lib/systemd")).expect("a directory");
    let unit = "usr/lib/systemd/system/ssh-session-notifier.service";
    output(&mut script(&tree, false, &[]));
    assert!(!tree.read(unit).contains("ProtectProc="));
    let mut analyze = tools::command("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(tree.at(unit));
    let done = analyze.output().expect("systemd-analyze");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));

    // What runs programs needs more, and has it while it is configured.
    let dropped = "usr/lib/systemd/system/ssh-session-notifier.service.d/programs.conf";
    assert!(!tree.at(dropped).exists());
    let config = "etc/ssh-session-notifier/config.toml";
    let template = tree.read(config);
    tree.write(config, &format!("{template}\n[notification.email]\nsendmail = false\n"));
    output(&mut script(&tree, false, &[]));
    assert!(!tree.at(dropped).exists());
    for programs in [
        "[notification.x]\nservice = \"command\"",
        "[notification.x]\nservice = 'command'",
        "[notification.email]\nsendmail = true",
    ] {
        tree.write(config, &format!("{template}\n{programs}\n"));
        output(&mut script(&tree, false, &[]));
        assert!(tree.read(dropped).contains("NoNewPrivileges=no"));
        tree.write(config, &template);
        output(&mut script(&tree, false, &[]));
        assert!(!tree.at("usr/lib/systemd/system/ssh-session-notifier.service.d").exists());
    }
}
