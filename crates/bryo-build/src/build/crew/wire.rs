// SPDX-License-Identifier: Apache-2.0
//! What the build and the processes of its stages say to each other: frames of a letter, a number, a length and that
//! many bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bryo_engine::error::{Error as EngineError, Kind as EngineKind};
use bryo_engine::step::CacheEntry;
use bryo_image::Digest;
use bryo_launch::relay;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::build::{Builder, Request};
use crate::dockerfile::Place;
use crate::error::{Error, Kind, Result};
use crate::progress::{Event, Progress, Stream};
use crate::state::State;

/// The longest frame, in bytes: a state with its history.
const FRAME_MAX: u32 = 256 << 20;

/// A stage that is made.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Done {
    pub state: State,
    /// The arguments that it has asked for.
    pub asked_for: BTreeSet<String>,
    /// The steps that it is made of.
    pub steps: BTreeMap<Digest, CacheEntry>,
    /// The manifests of images that it has taken something from.
    pub materials: BTreeMap<String, Digest>,
}

/// A failure on its way.
#[derive(Debug, Deserialize, Serialize)]
struct Told {
    cause: Cause,
    message: String,
    place: Option<[usize; 3]>,
}

#[derive(Debug, Deserialize, Serialize)]
enum Cause {
    Dockerfile,
    Step(i32),
    Root,
    Interrupted(i32),
    NoSpace,
    Engine,
}

/// Something that is said.
#[derive(Debug)]
pub(super) enum Frame {
    /// A stage is needed.
    Ask(usize),
    /// A stage is made.
    Done(Box<Done>),
    /// There will be no stage.
    Failed(Error),
    /// Something happens: its letter, the step and what there is to say.
    Happens(u8, usize, Vec<u8>),
}

impl Frame {
    /// Says what has become of a stage that was asked for.
    pub fn stage(state: &State) -> io::Result<Self> {
        Ok(Self::Done(Box::new(Done {
            state: state.clone(),
            asked_for: BTreeSet::new(),
            steps: BTreeMap::new(),
            materials: BTreeMap::new(),
        })))
    }

    fn of(event: Event<'_>) -> Self {
        let (letter, bytes) = match event {
            Event::Begin(_, name) => (b'b', name.as_bytes()),
            Event::Cached(_) => (b'c', &[][..]),
            Event::Output(_, Stream::Out, bytes) => (b'o', bytes),
            Event::Output(_, Stream::Err, bytes) => (b'e', bytes),
            Event::Note(_, text) => (b'n', text.as_bytes()),
            Event::End(_) => (b'z', &[][..]),
            Event::Failed(_, why) => (b'f', why.as_bytes()),
            Event::Canceled(_) => (b'x', &[][..]),
        };
        Self::Happens(letter, event.number(), bytes.to_vec())
    }

    /// Returns what happens, if that is what is said.
    pub fn event(&self) -> Option<Event<'_>> {
        let Self::Happens(letter, number, bytes) = self else { return None };
        let (number, text) = (*number, std::str::from_utf8(bytes).unwrap_or("?"));
        Some(match letter {
            b'b' => Event::Begin(number, text),
            b'c' => Event::Cached(number),
            b'o' => Event::Output(number, Stream::Out, bytes),
            b'e' => Event::Output(number, Stream::Err, bytes),
            b'n' => Event::Note(number, text),
            b'z' => Event::End(number),
            b'f' => Event::Failed(number, text),
            b'x' => Event::Canceled(number),
            _ => return None,
        })
    }

    pub fn write(&self, socket: &mut UnixStream) -> io::Result<()> {
        let (letter, number, bytes) = match self {
            Self::Ask(number) => (b'A', *number, Vec::new()),
            Self::Done(done) => (b'D', 0, serde_json::to_vec(done)?),
            Self::Failed(error) => (b'F', 0, serde_json::to_vec(&Told::of(error))?),
            Self::Happens(letter, number, bytes) => (*letter, *number, bytes.clone()),
        };
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let head = [&[letter][..], &(number as u64).to_ne_bytes(), &length.to_ne_bytes()].concat();
        socket.write_all(&[head, bytes].concat())
    }

    pub fn read(socket: &mut UnixStream) -> io::Result<Self> {
        let (mut letter, mut number, mut length) = ([0; 1], [0; 8], [0; 4]);
        socket.read_exact(&mut letter)?;
        socket.read_exact(&mut number)?;
        socket.read_exact(&mut length)?;
        let number = usize::try_from(u64::from_ne_bytes(number)).map_err(io::Error::other)?;
        let length = u32::from_ne_bytes(length);
        if length > FRAME_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length as usize];
        socket.read_exact(&mut bytes)?;
        Ok(match letter[0] {
            b'A' => Self::Ask(number),
            b'D' => Self::Done(serde_json::from_slice(&bytes)?),
            b'F' => Self::Failed(serde_json::from_slice::<Told>(&bytes)?.error()),
            letter => Self::Happens(letter, number, bytes),
        })
    }
}

