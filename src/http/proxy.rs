//! Opens a tunnel through an HTTP proxy (CONNECT, RFC 9110 §9.3.6).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::http::Url;
use crate::text::base64;

/// Bytes in the head of a proxy's answer.
const HEAD_LIMIT: usize = 8 * 1024;

/// Asks the proxy at the other end of `stream` for a connection to a host's port. The error continues a sentence about
/// the proxy: `does not allow …`.
pub fn tunnel(stream: &TcpStream, host: &str, port: u16, proxy: &Url, deadline: Instant) -> Result<(), String> {
    let credentials = proxy.user().map(|user| base64(user.reveal().as_bytes()));
    let credentials =
        credentials.map(|encoded| format!("Proxy-Authorization: Basic {encoded}\r\n")).unwrap_or_default();
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{credentials}\r\n");
    let head = ask(stream, &request, deadline).map_err(|why| match why.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "does not answer in time".into(),
        _ => format!("closed the connection early: {why}"),
    })?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let status: u16 = words.next().and_then(|status| status.parse().ok()).unwrap_or(0);
    Err(match status {
        _ if !is_http => "does not speak HTTP: is network.proxy the address of a proxy?".into(),
        200..300 => return Ok(()),
        // tinyproxy answers 401 to a wrong password.
        401 | 407 if proxy.user().is_some() => {
            format!("does not accept the name and the password in network.proxy (HTTP {status})")
        }
        401 | 407 => {
            format!("wants a name and a password (HTTP {status}): set network.proxy to http://NAME:PASSWORD@HOST:PORT")
        }
        403 => format!("does not allow a connection to {host}:{port} (HTTP 403): allow it in the proxy's settings"),
        // tinyproxy answers 500 if it can't reach a server.
        500 | 502..=504 => format!("cannot reach {host}:{port} itself (HTTP {status})"),
        _ => format!("refuses a connection to {host}:{port} (HTTP {status}): is it a proxy that supports CONNECT?"),
    })
}

/// Sends the request and reads the head of the answer.
fn ask(mut stream: &TcpStream, request: &str, deadline: Instant) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    // A byte at a time, because the server's bytes may follow the head.
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        if stream.read(&mut byte)? == 0 {
            break;
        }
        head.push(byte[0]);
    }
    stream.set_read_timeout(None)?;
    Ok(String::from_utf8_lossy(&head).into())
}
