//! https with a real nginx, and with valid and invalid certificates.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support;
use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Server, hold};
use crate::support::tls::{
    Authority, END, EXPIRED, FUTURE, Nginx, P256, PAST, Pair, Process, RSA_1024, is_possible, ntfy, trusting,
};

pub const GOOD: &str = "DNS:localhost,IP:127.0.0.1";
pub const UNKNOWN: &str = "the server's certificate is from an unknown authority: set network.ca_file";
const SELF_SIGNED: &str = "the server's certificate is a self-signed authority certificate: \
    give the server one that is signed by that authority";

/// Starts a server behind nginx with a valid certificate, and makes a host with a pending login.
pub fn scene(settings: &str) -> (Home, Authority, Server, Nginx) {
    let home = Home::as_installed("");
    let authority = Authority::new(&home, "authority");
    let good = authority.issue("good", GOOD, PAST, END);
    let server = Server::well();
    let nginx = Nginx::start(&home, server.port, settings, &[good]);
    home.login("amanda");
    (home, authority, server, nginx)
}

/// P2
pub fn assert_kept(home: &Home, output: &Output, expected: &str) {
    let errors = output.fails().says(&format!("ntfy: {expected}")).says("; everything is kept and retried in 1 min");
    // The request.
    let errors = errors.says(" (POST https://localhost:").stderr();
    assert!(!errors.contains("s3cret") && !errors.contains("mytopic"), "{errors}");
    let status = home.status();
    assert!(status.starts_with("ntfy: 1 pending, 0 dead, never worked"), "{status}");
}

#[test]
fn both_services_are_reached_over_tls_1_2_and_1_3_by_name_and_by_address() {
    if !is_possible() {
        let why = "needs nginx and openssl";
        return support::skip("both_services_are_reached_over_tls_1_2_and_1_3_by_name_and_by_address", why);
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        let (home, authority, server, nginx) = scene(&format!("ssl_protocols {version};"));
        let port = nginx.ports[0];
        for host in ["localhost", "127.0.0.1"] {
            home.configure(&ntfy(host, port, &trusting(&authority)));
            home.send().when(format!("{version} {host}")).succeeds();
            home.login("ben");
        }
        home.configure(&format!(
            "[network]\n{}\n[notification]\nservice = \"discord\"\n[notification.discord]\n\
             webhook_url = \"https://localhost:{port}/api/webhooks/1/s3cret\"\n",
            trusting(&authority)
        ));
        let _ = home.send();
        home.login("carl");
        home.send().succeeds();
        let requests = server.requests();
        let [first, second, third] = requests.as_slice() else { panic!("{requests:?}") };
        assert!(first.body.contains("'amanda'") && second.body.contains("'ben'") && third.body.contains("'carl'"));
        assert_eq!((first.method(), first.target()), ("POST", "/"));
        assert_eq!(first.header("authorization"), Some("Bearer tk_s3cret"));
        assert_eq!(third.target(), "/api/webhooks/1/s3cret?wait=true");
        assert!(support::wait_for(|| nginx.log() == format!("{version} 200\n").repeat(3)), "{}", nginx.log());
    }
}

