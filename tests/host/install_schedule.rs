//! install.sh: what runs `send` on each kind of host, one schedule at a time, and how it all goes away again.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::copy::Copy;
use crate::support::server::Server;
use crate::support::tree::{NAME, PAM, Tree, output};
use crate::support::{has, skip, tools};

const SERVICE: &str = "etc/init.d/ssh-session-notifier";
const CRONTAB: &str = "etc/crontabs/ssh-session-notifier";
const LINE: &str = "* * * * * /usr/sbin/ssh-session-notifier send\n";

/// A program on the host that notes how it was called.
fn noting(host: &Tree, path: &str, more: &str) {
    host.write(path, &format!("#!/bin/sh\necho \"${{0##*/}} $*\" >>/calls\n{more}"));
    output(Command::new("chmod").arg("755").arg(host.at(path)));
}

fn openrc(host: &Tree) {
    host.write("run/openrc/softlevel", "");
    host.write("sbin/openrc-run", "");
    noting(
        host,
        "usr/sbin/rc-update",
        "case $* in *add*) mkdir -p /etc/runlevels/default; ln -sf x /etc/runlevels/default/$3 ;; esac",
    );
    noting(host, "usr/sbin/rc-service", "");
}

#[test]
fn openrc_keeps_the_sender_running() {
    let Some(host) = Tree::host("openrc_keeps_the_sender_running") else { return };
    openrc(&host);
    host.install(&[]);
    assert_eq!(host.read("calls"), format!("rc-update -q add {NAME} default\nrc-service -q {NAME} restart\n"));
    let service = host.read(SERVICE);
    for line in
        ["command=/usr/sbin/ssh-session-notifier", "command_args=\"send --watch\"", "command_user=ssh-session-notifier"]
    {
        assert!(service.lines().any(|found| found == line), "{line}: {service}");
    }
    assert!(!host.at(CRONTAB).exists());
    let before = host.snapshot();
    host.install(&[]);
    assert_eq!(host.snapshot(), before);
}

#[test]
fn procd_keeps_the_sender_running() {
    let Some(host) = Tree::host("procd_keeps_the_sender_running") else { return };
    host.write("sbin/procd", "");
    let common = "procd_open_instance() { :; }\nprocd_close_instance() { :; }\n\
        procd_set_param() { echo \"$*\" >>/calls; }\n. \"$1\"\n\
        case $2 in restart) start_service ;; enable) mkdir -p /etc/rc.d; ln -s ../init.d/x /etc/rc.d/S${START}ssh-session-notifier ;; esac\n";
    noting(&host, "etc/rc.common", common);
    host.install(&[]);
    let calls = "rc.common /etc/init.d/ssh-session-notifier enable\nrc.common /etc/init.d/ssh-session-notifier restart\n\
        command /usr/sbin/ssh-session-notifier send --watch\nuser ssh-session-notifier\nrespawn 3600 60 0\n";
    assert_eq!(host.read("calls"), calls);
    let before = host.snapshot();
    host.install(&[]);
    assert_eq!(host.snapshot(), before);
}

#[test]
fn another_schedule_takes_the_first_away() {
    let Some(host) = Tree::host("another_schedule_takes_the_first_away") else { return };
    openrc(&host);
    noting(&host, "usr/sbin/systemctl", "");
    host.write("etc/crontabs/root", "0 4 * * * backup\n*/5 * * * * /usr/sbin/ssh-session-notifier send\n");
    let places = [
        ("systemd", "etc/systemd/system/ssh-session-notifier.timer"),
        ("openrc", SERVICE),
        ("crontab", CRONTAB),
        ("cron.d", "etc/cron.d/ssh-session-notifier"),
    ];
    for (scheduler, _) in places.iter().chain(&places[..1]) {
        host.install(&["--scheduler", scheduler]);
        let there: Vec<_> = places.iter().filter(|(_, place)| host.at(place).exists()).map(|(kind, _)| kind).collect();
        assert_eq!(there, [scheduler]);
    }
    assert_eq!(host.read("etc/crontabs/root"), "0 4 * * * backup\n", "the line of root's is one schedule too many");
    assert!(host.read("calls").contains(&format!("rc-service -q {NAME} stop\nrc-update -q del {NAME} default\n")));
    assert!(host.read("calls").contains("disable --now"));
}

#[test]
fn cron_d_is_used_only_where_a_cron_reads_it() {
    let Some(host) = Tree::host("cron_d_is_used_only_where_a_cron_reads_it") else { return };
    fs::create_dir_all(host.at("etc/cron.d")).expect("a directory");
    host.install(&[]);
    assert_eq!(host.read(CRONTAB), LINE);
    host.write("usr/sbin/cron", "/etc/crontab\0/etc/cron.d\0");
    host.install(&[]);
    assert!(host.at("etc/cron.d/ssh-session-notifier").exists() && !host.at(CRONTAB).exists());
}

