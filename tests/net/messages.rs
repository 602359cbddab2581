//! The errors that an operator reads when a setting is wrong, with a real nginx: request, cause and remedy. The event
//! is kept each time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::support;
use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Server, hold};
use crate::support::tls::{Authority, END, Nginx, PAST, Pair, Process, is_possible, ntfy, trusting};
use crate::support::wait_for;
use crate::tls::GOOD;

/// How a target reaches a server, the server's block in nginx.conf, and the error.
struct Row {
    scheme: &'static str,
    token: &'static str,
    block: String,
    expected: &'static str,
}

fn row(scheme: &'static str, block: &str, expected: &'static str) -> Row {
    Row { scheme, token: "", block: block.into(), expected }
}

/// `TLS` stands for nginx's TLS settings, `ROOT` for the test's directory.
fn rows(upstream: u16, silent: u16) -> Vec<Row> {
    let well = format!("location / {{ proxy_pass http://127.0.0.1:{upstream}; }}");
    let with = |settings: &str| format!("{settings} {well}");
    let locked = with("auth_basic x; auth_basic_user_file ROOT/users;");
    let wrong = "it does not accept the token, or the name and password: set the right ones";
    vec![
        row("http", &with("TLS"), "HTTP 400 (POST http://HOST/); write https:// instead of http:// in the address"),
        row(
            "https",
            &well,
            "TLS failed: the server does not speak TLS on this port: correct the port, or write http:// instead of \
             https:// (POST https://HOST)",
        ),
        row(
            "https",
            &with("TLS ssl_verify_client on; ssl_client_certificate ROOT/authority/ca.pem;"),
            "HTTP 400 (POST https://HOST/); it wants a client certificate, which this program does not have: let this \
             host in without one",
        ),
        row(
            "https",
            "TLS ssl_reject_handshake on;",
            "TLS failed: the server does not know this host name: check the address (POST https://HOST)",
        ),
        row(
            "http",
            &with("client_max_body_size 10;"),
            "HTTP 413 (POST http://HOST/); a server in between does not accept a message of this size: raise its \
             limit (nginx: client_max_body_size)",
        ),
        row(
            "http",
            "location / { return 301 https://$http_host$request_uri; }",
            "HTTP 301 (POST http://HOST/); write https:// instead of http:// in the address",
        ),
        row(
            "http",
            "location / { return 308 https://elsewhere.example/x; }",
            "HTTP 308 (POST http://HOST/); redirects are not followed; this one leads to https://elsewhere.example/x: \
             write that address if you know it",
        ),
        row(
            "http",
            &locked,
            "HTTP 401 (POST http://HOST/…); it wants a token, or a name and a password, but none is set",
        ),
        Row { token: "anna:wr0ng", ..row("http", &locked, wrong) },
        Row { token: "tk_wr0ng", ..row("http", &locked, wrong) },
        row("http", &with("deny all;"), "HTTP 403 (POST http://HOST/…); it does not allow posting without a token"),
        Row {
            token: "tk_1",
            ..row("http", &with("deny all;"), "the token is not allowed to post there: check its rights")
        },
        row("http", "location / { return 404; }", "HTTP 404 (POST http://HOST/…); nothing is there: check the address"),
        row("http", "root ROOT;", "HTTP 405 (POST http://HOST/…); that address does not accept messages: check it"),
        row("http", "location / { return 429; }", "HTTP 429; everything is kept and retried in 1 min"),
        row(
            "http",
            "location / { return 444; }",
            "the server closed the connection or does not speak HTTP (POST http://HOST)",
        ),
        row(
            "http",
            "location / { proxy_pass http://127.0.0.1:9; }",
            "HTTP 502 (POST http://HOST/); the server behind that one does not answer: wait, or check it",
        ),
        row(
            "http",
            &format!("location / {{ proxy_pass http://127.0.0.1:{silent}; }}"),
            "no answer in time: the server accepted the connection, then sent nothing more (POST http://HOST)",
        ),
    ]
}

