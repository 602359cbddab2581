//! Hostile and broken servers: `send` ends in time, keeps the event, names the cause, and leaks no secret.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::home::{Home, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::{Request, Server, hold, reply};
use crate::support::{has_mount_namespaces, skip};

/// `network.timeout`, and the time that `send` may take beyond it.
const TIMEOUT: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_secs(2);

/// Secrets that only a request may have: the token, the topic and the webhook.
const SECRETS: [&str; 3] = ["tk_0123456789abcdef", "a-topic-nobody-knows", "W3bh00k-t0ken"];

/// Makes a host with one ntfy target with a token, and one pending login.
fn home(origin: &str) -> Home {
    let [token, topic, _] = SECRETS;
    let home = Home::new(&format!(
        "[network]\ntimeout = {}\n[notification]\nservice = \"ntfy\"\n[notification.ntfy]\n\
         topic_url = \"{origin}/{topic}\"\ntoken = \"{token}\"\n",
        TIMEOUT.as_secs()
    ));
    home.login("amanda");
    home
}

fn origin(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port)
}

/// Runs `send`, which must end in time.
fn send(home: &Home) -> Output {
    in_time(|| home.send())
}

fn in_time(run: impl FnOnce() -> Output) -> Output {
    let start = Instant::now();
    let output = run();
    let took = start.elapsed();
    assert!(took <= TIMEOUT + MARGIN, "{took:?}: {output:?}");
    output
}

/// Checks that the event is pending, that the only message has one of these texts (separated by `|`), and that no
/// secret leaked.
fn assert_kept(home: &Home, output: &Output, expected: &str) {
    let errors = output.fails().stderr();
    assert!(expected.split('|').any(|expected| errors.contains(expected)), "without {expected}: {errors}");
    assert!(errors.starts_with("ssh-session-notifier: ntfy: ") && errors.lines().count() == 1, "{errors}");
    let status = home.status();
    assert!(status.starts_with("ntfy: 1 pending, 0 dead, never worked; next try in "), "{status}");
    assert_secret(home, &[&errors, &status]);
}

/// P7
fn assert_secret(home: &Home, texts: &[&str]) {
    let mut seen = texts.join("\n").into_bytes();
    for file in fs::read_dir(home.at("state")).expect("a directory").flatten() {
        seen.extend(fs::read(file.path()).expect("a file"));
    }
    let seen = String::from_utf8_lossy(&seen);
    // Not even a part of a secret may leak.
    for secret in SECRETS {
        assert!(!seen.contains(&secret[..10]), "{secret} is in {}", texts.join("\n"));
    }
}

