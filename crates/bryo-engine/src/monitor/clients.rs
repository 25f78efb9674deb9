// SPDX-License-Identifier: Apache-2.0
//! The clients of a monitor: who sees the output, and who types.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::log::Stream;
use super::wire::{self, Message};

/// How long a client that takes no output may hold up the payload before it is let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    attached: bool,
    input: bool,
    /// A message that there was no room for, and since when.
    waiting: Option<(Vec<u8>, Instant)>,
    gone: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients(Vec<Client>);

/// What a client wants of the payload.
#[derive(Debug)]
pub(super) enum Wish {
    Input(Vec<u8>),
    EndOfInput,
    Size(u16, u16),
    Look,
}

impl Clients {
    /// Takes a client that was there before the payload, and sees all of its output.
    pub fn first(socket: OwnedFd) -> Self {
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        Self(vec![Client { socket, attached: true, input: true, waiting: None, gone: false }])
    }

    /// Takes whoever waits at the door.
    pub fn accept(&mut self, listener: &OwnedFd) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(listener, flags) {
            self.0.push(Client { socket, attached: false, input: false, waiting: None, gone: false });
        }
    }

    /// Tells whether a client has no room: what the payload says next must wait.
    pub fn hold_up(&self) -> bool {
        self.0.iter().any(|c| c.waiting.is_some())
    }

    /// Returns when the next client is let go.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(|c| c.waiting.as_ref().map(|(_, since)| *since + PATIENCE)).min()
    }

    /// Returns what has to be ready, a descriptor for each client in order.
    pub fn waits_for(&self, takes_input: bool) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.0.iter().map(move |client| {
            let input = if takes_input || !client.input { PollFlags::IN } else { PollFlags::empty() };
            let room = if client.waiting.is_some() { PollFlags::OUT } else { PollFlags::empty() };
            (std::os::fd::AsFd::as_fd(&client.socket), input | room)
        })
    }

    /// Does what is possible now; `ready` is what `poll` found, in the order of [`Clients::waits_for`].
    pub fn serve(&mut self, ready: &[PollFlags]) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (client, ready) in self.0.iter_mut().zip(ready) {
            if ready.contains(PollFlags::OUT) {
                client.flush();
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                wishes.extend(client.read());
            }
        }
        self.forget();
        wishes
    }

    /// Shows a piece of output to everybody who is attached.
    pub fn show(&mut self, stream: Stream, bytes: &[u8]) {
        if self.0.iter().any(|c| c.attached) {
            self.tell(&Message::Output(stream, bytes));
        }
    }

    /// Says how the payload ended, and lets everybody go who was attached; who was not may be about to.
    pub fn farewell(&mut self, code: i32) {
        // What was said before comes first, and then the last word must find room itself.
        self.drain();
        self.tell(&Message::Exit(code));
        self.drain();
        self.0.retain(|client| !client.attached);
    }

    /// Waits until nobody is without room, or has run out of time.
    fn drain(&mut self) {
        while let (true, Some(deadline)) = (self.hold_up(), self.deadline()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds: Vec<PollFd<'_>> =
                self.waits_for(false).map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
            let _ = rustix::event::poll(&mut fds, Timespec::try_from(left).ok().as_ref());
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            self.serve(&ready);
        }
    }

    fn tell(&mut self, message: &Message<'_>) {
        let bytes = message.encode();
        for client in self.0.iter_mut().filter(|c| c.attached) {
            client.send(&bytes);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let now = Instant::now();
        self.0.retain(|c| !c.gone && c.waiting.as_ref().is_none_or(|(_, since)| now < *since + PATIENCE));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Not left to the end of the descriptor, of which the guardian has a copy.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        match wire::send(&self.socket, bytes) {
            Ok(()) => (),
            Err(Errno::AGAIN) => self.waiting = Some((bytes.to_vec(), Instant::now())),
            Err(_) => self.gone = true,
        }
    }

    fn flush(&mut self) {
        if let Some((bytes, _)) = self.waiting.take() {
            self.send(&bytes);
        }
    }

    fn read(&mut self) -> Option<Wish> {
        let mut buffer = vec![0; wire::CHUNK + 1];
        match wire::receive(&self.socket, &mut buffer) {
            Ok(Some(Message::Attach { input })) => {
                (self.attached, self.input) = (true, input);
                None
            }
            Ok(Some(Message::Input(bytes))) if self.input => Some(Wish::Input(bytes.to_vec())),
            Ok(Some(Message::End)) if self.input => Some(Wish::EndOfInput),
            Ok(Some(Message::Size { rows, columns })) => Some(Wish::Size(rows, columns)),
            Ok(Some(Message::Look)) => Some(Wish::Look),
            Err(Errno::AGAIN) => None,
            Ok(_) | Err(_) => {
                self.gone = true;
                None
            }
        }
    }
}
