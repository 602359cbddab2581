//! The relay between us and minreq: a loopback socket that any local user can reach, with limits on everything that
//! passes through it.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::home::{Home, STDOUT};
use crate::support::network::{alone, has_networks};
use crate::support::outcome::Outcome;
use crate::support::server::{Answer, Server, hold, reply, taken};
use crate::support::{cost, inject, program, skip, wait_for};

/// What an attacker does with a connection.
#[derive(Clone, Copy, Debug)]
enum Knock {
    Silent,
    Begin,
    Nonsense,
    HangUp,
}

/// Finds a listening loopback port of this network other than this one.
fn other_listener(port: u16) -> Option<u16> {
    // This thread's network; /proc/net would be the process's.
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("/proc");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, found) = fields[1].split_once(':')?;
        let found = u16::from_str_radix(found, 16).ok()?;
        (address == "0100007F" && fields[3] == "0A" && found != port).then_some(found)
    })
}

/// Connects to the relay this often, as soon as it is there. Returns whether all connections came before the delivery.
fn knock(server: &Server, how: Knock, count: usize, is_over: &AtomicBool) -> bool {
    let port = loop {
        if is_over.load(Ordering::Relaxed) {
            return false;
        }
        if let Some(port) = other_listener(server.port) {
            break port;
        }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut held = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) else { break };
        match how {
            Knock::HangUp => continue,
            Knock::Silent => {}
            Knock::Begin => drop(stream.write_all(b"CONNECT ")),
            Knock::Nonsense => drop(stream.write_all(b"CONNECT a:1 HTTP/1.1\r\n\r\n")),
        }
        held.push(stream);
    }
    let is_first = server.requests().is_empty();
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5));
    }
    is_first
}

/// P3: and can't end the run either.
#[test]
fn a_local_user_who_floods_the_relay_delays_no_notice() {
    let test = "a_local_user_who_floods_the_relay_delays_no_notice";
    if !has_networks() || !inject::is_possible() {
        return skip(test, "needs root, iproute2, network namespaces and strace");
    }
    for how in [Knock::Silent, Knock::Begin, Knock::Nonsense, Knock::HangUp] {
        // strace delays minreq, so that the attacker connects first.
        let is_met = (0..5).any(|_| {
            alone(|| {
                let server = Server::well();
                let home = Home::new(&format!("[notification]\nservice = \"ntfy\"\n{}", server.ntfy()));
                home.login("amanda");
                let is_over = AtomicBool::new(false);
                thread::scope(|scope| {
                    let crowd = scope.spawn(|| knock(&server, how, 65, &is_over));
                    let strace = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=connect", "-e"];
                    let strace = [&strace[..], &["inject=connect:delay_enter=300000"]].concat();
                    let output = cost::behind(&strace, &home.command(&["send"])).output().expect("strace was there");
                    is_over.store(true, Ordering::Relaxed);
                    output.when(format!("{how:?}")).succeeds();
                    assert_eq!(server.requests().len(), 1, "{how:?}");
                    crowd.join().expect("it ends")
                })
            })
        });
        assert!(is_met, "{how:?}: the attacker was never first");
    }
}

/// P4
#[test]
fn an_answer_counts_even_if_the_server_has_not_read_the_request() {
    for closes in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let home = Home::new(&format!(
            "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://127.0.0.1:{port}/mytopic\"\n"
        ));
        home.login("amanda");
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            reply(&mut stream, 401, "", r#"{"code":40101,"error":"unauthorized"}"#);
            if closes {
                // Closing with an unread request sends a reset, which must not overtake the answer.
                let mut peeked = [0];
                let _ = stream.peek(&mut peeked);
            } else {
                hold(&mut stream);
            }
        });
        home.send().when(closes).fails().says("ntfy: HTTP 401: unauthorized");
        serving.join().expect("it has answered");
        assert!(home.status().starts_with("ntfy: 1 pending, 0 dead"), "{}", home.status());
    }
}

/// Makes a host with nothing to send and a heartbeat to request.
fn beating(monitor: &Server) -> Home {
    Home::new(&format!(
        "{STDOUT}[network]\ntimeout = 2\nheartbeat_url = \"http://127.0.0.1:{}/s3cret\"\n",
        monitor.port
    ))
}

