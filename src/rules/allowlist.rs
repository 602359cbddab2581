//! The allowlist: sessions that need no notice.

use crate::rules::Network;
use crate::rules::network::{address, bits};
use crate::toml::Section;

/// Sessions that need no notice.
#[derive(Clone, Debug, Default)]
pub struct Allowlist {
    networks: Vec<Network>,
    /// Remote hosts that are compared as text. The empty one matches a session without a remote host.
    hosts: Vec<String>,
    users: Vec<String>,
    services: Vec<String>,
}

/// PAM's items of a session, byte for byte; a missing item is empty. Not facts, because sanitizing them may make
/// two different names equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'b> {
    /// `PAM_USER`
    pub user: &'b [u8],
    /// `PAM_SERVICE`
    pub service: &'b [u8],
    /// `PAM_RHOST`
    pub remote_host: &'b [u8],
}

impl Allowlist {
    /// Reads the section `allowlist`. An entry of `ips` that is neither an address nor a network is compared as text,
    /// as in the first version.
    pub fn configure(mut section: Section<'_>) -> Self {
        let mut allowlist = Self { users: names(&mut section, "users"), ..Self::default() };
        allowlist.services = names(&mut section, "services");
        for found in section.strings("ips").iter().flat_map(|found| &found.value) {
            match Network::parse(&found.value) {
                Some(network) => allowlist.networks.push(network),
                None => allowlist.hosts.push(found.value.clone()),
            }
        }
        section.finish();
        allowlist
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.hosts.is_empty() && self.users.is_empty() && self.services.is_empty()
    }

    /// Whether it covers a session. Names are compared exactly; an address matches a network in any notation.
    pub fn covers(&self, items: Items<'_>) -> bool {
        let has = |list: &[String], wanted: &[u8]| list.iter().any(|name| name.as_bytes() == wanted);
        has(&self.users, items.user)
            || has(&self.services, items.service)
            || has(&self.hosts, items.remote_host)
            || address(items.remote_host)
                .is_some_and(|address| self.networks.iter().any(|network| network.contains(bits(address))))
    }
}

