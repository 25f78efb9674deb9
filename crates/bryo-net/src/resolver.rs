// SPDX-License-Identifier: Apache-2.0
//! The container's resolver configuration. Source: `resolv.conf(5)`.

use std::net::{IpAddr, Ipv4Addr};

/// The address at which `pasta` answers name queries for the host's resolver, when that one listens on the host's
/// loopback only. Link-local, so that it can never be an address of the network outside.
pub const FORWARDER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What a container's `/etc/resolv.conf` is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// The text of the file.
    pub text: String,
    /// Whether a name server is the [`FORWARDER`].
    pub forwards: bool,
}

/// Makes a container's configuration from the host's.
///
/// Name servers on the host's loopback, as `systemd-resolved` has it, cannot be reached from inside and are replaced
/// by the forwarder. Search domains and options are kept.
pub fn from_host(text: &str) -> Resolver {
    let mut out = String::new();
    let mut forwards = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(server)) if is_loopback(server) => {
                if !forwards {
                    out += &format!("nameserver {FORWARDER}\n");
                }
                forwards = true;
            }
            // A scoped address names an interface of the host.
            (Some("nameserver"), Some(server)) if server.contains('%') => (),
            (Some("nameserver" | "search" | "domain" | "options"), Some(_)) => {
                out += line.trim();
                out.push('\n');
            }
            _ => (),
        }
    }
    Resolver { text: out, forwards }
}

fn is_loopback(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_the_hosts_loopback_is_forwarded() {
        let host =
            "# made by someone\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0 trust-ad\nsearch example.org\n";
        let made = from_host(host);
        assert_eq!(made.text, "nameserver 169.254.1.1\noptions edns0 trust-ad\nsearch example.org\n");
        assert!(made.forwards);
    }

    #[test]
    fn other_resolvers_are_kept() {
        let made = from_host("nameserver 10.0.0.2\nnameserver fe80::1%eth0\nsortlist 1.2.3.4\n");
        assert_eq!(made, Resolver { text: "nameserver 10.0.0.2\n".into(), forwards: false });
    }
}
