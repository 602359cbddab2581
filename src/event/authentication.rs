//! Describes how a user authenticated, from sshd's `SSH_AUTH_INFO_0`.
//!
//! A user can forge that variable (`~/.pam_environment`). So it is shown, but never suppresses a notice.

use std::fmt::Write;

use crate::event::{Facts, KEY, METHOD};
use crate::text::{Field, base64, base64_decoded};

/// Characters shown of a certificate's key id.
const ID_WIDTH: usize = 32;

/// Lists the methods in their order, keys with their fingerprints: `key ED25519 SHA256:…, password`. Empty if sshd
/// didn't set the variable.
pub fn describe(facts: &Facts) -> String {
    let mut keys = facts[KEY].as_str().split(',');
    let one = |method: &str| match method {
        "publickey" => format!("key {}", keys.next().and_then(key).unwrap_or_else(|| "of an unknown kind".into())),
        // The name of a PAM module may follow a slash.
        other => match other.split('/').next() {
            Some(name) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') => name.to_owned(),
            _ => "an unknown method".to_owned(),
        },
    };
    let methods = facts[METHOD].as_str().split(',').filter(|method| !method.is_empty());
    methods.map(one).collect::<Vec<_>>().join(", ")
}

/// Lists the keys, each as kind and fingerprint: `ED25519 SHA256:…`
pub fn fingerprints(facts: &Facts) -> Vec<String> {
    facts[KEY].as_str().split(',').filter_map(key).collect()
}

/// Describes a public key by its kind and fingerprint, as `ssh-keygen -lf` does; a certificate also by its id and the
/// authority's key. `None` for an incomplete or unknown key.
fn key(text: &str) -> Option<String> {
    let (_, encoded) = text.split_once(' ')?;
    let blob = base64_decoded(encoded)?;
    let mut rest = Wire(&blob);
    let name = str::from_utf8(rest.string()?).ok()?;
    let plain = name.strip_suffix("-cert-v01@openssh.com");
    let Some(plain) = plain else { return Some(format!("{} {}", kind(name)?, fingerprint(&blob))) };
    // OpenSSH's PROTOCOL.certkeys: a nonce, the key's own fields, then the authority's statement about it.
    let plain = if plain.starts_with("sk-") { format!("{plain}@openssh.com") } else { plain.to_owned() };
    let _nonce = rest.string()?;
    let mut key = wire(plain.as_bytes());
    for _ in 0..fields(&plain)? {
        key.extend(wire(rest.string()?));
    }
    let _serial_and_type = rest.take(8 + 4)?;
    // The id must not look like another part of the notice.
    let id = String::from_utf8_lossy(rest.string()?).replace(['\'', ';', '(', ')'], "?");
    let id = Field::new(id.as_bytes());
    let (_principals, _validity) = (rest.string()?, rest.take(8 + 8)?);
    let (_critical, _extensions, _reserved) = (rest.string()?, rest.string()?, rest.string()?);
    let authority = rest.string()?;
    let authority_kind = kind(str::from_utf8(Wire(authority).string()?).ok()?)?;
    let mut text = format!("{}-CERT {} (", kind(&plain)?, fingerprint(&key));
    if !id.is_empty() {
        let _ = write!(text, "id '{}', ", id.shown(ID_WIDTH));
    }
    let _ = write!(text, "CA {authority_kind} {})", fingerprint(authority));
    Some(text)
}

/// Returns `ssh-keygen`'s name for a key's algorithm (RFC 4253 §6.6, RFC 8709, RFC 5656, OpenSSH's PROTOCOL.u2f).
fn kind(name: &str) -> Option<&'static str> {
    Some(match name {
        "ssh-rsa" => "RSA",
        "ssh-dss" => "DSA",
        "ssh-ed25519" => "ED25519",
        "sk-ssh-ed25519@openssh.com" => "ED25519-SK",
        "sk-ecdsa-sha2-nistp256@openssh.com" => "ECDSA-SK",
        name if name.starts_with("ecdsa-sha2-nistp") => "ECDSA",
        _ => return None,
    })
}

/// Counts the fields of a key after its algorithm's name.
fn fields(name: &str) -> Option<usize> {
    Some(match kind(name)? {
        "ED25519" => 1,
        "ECDSA-SK" => 3,
        "DSA" => 4,
        _ => 2,
    })
}

fn fingerprint(blob: &[u8]) -> String {
    let digest = base64(&hmac_sha256::Hash::hash(blob));
    format!("SHA256:{}", digest.trim_end_matches('='))
}

/// Encodes an SSH string (RFC 4251 §5): four bytes of length, then the bytes.
fn wire(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// Decodes SSH strings.
struct Wire<'b>(&'b [u8]);

