//! `check` and `test`, on a host with its own /etc: each broken set-up is one problem, and the remedy printed below
//! it fixes it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::home::{Home, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply};
use crate::support::{has_mount_namespaces, program, skip};

/// The service user's number on this host.
const USER: u32 = 987;

const CONFIG: &str = "etc/ssh-session-notifier";
/// Where this program's configuration is on a [`Host`].
pub const FILE: &str = "etc/ssh-session-notifier/config.toml";

/// The relevant parts of Debian's file for sshd: includes, and `pam_env` at the end.
const SSHD: &str = "\
@include common-auth
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close
session required pam_loginuid.so
session optional pam_exec.so quiet PROGRAM queue
@include common-session
session required pam_env.so user_readenv=1
session [success=ok default=bad] pam_selinux.so open
";

/// Waits until the process started last is the program, rather than the shell that it was.
const STARTED: &str = "until ! grep -q '^sh$' /proc/$!/comm; do sleep 0.01; done";

/// A host where everything is right: a directory that becomes /etc, and a state directory.
pub struct Host(Home);

impl Host {
    /// A host whose targets are configured by this text.
    pub fn new(targets: &str) -> Self {
        let host = Self(Home::new(""));
        for directory in ["etc/pam.d", "etc/cron.d", "etc/init.d", "etc/ssh", CONFIG, "bin", "var/state"] {
            fs::create_dir_all(host.at(directory)).expect(directory);
        }
        for file in ["ld.so.cache", "ld.so.conf", "hosts", "nsswitch.conf", "login.defs"] {
            let _ = fs::copy(Path::new("/etc").join(file), host.at("etc").join(file));
        }
        let ours = program().join(" ");
        host.write(
            "etc/passwd",
            &format!("root:x:0:0::/root:/bin/sh\nssh-session-notifier:x:{USER}:{USER}::/:/bin/false\n"),
        );
        host.write("etc/group", &format!("root:x:0:\nssh-session-notifier:x:{USER}:\n"));
        host.write("etc/shadow", "root:*:1::::::\nssh-session-notifier:!:1::::::\n");
        host.write("etc/gshadow", "root:*::\nssh-session-notifier:!::\n");
        host.write("etc/pam.d/sshd", &SSHD.replace("PROGRAM", &ours));
        host.write("etc/pam.d/common-session", "session required pam_unix.so\n");
        host.write("etc/pam.d/common-auth", "auth required pam_unix.so\n");
        host.write("etc/cron.d/ssh-session-notifier", &format!("* * * * * ssh-session-notifier {ours} send\n"));
        host.write("etc/ssh/sshd_config", "UsePAM yes\n");
        host.script("sbin/sshd", "echo port 22\ngrep -i -m 1 '^usepam' /etc/ssh/sshd_config\n");
        host.script("bin/systemctl", "exit 0\n");
        fs::copy("/bin/sleep", host.at("bin/cron")).expect("a program that waits");
        host.script("etc/init.d/cron", &format!("{} 20 >/dev/null 2>&1 &\n{STARTED}\n", host.at("bin/cron").display()));
        let root = host.0.0.display();
        host.write(
            FILE,
            &format!(
                "[host]\nname = \"host.example\"\n[queue]\npath = \"{root}/var/state/q.db\"\n\
                 spool = \"{root}/run\"\n{targets}"
            ),
        );
        for (path, mode) in [(CONFIG, 0o750), (FILE, 0o640)] {
            chown(host.at(path), None, Some(USER)).expect("root may");
            fs::set_permissions(host.at(path), Permissions::from_mode(mode)).expect("it is ours");
        }
        chown(host.at("var/state"), Some(USER), Some(USER)).expect("root may");
        host
    }

