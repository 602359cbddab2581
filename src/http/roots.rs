//! Whom TLS trusts, and what it says when it doesn't.
//!
//! minreq's verifier takes the authorities from the file that `SSL_CERT_FILE` names. So that nobody
//! else's environment decides, this is always set here: to `network.ca_file`, or to the system's
//! store, or, where there is none, to Mozilla's authorities out of this binary, written to a
//! temporary file that has no name; or, where there is no /proc to name it by, to one in the spool.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustls::crypto::KeyProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{AlertDescription, CertificateError};

use crate::error::Error;
use crate::files;
#[cfg(feature = "tls-extra")]
use crate::http::full as algorithms;
#[cfg(not(feature = "tls-extra"))]
use crate::http::lean as algorithms;
use crate::http::{self, anchors};

/// Where hosts keep their authorities in one file, the commonest first: Debian and `OpenWrt`, Red Hat,
/// SUSE, Alpine and BSD.
const STORES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Bytes of a file of authorities. Mozilla's, with comments, are a quarter of a megabyte.
const STORE_LIMIT: u64 = 8 << 20;

/// The file in the spool with the built-in authorities.
const IN_SPOOL: &str = "authorities.pem";

/// Makes ring the provider of cryptography, and names the authorities. To be called once, while
/// this is the only thread.
pub fn install(ca_file: Option<&Path>, spool: &Path) -> Result<(), Error> {
    if let Some(path) = ca_file {
        check_store(path).map_err(Error::file("use network.ca_file", path))?;
    }
    // Fails only if one is installed already, and then it is this one.
    let _ = algorithms::provider(&NoKeys).install_default();
    let store = STORES.iter().map(Path::new).find(|path| check_store(path).is_ok());
    let path = match ca_file.or(store) {
        Some(path) => path.to_path_buf(),
        None => built_in(spool)?,
    };
    set_environment(&path);
    Ok(())
}

/// Makes sure that a file holds a certificate (RFC 7468 §5.1); the verifier says nothing better than
/// that it has none.
fn check_store(path: &Path) -> io::Result<()> {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let mut text = Vec::new();
    File::open(path)?.take(STORE_LIMIT).read_to_end(&mut text)?;
    let has_one = text.windows(MARK.len()).any(|part| part == MARK);
    if has_one { Ok(()) } else { Err(io::Error::other("it holds no certificate")) }
}

#[expect(unsafe_code, reason = "the verifier's only way to be told of its authorities")]
fn set_environment(path: &Path) {
    // SAFETY: changing the environment is unsound only while another thread reads it. `install` is
    // called before `send` starts its first thread, and does nothing the second time (`http::trust`).
    unsafe {
        env::set_var("SSL_CERT_FILE", path);
        env::remove_var("SSL_CERT_DIR");
    }
}

/// Writes Mozilla's authorities into memory that can be opened like a file, or else into the spool.
fn built_in(spool: &Path) -> Result<PathBuf, Error> {
    let pem = anchors::pem();
    let path = match in_memory(&pem) {
        Ok(path) if path.exists() => return Ok(path),
        Ok(_) | Err(_) => spool.join(IN_SPOOL),
    };
    files::ensure_own_directory(spool)?;
    // Nobody else can write there, so that what stands in its place is ours.
    let nofollow = nix::libc::O_NOFOLLOW;
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600).custom_flags(nofollow);
    open.open(&path).and_then(|mut file| file.write_all(pem.as_bytes())).map_err(Error::file("write", &path))?;
    Ok(path)
}

fn in_memory(pem: &str) -> io::Result<PathBuf> {
    let mut file = File::from(memfd_create(c"authorities", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(pem.as_bytes())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // It stays open until the process ends: each verifier reads it again.
    let _ = file.into_raw_fd();
    Ok(path)
}

/// Reads no private keys, for nobody here has a certificate of his own to show. It spares the binary
/// all that makes signatures.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this program has no private keys".into()))
    }
}

/// Says what is wrong with a certificate in words that tell the remedy.
pub fn explain(error: &rustls::Error) -> http::Error {
    let what = match error {
        rustls::Error::InvalidCertificate(why) => return http::Error::Broken(doubt(why)),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server knows neither TLS 1.2 nor 1.3".into()
        }
        // What a server says that finds nothing it accepts among what it was offered (RFC 8446 §6.2), or
        // that wants a certificate of its client.
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity),
        ) => {
            let perhaps = "perhaps it accepts no algorithm that this build knows";
            format!("the server refuses the handshake ({alert:?}): {perhaps}{}", algorithms::ELSEWHERE)
        }
        other => other.to_string(),
    };
    http::Error::Broken(format!("TLS failed: {what}"))
}

fn doubt(why: &CertificateError) -> String {
    let what = match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not valid for its name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired, or this host's clock is ahead"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not yet valid: is this host's clock behind?"
        }
        CertificateError::UnknownIssuer => "is from an unknown authority (see network.ca_file)",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            let what = "is signed with an algorithm that this build doesn't know";
            return format!("the server's certificate {what}{}", algorithms::ELSEWHERE);
        }
        // An error of the library below, of which rustls makes no variant of its own.
        CertificateError::Other(why) => match why.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "is self-signed, as only an authority's may be: the server needs one that the authority has signed"
            }
            why => return format!("the server's certificate is refused: {why}"),
        },
        other => return format!("the server's certificate is refused: {other}"),
    };
    format!("the server's certificate {what}")
}
