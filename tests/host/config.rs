//! The configuration as commands read it: mistakes, owners and modes, and what a login does if it is broken.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use crate::support::home::{Home, LOGIN, SERVICE, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::{has_mount_namespaces, is_root, skip};

#[test]
fn a_mistake_stops_the_sender_with_file_line_and_setting() {
    let home = Home::new("[notification]\nservice = \"stdout\"\n[notification.ntfy]\ntokne = \"s3cret\"\n");
    let output = home.send();
    let file = home.at("config.toml");
    output.fails().says(&format!("{}:9: notification.ntfy.tokne is not a setting\n", file.display()));
    assert!(!output.stderr().contains("s3cret"), "{output:?}");
    fs::remove_file(&file).expect("it is ours");
    home.send().fails().says(&format!("cannot read {}: No such file", file.display()));
}

/// P7
#[test]
fn a_configuration_that_others_could_have_written_is_refused_and_one_they_can_read_is_warned_about() {
    let home = Home::new(STDOUT);
    let file = home.at("config.toml");
    let mode = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).expect("it is ours");
    for (bits, code, said) in [
        (0o600, 0, ""),
        (0o640, 0, ""),
        (0o644, 0, "can be read by everybody (mode 0644); `chgrp ssh-session-notifier "),
        (0o660, 1, "can be written by others (mode 0660); `chmod go-w` it"),
        (0o602, 1, "can be written by others"),
    ] {
        mode(bits);
        let output = home.send();
        output.exits(code).says(said);
        assert_eq!(said.is_empty(), output.stderr.is_empty(), "{output:?}");
    }
    mode(0o600);
    if !is_root() {
        return skip(
            "a_configuration_that_others_could_have_written_is_refused_and_one_they_can_read_is_warned_about",
            "only root can give a file to somebody else; modes were tried",
        );
    }
    chown(&file, Some(SERVICE), None).expect("root may");
    home.send().fails().says("is owned by user 65534; `chown root` it");
}

/// P1: a login parses the allowlist in linear time.
#[test]
fn a_login_is_recorded_in_time_however_long_the_allowlist_is() {
    let users: Vec<String> = (0..60_000).map(|number| format!("user{number:06}")).collect();
    let home = Home::new(&format!("{STDOUT}[allowlist]\nusers = {users:?}\n"));
    home.login("amanda");
    assert_eq!(home.queue().count_events_of("amanda"), 1);
    home.login("user059999");
    assert_eq!(home.queue().count_events(), 1);
}

/// What is wrong, and how to break it.
type Way = (&'static str, fn(&Home));

/// P2
#[test]
fn a_login_is_recorded_whatever_is_wrong_with_the_configuration() {
    let test = "a_login_is_recorded_whatever_is_wrong_with_the_configuration";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces: the default paths are the machine's own");
    }
    let good = format!("{STDOUT}[allowlist]\nips = [\"192.0.2.0/24\"]\n");
    let ways: [Way; 4] = [
        ("no TOML", |home| home.configure("[allowlist\n")),
        ("missing", |home| fs::remove_file(home.at("config.toml")).expect("it is ours")),
        ("a directory", |home| {
            fs::remove_file(home.at("config.toml")).expect("it is ours");
            fs::create_dir(home.at("config.toml")).expect("its place is free");
        }),
        ("a FIFO", |home| {
            fs::remove_file(home.at("config.toml")).expect("it is ours");
            let made = Command::new("mkfifo").arg(home.at("config.toml")).status();
            assert!(made.is_ok_and(|made| made.success()));
        }),
    ];
    for (name, break_it) in ways {
        let home = Home::new(&good);
        fs::create_dir_all(home.at("lib/ssh-session-notifier")).expect("it is ours");
        fs::create_dir(home.at("run")).expect("it is ours");
        let root = home.0.display();
        let own = format!("mount --bind {root}/lib /var/lib && mount --bind {root}/run /run");
        let run = |arguments: &[&str]| home.command_in_own_dev(&own, arguments);
        break_it(&home);
        let output = hook(run(&["queue"]), &LOGIN);
        output.when(name).exits(0).says("the allowlist counts as empty until that is corrected");

        // Once it is corrected, the sender finds the events kept in the default place, each once.
        let file = home.at("config.toml");
        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        home.configure(&good);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
        let send = || -> Output { run(&["send"]).output().expect("it starts") };
        send().when(name).succeeds().prints_first("'amanda' (192.0.2.7) logged in to host.example");
        send().when(name).succeeds().prints_only("");
    }
}

