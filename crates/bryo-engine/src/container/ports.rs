// SPDX-License-Identifier: Apache-2.0
//! How a container is reached, in the shape of Docker's API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bryo_net::publish::{Families, Forward};
use serde::{Deserialize, Serialize};

use crate::options::Port;

/// The ports of a container that runs, each with what leads to it from the host: nothing for one that is only exposed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bindings(pub BTreeMap<Port, Option<Vec<HostBinding>>>);

/// An address and a port of the host that lead to a port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostBinding {
    /// The address; `0.0.0.0` and `::` are all of a family.
    pub host_ip: IpAddr,
    /// The port.
    #[serde(with = "number_as_text")]
    pub host_port: u16,
}

impl Bindings {
    /// Describes the ports of a container that runs.
    pub(crate) fn of(exposed: &BTreeSet<Port>, forwards: &[Forward], families: Families) -> Self {
        let mut ports: BTreeMap<Port, Option<Vec<HostBinding>>> = exposed.iter().map(|port| (*port, None)).collect();
        for forward in forwards {
            let port = Port { number: forward.container, protocol: forward.protocol };
            let bindings = ports.entry(port).or_default().get_or_insert_default();
            let addresses = families.addresses(forward.address);
            bindings.extend(addresses.into_iter().map(|host_ip| HostBinding { host_ip, host_port: forward.host }));
            bindings.sort();
        }
        Self(ports)
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Docker's API has ports of the host as text.
mod number_as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(number: &u16, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use bryo_net::publish::Protocol;

    use super::*;

    #[test]
    fn ports_have_dockers_shape() {
        let exposed = ["80/tcp", "443/tcp"].map(|p| p.parse().unwrap()).into_iter().collect();
        let forward = Forward { address: None, host: 8080, container: 80, protocol: Protocol::Tcp };
        let all = Bindings::of(&exposed, &[forward], Families { v4: true, v6: true });
        let text = serde_json::to_string(&all).unwrap();
        let expected = "{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8080\"},\
                        {\"HostIp\":\"::\",\"HostPort\":\"8080\"}],\"443/tcp\":null}";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Bindings>(&text).unwrap(), all);
    }
}
