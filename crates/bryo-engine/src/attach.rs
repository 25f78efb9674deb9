// SPDX-License-Identifier: Apache-2.0
//! Attached to a container that runs by itself: its output comes to the caller, the caller's input goes to it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_launch::relay::{self, Caller, RawTerminal, Watch};
use bryo_sys::check;
use bryo_sys::signal::{next, numbered};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::monitor::log::Stream;
use crate::monitor::wire::{self, CHUNK, Message};
use crate::run::Hints;

/// How the caller is attached.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// Passes standard input on.
    pub input: bool,
    /// The end of standard input is that of the container's; else others may attach and type more.
    pub ends_input: bool,
    /// Passes signals on.
    pub proxy_signals: bool,
    /// What leaves the container alone when it is typed.
    pub detach_keys: Keys,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The container has ended, with this exit code, and this is what it was refused in the caller's sight.
    Ended(i32, Hints),
    /// The caller has let go of it.
    Detached,
}

/// A sequence of bytes that is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

impl Default for Keys {
    /// Control-P, Control-Q, as in Docker.
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl Keys {
    /// Parses keys as Docker writes them, such as `ctrl-p,ctrl-q`; an empty text is no sequence.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for what is no key.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |key: &str| {
            let why =
                format!("invalid detach key {key:?}: expected a letter, or ctrl- with one of a-z, @, [, \\, ], ^ or _");
            Error::new(Kind::InvalidOption, why)
        };
        let key = |key: &str| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (Some(rest), _) => match rest.as_bytes() {
                [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
                [sign @ (b'@' | b'['..=b'_')] => Ok(sign - b'@'),
                _ => Err(bad(key)),
            },
            (None, [byte]) => Ok(*byte),
            _ => Err(bad(key)),
        };
        text.split(',').filter(|key| !key.is_empty()).map(key).collect::<Result<_>>().map(Self)
    }

    /// Splits off the sequence where it is complete: what comes before it, and whether it is there. `typed` is how much
    /// of it came last time; what turns out to be no sequence is input after all.
    fn find(&self, typed: &mut usize, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut input = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.0.get(*typed) == Some(byte) {
                *typed += 1;
                if *typed == self.0.len() {
                    return (input, true);
                }
                continue;
            }
            input.extend_from_slice(&self.0[..*typed]);
            *typed = usize::from(self.0.first() == Some(byte));
            if *typed == 0 {
                input.push(*byte);
            }
        }
        (input, false)
    }
}

impl Engine {
    /// Attaches the caller to a container, until it ends or the caller lets go.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::Paused`]; [`Kind::Unsupported`] for one that runs in the foreground of somebody else.
    pub fn attach(&self, record: &Record, caller: Caller<'_>, options: &AttachOptions) -> Result<Left> {
        self.process(record)?;
        record.refuse_paused()?;
        let socket = wire::connect(&self.containers.dir(&record.id)).map_err(|_| {
            let why = format!("container {} belongs to a bryo run in a foreground; attach there", record.name);
            Error::new(Kind::Unsupported, why)
        })?;
        let hello = Message::Attach { input: options.input }.encode();
        check("send", || "attach".into(), wire::send(&socket, &hello))?;
        self.attached(record, socket, caller, options)
    }

    /// Goes on with a connection to the container's monitor.
    ///
    /// # Errors
    ///
    /// When waiting fails, or the monitor was killed.
    pub fn attached(
        &self,
        record: &Record,
        socket: OwnedFd,
        caller: Caller<'_>,
        options: &AttachOptions,
    ) -> Result<Left> {
        let signals = relay::signals();
        signals.block()?;
        let inbox = signals.descriptor()?;
        let raw = if options.input && record.options.tty { RawTerminal::enter(caller.stdin)? } else { None };
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        let watch = rustix::termios::isatty(caller.stdout).then(Watch::default);
        let mut client = Client {
            raw,
            watch,
            engine: self,
            record,
            socket,
            caller,
            options,
            outbox: Vec::new(),
            showing: None,
            typed: 0,
            input: options.input,
        };
        client.resize();
        client.run(&inbox)
    }
}

/// Makes a connection for a container that is about to be started: the caller's end, and the monitor's.
///
/// # Errors
///
/// When the process has no descriptor left.
pub fn connection() -> Result<(OwnedFd, OwnedFd)> {
    Ok(bryo_sys::fd::message_pair()?)
}

