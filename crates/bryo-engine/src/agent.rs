// SPDX-License-Identifier: Apache-2.0
//! Agents: processes that work on the files of containers, with the ids that these belong to.
//!
//! ```text
//! engine                                agent
//! fork into a user namespace ─────────> closes what it was not given, opens what only the caller may open
//! writes the map ─────────────────────> becomes root inside, keeps rights over files and no others
//!                <── answer (JSON) ──── works
//! ```
//!
//! | who | namespaces | ids and capabilities | may allocate | peer | exits |
//! |---|---|---|---|---|---|
//! | agent, child of the command | its own user namespace, a container's, or one with mounts of its own | the caller's until everything is open; then root inside, with capabilities over files only | yes: its parent had one thread | the parent, by a pipe | 0 with an answer on the pipe |
//!
//! It looks at trees that hostile programs have made, perhaps while they run. What it could do to the host if it were
//! taken over is what the container can do, nothing, and what it was given: the pipes to the engine. No other descriptor
//! of the caller's is open in it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bryo_identity::Helpers;
use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Child, Inside, Request};
use bryo_sys::check;
use bryo_sys::clone::Namespaces;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// The longest answer, in bytes: a list of some million paths.
const ANSWER_MAX: u64 = 1 << 30;

/// Where an agent works.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// In a user namespace of its own.
    Own(&'a IdMap, Option<&'a Helpers>),
    /// In one of its own, where it may mount.
    Mounting(&'a IdMap, Option<&'a Helpers>),
    /// In the network of a container that runs, given by a process of it.
    Network(&'a IdMap, BorrowedFd<'a>),
    /// Among the mounts of a container that runs, given by a process of it.
    Container(&'a IdMap, BorrowedFd<'a>),
}

/// What an agent has found, or why it has not.
#[derive(Debug, Serialize, Deserialize)]
enum Answer<T> {
    Done(T),
    Failed { cause: Cause, message: String, errno: Option<i32> },
}

/// The kinds of failure that go over the pipe.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Cause {
    InvalidOption,
    Unsupported,
    Source,
    Corrupt,
    NoSpace,
    Limit,
    Io,
}

/// Lets an agent work, and returns its answer. `open` runs with the caller's ids, `work` with those of the place.
///
/// The calling process must have one thread.
///
/// # Errors
///
/// What the agent reports; [`Kind::Identity`] when the namespace cannot be had.
pub(crate) fn run<O, T: Serialize + DeserializeOwned>(
    place: Place<'_>,
    open: impl FnOnce() -> Result<O>,
    work: impl FnOnce(O) -> Result<T>,
) -> Result<T> {
    start(place, [], open, |opened, []| work(opened))?.answer()
}

/// Starts an agent that the caller talks to while it works, by descriptors that it is given. Of all others `open` and
/// `work` may use only those that they have opened themselves.
///
/// # Errors
///
/// [`Kind::Identity`] when the namespace cannot be had.
pub(crate) fn start<O, T: Serialize + DeserializeOwned, const N: usize>(
    place: Place<'_>,
    given: [OwnedFd; N],
    open: impl FnOnce() -> Result<O>,
    work: impl FnOnce(O, [OwnedFd; N]) -> Result<T>,
) -> Result<Agent<T>> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (ours, theirs) = check("pipe2", || "CLOEXEC".into(), pipe)?;
    let mounts = matches!(place, Place::Mounting(..) | Place::Container(..));
    let existing = matches!(place, Place::Network(..) | Place::Container(..));
    let body = move |inside: Inside| {
        let opened = || -> Result<O> {
            keep_only(given.iter().chain([&theirs]).map(AsFd::as_fd).chain([inside.door()]))?;
            // A descriptor or two for each container, or for each level of a deep tree.
            raise_limit()?;
            if existing {
                // What runs there must not look into this process. In a new namespace there is nobody, and whoever
                // writes its maps must be able to.
                undumpable()?;
            } else if mounts {
                private()?;
            }
            open()
        };
        let done = opened().and_then(|opened| {
            confine(&inside, mounts)?;
            work(opened, given)
        });
        report(done, theirs)
    };
    let child = match place {
        Place::Own(map, helpers) | Place::Mounting(map, helpers) => {
            let namespaces = if mounts { Namespaces::MOUNT } else { Namespaces::empty() };
            userns::spawn(Request { map, helpers, namespaces }, body)?
        }
        Place::Network(map, process) => userns::join(process.as_fd(), Namespaces::NET, map, None, body)?,
        Place::Container(map, process) => userns::join(process.as_fd(), Namespaces::MOUNT, map, None, body)?,
    };
    Ok(Agent { child, answer: ours, kind: std::marker::PhantomData })
}

