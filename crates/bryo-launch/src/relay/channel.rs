// SPDX-License-Identifier: Apache-2.0
//! One direction of a stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::watch::{Seen, Watch};
use super::{Source, Tap};

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// What a pipe that is ready takes without blocking: `PIPE_BUF` (`pipe(7)`).
const PIPE_BUF: usize = 4096;

/// What `splice` is asked to move at once: a full pipe.
const SPLICE: usize = 1024 * 1024;

/// Bytes from one descriptor to another; one of them is the caller's.
#[derive(Debug)]
pub(super) struct Channel<'a> {
    ends: Ends<'a>,
    state: State,
    /// Whether the kernel can move the bytes without copying them.
    splices: bool,
    /// The most that is written at once without risking to block.
    portion: usize,
    /// Looks at what passes, when it goes to a terminal.
    watch: Option<Watch>,
    /// What is shown to who listens in, as what it is.
    tapped: Option<Source>,
    /// Whether the end of input is typed, as on a terminal, instead of closed.
    terminal: bool,
}

#[derive(Debug)]
enum Ends<'a> {
    In {
        from: BorrowedFd<'a>,
        to: OwnedFd,
    },
    Out {
        from: OwnedFd,
        to: BorrowedFd<'a>,
    },
    /// An input whose pipe was closed, to tell the payload that there is no more.
    Closed {
        input: bool,
    },
}

#[derive(Debug)]
enum State {
    /// Nothing in hand; waits for input.
    Empty,
    /// Input is there, unread; waits for room.
    Ready,
    /// Bytes in hand from an offset; waits for room.
    Holding(Vec<u8>, usize),
}

impl<'a> Channel<'a> {
    /// Carries the caller's input to the container.
    pub fn input(from: BorrowedFd<'a>, to: OwnedFd, terminal: bool) -> Self {
        let splices = !terminal && is_pipe_or_file(from);
        let ends = Ends::In { from, to };
        Self { ends, state: State::Empty, splices, portion: PIPE_BUF, watch: None, tapped: None, terminal }
    }

    /// Carries the container's output to the caller; `tapped`, so that somebody can listen in.
    pub fn output(from: OwnedFd, to: BorrowedFd<'a>, tapped: Option<Source>) -> Self {
        let file = kind(to) == Some(FileType::RegularFile);
        // What the kernel moves by itself nobody sees.
        let splices = tapped.is_none() && is_pipe_or_file(to) && kind(from.as_fd()) == Some(FileType::Fifo);
        let portion = if file { CHUNK } else { PIPE_BUF };
        Self {
            ends: Ends::Out { from, to },
            state: State::Empty,
            splices,
            portion,
            watch: rustix::termios::isatty(to).then(Watch::default),
            tapped,
            terminal: false,
        }
    }

    /// Returns what was seen on the way to a terminal.
    pub fn seen(&self) -> Seen {
        self.watch.as_ref().map(|w| w.seen).unwrap_or_default()
    }

    /// Tells whether this is the direction into the container.
    pub fn is_input(&self) -> bool {
        matches!(self.ends, Ends::In { .. } | Ends::Closed { input: true })
    }

    /// Tells whether there is nothing more to come.
    pub fn is_done(&self) -> bool {
        matches!(self.ends, Ends::Closed { .. })
    }

    /// Returns what has to be ready for the next step.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let (from, to) = self.fds()?;
        Some(match self.state {
            State::Empty => (from, PollFlags::IN),
            State::Ready | State::Holding(..) => (to, PollFlags::OUT),
        })
    }

    /// Does what is possible now. An error on either side ends the direction.
    pub fn step(&mut self, tap: &mut Option<Tap<'_>>) {
        let state = std::mem::replace(&mut self.state, State::Ready);
        let reads = matches!(state, State::Ready);
        match self.next(state) {
            // A file opened for appending, say: copied from now on.
            Err(Errno::INVAL) if self.splices => self.splices = false,
            Ok(Some(state)) => {
                if let (true, State::Holding(bytes, _)) = (reads, &state) {
                    self.look(bytes, tap);
                }
                self.state = state;
            }
            // What made the input ready is gone again.
            Err(Errno::AGAIN | Errno::INTR) => self.state = State::Empty,
            // The end of input, a reader that has gone, a terminal whose last user has left (EIO).
            Ok(None) | Err(_) => self.close(),
        }
    }

    /// Looks at what was just read.
    fn look(&mut self, bytes: &[u8], tap: &mut Option<Tap<'_>>) {
        if let Some(watch) = &mut self.watch {
            watch.look(bytes);
        }
        if let (Some(tap), Some(source)) = (tap, self.tapped) {
            tap(source, bytes);
        }
    }

    /// Returns the state after the next system call, or nothing at the end of input.
    fn next(&self, state: State) -> rustix::io::Result<Option<State>> {
        let Some((from, to)) = self.fds() else { return Ok(None) };
        match state {
            State::Empty => Ok(Some(State::Ready)),
            State::Ready if self.splices => {
                let moved = splice(from, None, to, None, SPLICE, flags())?;
                Ok((moved > 0).then_some(State::Empty))
            }
            State::Ready => read(from),
            State::Holding(bytes, offset) => write(to, bytes, offset, self.portion),
        }
    }

    fn fds(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        match &self.ends {
            Ends::In { from, to } => Some((*from, to.as_fd())),
            Ends::Out { from, to } => Some((from.as_fd(), *to)),
            Ends::Closed { .. } => None,
        }
    }

    /// Closes the container's end: its reader sees the end of file, its writer a broken pipe.
    fn close(&mut self) {
        if let (Ends::In { to, .. }, true) = (&self.ends, self.terminal) {
            // On a terminal the end of input is a character; whoever reads in raw mode has to see the byte too.
            let _ = rustix::io::write(to, &[END_OF_TRANSMISSION]);
        }
        self.ends = Ends::Closed { input: self.is_input() };
    }
}

/// Control-D, the default `VEOF` (`termios(3)`).
const END_OF_TRANSMISSION: u8 = 4;

fn flags() -> SpliceFlags {
    SpliceFlags::NONBLOCK | SpliceFlags::MOVE
}

fn read(from: BorrowedFd<'_>) -> rustix::io::Result<Option<State>> {
    let mut bytes = vec![0; CHUNK];
    let n = rustix::io::read(from, &mut bytes)?;
    bytes.truncate(n);
    Ok((n > 0).then_some(State::Holding(bytes, 0)))
}

fn write(to: BorrowedFd<'_>, bytes: Vec<u8>, offset: usize, portion: usize) -> rustix::io::Result<Option<State>> {
    let end = bytes.len().min(offset + portion);
    let offset = match rustix::io::write(to, &bytes[offset..end]) {
        Ok(n) => offset + n,
        Err(Errno::AGAIN | Errno::INTR) => offset,
        Err(e) => return Err(e),
    };
    Ok(Some(if offset == bytes.len() { State::Empty } else { State::Holding(bytes, offset) }))
}

fn kind(fd: BorrowedFd<'_>) -> Option<FileType> {
    rustix::fs::fstat(fd).ok().map(|s| FileType::from_raw_mode(s.st_mode))
}

fn is_pipe_or_file(fd: BorrowedFd<'_>) -> bool {
    matches!(kind(fd), Some(FileType::Fifo | FileType::RegularFile))
}
