//! Decides which authorities TLS trusts.
//!
//! They are those in `network.ca_file`, else those of the system's first store with a readable certificate,
//! else Mozilla's, which are built in. minreq's verifier (`rustls-platform-verifier`) reads them from the file
//! named by `SSL_CERT_FILE`. This module always sets that variable, which also overrides the caller's: to a
//! memfd, or to a file in the spool if there is no /proc to open a memfd through.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::{PrivateKeyDer, TrustAnchor};
use rustls::sign::SigningKey;

use crate::error::Error;
use crate::files::{self, Links};
use crate::http::store::{self, Store};
use crate::http::{Settings, anchors};
use crate::log::{self, Level};

/// Where systems keep their authorities, most common first. Files: Debian and `OpenWrt`, Red Hat, SUSE, Alpine and
/// BSD. Directories: systems with one file for each authority.
const STORES: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
];

/// The file for the authorities in the spool, if there is no memfd.
const IN_SPOOL: &str = "authorities.pem";

/// A file in the spool. Its time is when a damaged store was last reported.
const LAST_WARNING: &str = ".said-authorities";

/// How often a damaged store is reported.
const WARN_AGAIN: Duration = Duration::from_hours(24);

/// Sets up TLS for the whole process: ring as rustls's cryptography, and the authorities to trust, for minreq and for
/// any other `ClientConfig` with the platform's verifier. Must be called before the first thread starts; a second
/// call does nothing. Fails if `network.ca_file` is unusable.
pub fn trust(settings: &Settings, spool: &Path) -> Result<(), Error> {
    // A request that timed out may have left a thread behind, so the environment can't be set twice.
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_some() {
        return Ok(());
    }
    // Fails only if this provider is installed already.
    let _ = CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() }.install_default();
    let mut warnings = Vec::new();
    let authorities = match &settings.ca_file {
        Some(path) => {
            let store = files::check_for_root(path).and_then(|()| store::read(path));
            Some(readable(path, store.map_err(Error::file("use network.ca_file", path))?, &mut warnings))
        }
        None => system_authorities(&mut warnings),
    };
    let pem = anchors::pem(authorities.as_deref().unwrap_or(webpki_roots::TLS_SERVER_ROOTS));
    set_environment(&save(&pem, spool)?);
    if !warnings.is_empty() {
        warn(&warnings, spool);
    }
    let _ = DONE.set(());
    Ok(())
}

/// Reads the authorities of the system's first store that has any.
fn system_authorities(warnings: &mut Vec<String>) -> Option<Vec<TrustAnchor<'static>>> {
    for path in STORES.map(Path::new).into_iter().filter(|path| path.exists()) {
        match store::read(path) {
            Ok(store) => return Some(readable(path, store, warnings)),
            // Many systems have the directory without any certificate in it.
            Err(_) if path.is_dir() => {}
            Err(why) => {
                let path = path.display();
                warnings.push(format!(
                    "cannot use the authorities in {path}: {why}; using others: reinstall ca-certificates"
                ));
            }
        }
    }
    None
}

/// Returns the readable authorities of a store, and warns about the others.
fn readable(path: &Path, store: Store, warnings: &mut Vec<String>) -> Vec<TrustAnchor<'static>> {
    if let Some(place) = store.damage.first() {
        let (path, count) = (path.display(), store.damage.len());
        warnings.push(format!(
            "cannot read {count} of the certificates in {path}, the first at {place}; using the others: \
             repair that file or reinstall ca-certificates"
        ));
    }
    store.anchors
}

fn warn(warnings: &[String], spool: &Path) {
    // Without a spool, the warning is logged in every run.
    let _ = files::ensure_own_directory(spool);
    if files::is_time_again(spool, LAST_WARNING, WARN_AGAIN) {
        log::write(Level::Warning, &warnings.join("\n"));
    }
}

#[expect(unsafe_code, reason = "the verifier can only be configured through the environment")]
fn set_environment(path: &Path) {
    // SAFETY: changing the environment is unsound only while another thread uses it. `trust` calls this once,
    // before the first thread starts.
    unsafe {
        env::set_var("SSL_CERT_FILE", path);
        env::remove_var("SSL_CERT_DIR");
    }
}

/// Writes authorities to a memfd, or to the spool if that fails, and returns the path.
fn save(pem: &str, spool: &Path) -> Result<PathBuf, Error> {
    let path = match in_memory(pem) {
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
    // It stays open, because every new connection's verifier reads it again.
    let _ = file.into_raw_fd();
    Ok(path)
}

/// Refuses to load private keys. This program never presents a certificate, and this keeps ring's signing
/// code out of the binary.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this program uses no private keys".into()))
    }
}