fn endless(stream: &mut TcpStream, head: &[u8], rest: &[u8]) {
    let rest = rest.repeat(200);
    if stream.write_all(head).is_ok() {
        while stream.write_all(&rest).is_ok() {}
    }
}

/// P6, P8
#[test]
fn an_endless_answer_of_a_monitor_costs_neither_time_nor_memory() {
    let rows: [&Answer; 6] = [
        &|_, _, stream| {
            let head = [&b"HTTP/1.1 200 OK\r\n"[..], &[b'x'; 8 * 1024 - 1], b"\n"].concat();
            endless(stream, &head, b"abcdefg: hijklmn\n");
        },
        &|_, _, stream| {
            endless(stream, b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"abcdefg: hijklmn\r\n");
        },
        &|_, _, stream| endless(stream, b"HTTP/1.1 500 No\r\n\r\n", b"                "),
        &|_, _, stream| endless(stream, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        &|_, _, stream| hold(stream),
        &|_, _, stream| {
            while stream.write_all(b"H").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        },
    ];
    for (number, answer) in rows.into_iter().enumerate() {
        let monitor = Server::new(answer);
        let home = beating(&monitor);
        let memory = home.at("memory").display().to_string();
        let mut command = cost::behind(&["/usr/bin/time", "-f", "%M", "-o", &memory], &home.command(&["send"]));
        let is_measured = Path::new("/usr/bin/time").exists() && program().len() == 1;
        let start = Instant::now();
        let output = if is_measured { command.output().expect("time was there") } else { home.send() };
        let took = start.elapsed();
        output.when(number).fails().says("network.heartbeat_url: ");
        assert!(!output.stderr().contains("s3cret") && !output.stderr().contains("panicked"), "{output:?}");
        assert!(took < Duration::from_secs(6), "{number}: {took:?}");
        if is_measured {
            let memory = fs::read_to_string(home.at("memory")).expect("time wrote it");
            let kilobytes: u64 = memory.lines().last().and_then(|line| line.parse().ok()).expect("a number");
            assert!(kilobytes < 24 * 1024, "{number}: {kilobytes} KiB");
        }
    }
}

/// P6: a second limit, for when minreq connects by itself.
#[test]
fn memory_is_limited_while_a_monitor_is_called() {
    if program().len() > 1 {
        return skip("memory_is_limited_while_a_monitor_is_called", "the program runs behind another one");
    }
    let monitor = Server::new(|_, _, stream| hold(stream));
    let home = beating(&monitor);
    let mut sender = home.command(&["send"]).stderr(Stdio::null()).spawn().expect("the program starts");
    assert!(wait_for(|| monitor.requests().len() == 1));
    let limits = fs::read_to_string(format!("/proc/{}/limits", sender.id())).expect("it runs");
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max data size")).expect("Linux names it");
    let bytes = limit.split_whitespace().next().and_then(|bytes| bytes.parse::<u64>().ok());
    assert!(bytes.is_some_and(|bytes| bytes <= 64 << 20), "{limit}");
    assert!(sender.wait().is_ok_and(|status| status.code() == Some(1)));
}

/// Uptime Kuma 1 knows GET only.
#[test]
fn a_monitor_that_rejects_post_gets_a_get() {
    for refusal in [404, 405, 501] {
        let monitor = Server::new(move |_, request, stream| match request.method() {
            "GET" => taken(stream),
            _ => reply(stream, refusal, "", r#"{"ok":false,"msg":"Not Found"}"#),
        });
        let home = beating(&monitor);
        home.send().when(refusal).succeeds();
        let requests = monitor.requests();
        let calls: Vec<_> = requests.iter().map(|one| (one.method(), one.target(), one.body.as_str())).collect();
        assert_eq!(calls, [("POST", "/s3cret", ""), ("GET", "/s3cret", "")]);
        assert_eq!(requests[1].header("content-type"), None);
    }
    // An unknown address is still an error.
    let monitor = Server::new(|_, _, stream| reply(stream, 404, "", ""));
    beating(&monitor).send().fails().says("network.heartbeat_url: HTTP 404: check the address");
    let monitor = Server::new(|_, _, stream| reply(stream, 301, "Location: https://status.example/x\r\n", ""));
    let expected =
        "network.heartbeat_url: HTTP 301: redirects are not followed; this one leads to https://status.example/";
    beating(&monitor).send().fails().says(expected);
}
