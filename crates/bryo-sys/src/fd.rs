// SPDX-License-Identifier: Apache-2.0
//! Descriptors: no inherited one survives, and some travel over a socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use crate::error::{Result, check, raw};

/// The most descriptors one message carries here; the kernel's own limit is 253 (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 16;

/// Marks every descriptor from `first` on to be closed by the next `execve`. Source: `close_range(2)`.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.11: the caller must not go on, as descriptors would leak.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    let last = libc::c_uint::MAX;
    // SAFETY: takes three integers; setting close-on-exec invalidates no descriptor.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    raw("close_range", || format!("{first}, ~0, CLOEXEC"), ret).map(drop)
}

/// Closes every descriptor from 3 on but some. For a child that goes on with those alone: whatever else its code holds
/// is invalid afterwards and must not be used. Source: `close_range(2)`.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.9: the caller must not go on, as descriptors would leak.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<()> {
    use std::os::fd::AsRawFd;
    let mut kept: Vec<libc::c_uint> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for next in kept.into_iter().filter(|fd| *fd > 2).chain([libc::c_uint::MAX]) {
        if first < next {
            let last = if next == libc::c_uint::MAX { next } else { next - 1 };
            // SAFETY: takes three integers; the caller has promised to use none of the descriptors that are closed.
            let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            raw("close_range", || format!("{first}, {last}"), ret)?;
        }
        first = next.saturating_add(1);
    }
    Ok(())
}

/// Makes the null device of all standard streams.
///
/// # Errors
///
/// When `/dev/null` cannot be opened.
pub fn null_streams() -> Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = check("open", || "/dev/null".into(), null)?;
    check("dup2", || "0".into(), rustix::stdio::dup2_stdin(&null))?;
    check("dup2", || "1".into(), rustix::stdio::dup2_stdout(&null))?;
    check("dup2", || "2".into(), rustix::stdio::dup2_stderr(&null))
}

/// Lets go of what a process that goes on by itself has from whoever started it: its standard streams become the null
/// device, and every other descriptor that was inherited is closed. Ours are told from those by their flag: all of them
/// are closed on execution, and an inherited one is not.
///
/// # Errors
///
/// When `/proc` or `/dev/null` cannot be opened.
pub fn let_go() -> Result<()> {
    null_streams()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = rustix::fs::open("/proc/self/fd", flags, Mode::empty());
    let listing = check("open", || "/proc/self/fd".into(), listing)?;
    let entries = check("getdents64", String::new, Dir::read_from(&listing))?;
    let numbers = entries.filter_map(|e| e.ok()?.file_name().to_str().ok()?.parse::<RawFd>().ok());
    for number in numbers.filter(|n| *n > 2).collect::<Vec<_>>() {
        // SAFETY: takes two integers, and only asks for flags.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: a descriptor without the flag was inherited, and nothing in this process owns it.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Makes a connected pair of sockets that keep message boundaries and report the end of the peer.
pub fn message_pair() -> Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    check("socketpair", || "AF_UNIX, SOCK_SEQPACKET".into(), pair)
}

/// Sends one message with descriptors. Source: `unix(7)`, `SCM_RIGHTS`.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(crate::Error::new("sendmsg", format!("{} descriptors", fds.len()), rustix::io::Errno::TOOBIG));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL);
    check("sendmsg", || format!("{} bytes, {} descriptors", bytes.len(), fds.len()), sent).map(drop)
}

/// Receives one message and its descriptors; an empty message means that the peer has gone. Source: `unix(7)`.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let result = rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        match result {
            // A peer that ended with a message of ours unread resets the connection, once, ahead of what it had sent
            // before: its last words are still to be received.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => (),
            other => break check("recvmsg", String::new, other)?,
        }
    };
    let mut fds = Vec::new();
    for item in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    Ok((message.bytes, fds))
}
