//! Writes trust anchors as PEM certificates, the only form that minreq's TLS verifier reads.
//!
//! A trust anchor is an authority's name, key and name constraints (RFC 5280 §6.1.1). The crate
//! `webpki-roots` has Mozilla's, in less than half the size of whole certificates. This module builds the
//! smallest certificate for each anchor. All other fields are empty, including the signature: a verifier
//! doesn't check the signature of an authority that it already trusts.

use rustls::pki_types::TrustAnchor;

use crate::text::base64;

/// Tags of DER (X.690 §8).
const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;

/// Version 3, and serial number 1 (RFC 5280 §4.1.2).
const VERSION_AND_SERIAL: &[u8] = &[0xa0, 3, 2, 1, 2, 2, 1, 1];

/// Stands for the algorithm, the issuer and the validity.
const EMPTY: &[u8] = &[SEQUENCE, 0];

/// A bit string without bits.
const NO_SIGNATURE: &[u8] = &[3, 1, 0];

/// The identifier of the extension `nameConstraints`, and the flag that it is critical (RFC 5280
/// §4.2.1.10).
const NAME_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 30, 1, 1, 0xff];

/// Writes authorities as PEM (RFC 7468), each in one line of base64. Each must be below 64 KiB.
pub fn pem(anchors: &[TrustAnchor<'_>]) -> String {
    let mut pem = String::with_capacity(anchors.len() * 1024);
    for anchor in anchors {
        let line = base64(&certificate(anchor));
        pem.extend(["-----BEGIN CERTIFICATE-----\n", &line, "\n-----END CERTIFICATE-----\n"]);
    }
    pem
}

/// Builds the smallest certificate of an authority (RFC 5280 §4.1), as DER.
fn certificate(anchor: &TrustAnchor<'_>) -> Vec<u8> {
    let subject = der(SEQUENCE, &[&anchor.subject]);
    let key = der(SEQUENCE, &[&anchor.subject_public_key_info]);
    let extensions = anchor.name_constraints.as_ref().map_or_else(Vec::new, |constraints| {
        let constraints = der(OCTET_STRING, &[&der(SEQUENCE, &[constraints])]);
        let extension = der(SEQUENCE, &[NAME_CONSTRAINTS, &constraints]);
        der(EXTENSIONS, &[&der(SEQUENCE, &[&extension])])
    });
    let signed = der(SEQUENCE, &[VERSION_AND_SERIAL, EMPTY, EMPTY, EMPTY, &subject, &key, &extensions]);
    der(SEQUENCE, &[&signed, EMPTY, NO_SIGNATURE])
}

/// Encodes a value in DER: its tag, its length (X.690 §10.1) and its content.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).expect("an authority has less than 64 KiB").to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, ..0x80) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, &content].concat()
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// Reads certificates as a verifier does.
    fn read(pem: &str) -> Vec<TrustAnchor<'static>> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            store.add(certificate.expect("valid PEM")).expect("a valid certificate");
        }
        store.roots
    }

    #[test]
    fn a_verifier_reads_every_authority_of_mozilla_unchanged() {
        let anchors = read(&pem(webpki_roots::TLS_SERVER_ROOTS));
        assert_eq!(anchors, webpki_roots::TLS_SERVER_ROOTS);
        assert!(anchors.len() > 100, "Mozilla trusts more than {}", anchors.len());
        assert!(
            anchors.iter().any(|anchor| anchor.name_constraints.is_some()),
            "at least one authority has name constraints"
        );
    }

    #[test]
    fn lengths_are_encoded_as_der_wants() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (0x7f, &[4, 0x7f]),
            (0x80, &[4, 0x81, 0x80]),
            (0xff, &[4, 0x81, 0xff]),
            (0x100, &[4, 0x82, 1, 0]),
            (0xffff, &[4, 0x82, 0xff, 0xff]),
        ] {
            let content = vec![7; length];
            assert_eq!(der(OCTET_STRING, &[&content]), [head, &content].concat(), "{length}");
        }
    }
}
