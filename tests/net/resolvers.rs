//! Name servers that answer wrongly about IPv6, know only a local name, or are dead. The test or dnsmasq plays them in
//! a network of the test's own.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::names::send_with_names;
use crate::support::home::Home;
use crate::support::network::{alone, has_networks};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, taken};
use crate::support::tls::Process;
use crate::support::{has, skip, wait_for};

const NEEDS: &str = "needs root, iproute2 and network namespaces";

/// Types of queries (RFC 1035 §3.2.2, RFC 3596 §2.1).
const A: u8 = 1;
const AAAA: u8 = 28;

/// The answer to a query about IPv6 (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug)]
enum Ipv6 {
    Code(u8),
    Silence,
}

/// A name server on 127.0.0.1 that knows only that `good.example` is 127.0.0.9.
struct Resolver {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    fn new(ipv6: Ipv6) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("nobody else is in this network");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let serve = move || {
            let mut question = [0; 512];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, asker)) = socket.recv_from(&mut question) else { continue };
                if let Some(answer) = answer(&question[..length], ipv6) {
                    let _ = socket.send_to(&answer, asker);
                }
            }
        };
        Self { is_over, thread: Some(thread::spawn(serve)) }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(question: &[u8], ipv6: Ipv6) -> Option<Vec<u8>> {
    let name_end = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let end = name_end + 5;
    let is_known = question.get(12..name_end)?.eq_ignore_ascii_case(b"\x04good\x07example");
    let kind = question.get(..end)?[name_end + 2];
    let code = match (is_known, kind, ipv6) {
        (true, AAAA, Ipv6::Silence) => return None,
        (true, AAAA, Ipv6::Code(code)) => code,
        (true, ..) => 0,
        (false, ..) => 3,
    };
    let has_address = is_known && kind == A;
    let mut bytes = question[..end].to_vec();
    // A response with recursion: one question, at most one answer.
    bytes[2..12].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    if has_address {
        bytes.extend([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 9]);
    }
    Some(bytes)
}

fn server(address: &str) -> Server {
    Server::on(TcpListener::bind((address, 0)).expect("loopback"), Arc::new(|_, _, stream| taken(stream)))
}

/// Makes a host with these ntfy targets: names and addresses.
fn home(targets: &[(&str, String)]) -> Home {
    let names: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
    let section = |(name, origin): &(&str, String)| {
        format!("[notification.{name}]\nservice = \"ntfy\"\ntopic_url = \"{origin}/mytopic\"\n")
    };
    let sections = targets.iter().map(section).collect::<Vec<_>>().concat();
    let home = Home::new(&format!("[network]\ntimeout = 8\n[notification]\nservice = {names:?}\n{sections}"));
    home.login("amanda");
    home
}

/// P4, P8: answers of routers, captive portals and old name servers to a query about IPv6.
#[test]
fn a_broken_answer_about_ipv6_does_not_hide_the_ipv4_address() {
    if !has_networks() {
        return skip("a_broken_answer_about_ipv6_does_not_hide_the_ipv4_address", NEEDS);
    }
    // No data, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED.
    for ipv6 in [0, 2, 3, 4, 5].map(Ipv6::Code).into_iter().chain([Ipv6::Silence]) {
        alone(|| {
            let _resolver = Resolver::new(ipv6);
            let server = server("127.0.0.9");
            let home = home(&[("ntfy", format!("http://Good.Example:{}", server.port))]);
            let start = Instant::now();
            send_with_names(&home, "127.0.0.1 localhost\n", Some("127.0.0.1")).when(format!("{ipv6:?}")).succeeds();
            let took = start.elapsed();
            assert_eq!(server.requests().len(), 1, "{ipv6:?}");
            assert_eq!(
                server.requests()[0].header("host"),
                Some(format!("good.example:{}", server.port).as_str()),
                "a name is the same in capitals"
            );
            // The first query waits for a second; glibc alone would wait for five.
            assert!(took < Duration::from_millis(3500), "{ipv6:?}: {took:?}");
        });
    }
}

/// P4
#[test]
fn a_name_in_etc_hosts_is_reached_at_once_while_the_name_server_is_dead() {
    if !has_networks() {
        return skip("a_name_in_etc_hosts_is_reached_at_once_while_the_name_server_is_dead", NEEDS);
    }
    alone(|| {
        let silent = UdpSocket::bind("127.0.0.1:53").expect("nobody else is in this network");
        let server = server("127.0.0.9");
        let far = |name: &str| format!("http://{name}.example:8080");
        let home = home(&[
            ("first", far("far")),
            ("second", far("far")),
            ("lan", format!("http://NAS.lan:{}", server.port)),
            ("third", far("farther")),
        ]);
        let start = Instant::now();
        // musl compares names in /etc/hosts case-sensitively.
        let hosts = "127.0.0.1 localhost\n# \u{fffd} 127.0.0.8 nas.lan\n127.0.0.9 Nas.lan nas # nas.lan\n";
        let output = send_with_names(&home, hosts, Some("127.0.0.1"));
        let took = start.elapsed();
        for name in ["first", "second", "third"] {
            // musl gives up after five seconds, and reports silence like any other failure.
            let expected = ["", "usable "].map(|what| format!("{name}: no {what}answer about the name far"));
            output.check(expected.iter().any(|expected| output.stderr().contains(expected)), "no reason");
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{output:?}");
        assert!(requests[0].at - start < Duration::from_secs(2), "{:?}", requests[0].at - start);
        // The targets time out at the same time.
        assert!(took < Duration::from_secs(12), "{took:?}");
        assert!(home.status().contains("lan: 0 pending"), "{}", home.status());
        drop(silent);
    });
}

/// P4: as on a router that has lost its upstream.
#[test]
fn a_name_that_only_a_local_dnsmasq_knows_is_reached_while_the_internet_is_down() {
    let test = "a_name_that_only_a_local_dnsmasq_knows_is_reached_while_the_internet_is_down";
    if !has_networks() || !has("dnsmasq") {
        return skip(test, "needs root, iproute2, dnsmasq and network namespaces");
    }
    // The upstream is unreachable, silent, refuses, or missing.
    for upstream in ["192.0.2.1", "127.0.0.2#5353", "127.0.0.3#5353", ""] {
        alone(|| {
            let _silent = UdpSocket::bind("127.0.0.2:5353").expect("nobody else is in this network");
            let server = server("127.0.0.9");
            let home = home(&[("ntfy", format!("http://nas.example:{}", server.port))]);
            let known = home.at("known");
            fs::write(&known, "127.0.0.9 nas.example\n").expect("a file");
            let mut dnsmasq = Command::new("dnsmasq");
            dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]);
            dnsmasq.args(["--user=root", "--listen-address=127.0.0.1", "--bind-interfaces"]);
            dnsmasq.arg(format!("--addn-hosts={}", known.display()));
            if !upstream.is_empty() {
                dnsmasq.arg(format!("--server={upstream}"));
            }
            let dnsmasq = dnsmasq.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsmasq was there");
            let _dnsmasq = Process(dnsmasq);
            assert!(wait_for(|| UdpSocket::bind("127.0.0.1:53").is_err()), "dnsmasq does not listen");
            let start = Instant::now();
            send_with_names(&home, "127.0.0.1 localhost\n", Some("127.0.0.1")).when(upstream).succeeds();
            assert_eq!(server.requests().len(), 1, "{upstream}");
            assert!(start.elapsed() < Duration::from_millis(3500), "{upstream}: {:?}", start.elapsed());
        });
    }
}
