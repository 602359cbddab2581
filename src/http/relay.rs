//! A proxy on loopback that gives minreq, our HTTP library, a connection that we made.
//!
//! minreq connects in its own way, reads heads of any length and counts whole seconds. The relay adds a deadline
//! and a bound on bytes. TLS stays between minreq and the server, so loopback carries nothing but what the wire does.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::TcpStreamExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::http::{Response, TLS_FAILED};
use crate::text::base64;

/// Bytes that a server may send: the answer's head and body, and TLS around them.
const ANSWER_LIMIT: usize = 256 * 1024;

/// Bytes in minreq's CONNECT request.
const HEAD_LIMIT: usize = 4096;

/// Connections that wait for their CONNECT with the secret. Any user of this host can connect.
const MOST_WAITING: usize = 64;

/// Once that many wait, those older than this are closed. minreq writes at once, and panics if it is cut off before.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long minreq may take to end once its connection is closed.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes in a thread's stack. minreq starts a thread of its own from it.
const STACK: usize = 256 * 1024;

const TOO_LATE: &str = "no answer in time: the server accepted the connection, then sent nothing more";

/// Why an exchange failed.
pub enum Failure {
    /// Loopback is down. minreq has not been called, so its request is returned.
    NoLoopback(Box<minreq::Request>),
    /// Anything else, as a sentence.
    Broken(String),
}

/// Lets minreq send its request over the connection to `server`, and returns the answer.
pub fn exchange(
    message: minreq::Request,
    server: &TcpStream,
    deadline: Instant,
    fetch: fn(minreq::Request) -> Result<Response, String>,
) -> Result<Response, Failure> {
    let Some((listener, held, port)) = listen() else { return Err(Failure::NoLoopback(message.into())) };
    let secret = format!("{:016x}{:016x}", RandomState::new().hash_one(port), RandomState::new().hash_one(port));
    let proxy = minreq::Proxy::new(format!("http://relay:{secret}@127.0.0.1:{port}"));
    let proxy = proxy.map_err(|why| Failure::Broken(why.to_string()))?;
    let seconds = deadline.saturating_duration_since(Instant::now()).as_secs() + 2;
    let message = message.with_proxy(proxy).with_timeout(seconds);
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let _ = sender.send(fetch(message));
        // minreq panics if its connection is reset before it has written, so the listener must outlive it.
        drop(held);
    };
    thread::Builder::new().stack_size(STACK).spawn(run).map_err(|why| Failure::Broken(why.to_string()))?;
    let passed = accept(&listener, &secret, deadline).and_then(|local| {
        // An orderly end would look to minreq like the end of an answer.
        copy(&local, server, deadline).inspect_err(|_| reset(&local))
    });
    let result = receiver.recv_timeout(GRACE).unwrap_or_else(|_| Err(TOO_LATE.into()));
    match (passed, result) {
        (Ok(()), result) => result.map_err(Failure::Broken),
        // The part that arrived may be enough.
        (Err(why), Ok(response)) => Ok(Response { cut: response.cut.map(|_| why), ..response }),
        // The server sent a TLS alert before it closed the connection.
        (Err(_), Err(alert)) if alert.starts_with(TLS_FAILED) => Err(Failure::Broken(alert)),
        // The relay knows the cause, minreq only the consequence.
        (Err(why), Err(_)) => Err(Failure::Broken(why)),
    }
}

/// Listens on loopback. Returns the listener twice, and its port.
fn listen() -> Option<(TcpListener, TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    listener.set_nonblocking(true).ok()?;
    let (held, port) = (listener.try_clone().ok()?, listener.local_addr().ok()?.port());
    // Binding succeeds even if the loopback interface is down.
    TcpStream::connect_timeout(&listener.local_addr().ok()?, GRACE).ok()?;
    Some((listener, held, port))
}

/// A connection to the listener that has not shown the secret yet.
struct Waiting {
    stream: TcpStream,
    /// The bytes of its CONNECT request so far.
    head: Vec<u8>,
    since: Instant,
}

