//! Which sessions need a notice, how urgent it is, and which notices a target wants.
//!
//! The hook applies the allowlist, to what PAM itself said and in exactly its words: anything else is reported.
//! The sender does the rest: it judges each event once, and the [`Verdict`] stays with the event.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::event::Action;
use crate::toml::Section;

/// Services that open sessions all day long, for nobody who logs in; some of them run `send`.
pub const SCHEDULERS: [&str; 3] = ["cron", "crond", "atd"];

/// How urgent a notice is. The order is that of the variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Delivered without a sound.
    Quiet,
    /// The urgency of every notice, unless a rule says otherwise.
    #[default]
    Normal,
    /// Delivered so that it is noticed at once.
    Urgent,
}

/// What of a login is new for its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct New {
    /// The address; of IPv6, its first 64 bits.
    pub is_address: bool,
    /// A public key.
    pub is_key: bool,
}

/// What the sender decided about one event. Its text form is the column `judged`: `name value` lines, empty
/// for an event that is reported as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How urgent the notice is.
    pub urgency: Urgency,
    /// Whether this is the second copy of an event. Copies are not reported.
    pub is_copy: bool,
    /// What is new for the user.
    pub new: New,
    /// How long the session that it ends lasted, in milliseconds.
    pub after_ms: Option<i64>,
    /// Whether it ends a session whose login should have been recorded, and wasn't.
    pub is_unopened: bool,
}

/// Which notices a target wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Sessions that were opened.
    pub opens: bool,
    /// Sessions that were closed.
    pub closes: bool,
    /// Nothing less urgent than this.
    pub least: Urgency,
}

impl Urgency {
    /// Every urgency.
    pub const ALL: [Self; 3] = [Self::Quiet, Self::Normal, Self::Urgent];

    /// Finds an urgency by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|urgency| urgency.name() == text)
    }

    /// What it is called in the configuration and in the queue.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }
}

impl Verdict {
    /// Reads the column `judged`. Lines that this version doesn't know are skipped.
    pub fn parse(text: &str) -> Self {
        let mut verdict = Self::default();
        for line in text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("urgency", name) => verdict.urgency = Urgency::parse(name).unwrap_or(verdict.urgency),
                ("copy", _) => verdict.is_copy = true,
                ("new", "address") => verdict.new.is_address = true,
                ("new", "key") => verdict.new.is_key = true,
                ("after", ms) => verdict.after_ms = ms.parse().ok(),
                ("unopened", _) => verdict.is_unopened = true,
                _ => {}
            }
        }
        verdict
    }
}

/// What the column `judged` holds.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.urgency != Urgency::default() {
            writeln!(f, "urgency {}", self.urgency.name())?;
        }
        for (word, is_new) in [("address", self.new.is_address), ("key", self.new.is_key)] {
            if is_new {
                writeln!(f, "new {word}")?;
            }
        }
        if let Some(ms) = self.after_ms {
            writeln!(f, "after {ms}")?;
        }
        if self.is_unopened {
            f.write_str("unopened\n")?;
        }
        if self.is_copy { f.write_str("copy\n") } else { Ok(()) }
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self { opens: true, closes: true, least: Urgency::Quiet }
    }
}

impl Filter {
    /// Reads `events` and `urgency` of a target's section.
    pub fn configure(section: &mut Section<'_>) -> Self {
        let mut filter = Self::default();
        if section.has("events") {
            let found = section.required("events", Section::strings);
            let action = |event: &String| match event.as_str() {
                "open" => Ok(Action::Open),
                "close" => Ok(Action::Close),
                other => Err(format!("has {other:?}, not \"open\" or \"close\"")),
            };
            let events = found.iter().flat_map(|found| &found.value);
            let actions: Vec<Action> = events.filter_map(|event| section.check("events", event, action)).collect();
            (filter.opens, filter.closes) = (actions.contains(&Action::Open), actions.contains(&Action::Close));
        }
        if let Some(found) = section.string("urgency") {
            let parse = |text: &String| Urgency::parse(text).ok_or("must be \"quiet\", \"normal\" or \"urgent\"");
            filter.least = section.check("urgency", &found, parse).unwrap_or_default();
        }
        filter
    }

    /// Whether a target with this filter gets an event with this verdict. `action` is `None` for what the
    /// program reports of itself: every target gets that.
    pub fn wants(self, action: Option<Action>, verdict: &Verdict) -> bool {
        let wants_action = match action {
            Some(Action::Open) => self.opens,
            Some(Action::Close) => self.closes,
            None => return true,
        };
        wants_action && !verdict.is_copy && verdict.urgency >= self.least
    }
}

/// Whose sessions need no notice.
#[derive(Clone, Debug, Default)]
pub struct Allowlist {
    networks: Vec<Network>,
    /// Remote hosts that are compared as text. The empty one stands for a session without a remote host.
    hosts: Vec<String>,
    users: Vec<String>,
    services: Vec<String>,
}

/// What PAM said of a session, byte for byte; an item that it left out is empty. Facts would not do: they are made
/// safe to show, which may make one of two names look like the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'b> {
    /// `PAM_USER`
    pub user: &'b [u8],
    /// `PAM_SERVICE`
    pub service: &'b [u8],
    /// `PAM_RHOST`
    pub remote_host: &'b [u8],
}

/// An address and the number of leading bits that count (RFC 4632, RFC 4291 §2.3). One of IPv4 stands as its
/// IPv4-mapped address (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    prefix: u32,
}

/// Bits of an IPv4-mapped address that come before those of the IPv4 address, and what they are.
const MAPPED_PREFIX: u32 = 96;
const MAPPED: u128 = 0xffff;