#[test]
fn a_purge_leaves_only_the_files_that_it_names() {
    let test = "a_purge_leaves_only_the_files_that_it_names";
    for scheduler in ["systemd", "openrc", "crontab", "cron.d", "none"] {
        let Some(host) = Tree::host(&format!("{test}-{scheduler}")) else { return };
        openrc(&host);
        noting(&host, "usr/sbin/systemctl", "");
        host.write("etc/pam.d/login", PAM);
        output(host.script().env("PREFIX", "/opt/x").args(["--scheduler", scheduler, "--pam", "login"]));
        host.write("var/lib/ssh-session-notifier/session_events.db", "");
        host.write("run/ssh-session-notifier/event-1-1", "");
        // PREFIX isn't given again.
        let said = host.install(&["--uninstall"]);
        assert!(said.contains("kept /run/ssh-session-notifier: it holds pending events"), "{said}");
        assert!(!host.at("opt/x/sbin/ssh-session-notifier").exists());
        fs::remove_file(host.at("run/ssh-session-notifier/event-1-1")).expect("a file");
        host.write("run/ssh-session-notifier/.said-no-service", "");
        let said = host.install(&["--uninstall"]);
        assert!(said.contains("removed /run/ssh-session-notifier\n"), "{said}");
        host.write("run/ssh-session-notifier/event-1-1", "");
        host.install(&["--uninstall", "--purge"]);
        let find = ["-mindepth", "2", "(", "-name", "*session-notifier*", "-o", "-name", "cron.update", ")"];
        assert_eq!(output(Command::new("find").arg(host.at("")).args(find)), "");
        assert_eq!(host.read("etc/pam.d/login"), PAM);
        for file in ["passwd", "group"] {
            assert!(!host.read(&format!("etc/{file}")).contains(NAME));
        }
        let before = host.snapshot();
        assert!(host.install(&["--uninstall", "--purge"]).contains("nothing of ssh-session-notifier is installed"));
        assert_eq!(host.snapshot(), before);
    }
}

#[test]
fn a_purge_leaves_foreign_files_next_to_the_queue() {
    let Some(host) = Tree::host("a_purge_leaves_foreign_files_next_to_the_queue") else { return };
    host.write("data/photo", "mine");
    host.install(&["--state", "/data"]);
    host.write("data/session_events.db-wal", "");
    let said = host.install(&["--uninstall", "--purge"]);
    assert!(said.contains("kept /data: it holds other files"), "{said}");
    assert_eq!(host.read("data/photo"), "mine");
    assert!(!host.at("data/session_events.db-wal").exists());
}

/// Installs on a copy of this machine, configures it, opens a session, and runs what delivers.
fn first_notice(test: &str, scheduler: &str, prepare: &str, deliver: &str) {
    let Some(copy) = Copy::new(test) else { return };
    if !has("pamtester") || !has("setpriv") {
        return skip(test, "needs pamtester and setpriv");
    }
    let server = Server::well();
    copy.0.write("etc/pam.d/login", PAM);
    copy.0.write("more", &format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    output(&mut copy.shell(prepare));
    let begin = Instant::now();
    output(&mut copy.script(&format!("--scheduler {scheduler} --pam login")));
    let script = format!(
        "config=/etc/ssh-session-notifier/config.toml\nsed -i '/^.notification.$/d' $config; cat $1/more >>$config\n\
         pamtester login root open_session >/dev/null\n{deliver}"
    );
    let mut process = copy.shell(&script).spawn().expect("unshare starts");
    let is_told = || !server.requests().is_empty();
    while !is_told() && begin.elapsed() < Duration::from_mins(3) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = process.kill();
    let _ = process.wait();
    assert!(is_told(), "a first notice takes less than three minutes");
    assert!(server.requests()[0].body.contains("'root' logged in"), "{:?}", server.requests());
}

/// P2
#[test]
fn a_first_notice_comes_by_busyboxs_cron_within_three_minutes() {
    let test = "a_first_notice_comes_by_busyboxs_cron_within_three_minutes";
    let Some(busybox) = tools::busybox() else { return skip(test, "needs a static busybox with crond") };
    first_notice(test, "crontab", ":", &format!("exec {} crond -f -c /etc/crontabs", busybox.display()));
}

/// P2
#[test]
fn a_first_notice_comes_by_openrcs_service_within_three_minutes() {
    // OpenRC reads the service as a shell script, and starts the command as its user.
    let start = ". /etc/init.d/ssh-session-notifier\n\
        exec setpriv --reuid $command_user --regid $command_user --clear-groups $command $command_args";
    let stand_in =
        "for name in rc-update rc-service; do printf '#!/bin/sh\\n' >/usr/sbin/$name; chmod 755 /usr/sbin/$name; done";
    first_notice("a_first_notice_comes_by_openrcs_service_within_three_minutes", "openrc", stand_in, start);
}
