//! The signature of a message (Standard Webhooks), by which a receiver can tell our messages from forged ones.

use std::fmt;

use hmac_sha256::HMAC;

use crate::http::Header;
use crate::text::{Secret, base64, base64_decoded};
use crate::toml::Section;

/// The prefix of a secret.
const PREFIX: &str = "whsec_";

/// The bytes of a secret that Standard Webhooks allows.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The key that signs messages.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// Reads `secret`. Adds it to `secrets`.
    pub fn configure(section: &mut Section<'_>, secrets: &mut Vec<Secret>) -> Option<Self> {
        let found = section.secret("secret")?;
        let key = section.check("secret", &found, |secret| {
            let key = secret.reveal().strip_prefix(PREFIX).and_then(base64_decoded);
            key.filter(|key| LENGTHS.contains(&key.len())).ok_or(
                "must be whsec_ and 24 to 64 bytes in base64, such as the output of \
                 `echo whsec_$(head -c 32 /dev/urandom | base64)`",
            )
        })?;
        secrets.push(found.value);
        Some(Self(key))
    }

    /// The headers of a message: its id, which a retry keeps; the time of this attempt, in seconds; and the signature
    /// over both and the body.
    pub fn sign(&self, key: u64, utc_ms: i64, body: &str) -> Vec<Header> {
        let (id, timestamp) = (format!("msg_{key:016x}"), utc_ms.div_euclid(1000).to_string());
        let signature = format!("v1,{}", base64(&HMAC::mac(format!("{id}.{timestamp}.{body}"), &self.0)));
        let values = [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)];
        values.into_iter().map(|(name, value)| (name.into(), Secret::new(value))).collect()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::tests::mistakes;

    /// From the tests of the reference libraries: github.com/standard-webhooks/standard-webhooks
    #[test]
    fn the_signature_matches_the_reference_example() {
        let key = Key(base64_decoded("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64"));
        assert_eq!(format!("{key:?}"), "Key(..)");
        let body = r#"{"test": 2432232314}"#;
        let signature =
            format!("v1,{}", base64(&HMAC::mac(format!("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{body}"), &key.0)));
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let headers = key.sign(0xf3, 1_614_265_330_999, body);
        let values: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_ref(), value.reveal())).collect();
        assert_eq!(values[..2], [("webhook-id", "msg_00000000000000f3"), ("webhook-timestamp", "1614265330")]);
    }

    /// P7
    #[test]
    fn a_secret_that_is_too_short_or_not_base64_is_refused_without_being_shown() {
        for secret in ["s3cret", "whsec_", "whsec_s3cret", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqr"] {
            let why = mistakes("webhook", &format!("url = 'http://h'\nsecret = '{secret}'"));
            assert!(why.contains("c:4: webhook.secret must be whsec_ and 24 to 64 bytes"), "{secret}: {why}");
            assert!(!why.contains("s3cret") && !why.contains("MfKQ"), "{why}");
        }
    }
}