/// Bytes of the longest name of an interface (`IFNAMSIZ` less the NUL).
const ZONE_LIMIT: usize = 15;

impl Allowlist {
    /// Reads the section `allowlist`. What is neither an address nor a network in `ips` is compared as text, as
    /// the first version did.
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

    /// Whether it covers no session at all.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.hosts.is_empty() && self.users.is_empty() && self.services.is_empty()
    }

    /// Whether a session needs no notice. Names are compared as they are; an address is one of a network whatever
    /// form it is written in.
    pub fn covers(&self, items: Items<'_>) -> bool {
        let has = |list: &[String], wanted: &[u8]| list.iter().any(|name| name.as_bytes() == wanted);
        has(&self.users, items.user)
            || has(&self.services, items.service)
            || has(&self.hosts, items.remote_host)
            || address(items.remote_host)
                .is_some_and(|address| self.networks.iter().any(|network| network.contains(bits(address))))
    }
}

/// Reads a list of names, none of which is empty.
fn names(section: &mut Section<'_>, key: &str) -> Vec<String> {
    let check = |name: &String| if name.is_empty() { Err("has an empty name") } else { Ok(name.clone()) };
    let found = section.strings(key);
    found.iter().flat_map(|found| &found.value).filter_map(|name| section.check(key, name, check)).collect()
}

/// The address that a remote host is, if it is nothing else. Only a link-local one may have a zone behind it
/// (`fe80::1%eth0`, RFC 4007 §11).
fn address(remote_host: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(remote_host).ok()?;
    let Some((address, zone)) = text.split_once('%') else { return text.parse().ok() };
    let is_zone = (1..=ZONE_LIMIT).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_graphic());
    address.parse().ok().filter(|address: &Ipv6Addr| is_zone && address.is_unicast_link_local()).map(IpAddr::V6)
}

impl Network {
    /// Parses `10.0.0.2`, `192.168.0.0/16`, `fd00::/8` or `::ffff:10.0.0.2`; white space around it
    /// is ignored, and so are the bits behind the prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let before = if address.is_ipv4() { MAPPED_PREFIX } else { 0 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                before + u32::from(digits.parse::<u8>().ok()?)
            }
            Some(_) => return None,
            None => u128::BITS,
        };
        (prefix <= u128::BITS).then_some(Self { address: bits(address), prefix })
    }

    fn contains(self, address: u128) -> bool {
        let difference = (self.address ^ address).checked_shr(u128::BITS - self.prefix).unwrap_or(0);
        // A network that spans more than the IPv4-mapped addresses is one of IPv6 alone.
        difference == 0 && (self.prefix >= MAPPED_PREFIX || address >> (u128::BITS - MAPPED_PREFIX) != MAPPED)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::toml::Reader;

    #[test]
    fn a_verdict_survives_being_text_and_an_empty_one_is_no_text() {
        assert_eq!(Verdict::default().to_string(), "");
        for urgency in Urgency::ALL {
            for is_copy in [false, true] {
                let after_ms = is_copy.then_some(7000);
                let new = New { is_address: is_copy, is_key: is_copy };
                let verdict = Verdict { urgency, is_copy, new, after_ms, is_unopened: is_copy };
                assert_eq!(Verdict::parse(&verdict.to_string()), verdict);
            }
        }
        assert_eq!(Verdict::parse("urgency loud\nlater 1\n"), Verdict::default());
    }

    #[test]
    fn a_target_gets_what_its_filter_wants_and_every_notice_of_the_programs_own() {
        let all = Filter::default();
        let opens = Filter { closes: false, ..all };
        let urgent = Filter { least: Urgency::Urgent, ..all };
        let normal = Verdict::default();
        let copy = Verdict { is_copy: true, ..Verdict::default() };
        let rows = [
            (all, Some(Action::Close), &normal, true),
            (opens, Some(Action::Open), &normal, true),
            (opens, Some(Action::Close), &normal, false),
            (urgent, Some(Action::Open), &normal, false),
            (urgent, Some(Action::Open), &Verdict { urgency: Urgency::Urgent, ..copy.clone() }, false),
            (all, Some(Action::Open), &copy, false),
            (opens, None, &normal, true),
            (urgent, None, &normal, true),
        ];
        for (filter, action, verdict, wants) in rows {
            assert_eq!(filter.wants(action, verdict), wants, "{filter:?} {action:?} {verdict:?}");
        }
    }

    fn read(text: &str) -> Result<Allowlist, String> {
        let reader = Reader::new(Path::new("f"), text);
        let document = reader.parse().unwrap_or_else(|| panic!("{text}"));
        let allowlist = Allowlist::configure(reader.root(&document));
        reader.finish(Some(allowlist)).map_err(|why| why.to_string())
    }

    fn allows(hosts: &[&str], host: &str) -> bool {
        let allowlist = read(&format!("ips = {hosts:?}")).expect("every text is an entry");
        allowlist.covers(Items { user: b"u", service: b"s", remote_host: host.as_bytes() })
    }

    /// P3
    #[test]
    fn names_are_compared_exactly() {
        let allowlist =
            read("users = ['backup', 'K\u{fc}che']\nservices = ['cron']\nips = ['localhost', '', 'UNKNOWN']");
        let allowlist = allowlist.expect("nothing is wrong with it");
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
    fn an_address_in_a_network_is_allowed() {
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
    fn everything_else_is_not() {
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

    #[test]
    fn what_is_no_network_is_a_mistake() {
        for text in [
            "",
            "host",
            "10.0.0",
            "10.0.0.2/33",
            "::/129",
            "10.0.0.2/",
            "10.0.0.2/+8",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
            "010.0.0.2",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