    /// A path on it.
    pub fn at(&self, path: &str) -> PathBuf {
        self.0.at(path)
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).expect(path);
    }

    fn script(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().expect("a parent")).expect(path);
        self.write(path, &format!("#!/bin/sh\n{text}"));
        fs::set_permissions(self.at(path), Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// Runs lines of shell on this host. `check` runs the program's `check`, and `mend` the remedy below a problem.
    pub fn run(&self, lines: &str) -> Output {
        let (root, ours) = (self.0.0.display(), program().join(" "));
        let script = format!(
            "mount --bind {root}/etc /etc; mount --bind {root}/sbin /usr/local/sbin
            mount -t tmpfs -o size=1m none /run; cd {root}
            check() {{ env -i {ours} check \"$@\"; }}
            mend() {{ sh -ec \"$(sed -n '/^problem/{{n;s/^ *//p}}' \"$1\")\" >&2; }}
            start() {{ \"$@\" 20 >/dev/null 2>&1 & jobs=\"$jobs $!\"; {STARTED}; }}
            trap 'for job in $jobs; do kill $job; done; for job in $(pidof {root}/bin/cron); do kill $job; done' EXIT
            {lines}\n"
        );
        let mut command = Command::new("unshare");
        // It has its own pid namespace, so that `check` doesn't see another test's daemons.
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]);
        command.env_clear().env("PATH", format!("{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        command.output().expect("unshare")
    }
}

/// What to break, by lines of shell, and the text of the problem. `mend` is omitted if the remedy needs a package or
/// a person.
/// a package or a person.
type Row = (&'static str, &'static str, &'static str);

const MENDED: [Row; 23] = [
    ("no PAM line", "sed -i /queue/d /etc/pam.d/sshd", "doesn't call this program"),
    ("no queue", "sed -i 's/ queue$//' /etc/pam.d/sshd", "lacks the argument `queue`"),
    (
        "wrong path",
        "sed -i 's|quiet .* queue|quiet /usr/bin/ssh-session-notifier queue|' /etc/pam.d/sshd",
        "doesn't exist",
    ),
    ("misspelt module", "sed -i s/pam_exec/pam_exe/ /etc/pam.d/sshd", "names the module pam_exe.so"),
    ("auth line", "sed -i 's/^session optional/auth optional/' /etc/pam.d/sshd", "is a line for `auth`"),
    ("required", "sed -i 's/^session optional/session required/' /etc/pam.d/sshd", "must be `optional`"),
    (
        "at the end",
        "line=$(grep queue /etc/pam.d/sshd); sed -i /queue/d /etc/pam.d/sshd; echo \"$line\" >>/etc/pam.d/sshd",
        "stands after pam_env.so",
    ),
    (
        "after an include with pam_env",
        "echo 'session required pam_env.so' >/etc/pam.d/common-env
        sed -i '1i session substack common-env' /etc/pam.d/sshd",
        "common-env:1), where users can forge",
    ),
    ("twice", "grep queue /etc/pam.d/sshd >>/etc/pam.d/common-session", "a second time for sshd"),
    ("UsePAM no", "sed -i 's/yes/no/' /etc/ssh/sshd_config", "UsePAM is off"),
    ("config is root's", "chgrp root $C; chmod 600 $C", "config.toml: Permission denied"),
    ("config directory is root's", "chmod 700 /etc/ssh-session-notifier", "config.toml: Permission denied"),
    ("config is another user's", "chown 1000 $C", "is owned by user 1000"),
    ("config can be changed by the group", "chmod 660 $C", "can be written by others"),
    ("the state directory can be changed by others", "chmod 777 var/state", "var/state can be changed by others"),
    ("the queue is another user's", "touch var/state/q.db; chmod 600 var/state/q.db", "cannot use"),
    (
        "secret is root's",
        "file=/etc/ssh-session-notifier/topic; (umask 077; echo http://127.0.0.1/t >$file)
        sed -i \"s|^topic_url .*|topic_url_file = '$file'|\" $C",
        "topic_url_file cannot be used",
    ),
    (
        "ca_file in root's home",
        "mkdir -m 700 home; echo '-----BEGIN CERTIFICATE-----' >home/ca.pem
        printf '[network]\\nca_file = \"%s\"\\n' $PWD/home/ca.pem >>$C",
        "network.ca_file: cannot read",
    ),
    (
        "ca_file is missing",
        "printf '[network]\\nca_file = \"/none.pem\"\\n' >>$C",
        "network.ca_file: /none.pem: No such file",
    ),
    ("no scheduler", "rm /etc/cron.d/*", "nothing runs `send`"),
    ("scheduler stopped", "kill $jobs; wait; jobs=", "no cron daemon is running"),
    (
        "the unit may not write the queue",
        "mkdir -p /run/systemd/system /etc/systemd/system/timers.target.wants; cd /etc/systemd/system
        printf '[Service]\\n%s\\n' User=ssh-session-notifier ProtectSystem=strict ReadWritePaths=-/var/lib/x \\
            >ssh-session-notifier.service
        ln -s ../ssh-session-notifier.timer timers.target.wants/; cd $OLDPWD",
        "may not write where the configuration puts the queue",
    ),
    (
        "the queue is in RAM",
        "mount -t tmpfs -o size=1m,mode=755 none var; mkdir -m 700 var/state; chown 987:987 var/state",
        "is in RAM",
    ),
];

const SHOWN: [Row; 1] = [("dropbear", "cp /bin/sleep bin/dropbear; start bin/dropbear", "does not use PAM")];

const TARGET: &str =
    "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://127.0.0.1:9/topic\"\n";

/// Why this machine can't have such a host.
fn obstacle(temporary: &Path) -> Option<&'static str> {
    let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(temporary).output();
    if !has_mount_namespaces() {
        return Some("needs root, and mount namespaces");
    }
    kind.is_ok_and(|kind| kind.stdout.starts_with(b"tmpfs")).then_some("needs a temporary directory on a disk")
}

fn problems(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("problem")).collect()
}

#[test]
fn each_broken_set_up_is_one_problem_and_its_remedy_fixes_it() {
    let test = "each_broken_set_up_is_one_problem_and_its_remedy_fixes_it";
    if let Some(why) = obstacle(&std::env::temp_dir()) {
        return skip(test, why);
    }
    let config = "C=/etc/ssh-session-notifier/config.toml; start bin/cron";
    let well = Host::new(TARGET).run(&format!("{config}; check"));
    well.exits(0).prints("ok       PAM: sshd is watched").prints("runs `send`, and cron is running");
    assert!(problems(&well.stdout()).is_empty(), "{}", well.stdout());
    for ((name, breaking, said), is_mended) in
        MENDED.iter().map(|row| (row, true)).chain(SHOWN.iter().map(|row| (row, false)))
    {
        let host = Host::new(TARGET);
        let mend = if is_mended { "mend first; check" } else { "false" };
        let done = host.run(&format!("{config}; {breaking}\ncheck >first; echo $? >status; {mend}"));
        let first = fs::read_to_string(host.at("first")).expect("what it printed");
        let found = problems(&first);
        assert!(found.len() == 1 && found[0].contains(said), "{name}: {said:?}\n{first}{}", done.stderr());
        assert_eq!(fs::read_to_string(host.at("status")).expect("a status"), "1\n", "{name}");
        if is_mended {
            done.when(format!("{name}\n{first}")).exits(0);
        }
    }
}

#[test]
fn a_deleted_user_is_one_problem_and_comes_back_with_the_number_that_owns_the_queue() {
    let test = "a_deleted_user_is_one_problem_and_comes_back_with_the_number_that_owns_the_queue";
    if let Some(why) = obstacle(&std::env::temp_dir()) {
        return skip(test, why);
    }
    if !Path::new("/usr/sbin/useradd").exists() {
        return skip(test, "needs useradd");
    }
    let host = Host::new(TARGET);
    let breaking = "for file in passwd group shadow gshadow; do sed -i /^ssh-session/d /etc/$file; done";
    let done = host.run(&format!("start bin/cron; {breaking}\ncheck >first; mend first; check"));
    let first = fs::read_to_string(host.at("first")).expect("what it printed");
    assert!(problems(&first).len() == 1 && first.contains("there is no such user"), "{first}");
    done.when(&first).exits(0);
    let passwd = fs::read_to_string(host.at("etc/passwd")).expect("users");
    assert!(passwd.contains(&format!("ssh-session-notifier:x:{USER}:{USER}:")), "{passwd}");
}

/// P5
#[test]
fn check_changes_nothing_and_names_what_it_cannot_see_without_root() {
    let test = "check_changes_nothing_and_names_what_it_cannot_see_without_root";
    if let Some(why) = obstacle(&std::env::temp_dir()) {
        return skip(test, why);
    }
    let host = Host::new(TARGET);
    let list = "find etc var -printf '%p %m %u %s %T@ %C@\\n' | sort";
    host.run(&format!("start bin/cron; {list} >before; check >/dev/null; {list} >after; cmp before after")).exits(0);
    let as_user = format!("setpriv --reuid {USER} --regid {USER} --clear-groups {} check", program().join(" "));
    host.run(&format!("start bin/cron; {as_user}")).exits(0).prints("run this check as root").prints("sshd is watched");
}

/// P5, P7: running `check` gives nobody rights.
#[test]
fn a_third_user_is_told_to_ask_as_root_and_not_how_to_let_him_in() {
    let test = "a_third_user_is_told_to_ask_as_root_and_not_how_to_let_him_in";
    if let Some(why) = obstacle(&std::env::temp_dir()) {
        return skip(test, why);
    }
    let as_user = |command: &str| {
        let words = program().join(" ");
        format!("start bin/cron; setpriv --reuid 54321 --regid 54321 --clear-groups {words} {command}")
    };
    for open in ["true", "chmod 755 /etc/ssh-session-notifier; chmod 644 /etc/ssh-session-notifier/config.toml"] {
        for command in ["check", "test"] {
            let output = Host::new(TARGET).run(&format!("{open}; {}", as_user(command)));
            let said = output.stdout();
            assert!(!said.contains("54321 ") && !said.contains("54321:"), "{open}: {said}");
        }
        Host::new(TARGET).run(&format!("{open}; {}", as_user("check"))).prints("as root");
    }
}

#[test]
fn a_configuration_without_a_service_is_a_problem() {
    let test = "a_configuration_without_a_service_is_a_problem";
    if let Some(why) = obstacle(&std::env::temp_dir()) {
        return skip(test, why);
    }
    let host = Host::new("[notification]\n");
    for command in ["check", "env -i PROGRAM test"] {
        let command = command.replace("PROGRAM", &program().join(" "));
        let output = host.run(&format!("start bin/cron; {command}"));
        output.exits(1).prints("problem  configuration: notification.service is not set, so no notice is sent\n");
        assert_eq!(problems(&output.stdout()).len(), 1, "{}", output.stdout());
    }
}

#[test]
fn test_prints_the_services_answer_and_what_to_do() {
    let cases = [
        (200, "{\"id\":\"x\"}", 0, "ntfy accepted the notice (HTTP 200)", "compare topic_url letter by letter"),
        (401, "{\"error\":\"unauthorized\"}", 1, "the service refuses the token", "put a valid token"),
        (404, "{}", 1, "the service doesn't know this address", "correct the address"),
        (429, "{}", 1, "too many requests", "wait a minute"),
        (503, "{}", 1, "HTTP 503", "nothing to do if it passes"),
        (200, "<html>", 1, "a captive portal, a login page or a proxy answered", "this host's network"),
    ];
    for (status, body, code, said, remedy) in cases {
        let server = Server::new(move |_, _, stream| reply(stream, status, "", body));
        let home = Home::new(&format!(
            "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{}/t0pic\"\n",
            server.port
        ));
        home.run(&["test"]).when(status).exits(code).prints(said).prints(remedy);
        assert!(server.requests()[0].body.contains("this is a test; nobody logged in"));
        assert!(!home.database().exists(), "a test is not an event");
    }
    let home = Home::new("[notification]\nservice = \"stdout\"\n");
    home.run(&["test", "stdout"]).exits(0).prints("this is a test");
    home.run(&["test", "phone"]).exits(2).says("there is no target \"phone\"; there is stdout");
}

/// P7
#[test]
fn the_network_check_finds_a_wrong_token_without_sending_anything() {
    let server = Server::new(|_, request, stream| match request.header("authorization") {
        Some("Bearer tk_right") => reply(stream, 200, "", "{\"success\":true}"),
        _ => reply(stream, 401, "", "{\"code\":40101,\"error\":\"unauthorized tk_wrong\"}"),
    });
    let home = Home::new("");
    let rows = [
        ("tk_wrong", "problem  network: ntfy: HTTP 401", "put a valid token or webhook into [notification.ntfy]"),
        ("tk_right", "ok       network: ntfy can be reached", ""),
    ];
    for (token, said, remedy) in rows {
        home.configure(&format!("[notification]\nservice = \"ntfy\"\n{}token = \"{token}\"\n", server.ntfy()));
        let done = home.run(&["check", "--network"]);
        done.prints(said).prints(remedy);
        assert_eq!(done.stdout().matches("problem  network").count(), usize::from(!remedy.is_empty()));
        assert!(!done.stdout().contains(token) && !done.stdout().contains("mytopic"), "{}", done.stdout());
        let asked = server.requests().pop().expect("it was asked");
        assert!(asked.head.starts_with("GET /mytopic/auth HTTP/1.1") && asked.body.is_empty(), "{}", asked.head);
    }
}

#[test]
fn a_usage_error_goes_to_the_terminal_and_not_to_syslog() {
    let test = "a_usage_error_goes_to_the_terminal_and_not_to_syslog";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let home = Home::new("");
    let syslog = Syslog::listen(&home);
    home.command_in_own_dev("true", &["sned"]).output().expect("it starts").exits(2).says("did you mean send?");
    assert_eq!(syslog.lines(), "");
}
