// SPDX-License-Identifier: Apache-2.0
//! Ports of the host that lead into a container.
//!
//! `pasta` listens on them, with the rights of nobody, and hands what comes in to the container with the client's
//! address as its source. A port that it cannot have, it passes over or takes from somebody else (datagrams), so the
//! ports are tried here before: whoever asks for a port that is in use gets a word and no container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{Error, Kind, Result};

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// The Transmission Control Protocol.
    Tcp,
    /// The User Datagram Protocol.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of a container that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The address of the host; without one, all of them.
    pub address: Option<IpAddr>,
    /// The ports of the host of which one is taken; without any, the kernel chooses.
    pub host: Option<RangeInclusive<u16>>,
    /// The port of the container.
    pub container: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The address of the host; without one, all of them.
    pub address: Option<IpAddr>,
    /// The port of the host.
    pub host: u16,
    /// The port of the container.
    pub container: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// The address families that a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Returns the addresses of the host that a published port is on.
    pub fn addresses(self, address: Option<IpAddr>) -> Vec<IpAddr> {
        let all = [(self.v4, IpAddr::from(Ipv4Addr::UNSPECIFIED)), (self.v6, IpAddr::from(Ipv6Addr::UNSPECIFIED))];
        address.map_or_else(|| all.into_iter().filter_map(|(has, a)| has.then_some(a)).collect(), |a| vec![a])
    }
}

/// Ports that were free a moment ago.
#[derive(Debug)]
pub struct Reserved {
    /// The ports.
    pub forwards: Vec<Forward>,
    /// Sockets that keep others who ask away until `pasta` has its own.
    _held: Vec<OwnedFd>,
}

/// How many ports the kernel is asked for until one is free on every address.
const DRAWS: usize = 64;

/// How many sockets are held: far below the number of descriptors that a process may have. Who publishes more does
/// without this care.
const HELD: usize = 256;

/// Finds a free port of the host for each that is wanted.
///
/// # Errors
///
/// [`Kind::PortInUse`], [`Kind::LowPort`] for one that this host keeps for root, [`Kind::Address`] for an address that
/// the host or the container has not.
pub fn reserve(wanted: &[Wanted], families: Families) -> Result<Reserved> {
    let mut reserved = Reserved { forwards: Vec::with_capacity(wanted.len()), _held: Vec::new() };
    // Those that leave a choice come last, so that they do not choose what another one must have.
    let mut order: Vec<&Wanted> = wanted.iter().collect();
    order.sort_by_key(|w| w.host.as_ref().map_or(usize::MAX, ExactSizeIterator::len));
    let first = if wanted.is_empty() { 0 } else { first_unprivileged() };
    for wanted in order {
        let addresses = families.addresses(wanted.address);
        check_family(&addresses, families)?;
        let taken = |port: u16| reserved.forwards.iter().any(|f| f.protocol == wanted.protocol && f.host == port);
        let (host, sockets) = match &wanted.host {
            None => draw(wanted, &addresses, taken)?,
            Some(range) if range.end() < &first => return Err(low(*range.end(), wanted.protocol, first)),
            Some(range) => choose(wanted, range, first, &addresses, taken)?,
        };
        let Wanted { address, container, protocol, .. } = *wanted;
        reserved.forwards.push(Forward { address, host, container, protocol });
        if protocol == Protocol::Udp && reserved._held.len() + sockets.len() <= HELD {
            reserved._held.extend(sockets);
        }
    }
    Ok(reserved)
}

/// Takes a port that the kernel chooses.
fn draw(wanted: &Wanted, addresses: &[IpAddr], taken: impl Fn(u16) -> bool) -> Result<(u16, Vec<OwnedFd>)> {
    for _ in 0..DRAWS {
        // What is free on one address may be in use on the other.
        match bind_all(addresses, 0, wanted.protocol) {
            Ok((port, sockets)) if !taken(port) => return Ok((port, sockets)),
            Ok(_) | Err((_, Errno::ADDRINUSE)) => (),
            Err((address, errno)) => return Err(refused(address, 0, wanted.protocol, errno)),
        }
    }
    let why = format!("cannot publish container port {}/{}: no host port is free", wanted.container, wanted.protocol);
    Err(Error::new(Kind::PortInUse, why))
}

/// Takes the first port of a range that is free.
fn choose(
    wanted: &Wanted,
    range: &RangeInclusive<u16>,
    first: u16,
    addresses: &[IpAddr],
    taken: impl Fn(u16) -> bool,
) -> Result<(u16, Vec<OwnedFd>)> {
    // One port alone was asked for by number: whether it may be had on a second address is for `pasta` to say.
    let single = range.start() == range.end();
    for port in range.clone().filter(|p| *p >= first && (single || !taken(*p))) {
        match bind_all(addresses, port, wanted.protocol) {
            Ok(found) => return Ok(found),
            Err((_, Errno::ADDRINUSE)) if !single => (),
            Err((address, errno)) => return Err(refused(address, port, wanted.protocol, errno)),
        }
    }
    let (start, end, protocol) = (range.start(), range.end(), wanted.protocol);
    Err(Error::new(Kind::PortInUse, format!("host ports {start}-{end}/{protocol} are all in use")))
}

/// Binds a port on every address; port 0 is one that the kernel chooses for the first.
fn bind_all(
    addresses: &[IpAddr],
    mut port: u16,
    protocol: Protocol,
) -> std::result::Result<(u16, Vec<OwnedFd>), (IpAddr, Errno)> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let (bound, socket) = bind(SocketAddr::new(*address, port), protocol).map_err(|e| (*address, e))?;
        port = bound;
        sockets.push(socket);
    }
    Ok((port, sockets))
}