/// One end of a connection.
struct Client<'a> {
    engine: &'a Engine,
    record: &'a Record,
    socket: OwnedFd,
    caller: Caller<'a>,
    options: &'a AttachOptions,
    /// Messages that there was no room for.
    outbox: Vec<Vec<u8>>,
    /// Output that the caller has not taken yet.
    showing: Option<Showing>,
    /// How many of the detach keys were typed.
    typed: usize,
    /// More input may come.
    input: bool,
    /// The caller's terminal, while it is the container's.
    raw: Option<RawTerminal<'a>>,
    /// Looks at what a person sees.
    watch: Option<Watch>,
}

/// A piece of output on its way to the caller.
struct Showing {
    stream: Stream,
    bytes: Vec<u8>,
    shown: usize,
}

/// What `poll` found.
struct Ready {
    signal: bool,
    socket: PollFlags,
    stdin: bool,
    output: bool,
}

impl Client<'_> {
    fn run(&mut self, inbox: &OwnedFd) -> Result<Left> {
        let mut buffer = vec![0; CHUNK + 1];
        loop {
            let ready = self.wait(inbox)?;
            if ready.signal && self.signals(inbox)? {
                return Ok(Left::Detached);
            }
            if ready.socket.intersects(PollFlags::OUT) {
                self.flush();
            }
            // Whoever reads the output has gone: the container goes on, as in a terminal that was closed.
            if ready.output && self.show().is_err() {
                return Ok(Left::Detached);
            }
            if ready.socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
                && self.showing.is_none()
                && let Some(left) = self.receive(&mut buffer)?
            {
                return Ok(left);
            }
            if ready.stdin && self.read(&mut buffer) {
                return Ok(Left::Detached);
            }
        }
    }

    /// Waits either for output or for room for it, so that whoever does not read is not waited for with the signals.
    fn wait(&self, inbox: &OwnedFd) -> Result<Ready> {
        let mut wanted = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        if self.showing.is_none() {
            wanted |= PollFlags::IN;
        }
        let mut fds = vec![PollFd::new(inbox, PollFlags::IN)];
        // One that has hung up is ready for ever.
        let listens = !wanted.is_empty();
        if listens {
            fds.push(PollFd::new(&self.socket, wanted));
        }
        let types = self.input && self.outbox.is_empty();
        if types {
            fds.push(PollFd::from_borrowed_fd(self.caller.stdin, PollFlags::IN));
        }
        fds.extend(self.showing.as_ref().map(|s| PollFd::from_borrowed_fd(self.shows_on(s.stream), PollFlags::OUT)));
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        check("poll", || format!("{} descriptors", fds.len()), polled)?;
        let mut found = fds.iter().map(PollFd::revents);
        let mut next = |is: bool| if is { found.next() } else { None }.unwrap_or(PollFlags::empty());
        Ok(Ready {
            signal: !next(true).is_empty(),
            socket: next(listens),
            stdin: !next(types).is_empty(),
            output: !next(self.showing.is_some()).is_empty(),
        })
    }

    fn shows_on(&self, stream: Stream) -> BorrowedFd<'_> {
        if stream == Stream::Stdout { self.caller.stdout } else { self.caller.stderr }
    }

    /// Writes as much of the output as there is room for.
    fn show(&mut self) -> rustix::io::Result<()> {
        /// What a pipe that is ready takes without waiting: `PIPE_BUF` (`pipe(7)`).
        const PORTION: usize = 4096;
        let Some(Showing { stream, bytes, shown }) = &self.showing else { return Ok(()) };
        let end = bytes.len().min(shown + PORTION);
        let written = match rustix::io::write(self.shows_on(*stream), &bytes[*shown..end]) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(e) => return Err(e),
        };
        if let Some(showing) = &mut self.showing {
            showing.shown += written;
            if showing.shown == showing.bytes.len() {
                self.showing = None;
            }
        }
        Ok(())
    }

    /// Reads the caller's input; true when he lets go.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match rustix::io::read(self.caller.stdin, &mut buffer[..CHUNK]) {
            Err(Errno::AGAIN | Errno::INTR) => false,
            // A raw terminal has no end: it is gone, and the container goes on.
            Ok(0) | Err(_) if self.raw.is_some() => true,
            Ok(0) | Err(_) => {
                self.input = false;
                if self.options.ends_input {
                    self.send(&Message::End);
                }
                false
            }
            Ok(n) if self.record.options.tty => {
                let (input, detached) = self.options.detach_keys.find(&mut self.typed, &buffer[..n]);
                self.send(&Message::Input(&input));
                detached
            }
            Ok(n) => {
                self.send(&Message::Input(&buffer[..n]));
                false
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<Left>> {
        match wire::receive(&self.socket, buffer) {
            Ok(Some(Message::Output(stream, bytes))) => {
                if let Some(watch) = &mut self.watch {
                    watch.look(bytes);
                }
                self.showing =
                    Some(Showing { stream, bytes: bytes.to_vec(), shown: 0 }).filter(|s| !s.bytes.is_empty());
                Ok(None)
            }
            Ok(Some(Message::Exit(code))) => {
                let hints = self.watch.as_ref().map_or_else(Hints::default, |watch| watch.seen.into());
                Ok(Some(Left::Ended(code, hints)))
            }
            Ok(Some(_)) | Err(Errno::AGAIN) => Ok(None),
            Ok(None) | Err(_) => self.lost().map(Some),
        }
    }

    /// The monitor has hung up without a word: it was killed, and the container ends with it in a moment, or it was tired
    /// of waiting.
    fn lost(&self) -> Result<Left> {
        /// A guardian takes milliseconds.
        const PATIENCE: Duration = Duration::from_secs(2);
        let begin = Instant::now();
        loop {
            let now = self.engine.containers.find(self.record.id.as_str());
            match now {
                Ok(now) if now.state.is_active() && self.engine.containers.is_held(&now.id) => {
                    if begin.elapsed() > PATIENCE {
                        let why =
                            format!("container {} goes on alone: its output was not taken for too long", now.name);
                        return Err(Error::new(Kind::Io, why));
                    }
                }
                now => {
                    let code = now.ok().and_then(|now| now.state.exit_code).unwrap_or(137);
                    return Ok(Left::Ended(code, Hints::default()));
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Does what signals ask for; true for one that lets go of the container.
    fn signals(&mut self, inbox: &OwnedFd) -> Result<bool> {
        while let Some(number) = next(inbox)? {
            match Signal::from_named_raw(number) {
                Some(Signal::WINCH) => self.resize(),
                // A job that was stopped finds the terminal as the shell left it.
                Some(Signal::CONT) => self.raw.iter().for_each(RawTerminal::again),
                Some(Signal::CHILD | Signal::PIPE | Signal::URG) => (),
                // The terminal is gone, which is none of the container's.
                Some(Signal::HUP) if self.raw.is_some() => return Ok(true),
                _ if self.options.proxy_signals => {
                    // As it is now: it may have been started again since.
                    let now = self.engine.containers.find(self.record.id.as_str());
                    if let (Ok(now), Some(signal)) = (now, numbered(number)) {
                        // One that has ended needs no signal.
                        let _ = self.engine.signal(&now, signal);
                    }
                }
                Some(Signal::TERM | Signal::INT | Signal::HUP | Signal::QUIT) => return Ok(true),
                _ => (),
            }
        }
        Ok(false)
    }

    /// Gives the container's terminal the size of the caller's.
    fn resize(&mut self) {
        let size = relay::size_of(self.caller.stdin).or_else(|| relay::size_of(self.caller.stdout));
        if let (true, Some((rows, columns))) = (self.record.options.tty, size) {
            self.send(&Message::Size { rows, columns });
        }
    }

    fn send(&mut self, message: &Message<'_>) {
        if !matches!(message, Message::Input(b"")) {
            self.outbox.push(message.encode());
            self.flush();
        }
    }

    fn flush(&mut self) {
        while let Some(first) = self.outbox.first() {
            if wire::send(&self.socket, first) == Err(Errno::AGAIN) {
                return;
            }
            // A monitor that has gone is noticed when it is listened to.
            self.outbox.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_dockers() {
        assert_eq!(Keys::parse("ctrl-p,ctrl-q").unwrap(), Keys::default());
        assert_eq!(Keys::parse("ctrl-a,x,ctrl-[").unwrap(), Keys(vec![1, b'x', 27]));
        assert_eq!(Keys::parse("").unwrap(), Keys(Vec::new()));
        for bad in ["ctrl-", "ctrl-1", "ab", "ctrl-ab"] {
            assert!(Keys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_found_across_pieces_and_nothing_is_lost() {
        let keys = Keys::default();
        let mut typed = 0;
        assert_eq!(keys.find(&mut typed, b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.find(&mut typed, b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.find(&mut typed, b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.find(&mut typed, b"\x11rest"), (Vec::new(), true));
        assert_eq!(Keys(Vec::new()).find(&mut 0, b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
