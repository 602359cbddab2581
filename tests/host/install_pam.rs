//! install.sh --pam: the line's place in files as distributions have them, and what keeps a way in open.

use std::fs;

use crate::support::copy::Copy;
use crate::support::outcome::Outcome;
use crate::support::skip;
use crate::support::tree::{NAME, PAM, Tree, failure, output};

const LINE: &str = "session optional pam_exec.so quiet /usr/sbin/ssh-session-notifier queue";
const OF_USERS: &str = "session optional pam_exec.so quiet seteuid /usr/sbin/ssh-session-notifier queue";
const OF_GO: &str = "session optional pam_exec.so /usr/sbin/ssh-session-notifier queue";

/// Debian 12's file for sshd, without its comments.
const DEBIAN: &str = "\
@include common-auth
account required pam_nologin.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session    required     pam_loginuid.so
session    optional     pam_keyinit.so force revoke
@include common-session
session    optional     pam_motd.so  motd=/run/motd.dynamic
session    required     pam_limits.so
session    required     pam_env.so # [1]
session    required     pam_env.so user_readenv=1 envfile=/etc/default/locale
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so open
@include common-password
";

/// Fedora's, where the environment is set in an included file.
const FEDORA: &str = "\
auth       substack     password-auth
account    include      password-auth
session    required     pam_selinux.so close
session    required     pam_loginuid.so
session    required     pam_selinux.so open env_params
session    include      password-auth
session    include      postlogin
";

/// Arch's and Alpine's, which are all includes.
const ARCH: &str = "auth include system-remote-login\nsession   include   system-remote-login\n";

/// A host with an sshd that uses PAM, as far as the script can tell from files.
fn host(test: &str, sshd: &str) -> Option<Tree> {
    let host = Tree::host(test)?;
    host.write("usr/sbin/sshd", "a program with libpam.so.0\n");
    host.write("etc/ssh/sshd_config", "# UsePAM no\nUsePAM yes\n");
    host.write("etc/pam.d/sshd", sshd);
    for (file, text) in [
        ("common-auth", "auth required pam_unix.so\nauth required pam_env.so\n"),
        ("common-account", "account required pam_unix.so\n"),
        ("common-session", "session [default=1] pam_permit.so\nsession required pam_unix.so\n"),
        ("common-password", "password required pam_unix.so\n"),
        ("password-auth", "auth required pam_unix.so\nsession required pam_unix.so\n"),
        ("postlogin", "session optional pam_umask.so\n"),
        ("system-remote-login", "auth include system-login\nsession include system-login\n"),
        (
            "system-login",
            "session optional pam_loginuid.so\nsession include system-auth\nsession required pam_env.so\n",
        ),
        ("system-auth", "session required pam_limits.so\n"),
    ] {
        host.write(&format!("etc/pam.d/{file}"), text);
    }
    Some(host)
}

/// `text` with this line after its line number `after`.
fn with(text: &str, after: usize, line: &str) -> String {
    let mut lines: Vec<_> = text.lines().collect();
    lines.insert(after, line);
    lines.join("\n") + "\n"
}

/// P1
#[test]
fn the_line_goes_before_the_users_environment_and_after_the_login_uid() {
    let test = "the_line_goes_before_the_users_environment_and_after_the_login_uid";
    let cases = [
        (DEBIAN, 5),
        (FEDORA, 4),
        (ARCH, 1),
        // What the line would be counted by, or skipped by, comes after it.
        ("session [success=1 default=ignore] pam_succeed_if.so\nsession required pam_loginuid.so\n", 0),
        ("auth required pam_env.so\nsession sufficient pam_x.so\nsession required pam_loginuid.so\n", 1),
        ("# nothing\nauth required pam_unix.so\n", 2),
        ("session required \\\n  pam_loginuid.so\nsession required pam_env.so\n", 2),
        ("-session optional pam_loginuid.so\n-session optional pam_env.so\n", 1),
    ];
    for (number, (text, after)) in cases.into_iter().enumerate() {
        let Some(host) = host(&format!("{test}-{number}"), text) else { return };
        host.install(&["--pam", "sshd"]);
        assert_eq!(host.read("etc/pam.d/sshd"), with(text, after, LINE));
        assert_eq!(host.read("etc/ssh-session-notifier/pam.d/sshd"), text, "a copy is kept");
        let before = host.snapshot();
        assert!(host.install(&["--pam", "sshd"]).contains("unchanged /etc/pam.d/sshd has the line"));
        assert_eq!(host.snapshot(), before);
        host.install(&["--uninstall"]);
        assert_eq!(host.read("etc/pam.d/sshd"), text, "all is as it was");
    }
}

/// P1
#[test]
fn a_dry_run_shows_where_the_line_would_go_and_changes_nothing() {
    let test = "a_dry_run_shows_where_the_line_would_go_and_changes_nothing";
    let Some(host) = host(test, DEBIAN) else { return };
    host.install(&[]);
    let before = host.snapshot();
    let said = host.install(&["--pam=sshd", "--dry-run"]);
    assert!(said.contains("would update /etc/pam.d/sshd (the line stands directly after line 5"), "{said}");
    assert_eq!(host.snapshot(), before);
}

#[test]
fn a_line_at_the_end_is_moved_with_its_own_options() {
    let Some(host) = host("a_line_at_the_end_is_moved_with_its_own_options", DEBIAN) else { return };
    for (old, new) in [
        (OF_GO, LINE.to_owned()),
        (
            "session required pam_exec.so stdout type=open_session /usr/local/sbin/ssh-session-notifier --config /c queue",
            LINE.replace("quiet", "quiet type=open_session"),
        ),
    ] {
        host.write("etc/pam.d/sshd", &format!("{DEBIAN}{old}\n"));
        let said = host.install(&["--pam", "sshd"]);
        assert!(said.contains("updated /etc/pam.d/sshd"), "{said}");
        assert_eq!(host.read("etc/pam.d/sshd"), with(DEBIAN, 5, &new));
    }
}

