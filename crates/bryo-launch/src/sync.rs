// SPDX-License-Identifier: Apache-2.0
//! The conversation between the parent and the child that becomes the container.
//!
//! ```text
//! parent                                   child
//! clone ─────────────────────────────────> opens what only the caller may open
//!                      <── Network + fd ── its own network namespace is made
//! writes the id maps, "go" (own pipe) ───> becomes root inside, mounts, pivots, makes its standard streams
//!                        <── Ready + fds ─ everything is in place; the fds are our ends of the streams
//! (attaches the network)
//! Exec ──────────────────────────────────> drops to the run user, filters, execve
//!               <── Listener + fd ── if another process answers some of the payload's calls
//!                        <─────── Failed ─ at any point: kind, errno, words; the child is gone
//!                        <─ end of stream ─ the socket closes on execve: the payload runs
//! ```
//!
//! Without Landlock the child executes the payload through a trampoline. It says what is executed before (`Executes`),
//! since all that the trampoline can say, on the same socket, is an errno.
//!
//! A process that enters a container that runs has a shorter one: a helper joins the namespaces that only its children
//! are in, sends `Entered` with the child's pidfd, and is gone; the child goes on from `Ready`.
//!
//! Messages are whole (`SOCK_SEQPACKET`). Anything unexpected is a failure, and the parent kills the child.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bryo_sys::Errno;
use bryo_sys::fd::{receive, send};
use bryo_sys::listener::Listener;
use rustix::process::Pid;

use crate::error::{Error, Kind, Result};
use crate::{Enforced, Streams, child};

/// The longest message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 4096;

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd(pub OwnedFd);

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentEnd(pub OwnedFd);

impl ChildEnd {
    /// Hands the parent the network namespace, as a descriptor of it.
    pub fn network(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        Ok(send(&self.0, b"N", &[namespace])?)
    }

    /// Tells the parent that everything is in place, and hands it its ends of the streams.
    pub fn ready(&self, streams: &Streams, enforced: Enforced) -> Result<()> {
        let present = [&streams.stdin, &streams.stdout, &streams.stderr, &streams.console];
        let mask = present.iter().enumerate().fold(0_u8, |m, (i, fd)| m | u8::from(fd.is_some()) << i);
        let fds: Vec<BorrowedFd<'_>> = present.iter().filter_map(|fd| fd.as_ref().map(AsFd::as_fd)).collect();
        Ok(send(&self.0, &[b'R', mask, enforced.landlock_abi], &fds)?)
    }

    /// Hands the parent a process that was made for it.
    pub fn entered(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> Result<()> {
        let [a, b, c, d] = pid.as_raw_nonzero().get().to_ne_bytes();
        Ok(send(&self.0, &[b'P', a, b, c, d], &[pidfd])?)
    }

    /// Waits for the word to execute the payload.
    pub fn wait_exec(&self) -> Result<()> {
        let mut byte = [0; 1];
        match receive(&self.0, &mut byte)? {
            (1, _) if byte == *b"E" => Ok(()),
            _ => Err(Error::new(Kind::Lost, "the parent gave up")),
        }
    }

    /// Says which program a trampoline is about to execute.
    pub fn executes(&self, path: &CStr) -> bryo_sys::Result<()> {
        let message = [b"X", path.to_bytes()].concat();
        send(&self.0, &message[..message.len().min(MAX_MESSAGE)], &[])
    }

    /// Hands the parent where the calls are heard that it is to answer.
    pub fn listener(&self, listener: &Listener) -> bryo_sys::Result<()> {
        send(&self.0, b"L", &[listener.as_fd()])
    }

    /// Reports a failure. Nothing can be done when that fails too: the parent sees the end of the child.
    pub fn failed(&self, error: &Error) {
        let _ = send(&self.0, &error.encode(), &[]);
    }
}

impl ParentEnd {
    /// Lets the child execute the payload as soon as it is ready.
    pub fn exec(&self) -> Result<()> {
        Ok(send(&self.0, b"E", &[])?)
    }

