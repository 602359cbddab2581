//! The static binaries that `make dist` builds, where there is nothing else: no shell, no C library,
//! no `/etc/passwd`, zones, authorities, `/dev` or `/proc`.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConnection, StreamOwned};

use crate::support::home::{Home, LOGIN, STDOUT, hook};
use crate::support::outcome::Outcome;
use crate::support::queue::Queue;
use crate::support::server::Server;
use crate::support::{has, is_root, skip, tools};

/// A login after the end of 32-bit time (2038-01-19 03:14:07 UTC).
const AFTER_2038: &str = "2040-02-29 12:00:00";

/// A root directory with the static binary in it, a configuration and an empty state directory.
struct Root(Home);

impl Root {
    /// `None`, after printing the reason, if the binary hasn't been built or this isn't root.
    fn new(test: &str, notification: &str) -> Option<Self> {
        let binary = built(test, "x86_64-unknown-linux-musl")?;
        if !is_root() {
            skip(test, "only root may change its root directory");
            return None;
        }
        let home = Home::new("");
        for directory in ["root", "root/state", "root/run"] {
            DirBuilder::new().mode(0o700).create(home.at(directory)).expect("a new directory");
        }
        fs::copy(binary, home.at("root/ssh-session-notifier")).expect("it can be copied");
        let root = Self(home);
        root.configure(notification);
        Some(root)
    }

    fn configure(&self, notification: &str) {
        let text = "[host]\nname = \"router\"\ntimezone = \"NZST-12NZDT,M9.5.0,M4.1.0/3\"\n\
            [queue]\npath = \"/state/session_events.db\"\nspool = \"/run/spool\"\n";
        fs::write(self.0.at("root/config.toml"), format!("{text}{notification}")).expect("a configuration");
        fs::set_permissions(self.0.at("root/config.toml"), Permissions::from_mode(0o600)).expect("it is ours");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(self.0.at("root")).args(["/ssh-session-notifier", "--config", "/config.toml"]).args(arguments);
        command.env_clear();
        command
    }

    fn send(&self) -> Output {
        self.command(&["send"]).output().expect("chroot starts")
    }

    fn record(&self) {
        hook(self.command(&["queue"]), &LOGIN).succeeds();
    }
}

/// The appliance build for a target.
fn built(test: &str, target: &str) -> Option<PathBuf> {
    let name = format!("ssh-session-notifier-appliance-{target}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dist").join(name);
    if !path.exists() {
        skip(test, &format!("`make dist` has not built {}", path.display()));
        return None;
    }
    Some(path)
}

/// P2
#[test]
fn alone_in_an_empty_root_directory_it_records_and_delivers() {
    let server = Server::well();
    let notification =
        format!("[notification]\nservice = [\"ntfy\", \"discord\"]\n{}{}", server.ntfy(), server.discord());
    let Some(root) = Root::new("alone_in_an_empty_root_directory_it_records_and_delivers", &notification) else {
        return;
    };
    root.record();
    root.send().succeeds();
    let bodies: Vec<String> = server.requests().into_iter().map(|request| request.body).collect();
    let is_whole = |body: &String| body.contains("'amanda' (192.0.2.7) logged in to router via ssh (sshd) at 20");
    assert_eq!(bodies.iter().filter(|body| is_whole(body)).count(), 2, "{bodies:?}");
    let mut left: Vec<_> =
        fs::read_dir(root.0.at("root")).expect("it is there").flatten().map(|it| it.file_name()).collect();
    left.sort();
    assert_eq!(left, ["config.toml", "run", "ssh-session-notifier", "state"], "nothing else was needed or made");
}

/// P2
#[test]
fn with_nothing_but_busybox_its_shell_and_its_env_can_run_it() {
    let test = "with_nothing_but_busybox_its_shell_and_its_env_can_run_it";
    let Some(root) = Root::new(test, STDOUT) else { return };
    let Some(busybox) = tools::busybox() else {
        return skip(test, "there is no static busybox with crond");
    };
    fs::copy(busybox, root.0.at("root/busybox")).expect("room for a copy");
    let script = "set -e
        notifier='/ssh-session-notifier --config /config.toml'
        pam() { busybox env -i PAM_SERVICE=dropbear PAM_USER=amanda PAM_TTY=ssh PAM_RHOST=192.0.2.7 PAM_TYPE=$1 $notifier queue; }
        pam open_session
        pam close_session
        $notifier send | busybox grep -c amanda
        $notifier send
        $notifier status";
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg(root.0.at("root")).args(["/busybox", "sh", "-c", script]).env_clear().env("PATH", "/");
    command.output().expect("chroot starts").succeeds().prints_first("2\n");
}

/// P2
#[test]
fn without_an_authority_store_it_trusts_the_ones_in_ca_file() {
    let test = "without_an_authority_store_it_trusts_the_ones_in_ca_file";
    let Some((root, server)) = https(test) else { return };
    fs::copy(root.0.at("ca.pem"), root.0.at("root/ca.pem")).expect("it can be copied");
    root.configure(&(server.ntfy() + "[network]\nca_file = \"/ca.pem\"\n"));
    root.record();
    root.send().succeeds();
    assert_eq!(server.taken(), 1);
}

