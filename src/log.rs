//! Logs messages to syslog (in RFC 3164 form, as syslog(3) does) and to stderr.
//!
//! Logging never blocks. If `/dev/log` is missing or full, the datagram is dropped, after a short wait if it is the
//! only record of an event. A stderr that can't be written to, such as a stopped terminal or a full pipe, is skipped.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, Health};
use crate::text::Field;

/// The socket of syslog(3).
const SOCKET: &str = "/dev/log";

/// `LOG_AUTH`, shifted into place (RFC 3164 §4.1.1).
const FACILITY: u8 = 4 << 3;

/// Bytes in a syslog packet (RFC 3164 §4.1).
const PACKET_LIMIT: usize = 1024;

/// Bytes in a line of a message. The record of the largest event has about ten thousand.
const MESSAGE_LIMIT: usize = 16 * 1024;

/// Begins a packet that continues a line. So a packet never begins with text that a stranger chose.
const CONTINUED: &str = "(continued) ";

/// How long a critical message may wait for a busy syslog daemon, all its packets together. The daemon's socket
/// holds about ten packets.
const PATIENCE: Duration = Duration::from_millis(60);

/// Bytes in a line on stderr. A pipe that is ready has room for that many (`PIPE_BUF`).
const LINE_LIMIT: usize = 4096;

/// A message's severity, with syslog's numbers (RFC 3164 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// This message is the only record of an event.
    Critical = 2,
    /// Something failed.
    Error = 3,
    /// Something is wrong, but was worked around.
    Warning = 4,
}

/// Logs an error after which the work goes on.
pub fn failed(why: &Error) -> Health {
    error(why.to_string())
}

/// The same, in words.
pub fn error(message: String) -> Health {
    write(Level::Error, &message);
    Health::Failed(message)
}

/// Writes a message to syslog and to stderr. Each line is a packet of its own, or several if it is too long. Control
/// characters are replaced.
pub fn write(level: Level, message: &str) {
    let lines: Vec<Field> = message.lines().map(|line| Field::bounded(line.as_bytes(), MESSAGE_LIMIT)).collect();
    to_syslog(level, &lines);
    let head = "ssh-session-notifier: ";
    for text in lines.iter().flat_map(|line| pieces(head, line.as_str(), LINE_LIMIT - 1)) {
        to_stderr(format!("{text}\n").as_bytes());
    }
}

fn to_syslog(level: Level, lines: &[Field]) {
    let Some(socket) = connect() else { return };
    let deadline = Instant::now() + if level == Level::Critical { PATIENCE } else { Duration::ZERO };
    let head = format!("<{}>ssh-session-notifier[{}]: ", FACILITY | level as u8, process::id());
    for packet in lines.iter().flat_map(|line| pieces(&head, line.as_str(), PACKET_LIMIT)) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        let _ = socket.send(packet.as_bytes());
    }
}

/// Cuts a line into pieces of at most `limit` bytes, including the head of each.
fn pieces(head: &str, line: &str, limit: usize) -> Vec<String> {
    let room = limit - head.len() - CONTINUED.len();
    let (mut pieces, mut rest, mut mark) = (Vec::new(), line, "");
    while pieces.is_empty() || !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(room));
        pieces.push(format!("{head}{mark}{piece}"));
        (rest, mark) = (after, CONTINUED);
    }
    pieces
}

/// Opens a non-blocking socket: a login must not wait for a syslog daemon that has stopped reading.
fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}

/// Writes to stderr, unless that would block.
pub fn to_stderr(text: &[u8]) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
        let _ = (&stderr).write_all(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P2, P3
    #[test]
    fn a_long_line_is_cut_without_loss_and_every_later_piece_is_marked_as_continued() {
        let head = "<34>ssh-session-notifier[7]: ";
        for line in ["", "short", &"ä".repeat(900), &"x".repeat(5000), &"€|".repeat(1500)] {
            let found = pieces(head, line, PACKET_LIMIT);
            assert!(found.iter().all(|piece| piece.len() <= PACKET_LIMIT), "{found:?}");
            assert!(found.len() <= 1 + line.len() / 970, "{found:?}");
            let mut texts = found.iter().map(|piece| piece.strip_prefix(head).expect("each has a head"));
            let mut whole = texts.next().expect("there is always one").to_owned();
            texts.for_each(|text| whole.push_str(text.strip_prefix(CONTINUED).expect("it goes on")));
            assert_eq!(whole, line);
        }
    }
}
