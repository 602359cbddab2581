//! Which sessions need a notice, how urgent it is, and which notices a target wants.
//!
//! The hook applies the allowlist: a remote host that can't be parsed as an address matches nothing, and so
//! is reported. The sender does the rest: it judges each event once, and the [`Verdict`] stays with the event.

use std::fmt;
use std::net::IpAddr;

use crate::event::Action;
use crate::toml::Section;

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

/// Addresses and networks whose sessions need no notice.
#[derive(Clone, Debug, Default)]
pub struct Allowlist(Vec<Network>);

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

impl Allowlist {
    /// Reads the section `allowlist`.
    pub fn configure(mut section: Section<'_>) -> Self {
        let parse = |text: &String| {
            let what = "which is neither an address nor a network such as 192.168.0.0/16";
            Network::parse(text).ok_or_else(|| format!("has {text:?}, {what}"))
        };
        let ips = section.strings("ips");
        let ips = ips.iter().flat_map(|found| &found.value);
        let networks = ips.filter_map(|found| section.check("ips", found, parse)).collect();
        section.finish();
        Self(networks)
    }

    /// Whether a remote host, as PAM gives it, is in one of the networks, whatever its `%zone` (RFC 4007 §11).
    /// A name never is.
    pub fn contains(&self, remote_host: &str) -> bool {
        let without_zone = remote_host.split_once('%').map_or(remote_host, |(address, _)| address);
        without_zone.parse().is_ok_and(|address| self.0.iter().any(|network| network.contains(bits(address))))
    }
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
    use super::*;

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

    fn allows(networks: &[&str], host: &str) -> bool {
        let parse = |text: &&str| Network::parse(text).unwrap_or_else(|| panic!("{text}"));
        Allowlist(networks.iter().map(parse).collect()).contains(host)
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
            ("10.0.0.2", "10.0.0.2%eth0"),
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
        let rows: [(&str, &str); 18] = [
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