#[test]
fn tls_1_1_is_refused() {
    if !is_possible() {
        return support::skip("tls_1_1_is_refused", "needs nginx and openssl");
    }
    let settings = "ssl_protocols TLSv1 TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;";
    let (home, authority, server, nginx) = scene(settings);
    let port = nginx.ports[0];
    let peer = format!("127.0.0.1:{port}");
    let old = ["s_client", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-connect", &peer];
    let old = Command::new("openssl").args(old).stdin(Stdio::null()).output().expect("openssl was there");
    if !old.stdout().contains("Protocol  : TLSv1.1") {
        return support::skip("tls_1_1_is_refused", "this OpenSSL can't do TLS 1.1 itself");
    }
    home.configure(&ntfy("localhost", port, &trusting(&authority)));
    assert_kept(&home, &home.send(), "TLS failed: the server supports neither TLS 1.2 nor TLS 1.3");
    assert!(server.requests().is_empty());
}

/// P2
#[test]
fn an_invalid_certificate_is_refused_with_the_reason_and_the_event_is_kept() {
    let test = "an_invalid_certificate_is_refused_with_the_reason_and_the_event_is_kept";
    if !is_possible() {
        return support::skip(test, "needs nginx and openssl");
    }
    let home = Home::as_installed("");
    let (authority, other) = (Authority::new(&home, "authority"), Authority::new(&home, "other"));
    let mut rows: Vec<(Pair, &str)> = vec![
        (
            authority.issue_bare("common-name", P256, "basicConstraints = CA:FALSE", PAST, END),
            "the server's certificate names no host (it has no subjectAltName, and the common name no longer counts)",
        ),
        (
            authority.issue_with("short", RSA_1024, GOOD, PAST, END),
            "the server's certificate has a wrong signature, or one by a key that is too short",
        ),
        (
            authority.issue("name", "DNS:elsewhere.example,IP:192.0.2.1", PAST, END),
            "the server's certificate is not valid for its name, localhost, but for elsewhere.example, ",
        ),
        (
            authority.issue("expired", GOOD, PAST, EXPIRED),
            "the server's certificate has expired, or this host's clock is ahead",
        ),
        (
            authority.issue("early", GOOD, FUTURE, END),
            "the server's certificate is not yet valid: is this host's clock behind?",
        ),
        (
            authority.issue("critical", &format!("{GOOD}\n1.2.3.4 = critical, ASN1:NULL"), PAST, END),
            "the server's certificate is refused: UnsupportedCriticalExtension",
        ),
        (other.issue("unknown", GOOD, PAST, END), UNKNOWN),
        (other.self_signed("self", "basicConstraints=CA:FALSE"), UNKNOWN),
        (other.self_signed("self-authority", "basicConstraints=critical,CA:TRUE"), SELF_SIGNED),
    ];
    let old =
        "the server's certificate is of X.509 version 1, which is obsolete: give the server a new one, of version 3";
    rows.extend(authority.issue_old("old").map(|pair| (pair, old)));
    let server = Server::well();
    let pairs: Vec<Pair> = rows.iter().map(|(pair, _)| pair.clone()).collect();
    // OpenSSL would reject a short key.
    let nginx = Nginx::start(&home, server.port, "ssl_ciphers DEFAULT@SECLEVEL=0;", &pairs);
    home.login("amanda");
    for ((_, expected), port) in rows.iter().zip(&nginx.ports) {
        home.configure(&ntfy("localhost", *port, &trusting(&authority)));
        assert_kept(&home, &home.send(), expected);
        home.queue().forget_failures();
    }
    assert!(server.requests().is_empty(), "a token went to a server without a valid certificate");
}

/// P3
#[test]
fn the_environment_cannot_add_trusted_authorities() {
    if !is_possible() {
        return support::skip("the_environment_cannot_add_trusted_authorities", "needs nginx and openssl");
    }
    let (home, authority, server, nginx) = scene("");
    let send = |file: &std::path::Path| {
        let mut command = home.command(&["send"]);
        let directory = file.parent().expect("it is in one");
        command.env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", directory).output().expect("the program starts")
    };
    home.configure(&ntfy("localhost", nginx.ports[0], ""));
    assert_kept(&home, &send(&authority.pair.certificate), UNKNOWN);
    assert!(server.requests().is_empty());
    home.configure(&ntfy("localhost", nginx.ports[0], &trusting(&authority)));
    home.queue().end_waits();
    send(&home.at("nothing/there.pem")).succeeds();
    assert_eq!(server.requests().len(), 1);
}

/// P4
#[test]
fn an_unusable_ca_file_stops_only_targets_with_https() {
    if !is_possible() {
        let test = "an_unusable_ca_file_stops_only_targets_with_https";
        return support::skip(test, "needs nginx and openssl");
    }
    let (home, authority, server, nginx) = scene("");
    fs::write(home.at("empty.pem"), "").expect("a file");
    mkfifo(&home.at("fifo.pem"), Mode::from_bits_truncate(0o644)).expect("its place is free");
    fs::set_permissions(&authority.pair.key, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let plain = Server::well();
    for (file, why) in [
        (home.at("missing.pem"), "No such file or directory (os error 2)"),
        (home.at("empty.pem"), "it holds no certificate"),
        (home.at("fifo.pem"), "not a regular file"),
        (authority.pair.key.clone(), "it holds no certificate"),
    ] {
        home.configure(&format!(
            "[network]\nca_file = \"{}\"\n[notification]\nservice = [\"discord\", \"ntfy\"]\n\
             [notification.discord]\nwebhook_url = \"https://localhost:{}/api/webhooks/1/s3cret\"\n{}",
            file.display(),
            nginx.ports[0],
            plain.ntfy()
        ));
        home.login(&format!("user of {}", file.display()));
        let output = home.send();
        let expected = format!("cannot use network.ca_file {}: {why}\n", file.display());
        assert!(output.fails().stderr().ends_with(&expected), "{output:?}");
    }
    assert_eq!((plain.requests().len(), server.requests().len()), (4, 0));
    let status = home.status();
    assert!(status.contains("discord: 5 pending, 0 dead") && status.contains("ntfy: 0 pending, 0 dead"), "{status}");
}

/// P2, P4
#[test]
fn a_server_that_does_not_finish_the_handshake_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let home = Home::new(&ntfy("localhost", port, "").replace("timeout = 5", "timeout = 1"));
    home.login("amanda");
    let answers: [&[u8]; 2] = [b"", b"HTTP/1.1 400 Bad Request\r\n\r\nplain HTTP here\r\n"];
    let serving = thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(answer).expect("it reads");
            hold(&mut stream);
        }
    });
    for expected in [
        "no answer in time: the server accepted the connection, then sent nothing more",
        "TLS failed: the server does not speak TLS on this port: correct the port, or write http:// \
         instead of https://",
    ] {
        let start = Instant::now();
        let output = home.send();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_kept(&home, &output, expected);
        home.queue().forget_failures();
    }
    serving.join().expect("both were served");
}

