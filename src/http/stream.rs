//! A byte stream to a server for protocols other than HTTP, with or without TLS. Every read and write ends at a
//! deadline, and errors are sentences.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

#[cfg(feature = "tls")]
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
#[cfg(feature = "tls")]
use rustls_platform_verifier::BuilderVerifierExt;

use crate::http::explain_io;

/// A connection, with or without TLS.
pub enum Stream {
    Plain(Timed),
    #[cfg(feature = "tls")]
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A socket with a deadline, which holds however slowly the bytes arrive.
pub struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Timed {
    /// Limits the next read or write to the time left.
    fn set_timeouts(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left)).and_then(|()| self.socket.set_write_timeout(Some(left)))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.set_timeouts()?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.set_timeouts()?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Makes a stream without TLS.
    pub fn new(socket: TcpStream, deadline: Instant) -> Self {
        Self::Plain(Timed { socket, deadline })
    }

    /// Begins TLS with a server of this name. Its certificate must be from an authority that `http::trust` chose.
    #[cfg(feature = "tls")]
    pub fn secure(self, host: &str) -> Result<Self, String> {
        let Self::Plain(timed) = self else { return Ok(self) };
        let name = ServerName::try_from(host.to_owned()).map_err(|why| why.to_string())?;
        let config = ClientConfig::builder().with_platform_verifier().map_err(|why| why.to_string())?;
        let session =
            ClientConnection::new(config.with_no_client_auth().into(), name).map_err(|why| why.to_string())?;
        let mut stream = StreamOwned::new(session, timed);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|why| explain_io(&why))?;
        }
        Ok(Self::Tls(stream.into()))
    }

    /// Fails: this build has no TLS. The configuration refuses settings that need it.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS, it is consumed")]
    pub fn secure(self, _host: &str) -> Result<Self, String> {
        Err("this build has no TLS".into())
    }

    /// Sets when all further reads and writes must end.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.timed().deadline = deadline;
    }

    /// This host's own address on the connection.
    pub fn local_address(&mut self) -> Option<SocketAddr> {
        self.timed().socket.local_addr().ok()
    }

    /// Appends up to 1024 received bytes to `bytes` and returns their number: 0 at the end.
    pub fn read(&mut self, bytes: &mut Vec<u8>) -> Result<usize, String> {
        let mut part = [0; 1024];
        let read = match self {
            Self::Plain(stream) => stream.read(&mut part),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(&mut part),
        };
        let length = read.map_err(|why| explain_io(&why))?;
        bytes.extend(&part[..length]);
        Ok(length)
    }

    /// Writes all bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match self {
            Self::Plain(stream) => stream.write_all(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        written.map_err(|why| explain_io(&why))
    }

    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}
