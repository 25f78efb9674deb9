// SPDX-License-Identifier: Apache-2.0
//! Which ports a process' network listens on, as the kernel lists them. Source: `proc_pid_net(5)`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Port;

/// The first port that the kernel gives to whoever names none. Source: `ip_local_port_range`.
const EPHEMERAL: u16 = 32768;

/// A socket that waits for whoever comes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Listener {
    /// The port.
    pub port: u16,
    /// Whether it is UDP.
    pub udp: bool,
    /// The address.
    pub address: IpAddr,
}

impl Listener {
    pub fn shown(&self) -> String {
        let protocol = if self.udp { "udp" } else { "tcp" };
        format!("{protocol} {}", SocketAddr::new(self.address, self.port))
    }

    pub fn port(&self) -> Port {
        Port { number: self.port, udp: self.udp, loopback: self.address.is_loopback() }
    }

    /// Returns where it can be reached from inside.
    pub fn reachable(&self) -> SocketAddr {
        let loopback = match self.address {
            IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            address => address,
        };
        SocketAddr::new(loopback, self.port)
    }
}

/// Lists what is listened on in the network of a process; nothing if it has ended.
pub(super) fn listeners(pid: i32) -> Vec<Listener> {
    let mut found = Vec::new();
    for (name, udp) in [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| parse(line, udp)));
    }
    found.sort();
    found.dedup();
    found
}

/// Leaves out what the kernel chose, which differs from start to start: high ports that only one has, unless the image
/// exposes them.
pub(super) fn fixed(own: &[Listener], other: &[Listener], exposed: &[u16]) -> Vec<Listener> {
    let is_fixed = |it: &&Listener| it.port < EPHEMERAL || other.contains(it) || exposed.contains(&it.port);
    own.iter().filter(is_fixed).cloned().collect()
}

/// Shows all of them.
pub(super) fn shown(listeners: &[Listener]) -> String {
    match listeners {
        [] => "nothing".to_owned(),
        all => all.iter().map(Listener::shown).collect::<Vec<_>>().join(", "),
    }
}

fn parse(line: &str, udp: bool) -> Option<Listener> {
    let mut words = line.split_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let state = words.nth(1)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // 0A is TCP_LISTEN; an unconnected UDP socket is in 07, TCP_CLOSE.
    let waits = if udp { state == "07" && port < EPHEMERAL } else { state == "0A" };
    waits.then_some(Listener { port, udp, address: hexadecimal(address)? })
}

/// Reads an address as the kernel writes it: words of 32 bits in the byte order of the machine.
fn hexadecimal(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for n in 0..4 {
                bytes[n * 4..n * 4 + 4].copy_from_slice(&word(n * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_port_of_the_kernels_choice_is_no_difference() {
        let at = |port| Listener { port, udp: false, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let (old, new) = ([at(80), at(40_001), at(50_000), at(60_000)], [at(80), at(40_002), at(50_000)]);
        assert_eq!(fixed(&old, &new, &[60_000]), [at(80), at(50_000), at(60_000)]);
        assert_eq!(fixed(&new, &old, &[60_000]), [at(80), at(50_000)]);
        assert_eq!(fixed(&[at(81)], &[], &[]), [at(81)]);
    }

    #[test]
    fn what_listens_is_listed_and_what_does_not_is_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind("[::1]:0");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = listeners(pid);
        let has = |port: u16| found.iter().find(|listener| listener.port == port);
        let port = tcp.local_addr().unwrap().port();
        assert_eq!(has(port).unwrap().shown(), format!("tcp 127.0.0.1:{port}"));
        if let Ok(tcp6) = tcp6 {
            let port = tcp6.local_addr().unwrap().port();
            assert_eq!(has(port).unwrap().reachable().to_string(), format!("[::1]:{port}"));
        }
        let number = client.local_addr().unwrap().port();
        assert!(found.iter().all(|listener| !(listener.udp && listener.port == number && number >= EPHEMERAL)));
        drop(tcp);
        assert!(listeners(pid).iter().all(|listener| listener.port != port));
        assert!(listeners(i32::MAX).is_empty());
    }
}
