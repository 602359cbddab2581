//! Messages for people: syslog always (RFC 3164 form, as syslog(3) writes it), stderr as well.
//!
//! Neither can hold anybody up. A missing or full `/dev/log` changes nothing else: the datagram is
//! dropped, though there is a short wait for an event that is kept nowhere else. A stderr that takes
//! nothing, such as a stopped terminal or a pipe that nobody reads, is passed over.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, Health};
use crate::text::visible;

/// Where the C library's syslog(3) writes too.
const SOCKET: &str = "/dev/log";

/// `LOG_AUTH`, shifted into place (RFC 3164 §4.1.1).
const FACILITY: u8 = 4 << 3;

/// RFC 3164 §4.1: a syslog packet is at most 1024 bytes.
const PACKET_LIMIT: usize = 1024;

/// How long all packets of a critical message together may wait for a syslog daemon that is busy with
/// other logins: its socket holds ten packets or so.
const PATIENCE: Duration = Duration::from_millis(60);

/// Bytes of a line on stderr. A pipe that can be written to has room for so many (`PIPE_BUF`).
const LINE_LIMIT: usize = 4096;

/// How much a message matters; the numbers are syslog's (RFC 3164 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An event is kept nowhere else than in this message.
    Critical = 2,
    /// Something failed.
    Error = 3,
    /// Something is not as it should be, and was worked around.
    Warning = 4,
}

/// Logs an error that stops nothing else.
pub fn failed(why: &Error) -> Health {
    write(Level::Error, &why.to_string());
    Health::Failed
}

/// Writes one message to syslog and to stderr. A message of several lines becomes one packet a line.
pub fn write(level: Level, message: &str) {
    to_syslog(level, message);
    for line in message.lines() {
        let mut text = format!("ssh-session-notifier: {}", visible(line));
        text.truncate(text.floor_char_boundary(LINE_LIMIT - 1));
        text.push('\n');
        to_stderr(text.as_bytes());
    }
}

fn to_syslog(level: Level, message: &str) {
    let Some(socket) = connect() else { return };
    let ends = Instant::now() + if level == Level::Critical { PATIENCE } else { Duration::ZERO };
    for line in message.lines() {
        let (priority, id, line) = (FACILITY | level as u8, process::id(), visible(line));
        let mut packet = format!("<{priority}>ssh-session-notifier[{id}]: {line}");
        packet.truncate(packet.floor_char_boundary(PACKET_LIMIT));
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        let left = ends.saturating_duration_since(Instant::now());
        let _ = poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        let _ = socket.send(packet.as_bytes());
    }
}

/// A socket that never blocks: a login must not wait for a syslog daemon that has stopped reading.
fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}

/// Writes to stderr, unless that would have to wait.
pub fn to_stderr(text: &[u8]) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
        let _ = (&stderr).write_all(text);
    }
}
