//! Names and addresses: a service that has IPv6 only, a name that nobody knows, and a name server
//! that never answers.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::home::{Home, Syslog};
use crate::support::outcome::Outcome;
use crate::support::server::{Server, taken};
use crate::support::{has_mount_namespaces, skip};

/// A server on this address, or nothing where the host has no such address.
fn server(address: &str) -> Option<Server> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    Some(Server::on(listener, Arc::new(|_, _, stream| taken(stream))))
}

/// A host with one ntfy target and one login to tell of.
fn home(origin: &str) -> Home {
    let home = Home::new(&format!(
        "[network]\ntimeout = 1\n[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"{origin}/mytopic\"\n"
    ));
    home.login("amanda");
    home
}

/// Runs `send` where names are looked up in this file of hosts, and then asked of this name server.
fn send_with_names(home: &Home, hosts: &str, name_server: Option<&str>) -> Output {
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
        "for name in hosts resolv.conf nsswitch.conf; do [ ! -e /etc/$name ] || mount --bind {root}/$name /etc/$name; done"
    );
    home.command_in_own_dev(&prepare, &["send"]).output().expect("unshare starts")
}

#[test]
fn an_ipv6_address_is_refused_with_what_helps() {
    let home = home("http://localhost:8080");
    home.configure(
        "[notification]\nservice = \"ntfy\"\n[notification.ntfy]\ntopic_url = \"http://[::1]:8080/mytopic\"\n",
    );
    home.send().fails().says("topic_url has an IPv6 address, which is not possible: use a name for it");
}

#[test]
fn a_name_that_has_ipv6_only_is_reached() {
    let test = "a_name_that_has_ipv6_only_is_reached";
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
    // The C library puts the first ones first: nearer to this host's own address.
    let hosts = "::1 both.example\n127.0.0.9 both.example\n127.0.0.1 both.example\n";
    send_with_names(&home, hosts, None).succeeds();
    assert_eq!(server.requests().len(), 1);
}

/// P2
#[test]
fn a_name_that_nobody_knows_keeps_the_event() {
    if !has_mount_namespaces() {
        let why = "needs root and mount namespaces";
        return skip("a_name_that_nobody_knows_keeps_the_event", why);
    }
    let home = home("http://nowhere.invalid:8080");
    let output = send_with_names(&home, "127.0.0.1 localhost\n", None);
    output.fails();
    assert!(output.stderr().starts_with("ssh-session-notifier: ntfy: "), "{output:?}");
    // Which words the C library has for it differs: glibc's end so, musl's are shorter.
    let is_known = ["failed to lookup address information", "no answer in time"];
    assert!(is_known.iter().any(|words| output.stderr().contains(words)), "{output:?}");
    assert!(home.status().starts_with("ntfy: 1 waiting"));
}

/// P2, P4
#[test]
fn a_name_server_that_never_answers_is_left_in_time() {
    let test = "a_name_server_that_never_answers_is_left_in_time";
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
    output.fails().says("ntfy: no answer in time; everything is kept");
    let mut question = [0; 512];
    silent.set_nonblocking(true).expect("a socket can be non-blocking");
    let length = silent.recv(&mut question).expect("it was asked");
    assert!(question[..length].windows(4).any(|part| part == b"ntfy"), "for this name");
}
