// SPDX-License-Identifier: Apache-2.0
//! What a monitor and its clients say to one another, over a socket in the container's directory.
//!
//! ```text
//! client                          monitor
//! Attach(wants input) ──────────>
//!                     <────────── Output(stream, bytes), as long as it is attached
//! Input(bytes), End, Size ──────>
//!                     <────────── Exit(code), and the end
//! Look ─────────────────────────> what is wanted of the container has changed
//! ```
//!
//! Messages are whole (`SOCK_SEQPACKET`): a byte that says what it is, and the rest. Whoever can connect owns the
//! store, so that nothing has to be proved. A message that is not understood ends the connection.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use bryo_sys::{Errno, check};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::log::Stream;
use crate::error::Result;

/// The socket's name in the container's directory.
const SOCKET: &str = "attach";

/// The most bytes of a stream in one message.
pub(crate) const CHUNK: usize = 32 << 10;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Attach { input: bool },
    Input(&'a [u8]),
    End,
    Size { rows: u16, columns: u16 },
    Look,
    Output(Stream, &'a [u8]),
    Exit(i32),
}

impl<'a> Message<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let with = |kind: u8, bytes: &[u8]| [&[kind][..], bytes].concat();
        match self {
            Self::Attach { input } => vec![b'A', u8::from(*input)],
            Self::Input(bytes) => with(b'I', bytes),
            Self::End => vec![b'E'],
            Self::Size { rows, columns } => with(b'W', &[rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            Self::Look => vec![b'L'],
            Self::Output(Stream::Stdout, bytes) => with(b'O', bytes),
            Self::Output(Stream::Stderr, bytes) => with(b'R', bytes),
            Self::Exit(code) => with(b'X', &code.to_be_bytes()),
        }
    }

    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        Some(match *bytes {
            [b'A', input] => Self::Attach { input: input == 1 },
            [b'I', ref rest @ ..] => Self::Input(rest),
            [b'E'] => Self::End,
            [b'W', a, b, c, d] => Self::Size { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) },
            [b'L'] => Self::Look,
            [b'O', ref rest @ ..] => Self::Output(Stream::Stdout, rest),
            [b'R', ref rest @ ..] => Self::Output(Stream::Stderr, rest),
            [b'X', a, b, c, d] => Self::Exit(i32::from_be_bytes([a, b, c, d])),
            _ => return None,
        })
    }
}

/// Sends a message. A socket that does not wait answers `EAGAIN` when there is no room.
pub(crate) fn send(socket: impl AsFd, message: &[u8]) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::net::send(socket.as_fd(), message, SendFlags::NOSIGNAL)).map(drop)
}

/// Receives a message into a buffer of `CHUNK` bytes and one more; nothing when the peer has gone.
pub(crate) fn receive<'a>(socket: impl AsFd, buffer: &'a mut [u8]) -> rustix::io::Result<Option<Message<'a>>> {
    let n = loop {
        match rustix::net::recv(socket.as_fd(), &mut *buffer, RecvFlags::empty()) {
            // A peer that ended with a message of ours unread resets the connection, once, ahead of its last words.
            Err(Errno::INTR | Errno::CONNRESET) => (),
            other => break other?.0,
        }
    };
    if n == 0 {
        return Ok(None);
    }
    Message::decode(&buffer[..n]).map(Some).ok_or(Errno::PROTO)
}

/// Listens in a container's directory. What an earlier monitor has left there is replaced.
pub(crate) fn listen(dir: &Path) -> Result<OwnedFd> {
    listen_as(dir, SOCKET)
}

/// Listens in a container's directory, under a name.
pub(crate) fn listen_as(dir: &Path, name: &str) -> Result<OwnedFd> {
    let _ = std::fs::remove_file(dir.join(name));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = check("socket", || "AF_UNIX, SOCK_SEQPACKET".into(), socket)?;
    at(dir, name, |address| {
        check("bind", || name.into(), rustix::net::bind(&socket, address))?;
        check("listen", || name.into(), rustix::net::listen(&socket, 16))
    })?;
    Ok(socket)
}

/// Connects to the monitor of the container in a directory.
pub(crate) fn connect(dir: &Path) -> Result<OwnedFd> {
    connect_to(dir, SOCKET)
}

/// Connects to a socket in the directory of a container.
pub(crate) fn connect_to(dir: &Path, name: &str) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let socket = check("socket", || "AF_UNIX, SOCK_SEQPACKET".into(), socket)?;
    at(dir, name, |address| check("connect", || name.into(), rustix::net::connect(&socket, address)))?;
    Ok(socket)
}

/// Names a socket in a directory through a descriptor: the address of one holds 107 bytes (`unix(7)`), a home may be
/// longer.
pub(crate) fn at(dir: &Path, name: &str, call: impl FnOnce(&SocketAddrUnix) -> bryo_sys::Result<()>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = check("open", || dir.display().to_string(), rustix::fs::openat(CWD, dir, flags, Mode::empty()))?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    let address = check("bind", || path.clone(), SocketAddrUnix::new(path.as_str()))?;
    Ok(call(&address)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let messages = [
            Message::Attach { input: true },
            Message::Input(b"x"),
            Message::Input(b""),
            Message::End,
            Message::Size { rows: 24, columns: 80 },
            Message::Look,
            Message::Output(Stream::Stdout, b"out"),
            Message::Output(Stream::Stderr, b""),
            Message::Exit(137),
        ];
        for message in messages {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        for bad in [&b""[..], b"A", b"W12", b"Z", b"EE"] {
            assert_eq!(Message::decode(bad), None);
        }
    }

    #[test]
    fn last_words_are_heard_whatever_was_not_read() {
        let (one, two) = bryo_sys::fd::message_pair().unwrap();
        send(&one, &Message::Input(b"never read").encode()).unwrap();
        send(&two, &Message::Exit(3).encode()).unwrap();
        drop(two);
        assert_eq!(receive(&one, &mut [0; 8]), Ok(Some(Message::Exit(3))));
        assert_eq!(receive(&one, &mut [0; 8]), Ok(None));
    }

    #[test]
    fn a_long_path_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let listener = listen(&long).unwrap();
        let client = connect(&long).unwrap();
        let server = rustix::net::accept(&listener).unwrap();
        send(&client, &Message::Look.encode()).unwrap();
        assert_eq!(receive(&server, &mut [0; 8]).unwrap(), Some(Message::Look));
        drop(client);
        assert_eq!(receive(&server, &mut [0; 8]).unwrap(), None);
        drop(listener);
        assert!(connect(&long).is_err());
        listen(&long).unwrap();
    }
}