/// Returns an event with another number.
pub(super) fn numbered(event: Event<'_>, number: usize) -> Event<'_> {
    match event {
        Event::Begin(_, name) => Event::Begin(number, name),
        Event::Cached(_) => Event::Cached(number),
        Event::Output(_, stream, bytes) => Event::Output(number, stream, bytes),
        Event::Note(_, text) => Event::Note(number, text),
        Event::End(_) => Event::End(number),
        Event::Failed(_, why) => Event::Failed(number, why),
        Event::Canceled(_) => Event::Canceled(number),
    }
}

impl Told {
    fn of(error: &Error) -> Self {
        let cause = match error.kind() {
            Kind::Dockerfile => Cause::Dockerfile,
            Kind::Step(code) => Cause::Step(code),
            Kind::Root => Cause::Root,
            Kind::Engine(EngineKind::Interrupted(signal)) => Cause::Interrupted(signal),
            Kind::Engine(EngineKind::NoSpace | EngineKind::Image(bryo_image::Kind::NoSpace)) => Cause::NoSpace,
            Kind::Engine(_) => Cause::Engine,
        };
        let place = error.place().map(|place| [place.line, place.column, place.last_line]);
        Self { cause, message: error.to_string(), place }
    }

    fn error(self) -> Error {
        let engine = |kind| Error::from(EngineError::new(kind, self.message.clone()));
        let error = match self.cause {
            Cause::Dockerfile => Error::new(Kind::Dockerfile, self.message),
            Cause::Step(code) => Error::new(Kind::Step(code), self.message),
            Cause::Root => Error::new(Kind::Root, self.message),
            Cause::Interrupted(signal) => engine(EngineKind::Interrupted(signal)),
            Cause::NoSpace => engine(EngineKind::NoSpace),
            // What mends it was said where it happened.
            Cause::Engine => Error::new(Kind::Engine(EngineKind::Io), self.message),
        };
        match self.place {
            Some([line, column, last_line]) => error.at(Place { line, column, last_line }),
            None => error,
        }
    }
}

/// The build, as the process of a stage sees it.
#[derive(Debug)]
pub(in crate::build) struct Outside {
    /// The stage that is made here.
    pub own: usize,
    socket: RefCell<UnixStream>,
    inbox: OwnedFd,
}

impl Progress for Outside {
    fn event(&self, event: Event<'_>) {
        // If nobody hears it any more, nobody wants the stage either.
        let _ = Frame::of(event).write(&mut self.socket.borrow_mut());
    }
}

impl Outside {
    /// Waits until another stage is made.
    pub fn ask(&self, index: usize) -> Result<State> {
        let mut socket = self.socket.borrow_mut();
        let lost = |e| Error::from(EngineError::io("cannot ask", "the build".as_ref(), e));
        Frame::Ask(index).write(&mut socket).map_err(lost)?;
        match Frame::read(&mut socket).map_err(lost)? {
            Frame::Done(done) => Ok(done.state),
            Frame::Failed(error) => Err(error),
            other => Err(lost(io::Error::other(format!("{other:?} is no answer")))),
        }
    }

    /// Ends the stage if it is not wanted any more.
    pub fn check(&self) -> Result<()> {
        match bryo_sys::signal::next(&self.inbox).map_err(EngineError::from)? {
            None => Ok(()),
            Some(number) => {
                let why = format!("signal {number} ended the build");
                Err(EngineError::new(EngineKind::Interrupted(number), why).into())
            }
        }
    }
}

/// Makes a stage, in a process of its own.
pub(super) fn serve(builder: &Builder<'_>, index: usize, socket: UnixStream) -> io::Result<()> {
    // A terminal's signals are for the build, which passes them on, once. And if it is killed, this ends as well.
    rustix::process::setpgid(None, None)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // Between steps they are looked at when there is nothing half done.
    relay::ending().block().map_err(io::Error::other)?;
    let inbox = relay::ending().descriptor().map_err(io::Error::other)?;
    let mut answer = socket.try_clone()?;
    let outside = Outside { own: index, socket: RefCell::new(socket), inbox };
    let request = Request { progress: &outside, ..builder.request.clone() };
    let mut own = Builder::beside(builder, &request, &outside);
    let frame = match own.stage(index) {
        Ok(state) => Frame::Done(Box::new(Done {
            state,
            asked_for: own.asked_for.take(),
            steps: std::mem::take(&mut own.steps),
            materials: std::mem::take(&mut own.materials),
        })),
        Err(error) => Frame::Failed(error),
    };
    // The worker is a process, and ends with this.
    drop(own);
    frame.write(&mut answer)
}
