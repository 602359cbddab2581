//! Decides which authorities TLS trusts.
//!
//! They are those in `network.ca_file`, else those of the system's first store that holds a readable
//! certificate, else Mozilla's, which are built into this binary. rustls's verifier for the platform, which
//! minreq uses, reads them from the file named by `SSL_CERT_FILE`. This module always sets that variable, so
//! that the caller's environment has no say: to a memfd, or to a file in the spool if there is no /proc
//! through which to open a memfd.

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
/// BSD. Directories: whatever has only single files.
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

/// The file in the spool that holds the authorities.
const IN_SPOOL: &str = "authorities.pem";

/// A damaged store is told of once in this time; the time of this file in the spool says when.
const SAID: &str = ".said-authorities";
const SAY_AGAIN: Duration = Duration::from_hours(24);

/// Gets TLS ready: makes ring the provider of cryptography, and chooses the authorities, for minreq and for any
/// other `ClientConfig` with the platform's verifier. They are kept in `spool` if need be. Must be called before
/// any thread is started; does nothing the second time.
pub fn trust(settings: &Settings, spool: &Path) -> Result<(), Error> {
    // The environment belongs to the whole process: a request that timed out may have left a thread behind,
    // and the environment must not change under it.
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_some() {
        return Ok(());
    }
    // Fails only if a provider is already installed, and then it is this one.
    let _ = CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() }.install_default();
    let mut warnings = Vec::new();
    let authorities = match &settings.ca_file {
        Some(path) => {
            let store = files::check_for_root(path).and_then(|()| store::read(path));
            Some(whole(path, store.map_err(Error::file("use network.ca_file", path))?, &mut warnings))
        }
        None => of_system(&mut warnings),
    };
    let pem = anchors::pem(authorities.as_deref().unwrap_or(webpki_roots::TLS_SERVER_ROOTS));
    set_environment(&keep(&pem, spool)?);
    if !warnings.is_empty() {
        warn(&warnings, spool);
    }
    let _ = DONE.set(());
    Ok(())
}

/// The authorities of the system's first store that has any.
fn of_system(warnings: &mut Vec<String>) -> Option<Vec<TrustAnchor<'static>>> {
    for path in STORES.map(Path::new).into_iter().filter(|path| path.exists()) {
        match store::read(path) {
            Ok(store) => return Some(whole(path, store, warnings)),
            // A directory without certificates is no store.
            Err(_) if path.is_dir() => {}
            Err(why) => {
                let path = path.display();
                warnings.push(format!(
                    "cannot use the authorities in {path}: {why}; others are used: install ca-certificates again"
                ));
            }
        }
    }
    None
}

/// What can be read of a store, with a warning about the rest.
fn whole(path: &Path, store: Store, warnings: &mut Vec<String>) -> Vec<TrustAnchor<'static>> {
    if let Some(place) = store.damage.first() {
        let (path, count) = (path.display(), store.damage.len());
        warnings.push(format!(
            "certificates in {path} that cannot be read: {count}, the first at {place}; the others are used: \
             put that file right, or install ca-certificates again"
        ));
    }
    store.anchors
}

fn warn(warnings: &[String], spool: &Path) {
    // Where the time can't be kept, it is said each time.
    let _ = files::ensure_own_directory(spool);
    if files::is_time_again(spool, SAID, SAY_AGAIN) {
        log::write(Level::Warning, &warnings.join("\n"));
    }
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

/// Writes authorities to a memfd, or to the spool if that fails, and returns the path.
fn keep(pem: &str, spool: &Path) -> Result<PathBuf, Error> {
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
