// SPDX-License-Identifier: Apache-2.0
//! Moves bytes and signals between the caller and a running container, until it has ended and said everything.
//!
//! One thread and one `poll`. A direction waits either for input or for room, never for both, so that one that stands
//! still does not hold up the others, and nothing is read that could not be passed on: memory stays bounded. None of
//! the caller's descriptors is switched to non-blocking mode: that would change it for everybody who shares it.

mod channel;
mod terminal;
mod watch;

use std::os::fd::{BorrowedFd, OwnedFd};

use bryo_sys::check;
use bryo_sys::signal::{SignalSet, next};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;

use crate::Streams;
use crate::error::Result;

use channel::Channel;
pub use terminal::{RawTerminal, size_of};
pub use watch::{Installer, Seen, Watch};

/// The caller's standard streams.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Where input comes from.
    pub stdin: BorrowedFd<'a>,
    /// Where output goes.
    pub stdout: BorrowedFd<'a>,
    /// Where errors go.
    pub stderr: BorrowedFd<'a>,
}

/// How the caller's streams and signals are passed on.
#[derive(Debug)]
pub struct Options<'a> {
    /// The caller's streams.
    pub caller: Caller<'a>,
    /// Reads the caller's standard input.
    pub interactive: bool,
    /// Passes signals on to the container.
    pub proxy_signals: bool,
    /// Signals of [`signals`], read from here.
    pub inbox: &'a OwnedFd,
    /// What else to listen to meanwhile.
    pub asides: &'a [Aside<'a>],
}

/// A descriptor, and what is done when there is something to read. It reads what there is and does not wait.
#[derive(Clone, Copy)]
pub struct Aside<'a> {
    /// What to listen to.
    pub fd: BorrowedFd<'a>,
    /// Called when it is readable.
    pub act: &'a dyn Fn(),
}

impl std::fmt::Debug for Aside<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// Which of the container's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One who listens in: is shown what the container says before the caller is.
pub type Tap<'a> = &'a mut dyn FnMut(Source, &[u8]);

/// The signals that a caller blocks before the start, so that none is lost, and that [`run`] passes on.
///
/// Left out are those that stop a job, so that the shell's job control goes on working, and those that a fault of the
/// process itself raises.
pub fn signals() -> SignalSet {
    let kept = [
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
        Signal::SEGV,
        Signal::BUS,
        Signal::FPE,
        Signal::ILL,
        Signal::TRAP,
        Signal::ABORT,
        Signal::SYS,
    ];
    kept.iter().fold(SignalSet::full(), |set, signal| set.without(signal.as_raw()))
}

/// Those of [`signals`] with which somebody ends a command: as long as there is no payload to answer them, they end the
/// start.
pub fn ending() -> SignalSet {
    ENDING.iter().fold(SignalSet::empty(), |set, signal| set.with(signal.as_raw()))
}

const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// Relays until the payload, given by its pidfd, has ended and its output is passed on. With a tap, every byte of the
/// output is copied through this process; without, the kernel moves it where it can.
///
/// # Errors
///
/// Only when waiting itself fails; a stream that breaks ends its direction, as a pipe would.
pub fn run(payload: BorrowedFd<'_>, streams: Streams, options: &Options<'_>, mut tap: Option<Tap<'_>>) -> Result<Seen> {
    let raw = match (&streams.console, options.interactive) {
        (Some(_), true) => RawTerminal::enter(options.caller.stdin)?,
        _ => None,
    };
    let console = streams.console.as_ref().map(OwnedFd::try_clone).transpose().ok().flatten();
    let mut channels = channels(streams, options, tap.is_some());
    let mut ended = false;
    let mut ended_by = None;
    loop {
        if ended && channels.iter().all(|c| c.is_input() || c.is_done()) {
            // What it has said with its last breath.
            options.asides.iter().for_each(|aside| (aside.act)());
            let seen = Seen { ended_by, ..Seen::default() };
            return Ok(channels.iter().map(Channel::seen).fold(seen, Seen::or));
        }
        let ready = wait(payload, options, &channels, ended)?;
        for (channel, flags) in channels.iter_mut().zip(&ready.channels) {
            if !flags.is_empty() {
                channel.step(&mut tap);
            }
        }
        ended |= ready.ended;
        let aside = options.asides.iter().zip(&ready.asides).filter(|(_, ready)| **ready);
        aside.for_each(|(aside, _)| (aside.act)());
        if ready.signal {
            ended_by = ended_by.or(signals_in(payload, options, console.as_ref(), raw.as_ref())?);
        }
    }
}

