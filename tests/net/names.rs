//! Names and addresses: a service with only an IPv6 address, an unknown name, a name server that never answers, and
//! addresses that refuse or drop packets.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::home::{Home, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, taken};
use crate::support::{has_mount_namespaces, skip};

/// Starts a server on this address, or returns `None` if the host doesn't have the address.
fn server(address: &str) -> Option<Server> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    Some(Server::on(listener, Arc::new(|_, _, stream| taken(stream))))
}

/// Makes a host with one ntfy target and one pending login.
fn home(origin: &str) -> Home {
    let home = Home::new(&format!(
        "[network]\ntimeout = 1\n[notification]\nservice = \"ntfy\"\n[notification.ntfy]\n\
         topic_url = \"{origin}/mytopic\"\n"
    ));
    home.login("amanda");
    home
}

/// Runs `send` with this /etc/hosts and this name server.
pub fn send_with_names(home: &Home, hosts: &str, name_server: Option<&str>) -> Output {
    let _syslog = Syslog::listen(home);
    let sources = if name_server.is_some() { "files dns" } else { "files" };
    let resolver = format!("nameserver {}\n", name_server.unwrap_or("127.0.0.1"));
    for (name, text) in
        [("hosts", hosts), ("resolv.conf", &resolver), ("nsswitch.conf", &format!("hosts: {sources}\n"))]
    {
        fs::write(home.at(name), text).expect("a file");
    }
    let root = home.0.display();
    let prepare = format!(
        "for name in hosts resolv.conf nsswitch.conf; do
             [ ! -e /etc/$name ] || mount --bind {root}/$name /etc/$name
         done"
    );
    home.command_in_own_dev(&prepare, &["send"]).output().expect("unshare starts")
}

#[test]
fn an_ipv6_address_is_refused_with_the_remedy() {
    let home = home("http://localhost:8080");
    home.configure(
        "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://[::1]:8080/mytopic\"\n",
    );
    home.send().fails().says("topic_url has an IPv6 address, which is not supported: use a host name");
}

#[test]
fn a_name_with_only_an_ipv6_address_is_reached() {
    let test = "a_name_with_only_an_ipv6_address_is_reached";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let Some(server) = server("::1") else { return skip(test, "this host has no IPv6 loopback") };
    let home = home(&format!("http://six.example:{}", server.port));
    send_with_names(&home, "::1 six.example\n", None).succeeds();
    assert_eq!(server.requests()[0].header("host"), Some(format!("six.example:{}", server.port).as_str()));
}

/// P2
#[test]
fn an_address_that_refuses_does_not_hide_the_next_one_of_the_name() {
    let test = "an_address_that_refuses_does_not_hide_the_next_one_of_the_name";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let server = server("127.0.0.9").expect("a loopback port");
    let home = home(&format!("http://both.example:{}", server.port));
    // The C library prefers addresses close to the host's own, so it tries the first ones first.
    let hosts = "::1 both.example\n127.0.0.9 both.example\n127.0.0.1 both.example\n";
    send_with_names(&home, hosts, None).succeeds();
    assert_eq!(server.requests().len(), 1);
}

/// P2
#[test]
fn an_unknown_name_keeps_the_event() {
    if !has_mount_namespaces() {
        let why = "needs root and mount namespaces";
        return skip("an_unknown_name_keeps_the_event", why);
    }
    let home = home("http://nowhere.invalid:8080");
    let output = send_with_names(&home, "127.0.0.1 localhost\n", None);
    output.fails();
    assert!(output.stderr().starts_with("ssh-session-notifier: ntfy: "), "{output:?}");
    // The C libraries report this differently.
    let is_known = ["no address for the name nowhere.invalid", "answer about the name nowhere.invalid"];
    assert!(is_known.iter().any(|words| output.stderr().contains(words)), "{output:?}");
    assert!(home.status().starts_with("ntfy: 1 pending"));
}

/// P2, P4
#[test]
fn a_name_server_that_never_answers_times_out() {
    let test = "a_name_server_that_never_answers_times_out";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let Ok(silent) = UdpSocket::bind("127.53.53.53:53") else {
        return skip(test, "port 53 of 127.53.53.53 is taken");
    };
    let home = home("http://ntfy.example:8080");
    let start = Instant::now();
    let output = send_with_names(&home, "127.0.0.1 localhost\n", Some("127.53.53.53"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    output.fails().says("ntfy: no answer about the name ntfy.example (asked 127.53.53.53, from /etc/resolv.conf)");
    let mut question = [0; 512];
    silent.set_nonblocking(true).expect("a socket can be non-blocking");
    let length = silent.recv(&mut question).expect("it was asked");
    assert!(question[..length].windows(4).any(|part| part == b"ntfy"), "it was asked for another name");
}

/// Makes an address drop new connections, with a listener whose queue is full. Keep the sockets.
fn swallow(address: SocketAddr) -> Vec<Socket> {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&address.into()).expect("a loopback address");
    listener.listen(0).expect("a listener");
    let waiting = [socket(), socket(), socket()];
    for client in &waiting {
        client.set_nonblocking(true).expect("a socket can be non-blocking");
        let _ = client.connect(&address.into());
    }
    std::iter::once(listener).chain(waiting).collect()
}

/// P4, P8
#[test]
fn addresses_that_drop_packets_do_not_hide_the_one_that_answers() {
    let test = "addresses_that_drop_packets_do_not_hide_the_one_that_answers";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    for (silent, at_most) in [(1, 900), (3, 1500)] {
        let server = server("127.0.9.9").expect("a loopback port");
        let addresses: Vec<SocketAddr> = (1..=silent).map(|end| ([127, 0, 9, end], server.port).into()).collect();
        let _held: Vec<_> = addresses.iter().map(|address| swallow(*address)).collect();
        let home = home(&format!("http://Some.Example:{}", server.port));
        let config = fs::read_to_string(home.at("config.toml")).expect("a configuration");
        fs::write(home.at("config.toml"), config.replace("timeout = 1", "timeout = 5")).expect("written");
        let lines: Vec<String> = addresses.iter().map(|address| format!("{} some.example\n", address.ip())).collect();
        let start = Instant::now();
        send_with_names(&home, &format!("{}127.0.9.9 some.example\n", lines.concat()), None).succeeds();
        let took = start.elapsed();
        assert_eq!(server.requests().len(), 1);
        assert!(took < Duration::from_millis(at_most), "{silent} silent: {took:?}");
    }
}

/// P8
#[test]
fn an_address_that_drops_packets_is_named_in_the_error() {
    let test = "an_address_that_drops_packets_is_named_in_the_error";
    if !has_mount_namespaces() {
        return skip(test, "needs root and mount namespaces");
    }
    let _held = swallow(([127, 0, 8, 1], 8087).into());
    let home = home("http://only.example:8087");
    let output = send_with_names(&home, "127.0.8.1 only.example\n", None);
    output.fails().says("ntfy: cannot connect to only.example (127.0.8.1:8087): no answer in time");
}