/// Reads a list of names that may not be empty.
fn names(section: &mut Section<'_>, key: &str) -> Vec<String> {
    let check = |name: &String| if name.is_empty() { Err("has an empty name") } else { Ok(name.clone()) };
    let found = section.strings(key);
    found.iter().flat_map(|found| &found.value).filter_map(|name| section.check(key, name, check)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::toml::Reader;

    fn read(text: &str) -> Result<Allowlist, String> {
        let reader = Reader::new(Path::new("f"), text);
        let document = reader.parse().unwrap_or_else(|| panic!("{text}"));
        let allowlist = Allowlist::configure(reader.root(&document));
        reader.finish(Some(allowlist)).map_err(|why| why.to_string())
    }

    fn allows(hosts: &[&str], host: &str) -> bool {
        let allowlist = read(&format!("ips = {hosts:?}")).expect("any text is a valid entry");
        allowlist.covers(Items { user: b"u", service: b"s", remote_host: host.as_bytes() })
    }

    /// P3
    #[test]
    fn names_are_compared_exactly() {
        let allowlist =
            read("users = ['backup', 'K\u{fc}che']\nservices = ['cron']\nips = ['localhost', '', 'UNKNOWN']");
        let allowlist = allowlist.expect("a valid allowlist");
        let rows = [
            (&b"backup"[..], &b"sshd"[..], &b"192.0.2.7"[..], true),
            ("K\u{fc}che".as_bytes(), b"sshd", b"192.0.2.7", true),
            (b"eve", b"cron", b"192.0.2.7", true),
            (b"eve", b"sshd", b"localhost", true),
            (b"eve", b"sshd", b"UNKNOWN", true),
            (b"eve", b"su", b"", true),
            (b"eve", b"sshd", b"192.0.2.7", false),
            (b"Backup", b"sshd", b"h", false),
            (b"backup ", b"sshd", b"h", false),
            (b" backup", b"sshd", b"h", false),
            (b"backup\n", b"sshd", b"h", false),
            (b"backup2", b"sshd", b"h", false),
            (b"", b"", b"h", false),
            (b"K\xfcche", b"sshd", b"h", false),
            (b"cron", b"backup", b"h", false),
            (b"eve", b"sshd", b" ", false),
            (b"eve", b"sshd", b"localhost.", false),
        ];
        for (user, service, remote_host, expected) in rows {
            let items = Items { user, service, remote_host };
            assert_eq!(allowlist.covers(items), expected, "{items:?}");
        }
        for text in ["users = ['']", "services = ['cron', '']", "users = [7]", "user = 'backup'"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("").is_ok_and(|allowlist| allowlist.is_empty()));
    }

    #[test]
    fn an_address_in_a_network_is_covered() {
        let rows: [(&str, &str); 17] = [
            ("10.0.0.2", "10.0.0.2"),
            ("10.0.0.2", "::ffff:10.0.0.2"),
            ("10.0.0.2", "::ffff:a00:2"),
            ("::ffff:10.0.0.2", "10.0.0.2"),
            ("::ffff:10.0.0.0/104", "10.255.0.1"),
            ("192.168.0.0/16", "192.168.255.255"),
            ("192.168.3.4/16", "192.168.0.0"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("10.0.0.2/32", "10.0.0.2"),
            ("10.0.0.2/31", "10.0.0.3"),
            ("fd00::/8", "fd12:3456::1"),
            ("FE80::1", "fe80::1%eth0"),
            ("fe80::/10", "fe80::1%br-lan.7"),
            ("2001:db8::1", "2001:0db8:0:0:0:0:0:1"),
            ("::/0", "2001:db8::1"),
            ("::1/128", "::1"),
            (" 10.0.0.2 ", "10.0.0.2"),
        ];
        for (network, host) in rows {
            assert!(allows(&[network], host), "{network} {host}");
        }
    }

    #[test]
    fn an_address_outside_the_networks_is_not_covered() {
        let rows: [(&str, &str); 30] = [
            ("10.0.0.2", "10.0.0.2%evil"),
            ("10.0.0.2", "::ffff:10.0.0.2%evil"),
            ("169.254.0.1", "169.254.0.1%eth0"),
            ("2001:db8::1", "2001:db8::1%eth0"),
            ("fe80::1", "fe80::1%"),
            ("fe80::1", "fe80::1%eth0 "),
            ("fe80::1", "fe80::1%a b"),
            ("fe80::1", "fe80::1%0123456789abcdef"),
            ("10.0.0.2", " 10.0.0.2"),
            ("10.0.0.2", "10.0.0.2\n"),
            ("10.0.0.2", "10.0.0.2\t"),
            ("10.0.0.2/33", "10.0.0.2"),
            ("10.0.0.2", "10.0.0.20"),
            ("10.0.0.2", "010.0.0.2"),
            ("10.0.0.2", "10.0.0.2 "),
            ("10.0.0.2", "10.0.0.2.example.com"),
            ("10.0.0.2", "0x0a000002"),
            ("10.0.0.2", "167772162"),
            ("10.0.0.2", "10.2"),
            ("10.0.0.2", ""),
            ("10.0.0.2", "localhost"),
            ("10.0.0.2", "::10.0.0.2"),
            ("10.0.0.2", "64:ff9b::10.0.0.2"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("0.0.0.0/0", "gateway"),
            ("::/0", "10.0.0.2"),
            ("::/0", "::ffff:10.0.0.2"),
            ("192.168.0.0/16", "192.169.0.0"),
            ("fd00::/8", "fe00::1"),
            ("fe80::1", "[fe80::1]"),
        ];
        for (network, host) in rows {
            assert!(!allows(&[network], host), "{network} {host}");
        }
        assert!(!allows(&[], "10.0.0.2"));
    }
}