impl<'b> Wire<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn string(&mut self) -> Option<&'b [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use super::*;

    fn described(method: &str, key: &str) -> String {
        let mut facts = Facts::default();
        facts[METHOD] = Field::new(method.as_bytes());
        facts[KEY] = Field::bounded(key.as_bytes(), 3000);
        describe(&facts)
    }

    fn keygen(arguments: &[&str], directory: &Path) -> Option<String> {
        let done =
            Command::new("ssh-keygen").args(arguments).current_dir(directory).stdin(Stdio::null()).output().ok()?;
        assert!(done.status.success(), "{arguments:?} {done:?}");
        Some(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// The fingerprint and the kind in `256 SHA256:… comment (ED25519)`.
    fn listed(line: &str) -> (String, String) {
        let fingerprint = line.split(' ').nth(1).expect("a fingerprint").to_owned();
        let kind = line.trim_end().rsplit_once('(').expect("a kind").1.trim_end_matches(')').to_owned();
        (fingerprint, kind)
    }

    fn public(path: &Path) -> String {
        let line = fs::read_to_string(path).expect("a key");
        line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    #[test]
    fn each_key_and_certificate_is_described_as_ssh_keygen_does() {
        let directory: PathBuf = std::env::temp_dir().join(format!("ssn-keys-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a temporary directory");
        if keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "ca", "-C", ""], &directory).is_none() {
            println!("SKIP: each_key_and_certificate_is_described_as_ssh_keygen_does: needs ssh-keygen");
            return;
        }
        let (ca, _) = listed(&keygen(&["-lf", "ca.pub"], &directory).expect("it is there"));
        for (name, options) in [
            ("ed25519", &["-t", "ed25519"][..]),
            ("rsa", &["-t", "rsa", "-b", "2048"]),
            ("p256", &["-t", "ecdsa", "-b", "256"]),
            ("p521", &["-t", "ecdsa", "-b", "521"]),
        ] {
            let mut arguments = vec!["-q", "-N", "", "-f", name];
            arguments.extend(options);
            keygen(&arguments, &directory);
            let path = directory.join(format!("{name}.pub"));
            let (fingerprint, kind) =
                listed(&keygen(&["-lf", &format!("{name}.pub")], &directory).expect("it is there"));
            assert_eq!(described("publickey", &public(&path)), format!("key {kind} {fingerprint}"));

            keygen(&["-q", "-s", "ca", "-I", "amanda@work", "-n", "amanda", &format!("{name}.pub")], &directory);
            let certificate = directory.join(format!("{name}-cert.pub"));
            let line = keygen(&["-lf", &format!("{name}-cert.pub")], &directory).expect("it is there");
            let (fingerprint, kind) = listed(&line);
            let expected = format!("key {kind} {fingerprint} (id 'amanda@work', CA ED25519 {ca})");
            assert_eq!(described("publickey", &public(&certificate)), expected);
        }
        fs::remove_dir_all(&directory).expect("ours");
    }

    /// `ssh-keygen` can't make these without a security token, so the test encodes them itself.
    #[test]
    fn a_security_tokens_key_and_its_certificate_have_the_same_fingerprint() {
        let name = b"sk-ssh-ed25519@openssh.com";
        let blob = [wire(name), wire(&[7; 32]), wire(b"ssh:")].concat();
        let plain = described("publickey", &format!("sk-ssh-ed25519@openssh.com {}", base64(&blob)));
        let fingerprint = plain.strip_prefix("key ED25519-SK ").expect("its kind");
        let authority = wire(b"ssh-ed25519").into_iter().chain(wire(&[9; 32])).collect::<Vec<u8>>();
        let certificate = [
            wire(b"sk-ssh-ed25519-cert-v01@openssh.com"),
            wire(&[1; 32]),
            wire(&[7; 32]),
            wire(b"ssh:"),
            vec![0; 12],
            wire(b""),
            wire(b""),
            vec![0; 16],
            wire(b""),
            wire(b""),
            wire(b""),
            wire(&authority),
            wire(b"signature"),
        ]
        .concat();
        let text = described("publickey", &format!("sk-ssh-ed25519-cert-v01@openssh.com {}", base64(&certificate)));
        assert!(text.starts_with(&format!("key ED25519-SK-CERT {fingerprint} (CA ED25519 SHA256:")), "{text}");
    }

    #[test]
    fn methods_are_listed_in_order_and_malformed_keys_are_harmless() {
        let good = format!("ssh-ed25519 {}", base64(&[wire(b"ssh-ed25519"), wire(&[7; 32])].concat()));
        for (method, key, expected) in [
            ("", "", ""),
            ("password", "", "password"),
            ("keyboard-interactive/pam", "", "keyboard-interactive"),
            ("password; from 192.0.2.1", "", "an unknown method"),
            ("publickey", "", "key of an unknown kind"),
            ("publickey", "ssh-ed25519 !!!!", "key of an unknown kind"),
            ("publickey", "ssh-ed25519 AAAA", "key of an unknown kind"),
            ("publickey", "x AAAAAXg=", "key of an unknown kind"),
        ] {
            assert_eq!(described(method, key), expected, "{method} {key}");
        }
        let both = described("publickey,password", &good);
        assert!(both.starts_with("key ED25519 SHA256:") && both.ends_with(", password"), "{both}");
        for length in 0..good.len() {
            let _ = described("publickey", &good[..length]);
        }
    }
}