/// P2
#[test]
fn an_answer_counts_even_without_a_close_notify_of_tls() {
    const SERVE: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
for answer in [b'HTTP/1.1 200 OK\\r\\nX', b'', b'HTTP/1.1 200 OK\\r\\n\\r\\n{\"id\":\"1\"}']:
    stream = context.wrap_socket(listener.accept()[0], server_side=True)
    stream.recv(65536)
    stream.sendall(answer)
    socket.socket(fileno=stream.detach()).close()
";
    if !is_possible() || !support::has("python3") {
        let test = "an_answer_counts_even_without_a_close_notify_of_tls";
        return support::skip(test, "needs openssl and python3");
    }
    let home = Home::as_installed("");
    let authority = Authority::new(&home, "authority");
    let Pair { certificate, key } = authority.issue("good", GOOD, PAST, END);
    let mut command = Command::new("python3");
    command.args(["-c", SERVE]).arg(certificate).arg(key).stdout(Stdio::piped());
    let mut server = Process(command.spawn().expect("python3 was there"));
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().expect("it is piped")).read_line(&mut port).expect("it says its port");
    let port = port.trim().parse().expect("a number");
    home.configure(&ntfy("localhost", port, &trusting(&authority)));
    home.login("amanda");
    for _ in 0..2 {
        assert_kept(&home, &home.send(), "the server closed the connection early");
        home.queue().forget_failures();
    }
    home.send().succeeds();
    assert!(server.0.wait().is_ok_and(|status| status.success()));
}
