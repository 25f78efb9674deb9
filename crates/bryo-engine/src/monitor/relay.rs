// SPDX-License-Identifier: Apache-2.0
//! While the payload of a supervised container runs: its output goes to the log and to the clients, their input to it.
//!
//! One thread and one `poll`. Memory is bounded: nothing is read from the payload while a client has no room, and
//! nothing from a client while the payload takes no input.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_launch::Streams;
use bryo_sys::check;
use bryo_sys::signal::next;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::Winsize;

use super::asks_to_end;
use super::clients::{Clients, Wish};
use super::log::{Stream, Writer};
use super::wire::CHUNK;
use crate::error::Result;

/// How long after its start a container has said what it says at a start, and its monitor can make itself small.
const SETTLED: Duration = Duration::from_secs(1);

/// Everything a monitor listens to.
#[derive(Debug)]
pub(super) struct Ears<'a> {
    /// Signals to the monitor itself.
    pub inbox: &'a OwnedFd,
    pub listener: &'a OwnedFd,
    pub clients: &'a mut Clients,
}

/// How the payload is asked to end, when the monitor is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub signal: Signal,
    /// After this it is killed.
    pub grace: Duration,
}

/// The payload's side.
struct Payload<'a> {
    pidfd: BorrowedFd<'a>,
    outputs: Vec<(OwnedFd, Stream)>,
    input: Option<OwnedFd>,
    /// Input that the payload has not taken yet.
    pending: Vec<u8>,
    /// No more input comes.
    end_of_input: bool,
    console: bool,
}

/// What `poll` found.
struct Ready {
    signal: bool,
    door: bool,
    ended: bool,
    input: bool,
    outputs: Vec<PollFlags>,
    clients: Vec<PollFlags>,
}

