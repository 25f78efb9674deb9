// SPDX-License-Identifier: Apache-2.0
//! What a network is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bryo_net::subnet::Subnet;
use serde::{Deserialize, Serialize};

use crate::container::Id;
use crate::error::{Error, Kind, Result};
use crate::options::Network;
use crate::time::now;

/// The longest prefix: six addresses for containers and a gateway.
const LONGEST: u8 = 29;
/// The shortest: all of 10.0.0.0/8.
const SHORTEST: u8 = 8;
const LONGEST_NAME: usize = 64;

/// What is asked of a new network.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The name.
    pub name: String,
    /// Its addresses; without, a range that is free.
    pub subnet: Option<Subnet>,
    /// The address that no container gets; without, the first.
    pub gateway: Option<Ipv4Addr>,
    /// Those of its addresses that containers get; without, all.
    pub ip_range: Option<Subnet>,
    /// Leads nowhere but to its containers.
    pub internal: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A network, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Definition {
    /// The name.
    pub name: String,
    /// The id.
    pub id: String,
    /// When it was made, in RFC 3339, UTC.
    pub created: String,
    /// Whether it leads nowhere but to its containers.
    pub internal: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its addresses, as `ADDRESS/PREFIX`.
    pub subnet: String,
    /// The address that no container gets.
    pub gateway: Ipv4Addr,
    /// Those of its addresses that containers get which ask for none, as `ADDRESS/PREFIX`.
    #[serde(rename = "IPRange", default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
}

impl Definition {
    pub(super) fn new(wanted: Wanted, subnet: Subnet) -> Result<Self> {
        if !(SHORTEST..=LONGEST).contains(&subnet.prefix()) {
            let why = format!("{subnet} is no range for a network; a prefix is from /{SHORTEST} to /{LONGEST}");
            return Err(Error::new(Kind::InvalidOption, why));
        }
        let reserved = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];
        if let Some(other) = reserved.iter().filter_map(|r| r.parse::<Subnet>().ok()).find(|r| r.overlaps(subnet)) {
            let why = format!("{subnet} cannot be the range of a network: {other} has a meaning of its own");
            return Err(Error::new(Kind::InvalidOption, why));
        }
        let gateway = wanted.gateway.or_else(|| subnet.hosts().next());
        let gateway = gateway.filter(|gateway| subnet.has_host(*gateway)).ok_or_else(|| {
            let gateway = wanted.gateway.map_or_else(String::new, |gateway| gateway.to_string());
            Error::new(Kind::InvalidOption, format!("the gateway {gateway} is no address of {subnet}"))
        })?;
        if let Some(range) = wanted.ip_range
            && !(subnet.overlaps(range) && range.prefix() >= subnet.prefix())
        {
            return Err(Error::new(Kind::InvalidOption, format!("the range {range} is not in {subnet}")));
        }
        let Wanted { name, ip_range, internal, labels, .. } = wanted;
        let ip_range = ip_range.map(|range| range.to_string());
        let id = Id::random().as_str().to_owned();
        Ok(Self { name, id, created: now(), internal, labels, subnet: subnet.to_string(), gateway, ip_range })
    }

    /// Returns its addresses; nothing when the file was damaged.
    pub fn subnet(&self) -> Option<Subnet> {
        self.subnet.parse().ok()
    }

    /// Returns the addresses that containers get which ask for none.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let subnet = self.subnet();
        let range = self.ip_range.as_ref().and_then(|range| range.parse::<Subnet>().ok()).or(subnet);
        let all = range.into_iter().flat_map(Subnet::addresses);
        all.filter(move |address| subnet.is_some_and(|subnet| subnet.has_host(*address)) && *address != self.gateway)
    }
}

/// Refuses a name that is none, or that means something else after `--network`.
///
/// # Errors
///
/// [`Kind::InvalidOption`].
pub fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let sound = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(plain);
    if !sound || name.len() > LONGEST_NAME {
        let why =
            format!("{name:?} is no name for a network: letters, digits, '_', '.' and '-', at most {LONGEST_NAME}");
        return Err(Error::new(Kind::InvalidOption, why));
    }
    if Network::parse(name).is_some() || matches!(name, "container" | "ns" | "slirp4netns" | "ingress") {
        let why = format!("{name} cannot be a network's name: it means something else after --network");
        return Err(Error::new(Kind::InvalidOption, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(subnet: &str, gateway: Option<&str>) -> Result<Definition> {
        let wanted = Wanted { name: "n".into(), gateway: gateway.map(|g| g.parse().unwrap()), ..Wanted::default() };
        Definition::new(wanted, subnet.parse().unwrap())
    }

    #[test]
    fn the_gateway_is_an_address_of_the_range() {
        assert_eq!(made("10.1.0.0/24", None).unwrap().gateway.to_string(), "10.1.0.1");
        assert_eq!(made("10.1.0.0/24", Some("10.1.0.254")).unwrap().gateway.to_string(), "10.1.0.254");
        for gateway in ["10.1.0.0", "10.1.0.255", "10.1.1.1"] {
            assert_eq!(made("10.1.0.0/24", Some(gateway)).unwrap_err().kind(), Kind::InvalidOption, "{gateway}");
        }
    }

    #[test]
    fn ranges_that_mean_something_else_are_refused() {
        for subnet in ["10.0.0.0/30", "0.0.0.0/0", "8.0.0.0/7", "127.1.0.0/16", "169.254.1.0/24", "224.0.1.0/24"] {
            assert_eq!(made(subnet, None).unwrap_err().kind(), Kind::InvalidOption, "{subnet}");
        }
        for subnet in ["10.0.0.0/8", "192.168.7.8/29", "172.20.0.0/16"] {
            made(subnet, None).unwrap();
        }
    }

    #[test]
    fn containers_get_addresses_of_a_range_in_the_range() {
        let ranged = |range: &str| {
            let ip_range = Some(range.parse().unwrap());
            let wanted = Wanted { name: "n".into(), ip_range, ..Wanted::default() };
            Definition::new(wanted, "10.1.0.0/24".parse().unwrap())
        };
        let addresses = |range: &str| -> Vec<u8> {
            ranged(range).unwrap().addresses().map(|address| address.octets()[3]).collect()
        };
        assert_eq!(addresses("10.1.0.128/30"), [128, 129, 130, 131]);
        assert_eq!(addresses("10.1.0.0/30"), [2, 3], "neither the network's own address nor the gateway");
        assert_eq!(addresses("10.1.0.254/31"), [254], "nor that of all");
        assert_eq!(addresses("10.1.0.0/24").len(), 253);
        for range in ["10.1.1.0/30", "10.0.0.0/8"] {
            assert_eq!(ranged(range).unwrap_err().kind(), Kind::InvalidOption, "{range}");
        }
    }

    #[test]
    fn names_are_no_paths_and_no_other_words() {
        for name in ["", ".", "..", ".x", "a/b", "a b", "host", "none", "bridge", "private", "container", "é", "-x"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"a".repeat(65)).is_err());
        for name in ["a", "back-end_1.2", "9"] {
            check_name(name).unwrap();
        }
    }
}
