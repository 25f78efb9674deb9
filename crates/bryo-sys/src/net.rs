// SPDX-License-Identifier: Apache-2.0
//! The one thing a fresh network namespace needs at once: its loopback device up.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Result, check, raw};

/// Brings the loopback device of the current network namespace up. Source: `netdevice(7)`.
pub fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket: OwnedFd = check("socket", || "AF_INET".into(), socket)?;
    // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = UP_RUNNING;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    raw("ioctl", || "SIOCSIFFLAGS, lo, up".into(), ret.into()).map(drop)
}

/// `IFF_UP | IFF_RUNNING`: 0x41.
const UP_RUNNING: libc::c_short = 0x41;