/// Waits for the connection that shows the secret, minreq's, among those of other local users.
fn accept(listener: &TcpListener, secret: &str, deadline: Instant) -> Result<TcpStream, String> {
    let password = format!("Basic {}\r\n", base64(format!("relay:{secret}").as_bytes()));
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let is_full = waiting.len() >= MOST_WAITING;
        let mut ready: Vec<_> = waiting.iter().map(|one| PollFd::new(one.stream.as_fd(), PollFlags::POLLIN)).collect();
        if !is_full {
            ready.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        let until = if is_full { deadline.min(Instant::now() + PATIENCE) } else { deadline };
        if !wait(&mut ready, until)? && Instant::now() >= deadline {
            return Err("no answer in time: this host was too busy to send the request".into());
        }
        if is_full {
            waiting.retain(|one| one.since.elapsed() < PATIENCE);
        }
        while waiting.len() < MOST_WAITING
            && let Ok((stream, _)) = listener.accept()
        {
            let _ = stream.set_nonblocking(true);
            waiting.push(Waiting { stream, head: Vec::new(), since: Instant::now() });
        }
        if let Some(mut stream) = authenticated(&mut waiting, &password) {
            // One write of less than 256 bytes, because minreq reads blocks of that size until one is short.
            let answered = stream.set_nonblocking(false).and_then(|()| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
            return answered.map(|()| stream).map_err(|why| why.to_string());
        }
    }
}

/// Reads from each connection, and returns the one that has shown the password. Drops those that have ended or sent
/// another request.
fn authenticated(waiting: &mut Vec<Waiting>, password: &str) -> Option<TcpStream> {
    let mut place = 0;
    while place < waiting.len() {
        let Waiting { stream, head, .. } = &mut waiting[place];
        let has_ended = !read_some(stream, head);
        let is_complete = head.ends_with(b"\r\n\r\n");
        if is_complete && String::from_utf8_lossy(head).contains(password) {
            return Some(waiting.swap_remove(place).stream);
        }
        if has_ended || is_complete || head.len() > HEAD_LIMIT {
            waiting.swap_remove(place);
        } else {
            place += 1;
        }
    }
    None
}

/// Reads the bytes that have arrived. `false` at the end of the stream.
fn read_some(stream: &mut TcpStream, head: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            head.extend(&buffer[..length]);
            true
        }
        Err(why) => why.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Makes closing the connection an error for minreq (RST instead of FIN).
fn reset(local: &TcpStream) {
    let _ = setsockopt(local, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 });
}

/// Copies both ways until minreq closes its end.
fn copy(mut local: &TcpStream, mut server: &TcpStream, deadline: Instant) -> Result<(), String> {
    let mut buffer = vec![0; 16 * 1024];
    // Bytes that the server sends before the request would look to minreq like a part of the proxy's answer.
    let (mut received, mut is_asked, mut has_ended) = (0, false, false);
    loop {
        let _ = local.set_quickack(true);
        let (from_minreq, from_server) = readable(local, server, is_asked && !has_ended, deadline)?;
        let limit = Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        if from_minreq {
            match local.read(&mut buffer) {
                // minreq has its answer, or has given up.
                Ok(0) | Err(_) => return Ok(()),
                Ok(length) => {
                    is_asked = true;
                    let _ = server.set_write_timeout(limit);
                    // A server may answer and stop reading before it has the whole request. Its answer counts.
                    let _ = server.write_all(&buffer[..length]);
                }
            }
        }
        if from_server {
            let length =
                server.read(&mut buffer).map_err(|why| format!("the server closed the connection early: {why}"))?;
            received += length;
            if received > ANSWER_LIMIT {
                return Err(format!("the answer is longer than {} KiB", ANSWER_LIMIT / 1024));
            }
            if length == 0 {
                has_ended = true;
                let _ = local.shutdown(Shutdown::Write);
            }
            let _ = local.set_write_timeout(limit);
            if local.write_all(&buffer[..length]).is_err() {
                return Ok(());
            }
        }
    }
}

/// Waits until minreq, or the server too if `with_server`, has sent something. Returns whether each has.
fn readable(
    local: &TcpStream,
    server: &TcpStream,
    with_server: bool,
    deadline: Instant,
) -> Result<(bool, bool), String> {
    let mut ready = vec![PollFd::new(local.as_fd(), PollFlags::POLLIN)];
    if with_server {
        ready.push(PollFd::new(server.as_fd(), PollFlags::POLLIN));
    }
    if !wait(&mut ready, deadline)? {
        return Err(TOO_LATE.into());
    }
    let is_ready = |place: usize| ready.get(place).is_some_and(|one| one.any() == Some(true));
    Ok((is_ready(0), is_ready(1)))
}

/// Waits until one of these is ready. `false` at the deadline.
fn wait(ready: &mut [PollFd<'_>], deadline: Instant) -> Result<bool, String> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(ready, timeout) {
        Ok(count) => Ok(count > 0),
        Err(nix::Error::EINTR) => Ok(!left.is_zero()),
        Err(why) => Err(io::Error::from(why).to_string()),
    }
}
