// SPDX-License-Identifier: Apache-2.0
//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A range of addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// Makes a range; nothing when bits are set behind the prefix.
    pub fn new(base: Ipv4Addr, prefix: u8) -> Option<Self> {
        let subnet = Self { base: base.to_bits(), prefix };
        (prefix <= 32 && subnet.base & !subnet.mask() == 0).then_some(subnet)
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// Returns how many leading bits are the same.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns the address that stands for all of them.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base | !self.mask())
    }

    /// Tells whether an address is in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.base
    }

    /// Tells whether an address can be a host's: neither the first nor the last.
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && address.to_bits() != self.base && address != self.broadcast()
    }

    /// Tells whether two ranges have addresses in common.
    pub fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.base & mask == other.base & mask
    }

    /// Returns all addresses, in order.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.base..=self.broadcast().to_bits()).map(Ipv4Addr::from_bits)
    }

    /// Returns the addresses that can be hosts', in order.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.base.saturating_add(1)..self.broadcast().to_bits()).map(Ipv4Addr::from_bits)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not = || format!("{text:?} is no range of IPv4 addresses like 10.20.30.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(not)?;
        let address: Ipv4Addr = address.parse().map_err(|_| not())?;
        let prefix = Some(prefix).filter(|p| p.bytes().all(|b| b.is_ascii_digit())).and_then(|p| p.parse::<u8>().ok());
        let prefix = prefix.filter(|p| *p <= 32).ok_or_else(not)?;
        let whole = Self { base: address.to_bits(), prefix };
        let begins = Self { base: whole.base & whole.mask(), prefix };
        Self::new(address, prefix).ok_or_else(|| format!("{text} has bits behind its prefix; it is in {begins}"))
    }
}

/// Reads the ranges that the host has routes to, but for the default, from the text of `/proc/net/route`.
pub fn routed(text: &str) -> Vec<Subnet> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The kernel prints the bytes of the network's order as one number of the machine's.
        let number = |n: usize| u32::from_str_radix(fields.get(n)?, 16).ok().map(u32::from_be);
        let (base, mask) = (number(1)?, number(7)?);
        Subnet::new(Ipv4Addr::from_bits(base), u8::try_from(mask.leading_ones()).ok()?).filter(|_| mask != 0)
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(subnet("10.1.2.0/24").to_string(), "10.1.2.0/24");
        assert_eq!(subnet("0.0.0.0/0").broadcast(), Ipv4Addr::BROADCAST);
        let bad = [
            "",
            "10.1.2.0",
            "10.1.2.0/33",
            "10.1.2.0/+8",
            "10.1.2/24",
            "fd00::/64",
            "10.1.2.0/24/8",
            "a/8",
            "1.2.3.4/",
        ];
        for text in bad {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert!("10.1.2.3/24".parse::<Subnet>().unwrap_err().ends_with("it is in 10.1.2.0/24"));
    }

    #[test]
    fn hosts_are_all_but_the_first_and_the_last() {
        let hosts: Vec<String> = subnet("10.0.0.248/29").hosts().map(|a| a.to_string()).collect();
        assert_eq!((hosts.len(), hosts[0].as_str(), hosts[5].as_str()), (6, "10.0.0.249", "10.0.0.254"));
        assert!(hosts.iter().all(|a| subnet("10.0.0.248/29").has_host(a.parse().unwrap())));
        for not in ["10.0.0.248", "10.0.0.255", "10.0.1.1"] {
            assert!(!subnet("10.0.0.248/29").has_host(not.parse().unwrap()), "{not}");
        }
        assert_eq!(subnet("10.0.0.1/32").hosts().count(), 0);
    }

    #[test]
    fn one_range_in_another_overlaps_it() {
        for (a, b, expected) in [
            ("10.0.0.0/8", "10.200.0.0/16", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("0.0.0.0/0", "192.168.0.0/16", true),
        ] {
            assert_eq!(subnet(a).overlaps(subnet(b)), expected, "{a} {b}");
            assert_eq!(subnet(b).overlaps(subnet(a)), expected, "{b} {a}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_hosts_routes_are_read_but_for_the_default() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t0000590A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(routed(text), [subnet("10.89.0.0/24")]);
    }
}
