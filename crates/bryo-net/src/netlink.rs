// SPDX-License-Identifier: Apache-2.0
//! The few requests of `rtnetlink(7)` that switches need: a bridge, a pair of devices, an address, up, away.

use std::ffi::CStr;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use bryo_sys::{Errno, Error, Result, check};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Message types of `linux/rtnetlink.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;

/// Flags of `linux/netlink.h`.
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

/// Attributes of `linux/if_link.h`, `linux/veth.h` and `linux/if_addr.h`.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

/// `IFF_UP` of `linux/if.h`.
const IFF_UP: u32 = 0x1;
const AF_INET: u8 = 2;

/// A socket into the kernel's tables of one network namespace: the one in which it was opened.
///
/// Whoever opened it need not be who asks. The kernel looks at the rights of who sends a message that has an address, and
/// not at those of who opened the socket, so that one process can act in namespaces that no process could join both of.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

/// The end of a pair of devices that is in the container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    pub name: &'a CStr,
    pub namespace: BorrowedFd<'a>,
    pub hardware: [u8; 6],
}

impl Netlink {
    pub fn open() -> Result<Self> {
        // The protocol is the first: `NETLINK_ROUTE`.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
        Ok(Self(check("socket", || "AF_NETLINK, NETLINK_ROUTE".into(), socket)?))
    }

    /// Takes a socket that another process has opened.
    pub fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Gives the socket away.
    pub fn into_inner(self) -> OwnedFd {
        self.0
    }

    /// Returns the number of a device, if there is one of this name.
    pub fn index(&self, name: &CStr) -> Option<u32> {
        rustix::net::netdevice::name_to_index(&self.0, name.to_str().ok()?).ok()
    }

    /// Makes a bridge that is up. It floods multicast, so that the kernel has not to parse who listens to what.
    pub fn add_bridge(&self, name: &CStr) -> Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        message.link(0, IFF_UP);
        message.attribute(IFLA_IFNAME, name.to_bytes_with_nul());
        message.nested(IFLA_LINKINFO, |message| {
            message.attribute(IFLA_INFO_KIND, b"bridge");
            message.nested(IFLA_INFO_DATA, |message| message.attribute(IFLA_BR_MCAST_SNOOPING, &[0]));
        });
        self.ask("add bridge", message)
    }

    /// Makes a pair of devices: one here that is up and in a bridge, and its peer in another namespace.
    pub fn add_pair(&self, name: &CStr, bridge: u32, peer: Peer<'_>) -> Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        message.link(0, IFF_UP);
        message.attribute(IFLA_IFNAME, name.to_bytes_with_nul());
        message.attribute(IFLA_MASTER, &bridge.to_ne_bytes());
        message.nested(IFLA_LINKINFO, |message| {
            message.attribute(IFLA_INFO_KIND, b"veth");
            message.nested(IFLA_INFO_DATA, |message| {
                message.nested(VETH_INFO_PEER, |message| {
                    message.link(0, 0);
                    message.attribute(IFLA_IFNAME, peer.name.to_bytes_with_nul());
                    message.attribute(IFLA_ADDRESS, &peer.hardware);
                    message.attribute(IFLA_NET_NS_FD, &peer.namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.ask("add veth", message)
    }

    /// Gives a device an address; what is in its prefix is reached through it.
    pub fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8, broadcast: Ipv4Addr) -> Result<()> {
        let mut message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        message.bytes(&[AF_INET, prefix, 0, 0]);
        message.bytes(&index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &address.octets());
        message.attribute(IFA_ADDRESS, &address.octets());
        message.attribute(IFA_BROADCAST, &broadcast.octets());
        self.ask("add address", message)
    }

    /// Brings a device up.
    pub fn up(&self, index: u32) -> Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.link(index, IFF_UP);
        self.ask("set up", message)
    }

    /// Removes a device, and its peer with it.
    pub fn remove(&self, index: u32) -> Result<()> {
        let mut message = Message::new(RTM_DELLINK, 0);
        message.link(index, 0);
        self.ask("remove", message)
    }

    /// Sends a request and reads the kernel's answer to it.
    fn ask(&self, what: &'static str, message: Message) -> Result<()> {
        let bytes = message.finish();
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = rustix::net::sendto(&self.0, &bytes, SendFlags::empty(), &kernel);
        check("netlink", || what.into(), sent)?;
        let mut answer = [0; 4096];
        let received = rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty()));
        let (n, _) = check("netlink", || what.into(), received)?;
        match outcome(&answer[..n.min(answer.len())]) {
            Some(0) => Ok(()),
            Some(errno) => Err(Error::new("netlink", what, Errno::from_raw_os_error(errno))),
            None => Err(Error::new("netlink", what, Errno::PROTO)),
        }
    }
}

/// Reads the errno of an answer. Source: `netlink(7)`, `NLMSG_ERROR`.
fn outcome(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let errno = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(errno.checked_neg()?).filter(|errno| (0..4096).contains(errno))
}

/// A message that grows.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(vec![0; 16]);
        message.0[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.0[6..8].copy_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends a `struct ifinfomsg`.
    fn link(&mut self, index: u32, flags: u32) {
        self.bytes(&[0; 4]);
        for number in [index, flags, flags] {
            self.bytes(&number.to_ne_bytes());
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.around(kind, |message| message.bytes(value));
    }

    fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        self.around(kind | NLA_F_NESTED, inner);
    }

    fn around(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        inner(self);
        // What is sent here is a few hundred bytes long.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_content_and_places_those_of_words() {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE);
        message.nested(18, |message| {
            message.attribute(1, b"veth!");
            message.attribute(2, &[7]);
        });
        let bytes = message.finish();
        let expected = [
            &[44, 0, 0, 0, 16, 0, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[24, 0, 18, 0x80, 9, 0, 1, 0, b'v', b'e', b't', b'h', b'!', 0, 0, 0, 5, 0, 2, 0, 7, 0, 0, 0],
        ];
        let mut whole = expected.concat();
        whole[0] = u8::try_from(bytes.len()).unwrap();
        assert_eq!(bytes, whole);
        assert_eq!(bytes.len(), 40);
    }

    #[test]
    fn an_answer_is_zero_or_an_errno() {
        let answer = |kind: u16, errno: i32| {
            [&[36, 0, 0, 0][..], &kind.to_ne_bytes(), &[0; 10], &errno.to_ne_bytes(), &[0; 16]].concat()
        };
        assert_eq!(outcome(&answer(NLMSG_ERROR, 0)), Some(0));
        assert_eq!(outcome(&answer(NLMSG_ERROR, -17)), Some(17));
        for bad in [answer(3, 0), answer(NLMSG_ERROR, i32::MIN), answer(NLMSG_ERROR, 5), vec![1; 7], Vec::new()] {
            assert_eq!(outcome(&bad), None, "{bad:?}");
        }
    }
}
