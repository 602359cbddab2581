use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command::check::finding::{Finding, Level};
use crate::command::check::host::{Host, Process};
use crate::command::check::{environment, pam, scheduler, stack};
use crate::config;
use crate::queue::Paths;

/// A directory that stands for `/`, with this program in it.
struct Tree(Host);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ssn-check-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        let exe = root.join("ssh-session-notifier");
        let tree = Self(Host { root, exe, config: config::FILE.into(), processes: Vec::new() });
        for (path, text) in files.iter().chain(&[("ssh-session-notifier", "")]) {
            let path = tree.0.at(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        tree
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}

const OURS: &str = "session optional pam_exec.so quiet /ssh-session-notifier queue\n";

fn modules(files: &[(&str, &str)], service: &str) -> Vec<String> {
    let tree = Tree::new(files);
    stack::of_service(&tree.0, service).iter().map(|line| format!("{} {}", line.kind, line.module)).collect()
}

fn texts(findings: &[Finding], level: Level) -> Vec<&str> {
    findings.iter().filter(|finding| finding.level == level).map(|finding| finding.text.as_str()).collect()
}

#[test]
fn the_lines_of_a_service_are_those_that_pam_runs() {
    let common = "auth required pam_a.so\nsession required pam_b.so\n";
    let rows: [(&str, &[&str]); 6] = [
        ("@include common\n", &["auth pam_a.so", "session pam_b.so"]),
        ("session include common\n", &["session pam_b.so"]),
        ("auth substack common # why\n", &["auth pam_a.so"]),
        ("-session [success=1 default=ignore] /lib/security/pam_c.so x\n", &["session pam_c.so"]),
        ("session \\\n  required \\\n pam_d.so\n#session required pam_e.so\n", &["session pam_d.so"]),
        ("SESSION required pam_f.so\nsession required\n\n", &["session pam_f.so"]),
    ];
    for (text, expected) in rows {
        assert_eq!(modules(&[("etc/pam.d/sshd", text), ("etc/pam.d/common", common)], "sshd"), expected, "{text}");
    }
    let vendor = [("usr/lib/pam.d/sshd", common), ("etc/pam.d/other", "")];
    assert_eq!(modules(&vendor, "sshd"), ["auth pam_a.so", "session pam_b.so"]);
    let one_file = [("etc/pam.conf", "su auth required pam_a.so\nsshd session required pam_b.so\nsshd\n")];
    assert_eq!(modules(&one_file, "sshd"), ["session pam_b.so"]);
}

/// P8
#[test]
fn includes_in_a_circle_end() {
    let twice = "@include sshd\n@include sshd\nsession required pam_a.so\n";
    assert!(modules(&[("etc/pam.d/sshd", twice)], "sshd").len() < 1000);
}

#[test]
fn no_file_of_pam_is_too_odd_to_be_read() {
    let text = format!("@include x\nauth [a=1 b] pam_env.so \\\n y=1\n{OURS}session include common\n");
    let bytes = text.as_bytes();
    let tree = Tree::new(&[("etc/pam.d/common", "session required pam_b.so\n")]);
    for place in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1 << (place % 8);
        for odd in [&bytes[..place], &flipped] {
            fs::write(tree.0.at("etc/pam.d/sshd"), odd).expect("a file");
            assert!(!pam::examine(&tree.0).is_empty());
        }
    }
}

#[test]
fn there_is_a_warning_if_jobs_are_reported() {
    let files = [
        ("etc/pam.d/sshd", "@include common-session\n"),
        ("etc/pam.d/cron", "@include common-session\n"),
        ("etc/pam.d/common-session", OURS),
    ];
    let tree = Tree::new(&files);
    let findings = pam::examine(&tree.0);
    assert_eq!(texts(&findings, Level::Problem), [""; 0]);
    let warnings = texts(&findings, Level::Warning);
    assert_eq!(warnings, ["PAM: /etc/pam.d/common-session:1 also runs for cron: each of its jobs is reported"]);
}

/// docs/pam.md: who starts `su` may leave its hook no process.
#[test]
fn required_is_a_choice_only_where_a_user_starts_the_service() {
    let required = OURS.replace("optional", "required");
    for (service, problems) in [("sshd", 1), ("login", 1), ("su", 0), ("sudo", 0), ("visudo", 1)] {
        let file = format!("etc/pam.d/{service}");
        let tree = Tree::new(&[("etc/pam.d/sshd", OURS), (&file, &required)]);
        assert_eq!(texts(&pam::examine(&tree.0), Level::Problem).len(), problems, "{service}");
    }
}

#[test]
fn a_hook_with_another_configuration_is_warned_of() {
    for (named, is_other) in
        [("--config /b.toml ", true), ("-c /b.toml ", true), ("--config=/b.toml ", true), ("", false)]
    {
        let line = OURS.replace("queue", &format!("{named}queue"));
        for config in ["/a.toml", "/b.toml"] {
            let mut tree = Tree::new(&[("etc/pam.d/sshd", &line)]);
            tree.0.config = config.into();
            let findings = pam::examine(&tree.0);
            let warned = texts(&findings, Level::Warning);
            assert_eq!(!warned.is_empty(), is_other && config == "/a.toml", "{named} {config}: {warned:?}");
        }
    }
}

