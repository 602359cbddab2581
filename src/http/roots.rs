//! Decides which authorities TLS trusts, and explains TLS errors.
//!
//! minreq's verifier reads the authorities from the file named by `SSL_CERT_FILE`. This module always
//! sets that variable, so that the caller's environment has no say: to `network.ca_file`, else to the
//! system's store, else to Mozilla's authorities, which are built into this binary. Those are written
//! to a memfd, or to a file in the spool if there is no /proc through which to open a memfd.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{AlertDescription, CertificateError};

use crate::error::Error;
use crate::files::{self, Links};
use crate::http::{Settings, anchors};

/// Files in which systems keep their authorities, most common first: Debian and `OpenWrt`, Red Hat,
/// SUSE, Alpine and BSD.
const STORES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Bytes read from a file of authorities. Mozilla's list, with comments, is a quarter of a megabyte.
const STORE_LIMIT: u64 = 8 << 20;

/// The file in the spool that holds the built-in authorities.
const IN_SPOOL: &str = "authorities.pem";

/// Gets TLS ready: makes ring the provider of cryptography, and chooses the authorities. The built-in ones
/// are kept in `spool` if need be. Must be called before any thread is started; does nothing the second time.
pub fn trust(settings: &Settings, spool: &Path) -> Result<(), Error> {
    // The environment belongs to the whole process: a request that timed out may have left a thread behind,
    // and the environment must not change under it.
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_some() {
        return Ok(());
    }
    // Fails only if a provider is already installed, and then it is this one.
    let _ = CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() }.install_default();
    let path = if let Some(path) = &settings.ca_file {
        let checked = files::check_for_root(path).and_then(|()| check_store(path));
        checked.map_err(Error::file("use network.ca_file", path))?;
        path.clone()
    } else {
        let store = STORES.iter().map(PathBuf::from).find(|path| check_store(path).is_ok());
        store.map_or_else(|| built_in(spool), Ok)?
    };
    set_environment(&path);
    let _ = DONE.set(());
    Ok(())
}

/// Checks that a file holds a certificate (RFC 7468 §5.1), because the verifier's own error doesn't
/// name the file.
fn check_store(path: &Path) -> io::Result<()> {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let (text, _) = files::read(path, STORE_LIMIT, Links::Follow)?;
    let has_one = text.windows(MARK.len()).any(|part| part == MARK);
    if has_one { Ok(()) } else { Err(io::Error::other("it holds no certificate")) }
}

#[expect(unsafe_code, reason = "the verifier can only be configured through the environment")]
fn set_environment(path: &Path) {
    // SAFETY: changing the environment is unsound only while another thread reads it. `trust` comes here
    // once, before `send` starts its first thread.
    unsafe {
        env::set_var("SSL_CERT_FILE", path);
        env::remove_var("SSL_CERT_DIR");
    }
}

/// Writes Mozilla's authorities to a memfd, or to the spool if that fails, and returns the path.
fn built_in(spool: &Path) -> Result<PathBuf, Error> {
    let pem = anchors::pem();
    let path = match in_memory(&pem) {
        Ok(path) if path.exists() => return Ok(path),
        Ok(_) | Err(_) => spool.join(IN_SPOOL),
    };
    files::ensure_own_directory(spool)?;
    // Only we can write to the spool, so an existing file of this name is ours.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let opened = files::open(&path, &mut options, Links::Refuse);
    opened.and_then(|mut file| file.write_all(pem.as_bytes())).map_err(Error::file("write", &path))?;
    Ok(path)
}

fn in_memory(pem: &str) -> io::Result<PathBuf> {
    let mut file = File::from(memfd_create(c"authorities", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(pem.as_bytes())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // Leave it open: every new connection's verifier reads it again.
    let _ = file.into_raw_fd();
    Ok(path)
}

/// Refuses to load private keys. This program never presents a certificate, and without this the
/// binary would contain all of ring's signing code.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this program uses no private keys".into()))
    }
}

/// Describes a TLS error, with the remedy if there is one.
pub fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => format!("the server's certificate {}", doubt(why)),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "TLS failed: the server knows neither TLS 1.2 nor 1.3".into()
        }
        // The server accepts nothing that it was offered (RFC 8446 §6.2), or it demands a client
        // certificate.
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity),
        ) => {
            let perhaps = "perhaps it accepts none of the algorithms that this program supports";
            format!("TLS failed: the server refuses the handshake ({alert:?}): {perhaps}")
        }
        other => format!("TLS failed: {other}"),
    }
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
            "is signed with an algorithm that this program does not support"
        }
        // An error from webpki for which rustls has no variant.
        CertificateError::Other(why) if why.to_string() == "CaUsedAsEndEntity" => {
            "is a self-signed authority certificate: give the server one that is signed by that authority"
        }
        CertificateError::Other(why) => return format!("is refused: {why}"),
        other => return format!("is refused: {other}"),
    };
    what.into()
}
