//! A stream of bytes to a server, for protocols other than HTTP: a connection of ours, and TLS over it if it is asked
//! for. Every read and every write ends at a deadline, and errors are sentences.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

#[cfg(feature = "tls")]
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
#[cfg(feature = "tls")]
use rustls_platform_verifier::BuilderVerifierExt;

use crate::http::why_io;

/// A connection, with or without TLS.
pub enum Stream {
    /// As it is.
    Plain(Timed),
    /// Under TLS.
    #[cfg(feature = "tls")]
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A socket that waits for nothing beyond a deadline, however slowly the bytes come.
pub struct Timed {
    socket: TcpStream,
    ends: Instant,
}

impl Timed {
    /// Makes the socket wait no longer than what is left.
    fn wait(&self) -> io::Result<()> {
        let left = self.ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left)).and_then(|()| self.socket.set_write_timeout(Some(left)))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait()?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// A connection without TLS.
    pub fn new(socket: TcpStream, ends: Instant) -> Self {
        Self::Plain(Timed { socket, ends })
    }

    /// Begins TLS with a server of this name, whose certificate must be from an authority that this host trusts:
    /// `http::trust` has chosen them.
    #[cfg(feature = "tls")]
    pub fn secure(self, host: &str) -> Result<Self, String> {
        let Self::Plain(timed) = self else { return Ok(self) };
        let name = ServerName::try_from(host.to_owned()).map_err(|why| why.to_string())?;
        let config = ClientConfig::builder().with_platform_verifier().map_err(|why| why.to_string())?;
        let session =
            ClientConnection::new(config.with_no_client_auth().into(), name).map_err(|why| why.to_string())?;
        let mut stream = StreamOwned::new(session, timed);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|why| why_io(&why))?;
        }
        Ok(Self::Tls(stream.into()))
    }

    /// There is no TLS in this build; the configuration refuses it.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it becomes another one")]
    pub fn secure(self, _host: &str) -> Result<Self, String> {
        Err("this build has no TLS".into())
    }

    /// From now on, nothing is waited for beyond this moment.
    pub fn set_deadline(&mut self, ends: Instant) {
        self.timed().ends = ends;
    }

    /// This host's own address.
    pub fn local_address(&mut self) -> Option<SocketAddr> {
        self.timed().socket.local_addr().ok()
    }

    /// Adds what comes next to `bytes`, and says how much it was; 0 at the end.
    pub fn read(&mut self, bytes: &mut Vec<u8>) -> Result<usize, String> {
        let mut part = [0; 1024];
        let read = match self {
            Self::Plain(stream) => stream.read(&mut part),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(&mut part),
        };
        let length = read.map_err(|why| why_io(&why))?;
        bytes.extend(&part[..length]);
        Ok(length)
    }

    /// Writes everything.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match self {
            Self::Plain(stream) => stream.write_all(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        written.map_err(|why| why_io(&why))
    }

    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}