/// Asks after the payload's health beside everything else.
pub(super) trait Rounds {
    /// When the next is due.
    fn deadline(&self) -> Option<Instant>;
    /// What to listen to.
    fn waits_for(&self) -> Vec<(BorrowedFd<'_>, PollFlags)>;
    /// Does what is to be done now.
    fn step(&mut self) -> Result<()>;
}

/// Relays until the payload has ended and its output is written; tells whether the monitor was asked to end.
pub(super) fn run(
    payload: BorrowedFd<'_>,
    streams: Streams,
    mut log: Option<&mut Writer>,
    ears: &mut Ears<'_>,
    rounds: &mut dyn Rounds,
    ending: Ending,
) -> Result<bool> {
    let mut payload = Payload::new(payload, streams);
    let mut asked: Option<Instant> = None;
    let mut tidy = Some(Instant::now() + SETTLED);
    let mut ended = false;
    let mut buffer = vec![0; CHUNK];
    while !(ended && payload.outputs.is_empty()) {
        let tidies = tidy.take_if(|at| Instant::now() >= *at).is_some();
        let round = rounds.deadline().filter(|_| !ended);
        let deadline = [ears.clients.deadline(), asked.filter(|_| !ended), round, tidy].into_iter().flatten().min();
        let ready = wait(&payload, ears, &*rounds, ended, deadline, tidies)?;
        if !ended {
            rounds.step()?;
        }
        if ready.signal {
            while let Some(number) = next(ears.inbox)? {
                if asked.is_none() && Signal::from_named_raw(number).is_some_and(asks_to_end) {
                    let _ = rustix::process::pidfd_send_signal(payload.pidfd, ending.signal);
                    asked = Some(Instant::now() + ending.grace);
                }
            }
        }
        if asked.is_some_and(|at| Instant::now() >= at) && !ended {
            let _ = rustix::process::pidfd_send_signal(payload.pidfd, Signal::KILL);
        }
        ended |= ready.ended;
        if ready.input {
            payload.feed();
        }
        for wish in ears.clients.serve(&ready.clients) {
            payload.grant(wish);
        }
        if ready.door {
            ears.clients.accept(ears.listener);
        }
        payload.listen(&ready.outputs, &mut buffer, log.as_deref_mut(), ears.clients);
    }
    Ok(asked.is_some())
}

/// Waits a while for a signal that asks the monitor to end, or for a client that says that something has changed.
/// Returns true for a signal.
pub(super) fn pause(ears: &mut Ears<'_>, length: Duration, mut changed: impl FnMut() -> bool) -> Result<bool> {
    let until = Instant::now() + length;
    while Instant::now() < until && !changed() {
        let mut fds = vec![PollFd::new(ears.inbox, PollFlags::IN), PollFd::new(ears.listener, PollFlags::IN)];
        fds.extend(ears.clients.waits_for(true).map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        poll(&mut fds, Some(until))?;
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        // Input for a payload that is none yet is lost.
        ears.clients.serve(&flags[2..]);
        if !flags[1].is_empty() {
            ears.clients.accept(ears.listener);
        }
        if !flags[0].is_empty() {
            while let Some(number) = next(ears.inbox)? {
                if Signal::from_named_raw(number).is_some_and(asks_to_end) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn wait(
    payload: &Payload<'_>,
    ears: &Ears<'_>,
    rounds: &dyn Rounds,
    ended: bool,
    deadline: Option<Instant>,
    tidies: bool,
) -> Result<Ready> {
    let mut fds = vec![PollFd::new(ears.inbox, PollFlags::IN), PollFd::new(ears.listener, PollFlags::IN)];
    if !ended {
        fds.push(PollFd::from_borrowed_fd(payload.pidfd, PollFlags::IN));
    }
    let feeding = payload.input.as_ref().filter(|_| !payload.pending.is_empty());
    fds.extend(feeding.map(|input| PollFd::new(input, PollFlags::OUT)));
    let first_output = fds.len();
    let heard = if ears.clients.hold_up() { PollFlags::empty() } else { PollFlags::IN };
    fds.extend(payload.outputs.iter().map(|(output, _)| PollFd::new(output, heard)));
    let first_client = fds.len();
    let takes_input = payload.pending.is_empty();
    fds.extend(ears.clients.waits_for(takes_input).map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    let first_round = fds.len();
    fds.extend(rounds.waits_for().into_iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    if tidies {
        // What a start needs and a supervisor does not. Where it stays the container is none the worse.
        let _ = bryo_sys::memory::give_back();
    }
    poll(&mut fds, deadline)?;
    let found = |n: usize| !fds[n].revents().is_empty();
    let flags = |range: std::ops::Range<usize>| fds[range].iter().map(PollFd::revents).collect::<Vec<_>>();
    // One that hangs up is read to its end as soon as there is room again.
    let outputs = if heard.is_empty() { Vec::new() } else { flags(first_output..first_client) };
    Ok(Ready {
        signal: found(0),
        door: found(1),
        ended: !ended && found(2),
        input: feeding.is_some() && found(first_output - 1),
        outputs,
        clients: flags(first_client..first_round),
    })
}

fn poll(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<()> {
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(fds, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Ok(check("poll", || format!("{} descriptors", fds.len()), Err(e))?),
    }
}

impl<'a> Payload<'a> {
    fn new(pidfd: BorrowedFd<'a>, streams: Streams) -> Self {
        let Streams { stdin, stdout, stderr, console } = streams;
        let console_input = console.as_ref().and_then(|c| c.try_clone().ok());
        let outputs = [(stdout, Stream::Stdout), (stderr, Stream::Stderr), (console, Stream::Stdout)];
        let outputs: Vec<(OwnedFd, Stream)> =
            outputs.into_iter().filter_map(|(fd, stream)| Some((fd?, stream))).collect();
        let is_console = console_input.is_some();
        let input = stdin.or(console_input);
        for fd in outputs.iter().map(|(fd, _)| fd).chain(&input) {
            // Our ends are nobody else's. One that would wait would hold up the rest.
            let _ = rustix::io::ioctl_fionbio(fd, true);
        }
        Self { pidfd, outputs, input, pending: Vec::new(), end_of_input: false, console: is_console }
    }

    /// Reads what there is, once for each stream.
    fn listen(&mut self, ready: &[PollFlags], buffer: &mut [u8], mut log: Option<&mut Writer>, clients: &mut Clients) {
        let mut ready = ready.iter();
        self.outputs.retain(|(output, stream)| {
            if ready.next().is_none_or(|flags| flags.is_empty()) || clients.hold_up() {
                return true;
            }
            match rustix::io::read(output, &mut *buffer) {
                Err(Errno::AGAIN | Errno::INTR) => true,
                // The end, or a terminal whose last user has left (EIO).
                Ok(0) | Err(_) => false,
                Ok(n) => {
                    if let Some(log) = log.as_deref_mut() {
                        log.write(*stream, &buffer[..n]);
                    }
                    clients.show(*stream, &buffer[..n]);
                    true
                }
            }
        });
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Input(bytes) => {
                self.pending.extend_from_slice(&bytes);
                self.feed();
            }
            Wish::EndOfInput => {
                self.end_of_input = true;
                self.feed();
            }
            Wish::Size(ws_row, ws_col) => {
                if let (true, Some(console)) = (self.console, &self.input) {
                    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = rustix::termios::tcsetwinsize(console, size);
                }
            }
            // There is nothing to do before the payload has ended.
            Wish::Look => (),
        }
    }

    /// Gives the payload what it takes of its input.
    fn feed(&mut self) {
        /// Control-D, the default `VEOF` (`termios(3)`).
        const END_OF_TRANSMISSION: u8 = 4;
        let Some(input) = &self.input else {
            self.pending.clear();
            return;
        };
        if !self.pending.is_empty() {
            match rustix::io::write(input, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR) => (),
                Err(_) => {
                    self.pending.clear();
                    self.input = None;
                    return;
                }
            }
        }
        if self.pending.is_empty() && self.end_of_input {
            self.end_of_input = false;
            if self.console {
                // On a terminal the end of input is a character, and there may be more of it later.
                let _ = rustix::io::write(input.as_fd(), &[END_OF_TRANSMISSION]);
            } else {
                self.input = None;
            }
        }
    }
}
