//! Mail servers that misbehave, and attackers on the way: no password leaks, and nothing hangs.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::smtp::email;

/// The output of `printf '\0amanda\0s3cret-word' | base64`.
const PLAIN: &str = "AGFtYW5kYQBzM2NyZXQtd29yZA==";

/// Plays one conversation. Each row has the beginning of the client's next line, and the answer. Returns the port
/// and, once the client has gone, everything that it said.
fn play(script: &'static [(&'static str, &'static [u8])]) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut text = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        for (expected, answer) in script {
            if !expected.is_empty() && !heard(&mut reader, &mut text, expected) {
                break;
            }
            if (&stream).write_all(answer).is_err() {
                break;
            }
        }
        while heard(&mut reader, &mut text, "") {}
        let _ = sender.send(text);
    });
    (port, receiver)
}

/// Reads a line into `received`. Returns whether it begins as expected.
fn heard(reader: &mut BufReader<TcpStream>, received: &mut String, expected: &str) -> bool {
    let mut line = Vec::new();
    let length = reader.read_until(b'\n', &mut line).unwrap_or(0);
    let line = String::from_utf8_lossy(&line);
    received.push_str(&line);
    length > 0 && line.starts_with(expected)
}

/// Sends one notice to a server that plays this script. Returns our messages, what the client said, and the time.
fn send(script: &'static [(&'static str, &'static [u8])], settings: &str) -> (String, String, Duration) {
    let (port, received) = play(script);
    let home = Home::as_installed("");
    let settings = format!("server = \"127.0.0.1:{port}\"\n{settings}");
    home.configure(&email(&settings, "").replace("timeout = 5", "timeout = 2"));
    home.login("amanda");
    let start = Instant::now();
    let output = home.send();
    let took = start.elapsed();
    output.fails().says("everything is kept");
    assert!(home.status().starts_with("email: 1 pending, 0 dead"), "{}", home.status());
    (output.stderr(), received.recv_timeout(Duration::from_secs(20)).expect("the client has gone"), took)
}

const LOGIN: &str = "user = \"amanda\"\npassword = \"s3cret-word\"\n";

/// P7
#[cfg(feature = "tls")]
#[test]
fn an_attacker_on_the_way_can_neither_strip_tls_nor_inject_replies_before_it() {
    let hello: &[u8] = b"250-mail.example\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n";
    let stripped: &'static [(&str, &[u8])] =
        &[("", b"220 mail.example\r\n"), ("EHLO ", b"250-mail.example\r\n250-AUTH PLAIN LOGIN\r\n250 XXXXXXXA\r\n")];
    let refused: &'static [(&str, &[u8])] = Box::leak(Box::new([
        ("", &b"220 mail.example\r\n"[..]),
        ("EHLO ", hello),
        ("STARTTLS", b"454 4.7.0 TLS not available\r\n"),
    ]));
    let injected: &'static [(&str, &[u8])] = Box::leak(Box::new([
        ("", &b"220 mail.example\r\n"[..]),
        ("EHLO ", hello),
        ("STARTTLS", b"220 go ahead\r\n250-mail.example\r\n250 AUTH PLAIN\r\n235 welcome\r\n250 ok\r\n"),
    ]));
    let early: &'static [(&str, &[u8])] =
        &[("", b"220 mail.example\r\n250 STARTTLS\r\n220 go ahead\r\n235 welcome\r\n"), ("EHLO ", b"")];
    for (script, why) in [
        (stripped, "the server does not offer STARTTLS, or somebody in between hides it, so nothing was sent"),
        (refused, "SMTP 454 to STARTTLS: 4.7.0 TLS not available"),
        (injected, "somebody in between injected a reply before TLS, so nothing was sent"),
        (early, "the server sent an unexpected reply"),
    ] {
        let (stderr, received, _) = send(script, &format!("tls = \"starttls\"\n{LOGIN}"));
        assert!(stderr.contains(&format!("email: {why}")), "{stderr}");
        assert!(!received.contains("AUTH") && !received.contains(PLAIN) && !received.contains("MAIL"), "{received}");
        assert!(!received.contains("amanda"), "{received}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_port_without_implicit_tls_is_named_as_the_cause() {
    let (stderr, received, _) = send(&[("", b"220 mail.example\r\n")], &format!("tls = \"implicit\"\n{LOGIN}"));
    assert!(
        stderr.contains("does not speak TLS on this port: correct the port, or set tls = \"starttls\""),
        "{stderr}"
    );
    assert!(!received.contains("EHLO"), "{received}");
}

/// P8
#[test]
fn a_server_that_sends_a_byte_now_and_then_times_out() {
    // Digits of a reply, or a TLS record that announces a long body.
    let rows: &[(&str, &'static [u8])] = &[("none", b"2"), ("implicit", b"\x16\x03\x03\x40\x00")];
    for (tls, first) in rows.iter().take(if cfg!(feature = "tls") { 2 } else { 1 }) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.write_all(first);
            while stream.write_all(b"2").is_ok() {
                thread::sleep(Duration::from_millis(200));
            }
        });
        let home = Home::as_installed("");
        let settings = format!("server = \"127.0.0.1:{port}\"\ntls = \"{tls}\"");
        home.configure(&email(&settings, "").replace("timeout = 5", "timeout = 1"));
        home.login("amanda");
        let start = Instant::now();
        let output = home.send();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        output.fails().says("everything is kept");
        serving.join().expect("the client has gone");
    }
}

