//! Connects to a server: looks up its name, races its addresses, and goes through a proxy if one is set.
//!
//! An address that drops packets, such as broken IPv6, delays the others by a quarter of a second (RFC 8305). A name
//! server that fails for one address family doesn't hide the other.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

use crate::http::Url;
use crate::http::proxy::tunnel;
use crate::text::Field;

/// How long to wait for one address before the next one is tried too (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// How long to wait for an answer about both families before IPv4 is asked for alone, and then IPv6.
const NEXT_FAMILY: Duration = Duration::from_secs(1);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Bytes in a thread's stack. A look-up needs about 64 KiB.
const STACK: usize = 256 * 1024;

/// Where the C library finds local names.
const HOSTS: &str = "/etc/hosts";

/// Bytes read of that file. Block lists make it long.
const HOSTS_LIMIT: u64 = 16 << 20;

/// Where the C library finds its name servers.
const RESOLVERS: &str = "/etc/resolv.conf";

/// Names and proxies that failed in this run, with the reason, so that none is tried twice.
#[derive(Debug, Default)]
pub struct Down(Mutex<HashMap<String, String>>);

impl Down {
    fn reason(&self, host: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn note(&self, host: &str, why: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.into(), why.into());
    }
}

/// Connects to a host's port, through the proxy if there is one. The error is a sentence that names the stage, the
/// name or address, and the remedy if there is one.
pub fn connect(
    host: &str,
    port: u16,
    proxy: Option<&Url>,
    down: &Down,
    deadline: Instant,
) -> Result<TcpStream, String> {
    let Some(proxy) = proxy else { return reach(host, port, down, deadline) };
    let named = format!("the proxy {}:{}", proxy.host(), proxy.port());
    if let Some(why) = down.reason(&named) {
        return Err(why);
    }
    let stream = reach(proxy.host(), proxy.port(), down, deadline).map_err(|why| {
        let why = format!("{named} cannot be reached: {why}");
        down.note(&named, &why);
        why
    })?;
    tunnel(&stream, host, port, proxy, deadline).map_err(|why| format!("{named} {why}"))?;
    Ok(stream)
}

fn reach(host: &str, port: u16, down: &Down, deadline: Instant) -> Result<TcpStream, String> {
    if let Some(why) = down.reason(host) {
        return Err(why);
    }
    let addresses = look_up(host, deadline).inspect_err(|why| down.note(host, why))?;
    let addresses = alternate(addresses).into_iter().map(|address| SocketAddr::new(address, port)).collect();
    let stream = race(host, addresses, deadline)?;
    // Otherwise the second part of a request waits until the first is acknowledged.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Looks up the addresses of a name, in the C library's order. Asks for both families together, so that a line in
/// /etc/hosts for one keeps the name server from being asked about the other; then for each alone, if that fails or
/// takes long.
fn look_up(host: &str, deadline: Instant) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let (sender, receiver) = mpsc::channel();
    let spelled = spelled(host);
    let mut reason = LookupErrorKind::Again;
    let mut unanswered = 0;
    for families in [None, Some(AddrFamily::Inet), Some(AddrFamily::Inet6)] {
        start_look_up(&spelled, families, &sender)?;
        unanswered += 1;
        let until =
            if families == Some(AddrFamily::Inet6) { deadline } else { deadline.min(Instant::now() + NEXT_FAMILY) };
        while unanswered > 0 {
            match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(why)) => {
                    unanswered -= 1;
                    reason = why;
                }
                Err(_) => break,
            }
        }
    }
    let what = match reason {
        _ if unanswered > 0 => "no answer about the name",
        LookupErrorKind::Again | LookupErrorKind::Fail => "no usable answer about the name",
        _ => "no address for the name",
    };
    let servers = name_servers();
    Err(format!("{what} {host} (asked {servers}, from {RESOLVERS}): check the name and this host's name server"))
}

/// Lists the host's name servers: `192.0.2.1, 192.0.2.2`
fn name_servers() -> Field {
    let text = fs::read_to_string(RESOLVERS).unwrap_or_default();
    let servers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(str::trim).collect();
    Field::new(if servers.is_empty() { "no name server".into() } else { servers.join(", ") }.as_bytes())
}

/// Returns the name as /etc/hosts spells it, because musl compares case there.
fn spelled(host: &str) -> String {
    let Ok(file) = File::open(HOSTS) else { return host.into() };
    let mut other = None;
    for line in BufReader::new(file.take(HOSTS_LIMIT)).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        for name in names.filter(|name| name.eq_ignore_ascii_case(host)) {
            if name == host {
                return name.into();
            }
            other = Some(name.to_owned());
        }
    }
    other.unwrap_or_else(|| host.into())
}

type Answer = Result<Vec<IpAddr>, LookupErrorKind>;