/// P2, P4, P7
#[test]
fn errors_from_a_real_nginx_are_reported_with_request_cause_and_remedy() {
    let test = "errors_from_a_real_nginx_are_reported_with_request_cause_and_remedy";
    if !is_possible() {
        return support::skip(test, "needs nginx and openssl");
    }
    let home = Home::as_installed("");
    let authority = Authority::new(&home, "authority");
    let Pair { certificate, key } = authority.issue("good", GOOD, PAST, END);
    let tls = format!("ssl_certificate {}; ssl_certificate_key {};", certificate.display(), key.display());
    fs::write(home.at("users"), "anna:{PLAIN}s3cret\n").expect("a file");
    fs::write(home.at("mytopic"), "It works!").expect("a file");
    let (upstream, silent) = (Server::well(), Server::new(|_, _, stream| hold(stream)));
    let rows = rows(upstream.port, silent.port);
    let held: Vec<_> = rows.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a loopback port")).collect();
    let ports: Vec<u16> = held.iter().map(|port| port.local_addr().expect("it is bound").port()).collect();
    drop(held);
    let block = |(row, port): (&Row, &u16)| {
        let listen = if row.block.contains("TLS") { "ssl" } else { "" };
        let block = row.block.replace("TLS", &tls).replace("ROOT", &home.at("").display().to_string());
        format!("server {{ listen 127.0.0.1:{port} {listen}; {block} }}\n")
    };
    let blocks = rows.iter().zip(&ports).map(block).collect::<Vec<_>>().concat();
    let _nginx = Nginx::start(&home, upstream.port, &blocks, &[]);
    home.login("amanda");
    for (row, port) in rows.iter().zip(&ports) {
        assert!(wait_for(|| TcpStream::connect(("127.0.0.1", *port)).is_ok()), "nginx listens");
        let Row { scheme, token, expected, .. } = row;
        home.configure(&format!(
            "[network]\ntimeout = 2\n{}\n[notification]\nservice = \"ntfy\"\n[notification.ntfy]\n\
             topic_url = \"{scheme}://localhost:{port}/mytopic\"\ntoken = \"{token}\"\n",
            trusting(&authority)
        ));
        let output = home.send();
        home.queue().forget_failures();
        output.fails().says(&expected.replace("HOST", &format!("localhost:{port}")));
        output.says("; everything is kept and retried in ");
        assert!(!["wr0ng", "mytopic"].iter().any(|secret| output.stderr().contains(secret)), "{output:?}");
        let status = home.status();
        assert!(status.starts_with("ntfy: 1 pending, 0 dead"), "{expected}: {status}");
    }
    assert_eq!(upstream.requests().len(), 0, "a request got through");
    // The remedy works.
    let locked = rows.iter().position(|row| row.token == "anna:wr0ng").expect("it is there");
    home.configure(&format!(
        "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://localhost:{}/mytopic\"\n\
         token = \"anna:s3cret\"\n",
        ports[locked]
    ));
    home.send().succeeds();
    assert_eq!(upstream.requests().len(), 1);
}

/// A strict server ends the handshake; nginx answers with a page instead.
#[test]
fn a_server_that_wants_a_client_certificate_is_reported_as_such() {
    const SERVE: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_REQUIRED
context.minimum_version = context.maximum_version = ssl.TLSVersion[sys.argv[4]]
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
try:
    context.wrap_socket(listener.accept()[0], server_side=True)
except ssl.SSLError:
    pass
";
    if !is_possible() || !support::has("python3") {
        return support::skip(
            "a_server_that_wants_a_client_certificate_is_reported_as_such",
            "needs nginx, openssl and python3",
        );
    }
    for (version, expected) in [
        (
            "TLSv1_3",
            "TLS failed: the server wants a client certificate, which this program does not have: let this host in",
        ),
        ("TLSv1_2", "TLS failed: the server refuses the handshake (HandshakeFailure): perhaps it accepts none of the "),
    ] {
        let home = Home::as_installed("");
        let authority = Authority::new(&home, "authority");
        let Pair { certificate, key } = authority.issue("good", GOOD, PAST, END);
        let mut command = Command::new("python3");
        command.args(["-c", SERVE]).arg(certificate).arg(key).arg(&authority.pair.certificate).arg(version);
        let mut server = Process(command.stdout(Stdio::piped()).spawn().expect("python3 was there"));
        let mut port = String::new();
        BufReader::new(server.0.stdout.take().expect("it is piped")).read_line(&mut port).expect("it prints its port");
        home.configure(&ntfy("localhost", port.trim().parse().expect("a number"), &trusting(&authority)));
        home.login("amanda");
        home.send().fails().says(expected);
        assert!(home.status().starts_with("ntfy: 1 pending, 0 dead"), "{}", home.status());
    }
}
