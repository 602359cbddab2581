//! Exim from Debian's package, as a server that wants TLS and a log-in, and as this host's sendmail, which is
//! set-user-ID root and starts processes. And msmtp, which replaces sendmail on small hosts.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::home::{Home, Syslog};
use crate::support::outcome::Outcome;
use crate::support::smtp::{Smtpd, email, is_possible};
use crate::support::tls::{Authority, END, PAST, Process, trusting};
use crate::support::{has, has_mount_namespaces, skip, tools, wait_for};

/// The user id that Exim runs as. It need not exist on this machine.
const EXIM: u32 = 64_999;

/// Exim's configuration: all mail goes into one file.
const DELIVERY: &str = "
begin acl
rcpt:
  accept authenticated = *
  deny message = relaying is not allowed here
begin routers
all:
  driver = accept
  transport = file
begin transports
file:
  driver = appendfile
  file = ROOT/exim/box
  user = Debian-exim
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and {{eq {$auth2}{amanda}}{eq {$auth3}{right}}}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${if and {{eq {$auth1}{amanda}}{eq {$auth2}{right}}}}
";

/// Files and programs that a mount namespace puts over the host's /etc and /usr.
struct Over<'a>(&'a Home);

impl Over<'_> {
    fn new<'a>(home: &'a Home, settings: &str) -> Over<'a> {
        for directory in ["etc/exim4", "exim/spool", "exim/log", "usr/sbin"] {
            fs::create_dir_all(home.at(directory)).expect("a new directory");
        }
        for directory in ["exim", "exim/spool", "exim/log"] {
            chown(home.at(directory), Some(EXIM), Some(EXIM)).expect("root may");
        }
        for (file, line) in [
            ("passwd", format!("Debian-exim:x:{EXIM}:{EXIM}::/:/usr/sbin/nologin\n")),
            ("group", format!("Debian-exim:x:{EXIM}:\n")),
        ] {
            let others = fs::read_to_string(Path::new("/etc").join(file)).expect("every host has it");
            let others: Vec<&str> = others.lines().filter(|line| !line.starts_with("Debian-exim:")).collect();
            fs::write(home.at("etc").join(file), others.join("\n") + "\n" + &line).expect("a file");
        }
        let root = home.0.display().to_string();
        let paths = format!("spool_directory = {root}/exim/spool\nlog_file_path = {root}/exim/log/%slog\n");
        let text = format!("primary_hostname = mail.example\nkeep_environment =\n{paths}{settings}{DELIVERY}");
        fs::write(home.at("etc/exim4/exim4.conf"), text.replace("ROOT", &root)).expect("a file");
        Over(home)
    }

    /// Returns a line of shell that mounts them and the packages that tests/setup.sh unpacked.
    fn mount(&self) -> String {
        let (root, tools) = (self.0.0.display(), format!("{}/usr", tools::TOOLS));
        let unpacked = if Path::new(&tools).is_dir() { format!(":{tools}") } else { String::new() };
        format!(
            "mount -t overlay -o lowerdir={root}/etc:/etc etc /etc\n\
             mount -t overlay -o lowerdir={root}/usr{unpacked}:/usr usr /usr\n"
        )
    }

    /// Installs a program as sendmail.
    fn sendmail(&self, program: &str, mode: u32) {
        let path = self.0.at("usr/sbin").join(program);
        fs::copy(tools::find(program).expect("it is there"), &path).expect("a copy");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        std::os::unix::fs::symlink(program, self.0.at("usr/sbin/sendmail")).expect("a link");
    }

    fn send(&self) -> Output {
        self.0.command_in_own_dev(&self.mount(), &["send"]).output().expect("unshare starts")
    }

    /// Returns Exim's log.
    fn log(&self) -> String {
        fs::read_to_string(self.0.at("exim/log/mainlog")).unwrap_or_default()
    }

    /// Returns the delivered mails.
    fn mails(&self) -> String {
        fs::read_to_string(self.0.at("exim/box")).unwrap_or_default()
    }
}