    /// Waits until the child has its network namespace.
    pub fn wait_network(&self) -> Result<OwnedFd> {
        let mut buffer = [0; MAX_MESSAGE];
        let (n, mut fds) = receive(&self.0, &mut buffer)?;
        match (&buffer[..n], fds.pop()) {
            (b"N", Some(namespace)) => Ok(namespace),
            (message, _) => Err(failure(message)),
        }
    }

    /// Waits for the process that was made in the container.
    pub fn wait_entered(&self) -> Result<(Pid, OwnedFd)> {
        let mut buffer = [0; MAX_MESSAGE];
        let (n, mut fds) = receive(&self.0, &mut buffer)?;
        match (&buffer[..n], fds.pop()) {
            ([b'P', a, b, c, d], Some(pidfd)) => match Pid::from_raw(i32::from_ne_bytes([*a, *b, *c, *d])) {
                Some(pid) => Ok((pid, pidfd)),
                None => Err(Error::new(Kind::Lost, "the process in the container has no number")),
            },
            (message, _) => Err(failure(message)),
        }
    }

    /// Waits until the child is ready.
    pub fn wait_ready(&self) -> Result<(Streams, Enforced)> {
        let mut buffer = [0; MAX_MESSAGE];
        let (n, fds) = receive(&self.0, &mut buffer)?;
        match &buffer[..n] {
            [b'R', mask, landlock_abi] => {
                let mut fds = fds.into_iter();
                let mut take = |bit: u8| if mask >> bit & 1 == 1 { fds.next() } else { None };
                let streams = Streams { stdin: take(0), stdout: take(1), stderr: take(2), console: take(3) };
                Ok((streams, Enforced { landlock_abi: *landlock_abi }))
            }
            message => Err(failure(message)),
        }
    }

    /// Returns what the child has reported, if it has; does not wait for one that lives.
    pub fn failure(&self) -> Option<Error> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if rustix::event::poll(&mut fds, Some(&now)) != Ok(1) {
                return None;
            }
            match receive(&self.0, &mut buffer).ok()? {
                (0, _) => return None,
                (n, _) if buffer.first() == Some(&b'F') => return Some(Error::decode(&buffer[..n])),
                // What it had to say before that.
                _ => (),
            }
        }
    }

    /// Tells whether the child has closed its end, which the execution of the payload does.
    pub fn is_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)) == Ok(1) && fds[0].revents().contains(PollFlags::HUP)
    }

    /// Waits until the payload runs, and returns where its calls are heard, if they are to be.
    pub fn wait_running(&self) -> Result<Option<Listener>> {
        let mut buffer = [0; MAX_MESSAGE];
        let (mut path, mut listener) = (None, None);
        loop {
            let (n, mut fds) = receive(&self.0, &mut buffer)?;
            match (&buffer[..n], &path) {
                ([], _) => return Ok(listener),
                (b"L", _) => listener = fds.pop().map(Listener::from),
                ([b'X', rest @ ..], _) => path = CString::new(rest).ok(),
                (message, Some(path)) if message.len() == 8 => return Err(refused(path, message)),
                (message, _) => return Err(failure(message)),
            }
        }
    }
}

/// Reads the errno of a trampoline. Source: `bryo_sys::trampoline`.
fn refused(path: &CStr, message: &[u8]) -> Error {
    let errno = message.try_into().map(i64::from_ne_bytes).ok().and_then(|n| i32::try_from(-n).ok());
    // What is no errno was not written by a trampoline.
    let errno = errno.filter(|n| (1..4096).contains(n)).map_or(Errno::IO, Errno::from_raw_os_error);
    child::refused(path, &bryo_sys::Error::new("execve", path.to_string_lossy(), errno))
}

fn failure(message: &[u8]) -> Error {
    match message.first() {
        Some(b'F') => Error::decode(message),
        None => Error::new(Kind::Lost, "the container's process ended while it was being set up"),
        Some(other) => Error::new(Kind::Lost, format!("unexpected message {other:#x} from the container's process")),
    }
}