/// An agent at work. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Agent<T> {
    child: Child,
    answer: OwnedFd,
    kind: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Agent<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn answer(self) -> Result<T> {
        let mut text = Vec::new();
        let read = File::from(self.answer).take(ANSWER_MAX).read_to_end(&mut text);
        let code = self.child.wait()?;
        read.map_err(|e| Error::io("cannot read the answer of", "the agent".as_ref(), e))?;
        match serde_json::from_slice(&text) {
            Ok(Answer::Done(done)) => Ok(done),
            Ok(Answer::Failed { cause, message, errno }) => Err(Error::told(cause.kind(), message, errno)),
            Err(_) => Err(Error::new(Kind::Io, format!("the process that works on the files ended with {code}"))),
        }
    }
}

/// Closes all of the caller's descriptors but some. Nothing that had one is used or dropped afterwards: a child that is
/// forked ends where its body does.
fn keep_only<'a>(kept: impl Iterator<Item = BorrowedFd<'a>>) -> Result<()> {
    bryo_sys::fd::null_streams()?;
    Ok(bryo_sys::fd::close_all_but(&kept.collect::<Vec<_>>())?)
}

/// Keeps what is mounted here from showing on the host, and the other way round.
fn private() -> Result<()> {
    use rustix::mount::MountPropagationFlags;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(check("mount", || "/, MS_REC|MS_PRIVATE".into(), rustix::mount::mount_change("/", private))?)
}

fn undumpable() -> Result<()> {
    let set = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    Ok(check("prctl", || "PR_SET_DUMPABLE".into(), set)?)
}

fn raise_limit() -> Result<()> {
    let files = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: files.maximum, maximum: files.maximum };
    Ok(check("setrlimit", || "RLIMIT_NOFILE".into(), rustix::process::setrlimit(Resource::Nofile, limit))?)
}

/// Becomes root inside and gives up the rest. The order: ids first, as that needs capabilities; the death signal after
/// it, as a change of ids clears it.
fn confine(inside: &Inside, mounts: bool) -> Result<()> {
    inside.become_root()?;
    let killed = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    check("prctl", || "PR_SET_PDEATHSIG".into(), killed)?;
    undumpable()?;
    check("prctl", || "PR_SET_NO_NEW_PRIVS".into(), rustix::thread::set_no_new_privs(true))?;
    rustix::process::umask(rustix::fs::Mode::empty());
    if mounts { Ok(()) } else { keep_file_rights() }
}

/// Gives up every capability but those over files. One that mounts does so when everything is in place.
pub(crate) fn keep_file_rights() -> Result<()> {
    let kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETFCAP;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(check("capset", || format!("{kept:?}"), rustix::thread::set_capabilities(None, sets))?)
}

fn report<T: Serialize>(done: Result<T>, pipe: OwnedFd) -> i32 {
    let answer = match done {
        Ok(done) => Answer::Done(done),
        Err(e) => Answer::Failed { cause: Cause::of(e.kind()), message: e.chain(), errno: e.errno() },
    };
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    i32::from(File::from(pipe).write_all(&text).is_err())
}

impl Cause {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::InvalidOption => Self::InvalidOption,
            Kind::Unsupported => Self::Unsupported,
            Kind::Source => Self::Source,
            Kind::Corrupt | Kind::Image(bryo_image::Kind::Corrupt) => Self::Corrupt,
            Kind::NoSpace | Kind::Image(bryo_image::Kind::NoSpace) => Self::NoSpace,
            Kind::Image(bryo_image::Kind::Limit) => Self::Limit,
            _ => Self::Io,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::InvalidOption => Kind::InvalidOption,
            Self::Unsupported => Kind::Unsupported,
            Self::Source => Kind::Source,
            Self::Corrupt => Kind::Corrupt,
            Self::NoSpace => Kind::NoSpace,
            Self::Limit => Kind::Image(bryo_image::Kind::Limit),
            Self::Io => Kind::Io,
        }
    }
}