/// What `poll` found.
struct Ready {
    channels: Vec<PollFlags>,
    ended: bool,
    signal: bool,
    asides: Vec<bool>,
}

fn wait(payload: BorrowedFd<'_>, options: &Options<'_>, channels: &[Channel<'_>], ended: bool) -> Result<Ready> {
    let mut fds = vec![PollFd::new(options.inbox, PollFlags::IN)];
    if !ended {
        fds.push(PollFd::from_borrowed_fd(payload, PollFlags::IN));
    }
    let first = fds.len();
    let mut places = Vec::with_capacity(channels.len());
    for channel in channels {
        // Input is of no use to a container that has ended.
        let waiting = channel.waits_for().filter(|_| !(ended && channel.is_input()));
        places.push(waiting.is_some());
        fds.extend(waiting.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    }
    let last = fds.len();
    fds.extend(options.asides.iter().map(|aside| PollFd::from_borrowed_fd(aside.fd, PollFlags::IN)));
    let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
    check("poll", || format!("{} descriptors", fds.len()), polled)?;
    let mut found = fds[first..].iter().map(PollFd::revents);
    let channels = places.iter().map(|p| if *p { found.next() } else { None }.unwrap_or(PollFlags::empty()));
    let channels = channels.collect();
    let ended_now = !ended && !fds[1].revents().is_empty();
    let asides = fds[last..].iter().map(|fd| !fd.revents().is_empty()).collect();
    Ok(Ready { channels, ended: ended_now, signal: !fds[0].revents().is_empty(), asides })
}

fn channels<'a>(streams: Streams, options: &Options<'a>, tapped: bool) -> Vec<Channel<'a>> {
    let caller = options.caller;
    let (stdout, stderr) = (tapped.then_some(Source::Stdout), tapped.then_some(Source::Stderr));
    let mut channels = Vec::with_capacity(3);
    if let Some(console) = streams.console {
        // Nobody else has it. A terminal that says it has room may mean less than what is written, and would wait.
        let _ = rustix::io::ioctl_fionbio(&console, true);
        if options.interactive {
            channels.extend(console.try_clone().ok().map(|c| Channel::input(caller.stdin, c, true)));
        }
        channels.push(Channel::output(console, caller.stdout, stdout));
    }
    channels.extend(streams.stdin.map(|s| Channel::input(caller.stdin, s, false)));
    channels.extend(streams.stdout.map(|s| Channel::output(s, caller.stdout, stdout)));
    channels.extend(streams.stderr.map(|s| Channel::output(s, caller.stderr, stderr)));
    channels
}

/// Sends a signal. The only failure left with a valid descriptor is that the process has ended.
fn send(payload: BorrowedFd<'_>, signal: Signal) {
    let _ = rustix::process::pidfd_send_signal(payload, signal);
}

/// Passes signals on; returns the one with which somebody ends the command and the payload with it.
fn signals_in(
    payload: BorrowedFd<'_>,
    options: &Options<'_>,
    console: Option<&OwnedFd>,
    raw: Option<&RawTerminal<'_>>,
) -> Result<Option<i32>> {
    let mut ended_by = None;
    while let Some(number) = next(options.inbox)? {
        match (Signal::from_named_raw(number), console) {
            (Some(Signal::WINCH), Some(console)) => terminal::copy_size(options.caller, console),
            // A job that was stopped finds the terminal as the shell left it.
            (Some(Signal::CONT), _) => {
                if let Some(raw) = raw {
                    raw.again();
                }
            }
            (Some(Signal::CHILD | Signal::WINCH | Signal::PIPE | Signal::URG), _) | (None, _) => (),
            (Some(signal), _) if options.proxy_signals => send(payload, signal),
            // Whoever ends the command and does not pass signals on ends the container with it.
            (Some(signal), _) if ENDING.contains(&signal) => {
                send(payload, Signal::KILL);
                ended_by = Some(number);
            }
            (Some(_), _) => (),
        }
    }
    Ok(ended_by)
}