/// Binds a port as `pasta` will, but for one thing: `pasta` lets others share a port for datagrams (`SO_REUSEADDR`,
/// `socket(7)`), and would take one from whoever does the same. So the option is set only afterwards.
fn bind(address: SocketAddr, protocol: Protocol) -> rustix::io::Result<(u16, OwnedFd)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, datagrams) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, false),
        Protocol::Udp => (SocketType::DGRAM, true),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if !datagrams {
        // Connections of an earlier server that are about to be forgotten are in nobody's way.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if datagrams {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    } else {
        rustix::net::listen(&socket, 1)?;
    }
    let bound = SocketAddr::try_from(rustix::net::getsockname(&socket)?).map_err(|_| Errno::INVAL)?;
    Ok((bound.port(), socket))
}

fn check_family(addresses: &[IpAddr], families: Families) -> Result<()> {
    let lacking = |a: &&IpAddr| !(a.is_ipv4() && families.v4 || a.is_ipv6() && families.v6);
    let Some(address) = addresses.iter().find(lacking) else { return Ok(()) };
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let why = format!("cannot publish on {address}: the container has no {family}, as this host has no {family} route");
    Err(Error::new(Kind::Address, why))
}

/// The first port that is not root's. Source: `ip(7)`.
fn first_unprivileged() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    text.trim().parse().unwrap_or(1024)
}

fn low(port: u16, protocol: Protocol, first: u16) -> Error {
    let why = format!(
        "cannot publish host port {port}/{protocol}: this host keeps ports below {first} for root, and pasta is never root"
    );
    Error::new(Kind::LowPort(port), why)
}

fn refused(address: IpAddr, port: u16, protocol: Protocol, errno: Errno) -> Error {
    let place = SocketAddr::new(address, port);
    match errno {
        Errno::ADDRINUSE => Error::new(Kind::PortInUse, format!("host port {port}/{protocol} is in use ({place})")),
        Errno::ADDRNOTAVAIL => {
            Error::new(Kind::Address, format!("cannot publish on {address}: this host has no such address"))
        }
        _ => Error::new(Kind::Address, format!("cannot publish on {place}/{protocol}: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const V4: Families = Families { v4: true, v6: false };
    const LOOPBACK: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn wanted(host: Option<RangeInclusive<u16>>, protocol: Protocol) -> Wanted {
        Wanted { address: LOOPBACK, host, container: 80, protocol }
    }

    fn reserved(wanted: &[Wanted]) -> Result<Vec<u16>> {
        reserve(wanted, V4).map(|r| r.forwards.iter().map(|f| f.host).collect())
    }

    #[test]
    fn a_port_in_use_is_found_out() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        sockopt::set_socket_reuseaddr(&udp, true).unwrap();
        let ports =
            [(tcp.local_addr().unwrap().port(), Protocol::Tcp), (udp.local_addr().unwrap().port(), Protocol::Udp)];
        for (port, protocol) in ports {
            let error = reserved(&[wanted(Some(port..=port), protocol)]).unwrap_err();
            assert_eq!(error.kind(), Kind::PortInUse);
            assert!(error.to_string().contains(&format!("host port {port}/{protocol} is in use")), "{error}");
        }
    }

    #[test]
    fn a_port_is_chosen_that_nobody_else_needs() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port().clamp(2000, 65000);
        let range = port..=port + 9;
        let exact = Some(port + 1..=port + 1);
        // A neighbour may be in use for real; what matters is that no port is given twice.
        if let Ok(ports) = reserved(&[wanted(Some(range.clone()), Protocol::Tcp), wanted(exact, Protocol::Tcp)]) {
            assert_eq!(ports[0], port + 1);
            assert!(ports[1] != port + 1 && range.contains(&ports[1]), "{ports:?}");
        }
        let mut ports = reserved(&vec![wanted(None, Protocol::Udp); 20]).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn datagram_ports_are_kept_from_others_until_they_are_let_go() {
        let held = reserve(&[wanted(None, Protocol::Udp)], V4).unwrap();
        let port = held.forwards[0].host;
        assert!(reserved(&[wanted(Some(port..=port), Protocol::Udp)]).is_err());
        drop(held);
        assert!(reserved(&[wanted(Some(port..=port), Protocol::Udp)]).is_ok());
    }

    #[test]
    fn what_cannot_be_had_is_told_apart() {
        let first = first_unprivileged();
        if first > 1 {
            let kind = reserved(&[wanted(Some(1..=first - 1), Protocol::Tcp)]).unwrap_err().kind();
            assert_eq!(kind, Kind::LowPort(first - 1));
        }
        // TEST-NET-3 of RFC 5737 is nobody's.
        for address in ["203.0.113.1", "::1"] {
            let elsewhere = Wanted { address: address.parse().ok(), ..wanted(None, Protocol::Tcp) };
            assert_eq!(reserved(&[elsewhere]).unwrap_err().kind(), Kind::Address, "{address}");
        }
    }

    #[test]
    fn a_port_without_an_address_is_on_all() {
        let both = Families { v4: true, v6: true };
        assert_eq!(both.addresses(None).len(), 2);
        assert_eq!(V4.addresses(None), [IpAddr::from(Ipv4Addr::UNSPECIFIED)]);
        assert_eq!(both.addresses(LOOPBACK), [LOOPBACK.unwrap()]);
    }
}
