// SPDX-License-Identifier: Apache-2.0
//! Networks of several containers: a bridge in a network namespace of its own.
//!
//! ```text
//! H  user namespace that the caller has made: all ids of containers, and the caller's
//! ├── N   network namespace: a bridge, without an address
//! ├── C1  user namespace of a container ── its network namespace ── a device whose other end is in the bridge
//! └── C2  ...
//! ```
//!
//! No process stands behind a network. A namespace lives as long as somebody holds a descriptor of it, and those are the
//! supervisors of the containers that use it. The caller has made H and every C, and so has all capabilities there. To act
//! in one, a short-lived child joins it and opens a socket into the kernel's tables, over which the caller itself then
//! asks: both ends of a cable are its own, also when C is not below H, as that of a container which was started without
//! a network and is connected while it runs.
//!
//! The kernel moves the frames; nothing here sees what a container sends. Nobody has a capability in H or N: the payloads
//! are in user namespaces below it, and no program runs in H itself.
//!
//! | who | namespaces | kernel ids | capabilities | may allocate | ends by |
//! |---|---|---|---|---|---|
//! | child | the caller's, then H and N, or C and its network | the caller's | all of H, or of C | yes | its exit code |

use std::ffi::CString;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bryo_identity::rung::{Host, Rung};
use bryo_identity::userns::{self, Request};
use bryo_sys::clone::{Fork, Namespaces, fork_into, join_one, unshare_network};
use bryo_sys::exec::exit_now;
use bryo_sys::fd::{message_pair, receive, send};
use bryo_sys::{Errno, check};
use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Kind, Result};
use crate::netlink::{Netlink, Peer};
use crate::subnet::Subnet;

/// The bridge's name, in a namespace where nobody looks.
const BRIDGE: &std::ffi::CStr = c"bridge";

/// Makes the user namespace that networks and their containers are in; on the root rung there is none, since root may do
/// all this as it is.
///
/// # Errors
///
/// When the host refuses it.
pub fn ground(host: &Host) -> Result<Option<OwnedFd>> {
    if host.rung() == Rung::Root {
        return Ok(None);
    }
    let map = host.outer();
    let request = Request { map: &map, helpers: host.helpers.as_ref(), namespaces: Namespaces::empty() };
    let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Switch, format!("cannot make a network: {e}"));
    let child =
        userns::clone(request, None, |inside| i32::from(inside.become_root().is_err())).map_err(|e| failed(&e))?;
    let path = format!("/proc/{}/ns/user", child.pid().as_raw_nonzero());
    let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let opened = check("open", || path, opened).map_err(|e| failed(&e))?;
    let child = child.map(request).map_err(|e| failed(&e))?;
    child.wait().map_err(|e| failed(&e))?;
    Ok(Some(opened))
}

/// Makes a network namespace with a bridge in it.
///
/// # Errors
///
/// [`Kind::Switch`].
pub fn create(ground: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let made = in_child(|| {
        join_ground(ground)?;
        unshare_network()?;
        // The bridge has no address, and so nobody to talk to. Where the kernel has no IPv6 there is none to be without.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        Netlink::open()?.add_bridge(BRIDGE)?;
        let namespace = rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        check("open", || "/proc/self/ns/net".into(), namespace).map(Some)
    })?;
    made.ok_or_else(|| Error::new(Kind::Switch, "cannot make a network: it was lost on the way"))
}

/// What a container gets of a network.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Its address.
    pub address: Ipv4Addr,
    /// The range that is reached directly.
    pub subnet: Subnet,
}

impl End {
    /// Returns the hardware address: always the same for an address, so that the others' memory of it stays true.
    pub fn hardware(&self) -> [u8; 6] {
        let [a, b, c, d] = self.address.octets();
        // Locally administered, as Docker does it.
        [0x02, 0x42, a, b, c, d]
    }
}

/// Where a container's end of a network is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The container's user namespace, which the caller has made.
    pub user: BorrowedFd<'a>,
    /// The network namespace that belongs to it.
    pub network: BorrowedFd<'a>,
}

/// Connects a container's network namespace with the bridge, gives it its address, and returns the number of the device
/// inside. The container may be inside the networks' user namespace or beside it: both are the caller's.
///
/// # Errors
///
/// [`Kind::Switch`].
pub fn attach(ground: Option<BorrowedFd<'_>>, switch: BorrowedFd<'_>, place: Place<'_>, end: End) -> Result<u32> {
    let inside = tables(Some(place.user), place.network)?;
    let outside = tables(ground, switch)?;
    pair(&inside, &outside, place.network, end).map_err(failed)
}