/// P3
#[test]
fn without_a_store_and_without_proc_the_built_in_authorities_decide() {
    let test = "without_a_store_and_without_proc_the_built_in_authorities_decide";
    let Some((root, server)) = https(test) else { return };
    root.configure(&server.ntfy());
    root.record();
    // Twice, because the first run may leave something behind that troubles the second.
    for _ in 0..2 {
        root.send().fails().says("the server's certificate is from an unknown authority");
        Queue(root.0.at("root/state/session_events.db")).end_waits();
    }
    assert_eq!(server.taken(), 0, "nothing was told to a server that nobody vouches for");
}

/// A server with a certificate, and how many requests it has taken.
struct Tls {
    port: u16,
    taken: Arc<AtomicUsize>,
}

impl Tls {
    /// Starts one with the certificate that [`https`] made; it ends with the process.
    fn start(home: &Home) -> Self {
        let chain = vec![CertificateDer::from_pem_file(home.at("server.pem")).expect("openssl wrote it")];
        let key = PrivateKeyDer::from_pem_file(home.at("key.pem")).expect("openssl wrote it");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.expect("ring has them").with_no_client_auth().with_single_cert(chain, key);
        let config = Arc::new(config.expect("the key is the certificate's"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).expect("the configuration is whole");
                if answer(StreamOwned::new(session, stream)).is_ok() {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { port, taken }
    }

    fn ntfy(&self) -> String {
        let url = format!("https://127.0.0.1:{}/topic", self.port);
        format!("[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"{url}\"\n")
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Reads a request up to its empty line, and accepts it.
fn answer(stream: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let stream = reader.get_mut();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{\"id\":\"1\"}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// A root directory, and next to it a server whose certificate is from an authority that only `ca.pem` in the test's
/// own directory has.
fn https(test: &str) -> Option<(Root, Tls)> {
    let root = Root::new(test, "")?;
    if !has("openssl") {
        skip(test, "there is no openssl");
        return None;
    }
    let script = "set -e
        cd \"$0\"
        new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \"$@\"; }
        new -keyout ca.key -out ca.pem -subj /CN=authority
        new -keyout key.pem -out server.pem -subj /CN=server -CA ca.pem -CAkey ca.key \\
            -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1";
    Command::new("sh").args(["-c", script]).arg(root.0.at("")).output().expect("a shell starts").exits(0);
    let server = Tls::start(&root.0);
    Some((root, server))
}

/// P6
#[test]
fn printing_the_version_takes_fewer_than_30_system_calls() {
    let test = "printing_the_version_takes_fewer_than_30_system_calls";
    let Some(binary) = built(test, "x86_64-unknown-linux-musl") else { return };
    if !has("strace") {
        return skip(test, "there is no strace");
    }
    let output = Command::new("strace").arg(binary).arg("--version").output().expect("strace starts");
    output.exits(0).prints_first("ssh-session-notifier ");
    let calls = output.stderr().lines().filter(|line| line.contains('(')).count();
    assert!((2..30).contains(&calls), "{calls}: {}", output.stderr());
}

/// P6
#[test]
fn a_login_takes_less_than_3_mib_of_memory() {
    let test = "a_login_takes_less_than_3_mib_of_memory";
    let Some(binary) = built(test, "x86_64-unknown-linux-musl") else { return };
    if !PathBuf::from("/usr/bin/time").exists() {
        return skip(test, "there is no GNU time");
    }
    let home = Home::new(STDOUT);
    // The first login creates the database; later ones find it.
    for _ in 0..3 {
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%M"]).arg(&binary).arg("--config").arg(home.at("config.toml")).arg("queue");
        let output = hook(command, &LOGIN);
        let kib: u32 = output.exits(0).stderr().trim().parse().unwrap_or_else(|_| panic!("{output:?}"));
        assert!((1..3 * 1024).contains(&kib), "{kib} KiB");
    }
    assert_eq!(home.queue().count_events(), 3);
}

/// P2
#[test]
fn a_32_bit_machine_tells_the_time_after_2038() {
    let test = "a_32_bit_machine_tells_the_time_after_2038";
    let Some(binary) = built(test, "armv7-unknown-linux-musleabihf") else { return };
    if !has("faketime") || !has("qemu-arm") {
        return skip(test, "there is no faketime, or no dynamically linked qemu-arm for it to deceive");
    }
    let home = Home::new(STDOUT);
    let command = |argument: &str| {
        let mut command = Command::new("faketime");
        command.args(["-f", AFTER_2038, "qemu-arm"]).arg(&binary).arg("--config").arg(home.at("config.toml"));
        command.arg(argument).env_clear().env("TZ", "UTC0").env("PATH", "/usr/bin:/bin");
        command
    };
    hook(command("queue"), &LOGIN).succeeds();
    command("send").output().expect("faketime starts").prints(&format!("at {AFTER_2038}+00:00\n"));
}