#[test]
fn only_the_file_that_su_and_su_l_share_gets_the_line() {
    let Some(host) = host("only_the_file_that_su_and_su_l_share_gets_the_line", DEBIAN) else { return };
    let (su, su_l) =
        ("auth sufficient pam_rootok.so\nsession required pam_env.so\n", "auth include su\nsession include su\n");
    host.write("etc/pam.d/su", su);
    host.write("etc/pam.d/su-l", su_l);
    host.write("etc/pam.d/sudo", "session required pam_limits.so\n");
    host.write("etc/pam.d/sudo-i", "session required pam_limits.so\n");
    let said = host.install(&["--pam", "su-l,su,sudo"]);
    assert!(said.contains("su-l includes su: one of them is enough"), "{said}");
    assert!(said.contains("sudo-i doesn't include sudo"), "{said}");
    assert_eq!(host.read("etc/pam.d/su"), with(su, 1, OF_USERS));
    assert_eq!(host.read("etc/pam.d/su-l"), su_l);
    assert!(host.install(&["--pam", "su"]).contains("unchanged su-l includes su, which is enough"));
}

#[test]
fn a_daemon_that_opens_no_pam_session_is_refused_before_anything_is_changed() {
    let test = "a_daemon_that_opens_no_pam_session_is_refused_before_anything_is_changed";
    let Some(host) = host(test, DEBIAN) else { return };
    let refused = |expected: &str| {
        let before = host.snapshot();
        let (code, said) = failure(host.script().args(["--pam", "sshd"]));
        assert!(code == Some(1) && said.contains(expected), "{said}");
        assert_eq!(host.snapshot(), before);
    };
    host.write("etc/ssh/sshd_config", "UsePAM no\n");
    refused("set UsePAM yes");
    host.write("etc/ssh/sshd_config.d/50-vendor.conf", "UsePAM yes\n");
    assert!(host.install(&["--pam", "sshd", "--dry-run"]).contains("would update /etc/pam.d/sshd"));
    host.write("usr/sbin/sshd", "a program that knows no PAM\n");
    host.write("etc/ssh/sshd_config", "UsePAM yes\n");
    refused("is built without PAM");
    fs::remove_file(host.at("usr/sbin/sshd")).expect("sshd");
    host.write("usr/sbin/dropbear", "");
    refused("dropbear, which opens no PAM session");
    let (code, said) = failure(host.script().args(["--pam", "lgoin"]));
    assert!(code == Some(1) && said.contains("there is no /etc/pam.d/lgoin"), "{said}");
    fs::remove_dir_all(host.at("etc/pam.d")).expect("pam.d");
    refused("there is no PAM on this host");
}

/// P1
#[test]
fn a_real_session_opens_with_the_new_line_or_the_old_file_comes_back() {
    let test = "a_real_session_opens_with_the_new_line_or_the_old_file_comes_back";
    let Some(copy) = Copy::new(test) else { return };
    if !copy.has("pamtester") {
        return skip(test, "needs pamtester");
    }
    let old = "session required pam_unix.so\nsession required pam_env.so\n";
    copy.0.write("etc/pam.d/login", old);
    let said = output(&mut copy.script("--scheduler none --pam login"));
    assert!(said.contains("checked /etc/pam.d/login: a session of root was opened and closed"), "{said}");
    let hooked = with(old, 0, LINE);
    assert_eq!(copy.0.read("etc/pam.d/login"), hooked);
    assert!(copy.0.at("var/lib").join(NAME).join("session_events.db").exists(), "the hook recorded it");

    // This one lets nobody in as soon as the file has a line more.
    let strict = format!("session required pam_exec.so quiet /usr/bin/cmp -s /etc/pam.d/su /etc/su.old\n{PAM}");
    let strict = strict.replace("session required pam_loginuid.so\n", "");
    copy.0.write("etc/pam.d/su", &strict);
    copy.0.write("etc/su.old", &strict);
    let (code, said) = failure(&mut copy.script("--scheduler none --pam su"));
    assert!(code == Some(1) && said.contains("the file is as it was"), "{said}");
    assert_eq!(copy.0.read("etc/pam.d/su"), strict);
    copy.shell("pamtester su root open_session").output().expect("unshare").exits(0);
}

#[test]
fn the_real_sshd_is_asked_whether_it_uses_pam() {
    let test = "the_real_sshd_is_asked_whether_it_uses_pam";
    let Some(copy) = Copy::new(test) else { return };
    if !copy.has("sshd") || !copy.has("ssh-keygen") {
        return skip(test, "needs sshd and ssh-keygen");
    }
    output(
        &mut copy.shell(
            "mkdir -p /etc/ssh; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/key; useradd -rM sshd 2>/dev/null || :",
        ),
    );
    copy.0.write("etc/pam.d/sshd", DEBIAN);
    // The file alone says yes; what it includes counts first.
    copy.0.write("etc/ssh/sshd_config", "HostKey /etc/ssh/key\nInclude /etc/ssh/more\nUsePAM yes\n");
    copy.0.write("etc/ssh/more", "UsePAM no\n");
    let (code, said) = failure(&mut copy.script("--scheduler none --pam sshd"));
    assert!(code == Some(1) && said.contains("set UsePAM yes"), "{said}");
    copy.0.write("etc/ssh/more", "UsePAM yes\n");
    let said = output(&mut copy.script("--scheduler none --pam sshd --dry-run"));
    assert!(said.contains("would update /etc/pam.d/sshd"), "{said}");
}