/// Takes a container's end of a network away; one that is gone already is no error.
///
/// # Errors
///
/// [`Kind::Switch`].
pub fn detach(place: Place<'_>, device: u32) -> Result<()> {
    match tables(Some(place.user), place.network)?.remove(device) {
        Err(e) if e.errno() == Errno::NODEV => Ok(()),
        removed => removed.map_err(failed),
    }
}

/// Opens the kernel's tables of a network namespace by a child that joins it, from the user namespace that it belongs to.
fn tables(user: Option<BorrowedFd<'_>>, network: BorrowedFd<'_>) -> Result<Netlink> {
    let opened = in_child(|| {
        join_ground(user)?;
        join_one(network, Namespaces::NET)?;
        Netlink::open().map(|tables| Some(tables.into_inner()))
    })?;
    opened.map(Netlink::of).ok_or_else(|| Error::new(Kind::Switch, "cannot set the network up: it was lost on the way"))
}

fn pair(inside: &Netlink, outside: &Netlink, container: BorrowedFd<'_>, end: End) -> bryo_sys::Result<u32> {
    // The device that leads outside has the name that it has on the host, which may be any.
    let free = (0..256).filter_map(|n| CString::new(format!("net{n}")).ok()).find(|n| inside.index(n).is_none());
    let name = free.ok_or_else(|| bryo_sys::Error::new("netlink", "a free name", Errno::EXIST))?;
    let gone = || bryo_sys::Error::new("netlink", "the bridge", Errno::NODEV);
    let bridge = outside.index(BRIDGE).ok_or_else(gone)?;
    let peer = Peer { name: &name, namespace: container, hardware: end.hardware() };
    outside.add_pair(&random_name()?, bridge, peer)?;
    let index = inside.index(&name).ok_or_else(gone)?;
    inside.add_address(index, end.address, end.subnet.prefix(), end.subnet.broadcast())?;
    inside.up(index)?;
    Ok(index)
}

fn join_ground(ground: Option<BorrowedFd<'_>>) -> bryo_sys::Result<()> {
    ground.map_or(Ok(()), |ground| join_one(ground, Namespaces::USER))
}

/// The device of a container that has just ended may still be there, so its name is not used again.
fn random_name() -> bryo_sys::Result<CString> {
    let mut bytes = [0; 4];
    check("getrandom", String::new, getrandom(&mut bytes[..], GetRandomFlags::empty()))?;
    let name = format!("c{:08x}", u32::from_ne_bytes(bytes));
    CString::new(name).map_err(|_| bryo_sys::Error::new("netlink", "a name", Errno::INVAL))
}

/// Does something in a child, which can join namespaces and not come back, and returns the descriptor that it made.
fn in_child(act: impl FnOnce() -> bryo_sys::Result<Option<OwnedFd>>) -> Result<Option<OwnedFd>> {
    let (mine, theirs) = message_pair().map_err(failed)?;
    let (pid, pidfd) = match fork_into(Namespaces::empty()).map_err(failed)? {
        Fork::Child => {
            drop(mine);
            let told = match act() {
                Ok(made) => send(&theirs, b"done", &made.iter().map(AsFd::as_fd).collect::<Vec<_>>()),
                Err(e) => send(&theirs, explain(&e.to_string(), Some(e.errno())).as_bytes(), &[]),
            };
            exit_now(i32::from(told.is_err()))
        }
        Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(theirs);
    let child = userns::Child::adopt(pid, pidfd);
    let mut words = [0; 1024];
    let (n, mut fds) = receive(&mine, &mut words).map_err(failed)?;
    child.wait().map_err(|e| Error::new(Kind::Switch, explain(&e.to_string(), None)))?;
    match &words[..n] {
        b"done" => Ok(fds.pop()),
        b"" => Err(Error::new(Kind::Switch, "cannot set the network up: its helper ended")),
        words => Err(Error::new(Kind::Switch, String::from_utf8_lossy(words))),
    }
}

fn failed(e: bryo_sys::Error) -> Error {
    Error::new(Kind::Switch, explain(&e.to_string(), Some(e.errno())))
}

fn explain(cause: &str, errno: Option<Errno>) -> String {
    let hint = match errno {
        Some(Errno::OPNOTSUPP) => "; the kernel has no bridge or veth: modprobe -a bridge veth, as root",
        _ => "",
    };
    format!("cannot set the network up: {cause}{hint}")
}
