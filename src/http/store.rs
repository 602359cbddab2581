//! Reads a host's store of authorities: a file of PEM certificates, or a directory of single files.
//!
//! A disk error or a power cut may have damaged a part. The readable part is used; the rest is listed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::files::{self, Links};

/// Bytes read of a store. Mozilla's list, with comments, is a quarter of a megabyte.
const LIMIT: u64 = 8 << 20;

/// Files read of a directory. Debian has three for each authority.
const MOST_FILES: usize = 2000;

/// Bytes in an authority's name, key and constraints together. All real ones are below two thousand.
const LONGEST: usize = 32 * 1024;

/// The first line of a PEM certificate (RFC 7468 §5.1).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The first bytes of a DER certificate: a sequence with a length of two bytes (X.690 §8).
const DER: &[u8] = &[0x30, 0x82];

/// The contents of a store.
pub struct Store {
    /// The authorities, each once.
    pub anchors: Vec<TrustAnchor<'static>>,
    /// The place (`FILE` or `FILE:LINE`) of each unreadable certificate.
    pub damage: Vec<String>,
}

/// Reads a store. Fails if it has no readable certificate.
pub fn read(path: &Path) -> io::Result<Store> {
    let mut store = Store { anchors: Vec::new(), damage: Vec::new() };
    if path.is_dir() {
        store.add_directory(path)?;
    } else {
        store.add_file(path, &files::read(path, LIMIT, Links::Follow)?.0);
    }
    match (store.anchors.is_empty(), store.damage.first()) {
        (false, _) => Ok(store),
        (true, None) => Err(io::Error::other("it holds no certificate")),
        (true, Some(place)) => Err(io::Error::other(format!("it holds no readable certificate ({place})"))),
    }
}

impl Store {
    fn add_directory(&mut self, path: &Path) -> io::Result<()> {
        let entries = fs::read_dir(path)?.flatten().map(|entry| entry.path()).filter(|path| is_certificate(path));
        let mut paths: Vec<PathBuf> = entries.take(MOST_FILES).collect();
        paths.sort();
        let (mut seen, mut left) = (Vec::new(), LIMIT);
        for path in paths {
            // Most files have several names, by symbolic links.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let id = (metadata.dev(), metadata.ino());
            if !metadata.is_file() || seen.contains(&id) || files::check_for_root(&path).is_err() {
                continue;
            }
            seen.push(id);
            match files::read(&path, left, Links::Follow) {
                Ok((bytes, _)) => {
                    left -= bytes.len() as u64;
                    self.add_file(&path, &bytes);
                }
                Err(why) => self.damage.push(format!("{}: {why}", path.display())),
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, bytes: &[u8]) {
        if bytes.starts_with(DER) {
            return self.add(Some(bytes.into()), || path.display().to_string());
        }
        let text = String::from_utf8_lossy(bytes);
        let mut starts = text.match_indices(BEGIN).map(|(start, _)| start).peekable();
        let (mut line, mut counted) = (1, 0);
        while let Some(start) = starts.next() {
            line += text[counted..start].matches('\n').count();
            counted = start;
            // Parse each alone, so that a truncated one doesn't hide the next.
            let one = &text[start..starts.peek().copied().unwrap_or(text.len())];
            let certificate = CertificateDer::from_pem_slice(one.as_bytes()).ok();
            self.add(certificate, || format!("{}:{line}", path.display()));
        }
    }

    /// Adds a certificate. If it is unreadable, records its place.
    fn add(&mut self, certificate: Option<CertificateDer<'_>>, place: impl Fn() -> String) {
        let mut one = RootCertStore::empty();
        let is_read = certificate.is_some_and(|certificate| one.add(certificate).is_ok());
        match one.roots.pop().filter(|anchor| is_read && length(anchor) <= LONGEST) {
            Some(anchor) if self.anchors.contains(&anchor) => {}
            Some(anchor) => self.anchors.push(anchor),
            None => self.damage.push(place()),
        }
    }
}

fn length(anchor: &TrustAnchor) -> usize {
    let constraints = anchor.name_constraints.as_ref().map_or(0, |constraints| constraints.len());
    anchor.subject.len() + anchor.subject_public_key_info.len() + constraints
}

/// Whether a file has a certificate's name: `*.pem`, `*.crt`, or OpenSSL's hash, such as `5e98733a.0`.
fn is_certificate(path: &Path) -> bool {
    let Some((name, ending)) = path.file_name().and_then(|name| name.to_str()?.rsplit_once('.')) else { return false };
    let is_hash = name.len() == 8 && name.bytes().all(|digit| digit.is_ascii_hexdigit());
    ["pem", "crt"].contains(&ending) || is_hash && ending.bytes().all(|digit| digit.is_ascii_digit())
}