/// Checks the error of `send` with a server that answers in this way.
fn assert_survives(expected: &str, answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) {
    let server = Server::new(move |_, _, stream| answer(stream));
    let home = home(&origin(&server));
    let output = send(&home);
    assert_kept(&home, &output, expected);
    assert_eq!(server.requests().len(), 1);
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

/// Writes bytes and closes the connection.
fn only(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = write(stream, bytes);
}

/// Writes a byte every fifth of a second, so that a timeout for each read would never expire.
fn dribble(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if !write(stream, &[*byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_server_that_never_answers_times_out() {
    assert_survives("no answer in time", hold);
}

#[test]
fn a_server_that_answers_a_byte_at_a_time_times_out() {
    assert_survives("no answer in time", |stream| dribble(stream, b"HTTP/1.1 200 OK "));
    assert_survives("no answer in time", |stream| {
        let _ = write(stream, b"HTTP/1.1 200 OK\r\n") && write(stream, b"Content-Length: 100000\r\n\r\n");
        dribble(stream, b"{");
    });
}

/// P6
#[test]
fn an_endless_answer_is_read_only_up_to_a_limit() {
    assert_survives("HTTP 200, but not the service's answer|longer than 256 KiB", |stream| {
        let _ = write(stream, b"HTTP/1.1 200 OK\r\n\r\n");
        while write(stream, &[b' '; 4096]) {}
    });
    assert_survives("HTTP 200, but not the service's answer|longer than 256 KiB", |stream| {
        let _ = write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while write(stream, b"10\r\n                \r\n") {}
    });
    assert_survives("not a proper HTTP answer|longer than 256 KiB", |stream| {
        let _ = write(stream, b"HTTP/1.1 200 OK\r\nX: ");
        while write(stream, &[b'x'; 4096]) {}
    });
    assert_survives("not a proper HTTP answer|longer than 256 KiB", |stream| while write(stream, &[b'x'; 4096]) {});
    assert_survives("HTTP 100|longer than 256 KiB", |stream| while write(stream, b"HTTP/1.1 100 Continue\r\n\r\n") {});
}

/// P4, P6: minreq reads these without a limit.
#[test]
fn endless_headers_and_trailers_are_an_error_of_the_target() {
    // One byte short of minreq's limit and ended by LF alone, which makes it lose count.
    assert_survives("longer than 256 KiB|not a proper HTTP answer", |stream| {
        let _ = write(stream, b"HTTP/1.1 200 OK\r\n") && write(stream, &[b'x'; 8 * 1024 - 1]) && write(stream, b"\n");
        while write(stream, &b"abcdefg: hijklmn\n".repeat(200)) {}
    });
    assert_survives("longer than 256 KiB|not a proper HTTP answer", |stream| {
        let _ = write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
        while write(stream, &b"abcdefg: hijklmn\r\n".repeat(200)) {}
    });
}

/// P2
#[test]
fn endless_headers_keep_the_event_however_long_each_line_is() {
    for length in 1..=40 {
        let line = "x".repeat(length - 1) + ":\n";
        let server = Server::new(move |_, _, stream| {
            let _ = write(stream, b"HTTP/1.1 200 OK\r\n");
            while write(stream, line.repeat(100).as_bytes()) {}
        });
        let home = home(&origin(&server));
        // A line of a certain length makes minreq forget its limit. The process then dies at its memory limit,
        // without a message.
        let output = send(&home);
        output.check(!output.status.success(), "no failure");
        assert!(home.status().starts_with("ntfy: 1 pending, 0 dead, never worked"), "{length}");
    }
}

#[test]
fn a_connection_closed_before_the_answer_is_reported_as_such() {
    let rows: [&[u8]; 3] = [b"", b"HTTP/1.1", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"];
    for row in rows {
        assert_survives("the server closed the connection or does not speak HTTP", |stream| only(stream, row));
    }
}

#[test]
fn an_answer_that_contradicts_itself_keeps_the_event() {
    let rows: [(&str, &[u8]); 7] = [
        ("not the service's answer", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"id\":\"1\"}"),
        ("not the service's answer", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"i"),
        ("not a proper HTTP answer", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{\"id\":\"1\"}"),
        ("not a proper HTTP answer", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n{}"),
        ("not a proper HTTP answer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{\"id\":\"1\"}\r\n"),
        ("not a proper HTTP answer", b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\n\r\n{\"id\":\"1\"}"),
        ("not the service's answer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{"),
    ];
    for (expected, answer) in rows {
        assert_survives(expected, |stream| only(stream, answer));
    }
}

/// P2
#[test]
fn an_unusual_but_complete_answer_is_accepted() {
    let rows: [&[u8]; 6] = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"id\":\"1\"}",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
          HTTP/1.1 200 OK\r\n\r\n{\"id\":\"1\"}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n{\"id\"\r\n5\r\n:\"1\"}\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n{\"id\":\"1\"}",
        b"HTTP/1.1 200\ncontent-length:10\n\n{\"id\":\"1\"}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"id\":\"1\"}",
    ];
    for answer in rows {
        // One server closes the connection after its answer, the other doesn't.
        for closes in [true, false] {
            let server = Server::new(move |_, _, stream| {
                let _ = write(stream, answer);
                if !closes {
                    hold(stream);
                }
            });
            let home = home(&origin(&server));
            send(&home).when(String::from_utf8_lossy(answer)).succeeds();
            assert_eq!(server.requests().len(), 1);
        }
    }
}

/// P7
#[test]
fn no_redirect_is_followed() {
    let elsewhere = Server::well();
    let locations =
        [origin(&elsewhere), format!("{}/mytopic", origin(&elsewhere)), "file:///etc/passwd".into(), "/".into()];
    for status in [301, 302, 303, 307, 308] {
        for location in &locations {
            let header = format!("Location: {location}\r\n");
            assert_survives("redirects are not followed", move |stream| {
                reply(stream, status, &header, r#"{"id":"1"}"#);
            });
        }
    }
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());
}

/// P2
#[test]
fn the_page_of_a_captive_portal_does_not_count_as_a_delivery() {
    for page in ["<html>Welcome! Please log in.</html>", "  <!DOCTYPE html>", "id", r#"{"ok":tr"#] {
        assert_survives("HTTP 200, but not the service's answer", |stream| {
            reply(stream, 200, "Content-Type: text/html\r\n", page);
        });
    }
}

/// P4
#[test]
fn any_successful_answer_of_a_relay_counts_as_a_delivery() {
    for (status, body) in [(204, ""), (200, ""), (202, "{}"), (200, r#"{"ok":true}"#), (201, r#"["id"]"#)] {
        let server = Server::new(move |_, _, stream| reply(stream, status, "Content-Type: text/html\r\n", body));
        let home = home(&origin(&server));
        for _ in 0..2 {
            send(&home).when(body).succeeds();
        }
        assert_eq!(server.requests().len(), 1, "{status} {body}");
    }
}

/// P3, P7
#[test]
fn a_servers_text_is_shown_on_one_line_without_our_secrets() {
    let [token, topic, webhook] = SECRETS;
    // The secret is where the text is cut.
    let long = "x".repeat(240);
    let echo = format!(
        "{{\"error\":\"no {topic}\\n\u{1b}[31m {token}\u{202e} {long}{token}\",\
         \"message\":\"{long}/1/{webhook}/ {webhook}\"}}"
    );
    let server = Server::new(move |_, _, stream| reply(stream, 403, "", &echo));
    let home = home(&origin(&server));
    let output = send(&home);
    assert_kept(&home, &output, "ntfy: HTTP 403: no …");
    assert!(!output.stderr().contains('\u{1b}'));
    home.configure(&format!(
        "[notification]\nservice = \"discord\"\n[notification.discord]\n\
         webhook_url = \"{}/api/webhooks/1/{webhook}/\"\n",
        origin(&server)
    ));
    let _ = home.send();
    home.login("bob");
    let output = send(&home);
    output.fails().says("discord: HTTP 403: xxx");
    assert_secret(&home, &[&output.stderr(), &home.status()]);
}

/// P3, P7
#[test]
fn syslog_gets_one_line_without_our_secrets() {
    if !has_mount_namespaces() {
        return skip("syslog_gets_one_line_without_our_secrets", "needs root and mount namespaces");
    }
    let [token, ..] = SECRETS;
    let echo = format!("{{\"error\":\"<0>su: {token}\\nNov 24 root: {token}\"}}");
    let server = Server::new(move |_, _, stream| reply(stream, 401, "", &echo));
    let home = home(&origin(&server));
    let syslog = Syslog::listen(&home);
    let output = in_time(|| home.command_in_own_dev(":", &["send"]).output().expect("unshare starts"));
    assert_kept(&home, &output, "ntfy: HTTP 401: <0>su: …");
    let lines = syslog.lines();
    assert!(lines.starts_with("<35>ssh-session-notifier[") && lines.lines().count() == 1, "{lines}");
    assert_secret(&home, &[&lines]);
}

/// P2, P4
#[test]
fn a_run_ends_within_fifty_seconds_whatever_the_server_does() {
    // The server asks for a second's pause again and again, then hangs.
    let start = Instant::now();
    let server = Server::new(move |_, _: &Request, stream: &mut TcpStream| {
        if start.elapsed() < Duration::from_secs(40) {
            return reply(stream, 429, "Retry-After: 0\r\n", "");
        }
        hold(stream);
    });
    let home = Home::new(&format!("[network]\ntimeout = 45\n[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
    home.login("amanda");
    let start = Instant::now();
    let output = home.send();
    let took = start.elapsed();
    // The request is given up before fifty seconds, so that there is time to record the outcome.
    assert!(took > Duration::from_secs(40) && took < Duration::from_secs(50), "{took:?} {output:?}");
    let count = server.requests().len();
    assert!(count < 60, "{count} requests");
    assert!(home.status().starts_with("ntfy: 1 pending, 0 dead, never worked"));
}
