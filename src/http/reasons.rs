//! Explains why TLS failed, with a remedy that an operator can act on.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

use crate::http::{NO_TLS, TLS_FAILED};
use crate::text::Field;

/// Explains a TLS error. `None` if the error has another cause.
pub fn of_tls(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref().map(explain)
}

fn explain(error: &rustls::Error) -> String {
    let why = match error {
        rustls::Error::InvalidCertificate(why) => {
            return format!("the server's certificate {}", explain_certificate(why));
        }
        // Plain text looks like a TLS message of an unknown type or of an impossible length.
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::MessageTooLarge) => {
            return format!("{TLS_FAILED}{NO_TLS}: correct the port, or write http:// instead of https://");
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "the server supports neither TLS 1.2 nor TLS 1.3"
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not know this host name: check the address"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a client certificate, which this program does not have: let this host in without one"
        }
        // The server supports none of our algorithms (RFC 8446 §6.2), or it wants a client certificate.
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::BadCertificate),
        ) => {
            return format!(
                "{TLS_FAILED}the server refuses the handshake ({alert:?}): perhaps it accepts none of the algorithms \
                 that this program supports, or wants a client certificate, which this program does not have"
            );
        }
        other => return format!("{TLS_FAILED}{other}"),
    };
    format!("{TLS_FAILED}{why}")
}

/// Continues `the server's certificate …`.
fn explain_certificate(why: &CertificateError) -> String {
    let what = match why {
        CertificateError::NotValidForNameContext { expected, presented } => {
            return explain_names(&expected.to_str(), presented);
        }
        CertificateError::NotValidForName => "is not valid for its name",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired, or this host's clock is ahead"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not yet valid: is this host's clock behind?"
        }
        CertificateError::UnknownIssuer => {
            "is from an unknown authority: set network.ca_file to that authority's certificate, update \
             ca-certificates on this host if it is old, or make the server send its intermediate certificates"
        }
        // rustls lacks the algorithm, or refuses it with such a key, for example RSA below 2048 bits.
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed with an algorithm that this program does not support"
        }
        CertificateError::BadSignature => {
            "has a wrong signature, or one by a key that is too short (RSA needs 2048 bits): \
             give the server a new certificate"
        }
        // Errors from webpki for which rustls has no variant.
        CertificateError::Other(why) if why.to_string() == "CaUsedAsEndEntity" => {
            "is a self-signed authority certificate: give the server one that is signed by that authority"
        }
        CertificateError::Other(why) if why.to_string() == "UnsupportedCertVersion" => {
            "is of X.509 version 1, which is obsolete: give the server a new one, of version 3"
        }
        CertificateError::Other(why) => return format!("is refused: {why}"),
        other => return format!("is refused: {other}"),
    };
    what.into()
}

/// Names the hosts that a certificate is valid for. They are the server's choice, so they become a `Field`.
fn explain_names(asked: &str, presented: &[String]) -> String {
    if presented.is_empty() {
        return format!(
            "names no host (it has no subjectAltName, and the common name no longer counts): \
             give the server a new one, for {asked}"
        );
    }
    // webpki shows them as `DnsName("host.example")`.
    let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let names = presented.iter().map(plain).collect::<Vec<_>>().join(", ");
    let names = Field::new(names.as_bytes());
    format!("is not valid for its name, {asked}, but for {names}: write that name, or give the server a new one")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{Error, OtherError};

    use super::*;

    /// Errors that the test servers can't produce.
    #[test]
    fn every_error_names_the_cause_and_most_name_a_remedy() {
        let certificate = |why: CertificateError| explain(&Error::InvalidCertificate(why));
        let alert = |alert: AlertDescription| explain(&Error::AlertReceived(alert));
        let expected = "10.0.0.1".try_into().expect("an address");
        let presented = vec!["DnsName(\"a\u{1b}[31m.example\")".into(), "IpAddress(192.0.2.1)".into()];
        for (explanation, part) in [
            (certificate(CertificateError::Revoked), "the server's certificate is refused: "),
            (certificate(CertificateError::BadSignature), "RSA needs 2048 bits"),
            (certificate(CertificateError::UnknownIssuer), "make the server send its intermediate certificates"),
            (
                certificate(CertificateError::NotValidForNameContext { expected, presented }),
                "is not valid for its name, 10.0.0.1, but for a\u{fffd}[31m.example, IpAddress(192.0.2.1): write that",
            ),
            (
                certificate(CertificateError::Other(OtherError(Arc::new(io::Error::other("Strange"))))),
                "the server's certificate is refused: Strange",
            ),
            (alert(AlertDescription::CertificateRequired), "wants a client certificate"),
            (alert(AlertDescription::BadCertificate), "(BadCertificate): perhaps"),
            (alert(AlertDescription::UnrecognisedName), "does not know this host name"),
            (alert(AlertDescription::InternalError), "TLS failed: received fatal alert: "),
            (explain(&Error::InvalidMessage(InvalidMessage::MessageTooLarge)), "does not speak TLS on this port"),
        ] {
            assert!(explanation.contains(part), "{explanation}");
        }
        assert_eq!(of_tls(&io::Error::other("no TLS")), None);
    }
}