/// P2: a login that can't know where the queue is leaves its event where the sender looks.
#[test]
fn the_orphans_of_an_untrusted_configuration_are_sent_once_it_is_corrected() {
    let test = "the_orphans_of_an_untrusted_configuration_are_sent_once_it_is_corrected";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces: the default paths are the machine's own");
    }
    for owner in [0, SERVICE] {
        // The second place is for a disk that can't be written.
        for (place, prepare) in [
            ("/var/lib/ssh-session-notifier/orphans", ":"),
            (
                "/run/ssh-session-notifier/orphans",
                "mount --bind /var/lib /var/lib && mount -o remount,bind,ro /var/lib",
            ),
        ] {
            let home = Home::new(STDOUT);
            for directory in ["lib", "lib/ssh-session-notifier", "run"] {
                fs::create_dir(home.at(directory)).expect("it is ours");
            }
            for path in ["lib/ssh-session-notifier", "state"] {
                chown(home.at(path), Some(owner), Some(owner)).expect("root may");
            }
            let root = home.0.display();
            let own = format!("mount --bind {root}/lib /var/lib && mount --bind {root}/run /run");
            fs::set_permissions(home.at("config.toml"), Permissions::from_mode(0o666)).expect("it is ours");
            let output = hook(home.command_in_own_dev(&format!("{own} && {prepare}"), &["queue"]), &LOGIN);
            output.when(place).exits(0).says(&format!("the event waits in {place}: 'amanda' (192.0.2.7) logged"));
            home.configure(STDOUT);
            let status = home.command_in_own_dev(&own, &["status"]).output().expect("it starts");
            let orphans = "recorded while the configuration was broken";
            status.succeeds().prints(&format!("1 orphan in {place} ({orphans}), which the next `send` imports\n"));
            let send = || home.command_in_own_dev(&own, &["send"]).output().expect("it starts");
            send().succeeds().prints_first("'amanda' (192.0.2.7) logged in to host.example");
            send().succeeds().prints_only("");
        }
    }
}

/// P2
#[test]
fn orphans_that_cannot_be_read_are_an_error() {
    let test = "orphans_that_cannot_be_read_are_an_error";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces: the default paths are the machine's own");
    }
    let home = Home::of_service(STDOUT);
    fs::create_dir_all(home.at("lib/ssh-session-notifier/orphans")).expect("it is ours");
    fs::write(home.at("lib/ssh-session-notifier/orphans/event-1-1"), "half an ev").expect("it is ours");
    let own = format!("mount --bind {}/lib /var/lib", home.0.display());
    let send = || home.command_in_own_dev(&own, &["send"]).output().expect("it starts");
    send().fails().says("cannot read /var/lib/ssh-session-notifier/orphans/event-1-1: not a complete event");
    chown(home.at("lib/ssh-session-notifier/orphans"), Some(1), Some(1)).expect("root may");
    fs::set_permissions(home.at("lib/ssh-session-notifier/orphans"), Permissions::from_mode(0o700)).expect("ours");
    send().fails().says("cannot read /var/lib/ssh-session-notifier/orphans: Permission denied");
}

/// P4
#[test]
#[cfg(feature = "tls")]
fn a_missing_authority_holds_up_only_those_who_need_it() {
    let home = Home::new(
        "[notification]\nservice = [\"discord\", \"stdout\"]\n\
         [notification.discord]\nwebhook_url = \"https://127.0.0.1:9/api/webhooks/1/s3cret\"\n\
         [network]\nca_file = \"/nonexistent\"\n",
    );
    home.login("amanda");
    home.send().fails().says("cannot use network.ca_file /nonexistent: No such file").prints_first("'amanda'");
}

#[test]
fn misuse_and_failure_have_different_exit_statuses() {
    let home = Home::new(STDOUT);
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["send"], 0),
        (&["status"], 0),
        (&["sned"], 2),
        (&["send", "--wtach"], 2),
        (&["drop", "7"], 1),
        (&["queue"], 1),
    ] {
        home.run(arguments).when(format!("{arguments:?}")).exits(code);
    }
    hook(home.command(&["sned"]), &LOGIN).when("under PAM nothing of ours fails").exits(0);
}