/// Asks the C library on a thread of its own, because its look-up has no deadline. A late answer is dropped.
fn start_look_up(host: &str, family: Option<AddrFamily>, sender: &Sender<Answer>) -> Result<(), String> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        address: family.map_or(0, Into::into),
        ..AddrInfoHints::default()
    };
    let (host, sender) = (host.to_owned(), sender.clone());
    let look_up = move || {
        let found = getaddrinfo(Some(&host), None, Some(hints)).map_err(|why| why.kind()).and_then(|all| {
            let addresses: Vec<IpAddr> = all.flatten().map(|one| one.sockaddr.ip()).collect();
            if addresses.is_empty() { Err(LookupErrorKind::NoName) } else { Ok(addresses) }
        });
        let _ = sender.send(found);
    };
    spawn(look_up)
}

/// Orders addresses so that the families take turns, the first one's first (RFC 8305 §4).
fn alternate(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_first = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(|one| one.is_ipv4() == is_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    while all.len() < MOST_ADDRESSES {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            break;
        }
        all.extend(one.into_iter().chain(other));
    }
    all
}

/// Connects to whichever address answers first. Each has a thread of its own, which ends by the deadline.
fn race(host: &str, addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, String> {
    let (sender, receiver) = mpsc::channel();
    let (count, first_address) = (addresses.len(), addresses.first().copied());
    let mut failures = Vec::new();
    for (number, address) in addresses.into_iter().enumerate() {
        let (sender, left) = (sender.clone(), deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            break;
        }
        spawn(move || {
            let _ = sender.send((address, TcpStream::connect_timeout(&address, left)));
        })?;
        let pause = if number + 1 == count { left } else { NEXT_ADDRESS.min(left) };
        if let Some(stream) = wait_for_first(&receiver, pause, number + 1, &mut failures) {
            return Ok(stream);
        }
    }
    let (address, why) = match failures.first() {
        None => (first_address, "no answer in time".to_owned()),
        Some((address, why)) => (Some(*address), explain(why)),
    };
    let Some(address) = address else { return Err(format!("{host} has no address")) };
    let others = if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
    Err(format!("cannot connect to {host} ({address}{others}): {why}"))
}

fn explain(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::TimedOut => "no answer in time".into(),
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens on this port".into(),
        _ => why.to_string(),
    }
}

type Attempt = (SocketAddr, io::Result<TcpStream>);

/// Waits for one of the `started` attempts to connect. `None` after `pause`, or once all of them have failed.
fn wait_for_first(
    receiver: &Receiver<Attempt>,
    pause: Duration,
    started: usize,
    failures: &mut Vec<(SocketAddr, io::Error)>,
) -> Option<TcpStream> {
    let until = Instant::now() + pause;
    while failures.len() < started {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((_, Ok(stream))) => return Some(stream),
            Ok((address, Err(why))) => failures.push((address, why)),
            Err(_) => break,
        }
    }
    None
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = thread::Builder::new().stack_size(STACK).spawn(work);
    thread.map(drop).map_err(|why| format!("cannot start a thread to connect: {why}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3)
    }

    #[test]
    fn families_take_turns_and_the_first_one_stays_first() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<IpAddr>>();
        for (given, expected) in [
            (&["::1", "::2", "1.1.1.1"][..], &["::1", "1.1.1.1", "::2"][..]),
            (&["1.1.1.1", "1.1.1.2", "::1", "::2"], &["1.1.1.1", "::1", "1.1.1.2", "::2"]),
            (&["1.1.1.1", "1.1.1.2"], &["1.1.1.1", "1.1.1.2"]),
            (&[], &[]),
        ] {
            assert_eq!(alternate(parse(given)), parse(expected));
        }
    }

    #[test]
    fn a_refusal_starts_the_next_attempt_at_once_and_the_error_names_the_first() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let good = listener.local_addr().expect("it is bound");
        let bad = SocketAddr::new("127.0.0.2".parse().expect("an address"), good.port());
        let started = Instant::now();
        assert!(race("h", vec![bad, bad, good], soon()).is_ok());
        assert!(started.elapsed() < NEXT_ADDRESS, "it waited after a refusal");
        let why = race("h", vec![bad, bad], soon()).expect_err("nobody listens");
        assert_eq!(
            why,
            format!("cannot connect to h ({bad}, and 1 more): connection refused: nothing listens on this port")
        );
    }

    #[test]
    fn a_name_that_failed_is_not_looked_up_again_in_the_same_run() {
        let down = Down::default();
        let why = reach("nobody.invalid", 80, &down, soon()).expect_err("RFC 6761");
        assert!(why.contains("the name nobody.invalid (asked "), "{why}");
        let started = Instant::now();
        assert_eq!(reach("nobody.invalid", 443, &down, soon()).expect_err("the same"), why);
        assert!(started.elapsed() < Duration::from_millis(50));
    }
}
