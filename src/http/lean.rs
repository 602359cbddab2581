//! The algorithms of TLS in the appliance build: what every usual server accepts, and nothing more, for
//! what isn't named here isn't linked.
//!
//! Left out are ChaCha20-Poly1305 and Ed25519. Beside the first, servers accept AES-GCM, which TLS 1.3
//! obliges them to (RFC 8446 §9.1), and no public authority signs with the second.

use ring::rand::SystemRandom;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SupportedKxGroup, WebPkiSupportedAlgorithms,
};
use rustls::{SignatureScheme, SupportedCipherSuite};
use webpki::ring as signature;

/// Where there are more.
pub const ELSEWHERE: &str = "; the build with the feature `tls-extra` knows more";

const CIPHER_SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

const KEY_EXCHANGE: [&dyn SupportedKxGroup; 3] = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        signature::ECDSA_P256_SHA256,
        signature::ECDSA_P256_SHA384,
        signature::ECDSA_P384_SHA256,
        signature::ECDSA_P384_SHA384,
        signature::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        signature::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        signature::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        signature::RSA_PKCS1_2048_8192_SHA256,
        signature::RSA_PKCS1_2048_8192_SHA384,
        signature::RSA_PKCS1_2048_8192_SHA512,
        signature::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        signature::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        signature::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // In TLS 1.2 a scheme doesn't say which curve; in 1.3 it is the first one.
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[signature::ECDSA_P384_SHA384, signature::ECDSA_P256_SHA384]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[signature::ECDSA_P256_SHA256, signature::ECDSA_P384_SHA256]),
        (SignatureScheme::RSA_PSS_SHA512, &[signature::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[signature::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA256, &[signature::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[signature::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[signature::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[signature::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

/// The cryptography that TLS uses, with a reader of private keys.
pub fn provider(key_provider: &'static dyn KeyProvider) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: CIPHER_SUITES.to_vec(),
        kx_groups: KEY_EXCHANGE.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Random,
        key_provider,
    }
}

/// The kernel's random numbers, by way of ring; rustls's own way to ring brings all its algorithms along.
#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        ring::rand::SecureRandom::fill(&SystemRandom::new(), bytes).map_err(|_| GetRandomFailed)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use rustls::crypto::ring::default_provider;

    use super::*;

    /// What the second list has and the first has not.
    fn missing(ours: &[impl Debug], all: &[impl Debug]) -> Vec<String> {
        let ours: Vec<String> = ours.iter().map(|one| format!("{one:?}")).collect();
        all.iter().map(|one| format!("{one:?}")).filter(|one| !ours.contains(one)).collect()
    }

    #[test]
    fn nothing_is_left_out_but_chacha20_and_ed25519() {
        let all = default_provider();
        let suites = missing(&CIPHER_SUITES, &all.cipher_suites);
        assert!(suites.len() == 3 && suites.iter().all(|suite| suite.contains("CHACHA20")), "{suites:?}");
        assert_eq!(format!("{KEY_EXCHANGE:?}"), format!("{:?}", all.kx_groups));
        let all = all.signature_verification_algorithms;
        assert_eq!(missing(SIGNATURES.all, all.all), [format!("{:?}", signature::ED25519)]);
        let others: Vec<_> = all.mapping.iter().filter(|(scheme, _)| *scheme != SignatureScheme::ED25519).collect();
        assert_eq!(format!("{:?}", SIGNATURES.mapping.iter().collect::<Vec<_>>()), format!("{others:?}"));
    }
}
