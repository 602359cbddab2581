//! The host's own sendmail, which is set-user-ID root and delivers in the background, started by the installed unit.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

use crate::support::container::{boot, eventually, image, said};
use crate::support::skip;
use crate::support::tools;
use crate::support::tree::{SCRIPT, Tree, output};

/// Exim's user, and its configuration: all mail goes into one file, long after sendmail has ended.
const EXIM: u32 = 64_999;
const CONFIG: &str = "\
primary_hostname = mail.example
keep_environment =
spool_directory = /var/spool/exim4
log_file_path = /var/spool/exim4/%slog
begin routers
all:
  driver = accept
  transport = slow
begin transports
slow:
  driver = pipe
  command = /bin/sh -c 'sleep 2; cat >/var/spool/exim4/box'
  user = Debian-exim
";

/// Runs after the boot, as root: a session, and what the sender says until the mail is there.
const TRY: &str = r"
pamtester login root open_session >/dev/null
i=0
while [ ! -s /var/spool/exim4/box ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done
journalctl -q -o cat -u ssh-session-notifier.service
";

/// Puts Exim into the image, with the libraries that only tests/setup.sh has unpacked.
fn put_exim(tree: &Tree) {
    let exim = tools::find("exim4").expect("it was there");
    for directory in ["usr/sbin", "etc/exim4", "var/spool/exim4"] {
        fs::create_dir_all(tree.at(directory)).expect(directory);
    }
    fs::copy(&exim, tree.at("usr/sbin/exim4")).expect("a copy");
    fs::set_permissions(tree.at("usr/sbin/exim4"), Permissions::from_mode(0o4755)).expect("it is ours");
    symlink("exim4", tree.at("usr/sbin/sendmail")).expect("a link");
    let unpacked = format!("{}/usr/lib", tools::TOOLS);
    let libraries = output(Command::new("find").arg(&unpacked).args(["-name", "*.so.*"]));
    for library in libraries.lines() {
        let place = tree.at("usr/lib").join(library.trim_start_matches(&unpacked).trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("it has one")).expect("a directory");
        fs::copy(library, place).expect("a copy");
    }
    for (file, line) in [
        ("passwd", format!("Debian-exim:x:{EXIM}:{EXIM}::/:/bin/false\n")),
        ("group", format!("Debian-exim:x:{EXIM}:\n")),
    ] {
        let path = format!("etc/{file}");
        tree.write(&path, &(tree.read(&path) + &line));
    }
    tree.write("etc/exim4/exim4.conf", CONFIG);
    chown(tree.at("var/spool/exim4"), Some(EXIM), Some(EXIM)).expect("root may");
}

/// P2, P5
#[test]
fn exims_sendmail_takes_a_mail_under_the_installed_unit() {
    let test = "exims_sendmail_takes_a_mail_under_the_installed_unit";
    if tools::find("exim4").is_none() {
        return skip(test, "needs exim4");
    }
    let Some(tree) = image(test) else { return };
    put_exim(&tree);
    let install = || {
        let mut script = Command::new("sh");
        script.args([SCRIPT, "--binary", env!("CARGO_BIN_EXE_ssh-session-notifier"), "--pam", "login", "--root"]);
        output(script.arg(&tree.0).env_remove("PREFIX").env_remove("SCHEDULER").env_remove("DESTDIR"));
    };
    install();
    let config = "etc/ssh-session-notifier/config.toml";
    let before = tree.read(config).replace("\n[notification]\n", "\n");
    let target = "[notification]\nservice = \"email\"\n[notification.email]\nsendmail = true\nto = \"root\"\n";
    fs::write(tree.at(config), before + target).expect("a configuration");
    // Once more, for the unit then lets programs be started.
    install();
    let mut container = boot(&tree, TRY);
    let mails = || fs::read_to_string(tree.at("var/spool/exim4/box")).unwrap_or_default();
    assert!(eventually(|| !mails().is_empty()), "{}", said(&tree));
    assert!(container.is_over(), "{}", said(&tree));
    assert_eq!(said(&tree), "", "the sender has nothing to say");
    assert!(mails().contains("\nTo: root@mail.example\nSubject: 'root'"), "{}", mails());
}
