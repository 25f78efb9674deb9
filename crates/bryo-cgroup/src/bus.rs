// SPDX-License-Identifier: Apache-2.0
//! A connection to systemd: D-Bus without a bus, on the socket that `systemctl` uses too.
//!
//! The manager of a user listens at a fixed place of its own, so that neither a message bus nor a variable of the
//! environment is needed. It sends its signals to whoever is connected.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Kind, Result};
use crate::wire::{self, FIXED, Message, Method, Sort, Writer};

/// How long systemd may take: a thousand times what it needs on a small machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that has proved who the caller is.
pub(crate) struct Bus<'a> {
    socket: UnixStream,
    received: Vec<u8>,
    serial: u32,
    until: Instant,
    /// When one of these can be read, the caller wants no more.
    stop: &'a [BorrowedFd<'a>],
}

impl<'a> Bus<'a> {
    /// Connects to a socket.
    pub fn connect(path: &Path, stop: &'a [BorrowedFd<'a>]) -> std::io::Result<Result<Self>> {
        let socket = UnixStream::connect(path)?;
        socket.set_nonblocking(true)?;
        let mut bus = Self { socket, received: Vec::new(), serial: 0, until: Instant::now() + PATIENCE, stop };
        Ok(bus.authenticate().map(|()| bus))
    }

    /// Says who the caller is, which the kernel confirms. Source: the D-Bus specification, "EXTERNAL".
    ///
    /// All of it is sent before the answer is read, as systemd's own clients do: what systemd reads together with the
    /// last line it would leave lying until more comes, and so no call may follow at its heels.
    fn authenticate(&mut self) -> Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        let end = loop {
            match self.received.windows(2).position(|w| w == b"\r\n") {
                Some(end) => break end + 2,
                None => self.receive()?,
            }
        };
        let line: Vec<u8> = self.received.drain(..end).collect();
        if line.starts_with(b"OK ") {
            return Ok(());
        }
        Err(refused(&format!("it does not know the caller ({})", String::from_utf8_lossy(&line).trim_end())))
    }

    /// Calls a method and returns the answer. The signals that come before it are returned as well.
    pub fn call(&mut self, method: Method<'_>, body: impl FnOnce(&mut Writer)) -> Result<(Message, Vec<Message>)> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&wire::call(serial, method, body))?;
        let mut signals = Vec::new();
        loop {
            let message = self.message()?;
            match message.sort {
                Sort::Signal => signals.push(message),
                Sort::Return if message.answers == serial => return Ok((message, signals)),
                Sort::Error if message.answers == serial => {
                    let words = message.strings().unwrap_or_default();
                    return Err(refused(words.first().unwrap_or(&message.error)));
                }
                _ => (),
            }
        }
    }

    /// Waits for the next message.
    pub fn message(&mut self) -> Result<Message> {
        let length = loop {
            if let Some(fixed) = self.received.first_chunk::<FIXED>() {
                let length = wire::length(fixed)?;
                if self.received.len() >= length {
                    break length;
                }
            }
            self.receive()?;
        };
        let bytes: Vec<u8> = self.received.drain(..length).collect();
        Message::parse(&bytes)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => (),
                Err(e) => return Err(refused(&e.to_string())),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => Err(refused("it closed the connection")),
            Ok(n) => {
                self.received.extend(&buffer[..n]);
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => self.wait(PollFlags::IN),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(refused(&e.to_string())),
        }
    }

    /// Waits until the socket is ready, the caller has had enough, or systemd has had its time.
    fn wait(&self, flags: PollFlags) -> Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.socket.as_fd(), flags)];
        fds.extend(self.stop.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let left = self.until.saturating_duration_since(Instant::now());
        let ready = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        if fds[1..].iter().any(|fd| !fd.revents().is_empty()) {
            return Err(Error::new(Kind::Interrupted, "the start was given up"));
        }
        match ready {
            Ok(0) => Err(refused(&format!("it does not answer within {} seconds", PATIENCE.as_secs()))),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(bryo_sys::Error::new("poll", "the connection to systemd", e).into()),
        }
    }
}

pub(crate) fn refused(why: &str) -> Error {
    Error::new(Kind::Refused, format!("systemd gives no control group: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one connection, whatever it asks.
    fn server(path: &Path, answer: &'static [u8]) -> std::thread::JoinHandle<Vec<u8>> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let n = peer.read(&mut buffer).unwrap();
            let heard = buffer[..n].to_vec();
            peer.write_all(answer).unwrap();
            // One that is to be closed is; another one as soon as the caller goes.
            while !answer.is_empty() && peer.read(&mut buffer).is_ok_and(|n| n > 0) {}
            heard
        })
    }

    fn socket(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("bryo-bus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn the_caller_is_named_by_number() {
        let path = socket("name");
        let server = server(&path, b"OK 0123\r\n");
        Bus::connect(&path, &[]).unwrap().map(drop).unwrap();
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        assert_eq!(server.join().unwrap(), format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_refusal_and_a_closed_connection_are_failures() {
        for (name, answer) in [("rejected", &b"REJECTED EXTERNAL\r\n"[..]), ("closed", b"")] {
            let path = socket(name);
            let server = server(&path, answer);
            let error = Bus::connect(&path, &[]).unwrap().map(drop).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{name}: {error}");
            server.join().unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn who_wants_no_more_waits_no_longer() {
        let path = socket("stop");
        let _listener = UnixListener::bind(&path).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, b"x").unwrap();
        let error = Bus::connect(&path, &[read.as_fd()]).unwrap().map(drop).unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted);
        std::fs::remove_file(path).unwrap();
    }
}
