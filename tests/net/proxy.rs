//! An HTTP proxy between this host and the service.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::home::Home;
use crate::support::outcome::Outcome;
use crate::support::server::{Server, reply, taken};

/// Makes a host whose service has an unknown name, so that only this proxy can reach it.
fn home(proxy: &str) -> Home {
    let home = Home::new(&format!(
        "[network]\nproxy = \"{proxy}\"\ntimeout = 3\n[notification]\nservice = \"ntfy\"\n\
         [notification.ntfy]\ntopic_url = \"http://ntfy.invalid/mytopic\"\n"
    ));
    home.login("amanda");
    home
}

/// Plays the proxy, which accepts the connection, and the server behind it.
fn tunnel(stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    let mut message = [0; 4096];
    let mut length = 0;
    while !String::from_utf8_lossy(&message[..length]).contains("'amanda'") {
        match stream.read(&mut message[length..]) {
            Ok(0) | Err(_) => return,
            Ok(more) => length += more,
        }
    }
    taken(stream);
}

/// P4
#[test]
fn a_notice_goes_through_the_proxy_and_no_name_is_looked_up_here() {
    let proxy = Server::new(|_, _, stream| tunnel(stream));
    let home = home(&format!("http://anna:s3cret@127.0.0.1:{}", proxy.port));
    home.send().exits(0).says_only("");
    let asked = &proxy.requests()[0];
    assert_eq!((asked.method(), asked.target()), ("CONNECT", "ntfy.invalid:80"));
    // `printf anna:s3cret | base64`
    assert_eq!(asked.header("proxy-authorization"), Some("Basic YW5uYTpzM2NyZXQ="));
}

/// P4, P7
#[test]
fn a_refusal_of_the_proxy_is_reported_without_the_password() {
    for (status, expected) in [
        (407, "does not accept the name and the password in network.proxy (HTTP 407)"),
        (403, "does not allow a connection to ntfy.invalid:80 (HTTP 403)"),
        (502, "cannot reach ntfy.invalid:80 itself (HTTP 502)"),
        (405, "is it a proxy that supports CONNECT?"),
        (0, "does not speak HTTP: is network.proxy the address of a proxy?"),
    ] {
        let proxy = Server::new(move |_, _, stream| match status {
            0 => drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")),
            status => reply(stream, status, "", ""),
        });
        let home = home(&format!("http://anna:s3cret@127.0.0.1:{}", proxy.port));
        let output = home.send();
        output.when(status).fails().says(&format!("ntfy: the proxy 127.0.0.1:{}", proxy.port)).says(expected);
        assert!(!output.stderr().contains("s3cret"), "{}", output.stderr());
    }
}

#[test]
fn this_host_is_reached_without_the_proxy() {
    let (proxy, server) = (Server::well(), Server::well());
    let home = Home::new(&format!(
        "[network]\nproxy = \"http://127.0.0.1:{}\"\n[notification]\nservice = \"ntfy\"\n{}",
        proxy.port,
        server.ntfy()
    ));
    home.login("amanda");
    home.send().succeeds();
    assert_eq!((proxy.requests().len(), server.requests().len()), (0, 1));
}
