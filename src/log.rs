//! Messages for people: syslog always (RFC 3164 form, as syslog(3) writes it), stderr as well.
//!
//! A missing or full `/dev/log` changes nothing else: the datagram is dropped, stderr still has it.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::process;

/// Where the C library's syslog(3) writes too.
const SOCKET: &str = "/dev/log";

/// `LOG_AUTH`, shifted into place (RFC 3164 §4.1.1).
const FACILITY: u8 = 4 << 3;

/// RFC 3164 §4.1: a syslog packet is at most 1024 bytes.
const PACKET_LIMIT: usize = 1024;

/// How much a message matters; the numbers are syslog's (RFC 3164 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An event could be kept nowhere else than in this message.
    Critical = 2,
    /// Something failed.
    Error = 3,
    /// Something is not as it should be, and was worked around.
    Warning = 4,
}

/// Says one thing to syslog and on stderr. A message of several lines becomes one packet a line.
pub fn say(level: Level, message: &str) {
    let socket = connect();
    let mut stderr = io::stderr().lock();
    for line in message.lines() {
        let mut packet = format!("<{}>ssh-session-notifier[{}]: {line}", FACILITY | level as u8, process::id());
        packet.truncate(packet.floor_char_boundary(PACKET_LIMIT));
        if let Some(socket) = &socket {
            let _ = socket.send(packet.as_bytes());
        }
        let _ = writeln!(stderr, "ssh-session-notifier: {line}");
    }
}

/// A socket that never blocks: a login must not wait for a syslog daemon that has stopped reading.
fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}