/// P8
#[test]
fn silent_endless_and_other_than_smtp_servers_are_given_up_in_time_with_the_cause() {
    let hello: (&str, &[u8]) = ("EHLO ", b"250 mail.example\r\n");
    let greeting: (&str, &[u8]) = ("", b"220 mail.example\r\n");
    let leak = |script: &[(&'static str, &'static [u8])]| -> &'static [(&'static str, &'static [u8])] {
        Box::leak(script.to_vec().into_boxed_slice())
    };
    let endless: &'static [u8] = Box::leak(b"220-welcome\r\n".repeat(100_000).into_boxed_slice());
    let line: &'static [u8] = Box::leak([&b"220 "[..], &b"x".repeat(1_000_000)].concat().into_boxed_slice());
    for (script, why) in [
        (leak(&[]), "no greeting: no answer in time; if this port wants TLS at once, set tls = \"implicit\""),
        (leak(&[("", b"HTTP/1.1 400 Bad Request\r\n\r\n")]), "no greeting: the server does not speak SMTP"),
        (leak(&[("", b"SSH-2.0-OpenSSH_9.2\r\n")]), "no greeting: the server does not speak SMTP"),
        (leak(&[("", endless)]), "no greeting: the server's reply is too long"),
        (leak(&[("", line)]), "no greeting: the server's reply is too long"),
        (
            leak(&[("", b"554 5.7.1 not you\x1b[31m\r\n")]),
            "SMTP 554 to the connection: 5.7.1 not you\u{fffd}[31m; it refuses",
        ),
        (leak(&[("", b"421 busy\r\n")]), "SMTP 421 to the connection: busy; everything"),
        (leak(&[greeting]), "no answer to EHLO: no answer in time"),
        (leak(&[greeting, ("EHLO ", b"502 no EHLO here\r\n")]), "SMTP 502 to EHLO: no EHLO here; it refuses to talk"),
        (leak(&[greeting, hello]), "no answer to MAIL FROM: no answer in time"),
        (
            leak(&[greeting, hello, ("MAIL FROM:<router@host.example>", b"250 ok\r\n250 ok\r\n250 ok\r\n")]),
            "the server sent an unexpected reply",
        ),
        (
            leak(&[
                greeting,
                hello,
                ("MAIL", b"250 ok\r\n"),
                ("RCPT", b"250 ok\r\n"),
                ("RCPT", b"251 ok\r\n"),
                ("DATA", b"250 ok\r\n"),
            ]),
            "SMTP 250 to DATA: ok",
        ),
        (
            leak(&[
                greeting,
                hello,
                ("MAIL", b"250 ok\r\n"),
                ("RCPT", b"250 ok\r\n"),
                ("RCPT", b"250 ok\r\n"),
                ("DATA", b"503 5.5.1 no\r\n"),
            ]),
            "SMTP 503 to DATA: 5.5.1 no; ask the server's administrator",
        ),
    ] {
        let (stderr, _, took) = send(script, "");
        assert!(stderr.contains(&format!("email: {why}")), "{why}: {stderr}");
        assert!(took < Duration::from_secs(10), "{why}: {took:?}");
    }
}

/// P7
#[test]
fn a_password_that_the_server_repeats_is_not_shown() {
    let (stderr, received, _) = send(
        &[
            ("", b"220 mail.example\r\n"),
            ("EHLO ", b"250-mail.example\r\n250 AUTH=PLAIN\r\n"),
            ("AUTH PLAIN ", b"501 bad: s3cret-word czNjcmV0LXdvcmQ= AGFtYW5kYQBzM2NyZXQtd29yZA==\r\n"),
        ],
        LOGIN,
    );
    assert!(received.contains(PLAIN), "{received}");
    assert!(stderr.contains("email: SMTP 501 to AUTH: bad: … … …; it does not accept"), "{stderr}");
}
