//! The algorithms of TLS in the full build: all that ring has.

use rustls::crypto::{CryptoProvider, KeyProvider, ring};

/// Where there are more: nowhere.
pub const ELSEWHERE: &str = "";

/// The cryptography that TLS uses, with a reader of private keys.
pub fn provider(key_provider: &'static dyn KeyProvider) -> CryptoProvider {
    CryptoProvider { key_provider, ..ring::default_provider() }
}
