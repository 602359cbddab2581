//! Networks, and the addresses of remote hosts.

use std::net::{IpAddr, Ipv6Addr};

/// An address and the number of its leading bits that count (RFC 4632, RFC 4291 §2.3). An IPv4 address is stored as
/// its IPv4-mapped address (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    prefix: u32,
}

/// The leading bits of an IPv4-mapped address: their number, and their value.
const MAPPED_PREFIX: u32 = 96;
const MAPPED: u128 = 0xffff;

/// Bytes of the longest interface name (`IFNAMSIZ` less the NUL).
const ZONE_LIMIT: usize = 15;

impl Network {
    /// Parses `10.0.0.2`, `192.168.0.0/16`, `fd00::/8` or `::ffff:10.0.0.2`. Ignores surrounding white space, and the
    /// bits after the prefix.
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

    /// Whether this network contains all of the other.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether the address with these [`bits`] is in the network.
    pub fn contains(self, address: u128) -> bool {
        let difference = (self.address ^ address).checked_shr(u128::BITS - self.prefix).unwrap_or(0);
        // A network wider than the IPv4-mapped range is IPv6 only.
        difference == 0 && (self.prefix >= MAPPED_PREFIX || address >> (u128::BITS - MAPPED_PREFIX) != MAPPED)
    }
}

/// The address of a remote host, if that is an address. Only a link-local one may have a zone after it
/// (`fe80::1%eth0`, RFC 4007 §11).
pub fn address(remote_host: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(remote_host).ok()?;
    let Some((address, zone)) = text.split_once('%') else { return text.parse().ok() };
    let is_zone = (1..=ZONE_LIMIT).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_graphic());
    address.parse().ok().filter(|address: &Ipv6Addr| is_zone && address.is_unicast_link_local()).map(IpAddr::V6)
}

/// The 128 bits of an address; IPv4 addresses are IPv4-mapped.
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_an_address_or_a_network_is_refused() {
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