#[test]
fn what_mends_a_host_keeps_the_configuration_that_was_named() {
    for (config, call) in [(config::FILE, ""), ("/srv/c.toml", " --config /srv/c.toml")] {
        let mut tree = Tree::new(&[("etc/pam.d/sshd", "session required pam_unix.so\n"), ("etc/cron.d/x", "")]);
        tree.0.config = config.into();
        let call = format!("ssh-session-notifier{call}");
        let pam = pam::examine(&tree.0);
        assert!(pam[0].remedy.contains(&format!("{call} queue")), "{pam:?}");
        let scheduler = scheduler::examine(&tree.0, &Paths::default(), (0, 0)).findings;
        assert!(scheduler[0].remedy.contains(&format!("{call} send")), "{scheduler:?}");
    }
}

#[test]
fn there_is_a_warning_if_users_set_variables_before_the_session_lines() {
    let tree = Tree::new(&[("etc/pam.d/sshd", &format!("auth required pam_env.so user_readenv=1\n{OURS}"))]);
    let findings = pam::examine(&tree.0);
    assert_eq!(
        texts(&findings, Level::Warning),
        ["PAM: /etc/pam.d/sshd:1 lets users set variables before the hook runs"]
    );
}

/// P3: keys are trusted only if only sshd can have written them.
#[test]
fn the_environment_is_trusted_only_if_the_hook_comes_first() {
    let sshd = "#!/bin/sh\necho port 22\necho permituserenvironment";
    let (auth, session) = ("auth required pam_env.so", "session required pam_env.so\n");
    let file = "hook.trust_environment: /etc/pam.d/sshd";
    let rows = [
        (OURS.into(), "no", Level::Ok, environment::WELL.into()),
        (format!("{OURS}{session}"), "no", Level::Ok, environment::WELL.into()),
        (format!("{session}{OURS}"), "no", Level::Problem, format!("{file}:1 sets variables before the hook runs")),
        (session.into(), "no", Level::Problem, format!("{file}:1 sets variables before the hook runs")),
        (
            format!("{OURS}{auth} user_readenv=1\n"),
            "no",
            Level::Problem,
            format!("{file}:2 lets users set variables before the hook runs"),
        ),
        (
            format!("{auth}\n{OURS}"),
            "no",
            Level::Warning,
            format!("{file}:1 sets variables before the hook runs; some versions also read the users' own files"),
        ),
        (format!("{auth} user_readenv=0\n{OURS}"), "no", Level::Ok, environment::WELL.into()),
        (OURS.into(), "yes", Level::Problem, "hook.trust_environment: sshd has PermitUserEnvironment yes".into()),
    ];
    for (stack, value, level, expected) in rows {
        let tree = Tree::new(&[("etc/pam.d/sshd", &stack), ("usr/sbin/sshd", &format!("{sshd} {value}\n"))]);
        fs::set_permissions(tree.0.at("usr/sbin/sshd"), fs::Permissions::from_mode(0o755)).expect("ours");
        let findings = environment::examine(&tree.0, true);
        assert_eq!(texts(&findings, level), [expected], "{stack} {findings:?}");
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
    let tree = Tree::new(&[("etc/pam.d/sshd", OURS)]);
    assert_eq!(environment::examine(&tree.0, false)[0].level, Level::Warning, "what can't be seen isn't vouched for");
}

#[test]
fn every_scheduler_that_runs_send_is_found() {
    let line = "/usr/sbin/ssh-session-notifier send";
    let daemon = |name: &str, line: &str| vec![Process { pid: 7, name: name.into(), line: line.into() }];
    let tab = format!("* * * * * {line}\n");
    let service = format!("command={line}\n");
    let rows = [
        ("etc/crontabs/root", tab.as_str(), daemon("crond", "crond"), Level::Ok, "/etc/crontabs/root runs `send`"),
        ("var/spool/cron/root", &tab, daemon("busybox", "busybox crond -f"), Level::Ok, "busybox is running"),
        ("etc/crontab", &format!("* * * * * root {line}\n"), Vec::new(), Level::Problem, "no cron daemon"),
        ("etc/init.d/notifier", &service, Vec::new(), Level::Problem, "/etc/init.d/notifier is there, but"),
        ("x", "", daemon("ssh-session-not", &format!("{line} --watch")), Level::Ok, "runs (process 7)"),
        ("etc/crontabs/root", "# ssh-session-notifier send\n", Vec::new(), Level::Problem, "nothing runs `send`"),
    ];
    for (file, text, processes, level, said) in rows {
        let mut tree = Tree::new(&[(file, text)]);
        tree.0.processes = processes;
        let findings = scheduler::examine(&tree.0, &Paths::default(), (0, 0)).findings;
        let found = texts(&findings, level);
        assert!(found.len() == 1 && found[0].contains(said), "{file}: {findings:?}");
    }
}