/// Returns the reason why a test with this program can't run, if there is one.
fn lacks(program: &str) -> Option<String> {
    let is_there = has_mount_namespaces() && has(program) && {
        let mount = "mount -t overlay -o lowerdir=/usr/bin:/usr/lib usr /usr";
        Command::new("unshare").args(["--mount", "sh", "-ec", mount]).status().is_ok_and(|status| status.success())
    };
    (!is_there).then(|| format!("needs root, overlays in mount namespaces and {program}"))
}

fn exim(home: &Home, over: &Over<'_>) -> Process {
    let mut exim = Command::new("unshare");
    let script = format!("{}exec /usr/sbin/exim4 -bdf", over.mount());
    exim.args(["--mount", "sh", "-ec", &script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let log = fs::File::create(home.at("exim.err")).expect("a file");
    Process(exim.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("unshare starts"))
}

/// P7
#[test]
fn exim_accepts_mail_over_starttls_and_tls_from_nobody_without_the_password() {
    let test = "exim_accepts_mail_over_starttls_and_tls_from_nobody_without_the_password";
    if let Some(why) = lacks("exim4").or_else(|| lacks("openssl")) {
        return skip(test, &why);
    }
    let home = Home::as_installed("");
    let authority = Authority::new(&home, "authority");
    let pair = authority.issue("good", "DNS:localhost", PAST, END);
    fs::set_permissions(&pair.key, Permissions::from_mode(0o644)).expect("it is ours");
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a loopback port"));
    let [port, tls] = held.each_ref().map(|held| held.local_addr().expect("it is bound").port());
    drop(held);
    let over = Over::new(
        &home,
        &format!(
            "local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port} : {tls}\ntls_on_connect_ports = {tls}\n\
             tls_certificate = {}\ntls_privatekey = {}\ntls_advertise_hosts = *\nacl_smtp_rcpt = rcpt\n\
             auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}{{}}}}\n",
            pair.certificate.display(),
            pair.key.display()
        ),
    );
    let _exim = exim(&home, &over);
    let listens = || TcpStream::connect(("127.0.0.1", tls)).is_ok();
    assert!(wait_for(listens), "{}", fs::read_to_string(home.at("exim.err")).unwrap_or_default());
    let login = |password: &str| format!("user = \"amanda\"\npassword = \"{password}\"\n");
    let send = |settings: String| {
        home.configure(&email(&settings, &trusting(&authority)));
        home.send()
    };
    home.login("Zoë");
    let starttls = format!("server = \"localhost:{port}\"\ntls = \"starttls\"\n");
    send(starttls.clone() + &login("wrong"))
        .fails()
        .says("SMTP 535 to AUTH: Incorrect authentication data; it does not");
    send(starttls.clone()).fails().says("SMTP 550 to RCPT TO:<amanda@host.example>: relaying is not allowed here; it");
    let plain = format!("server = \"localhost:{port}\"\ntls = \"none\"\n");
    send(plain + &login("right")).fails().says("the server offers no log-in mechanism");
    assert_eq!(over.mails(), "");
    send(starttls + &login("right")).succeeds();
    home.login("bob");
    send(format!("server = \"smtps://localhost:{tls}\"\n{}", login("right"))).succeeds();
    // Two mails to two receivers each.
    assert!(wait_for(|| over.mails().matches("\nSubject: ").count() == 4), "{}", over.mails());
    let mails = over.mails();
    assert!(mails.contains("\n'Zo=C3=AB' (192.0.2.7) logged in") && mails.contains("\n'bob' (192.0.2.7)"), "{mails}");
}

/// P5
#[test]
fn exims_sendmail_accepts_a_mail_from_the_service_user() {
    let test = "exims_sendmail_accepts_a_mail_from_the_service_user";
    if let Some(why) = lacks("exim4") {
        return skip(test, &why);
    }
    let settings = "[notification]\nservice = \"email\"\n[notification.email]\nsendmail = true\n\
                    from = \"router@host.example\"\nto = [\"root\", \"amanda@host.example\"]\n";
    let home = Home::of_service(&settings.replace("true", "\"/usr/sbin/ssn-missing\""));
    // Exim needs /dev/null.
    let _syslog = Syslog::listen(&home);
    let over = Over::new(&home, "");
    home.login("Zoë");
    over.send().fails().says("email: cannot use /usr/sbin/ssn-missing: No such file or directory");
    over.sendmail("exim4", 0o4755);
    home.configure(settings);
    over.send().succeeds();
    assert!(wait_for(|| !over.mails().is_empty()), "{}", over.log());
    let mails = over.mails();
    assert!(mails.contains("\nMessage-ID: <") && mails.contains("\n'Zo=C3=AB' (192.0.2.7) logged in"), "{mails}");
    assert!(mails.contains("\nTo: root@mail.example,\n amanda@host.example\n"), "{mails}");
    // A program in a directory that others can write to is not run.
    fs::set_permissions(home.at("usr/sbin"), Permissions::from_mode(0o777)).expect("it is ours");
    home.login("bob");
    over.send().fails().says("email: /usr/sbin/sendmail is not run, because users other than root can change it");
}

#[test]
fn msmtp_as_sendmail_accepts_a_mail_and_its_errors_are_reported() {
    let test = "msmtp_as_sendmail_accepts_a_mail_and_its_errors_are_reported";
    if let Some(why) = lacks("msmtp") {
        return skip(test, &why);
    }
    if !is_possible() {
        return skip(test, "needs aiosmtpd");
    }
    let home = Home::of_service(
        "[notification]\nservice = \"email\"\n[notification.email]\nsendmail = \"/usr/sbin/msmtp\"\n\
         to = \"amanda@host.example\"\n",
    );
    let server = Smtpd::start(&home, &[]);
    let over = Over::new(&home, "");
    over.sendmail("msmtp", 0o755);
    let account = |port: u16| {
        let lines = format!("account default\nhost localhost\nport {port}\nfrom router@host.example\n");
        fs::write(home.at("etc/msmtprc"), lines).expect("a file");
    };
    home.login("amanda");
    over.send().fails().says("email: sendmail exited with status 78: msmtp: account default not found");
    account(server.port);
    home.queue().forget_failures();
    over.send().succeeds();
    let mails = server.mails();
    assert_eq!((mails.len(), &mails[0]["mail"]), (1, &"router@host.example".into()));
    assert!(
        mails[0]["body"].as_str().is_some_and(|body| body.starts_with("'amanda' (192.0.2.7) logged in")),
        "{mails:?}"
    );
}

/// P8
#[test]
fn a_sendmail_that_cannot_be_killed_is_left_behind() {
    let test = "a_sendmail_that_cannot_be_killed_is_left_behind";
    if let Some(why) = lacks("gcc") {
        return skip(test, &why);
    }
    let home =
        Home::of_service("[notification]\nservice = \"email\"\n[notification.email]\nsendmail = true\nto = \"root\"\n");
    let over = Over::new(&home, "");
    // It becomes root with all its ids, so that the service user can't signal it. It ends by itself.
    let path = home.at("usr/sbin/sendmail");
    let source = "#include <unistd.h>\nint main(void) { alarm(55); setuid(0); for (;;) pause(); }\n";
    fs::write(home.at("sendmail.c"), source).expect("a file");
    let built = Command::new("gcc").arg(home.at("sendmail.c")).arg("-o").arg(&path).status();
    assert!(built.expect("gcc starts").success());
    fs::set_permissions(&path, Permissions::from_mode(0o4755)).expect("it is ours");
    home.login("amanda");
    let start = Instant::now();
    over.send().fails().says("email: /usr/sbin/sendmail did not finish in time");
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
    assert!(home.status().starts_with("email: 1 pending, 0 dead"), "{}", home.status());
}
