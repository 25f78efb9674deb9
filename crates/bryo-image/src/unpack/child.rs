// SPDX-License-Identifier: Apache-2.0
//! The unpacking process itself.
//!
//! | | |
//! |---|---|
//! | who | root inside the map: on the host, a subordinate id; the only id there is, on the single rung |
//! | namespaces | its own user namespace; all others are the caller's |
//! | capabilities | those over files of the map, none else; no new privileges |
//! | may touch | the store, enforced by Landlock where the kernel has it; descriptors it was sent, and no other of the caller's |
//! | may allocate, have threads | yes |
//! | peer | the parent, over one socket |
//! | ends | when the socket closes, or the parent dies |

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bryo_identity::userns::Inside;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::apply::{self, Options};
use super::export::Part;
use super::protocol::{self, Outcome, Reply, Request, Task};
use super::stream::{self, Source};
use super::{LayerReport, export, implied, usage};
use crate::error::{Error, Kind, Result};

/// What the process may work on.
#[derive(Debug)]
pub(super) struct Confined {
    /// The directory of the map's layers.
    pub layers: File,
    /// The root of the store, which contains it and whatever the process is sent to remove.
    pub store: File,
    /// One id owns everything.
    pub squash: bool,
}

/// Runs until the parent closes its end. Returns the exit code.
pub(super) fn main(inside: &Inside, confined: &Confined, socket: &OwnedFd) -> i32 {
    let ready = keep_only(inside, confined, socket).and_then(|()| prepare(inside, confined));
    let ready = ready.map(|()| Outcome::Done).map_err(Into::into);
    let failed = ready.is_err();
    if protocol::send(socket.as_fd(), &Reply { id: 0, outcome: ready }, &[]).is_err() || failed {
        return 1;
    }
    match serve(confined, socket) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Closes all of the caller's descriptors but these, the parent's end of the socket among them, whose end would else never
/// be seen. Nothing that had one is used or dropped afterwards: a child that is forked ends where its body does.
fn keep_only(inside: &Inside, confined: &Confined, socket: &OwnedFd) -> Result<()> {
    let kept = [socket.as_fd(), confined.layers.as_fd(), confined.store.as_fd(), inside.door()];
    let closed = bryo_sys::fd::null_streams().and_then(|()| bryo_sys::fd::close_all_but(&kept));
    closed.map_err(|error| Error::new(Kind::Identity, "close the caller's descriptors").with_source(error))
}

/// Becomes root inside and gives up the rest. The order: ids first, as that needs capabilities; the death signal
/// after it, as a change of ids clears it.
fn prepare(inside: &Inside, confined: &Confined) -> Result<()> {
    let fail = |step: &'static str| move |error: Errno| Error::new(Kind::Identity, step).with_source(error);
    inside.become_root().map_err(|error| Error::new(Kind::Identity, "become root inside").with_source(error))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(fail("bind to the parent"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(fail("become undumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(fail("forbid new privileges"))?;
    let kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETFCAP;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(fail("drop capabilities"))?;
    rustix::process::umask(Mode::empty());
    let files = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: files.maximum, maximum: files.maximum };
    rustix::process::setrlimit(Resource::Nofile, limit).map_err(fail("raise the limit of open files"))?;
    // On a kernel without Landlock, descriptors and ids are what confines.
    confine(confined).or_else(|error| match error {
        RulesetError::HandleAccesses(_) | RulesetError::CreateRuleset(_) => Ok(()),
        other => Err(Error::new(Kind::Identity, "confine the unpacking process").with_source(other)),
    })
}

fn confine(confined: &Confined) -> std::result::Result<(), RulesetError> {
    // The second ABI is the first that lets files be linked across directories.
    let access = AccessFs::from_all(ABI::V2);
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(access)?
        .create()?
        .add_rule(PathBeneath::new(&confined.store, access))?
        .restrict_self()
        .map(drop)
}

fn serve(confined: &Confined, socket: &OwnedFd) -> Result<()> {
    let layers = Arc::new(clone_fd(&confined.layers)?);
    let socket = Arc::new(clone_fd(socket)?);
    let squash = confined.squash;
    while let Some((request, fds)) = protocol::receive::<Request>(socket.as_fd())? {
        let (layers, socket) = (Arc::clone(&layers), Arc::clone(&socket));
        let Request { id, task } = request;
        let fd = fds.into_iter().next();
        let work = move || {
            let outcome = perform(task, fd, &layers, squash).map_err(Into::into);
            // A parent that is gone wants no answer.
            protocol::send(socket.as_fd(), &Reply { id, outcome }, &[]).unwrap_or_default();
        };
        std::thread::Builder::new().spawn(work).map_err(|error| Error::io("start a thread", error))?;
    }
    Ok(())
}

fn perform(task: Task, fd: Option<OwnedFd>, layers: &OwnedFd, squash: bool) -> Result<Outcome> {
    let missing = || Error::new(Kind::Io, "unpacking process: no descriptor in the request");
    match task {
        Task::Unpack { dir, diff_id, compression, blob_size, limits } => {
            let source = Source { diff_id, compression, blob_size, limits };
            unpack(&source, &dir, fd.ok_or_else(missing)?, layers, squash).map(Outcome::Unpacked)
        }
        Task::Remove => {
            let dir = fd.ok_or_else(missing)?;
            bryo_sys::tree::remove_content(&dir).map_err(|error| Error::io("remove a tree", error))?;
            Ok(Outcome::Done)
        }
        Task::Usage { layers: wanted } => {
            let mut sizes = Vec::with_capacity(wanted.len());
            for layer in &wanted {
                sizes.push(usage(open_layer(layers, layer)?.as_fd())?.disk);
            }
            Ok(Outcome::Usage(sizes))
        }
        Task::Export { layers: wanted } => {
            let output = File::from(fd.ok_or_else(missing)?);
            let roots = wanted.iter().map(|layer| open_part(layers, layer.hex())).collect::<Result<Vec<_>>>()?;
            let unreadable = export::export(roots, squash, output)?;
            if unreadable.count > 0 {
                // All of it belongs to the ids that this is.
                return Err(Error::io(format!("open {:?}", unreadable.first), Errno::ACCESS));
            }
            Ok(Outcome::Done)
        }
    }
}

fn unpack(source: &Source, name: &str, input: OwnedFd, layers: &OwnedFd, squash: bool) -> Result<LayerReport> {
    let what = || format!("open {name:?} for a layer");
    if name.contains('/') || name.starts_with("..") {
        return Err(Error::new(Kind::EscapesRoot, what()));
    }
    let temporary = open_directory(layers, name).map_err(|error| Error::io(what(), error))?;
    rustix::fs::mkdirat(&temporary, c"fs", Mode::from_raw_mode(0o755)).map_err(|error| Error::io(what(), error))?;
    let root = open_directory(&temporary, "fs").map_err(|error| Error::io(what(), error))?;
    let options = Options { squash, end_mark_needed: source.diff_id.is_none(), limits: source.limits };
    let mut applied = apply::Applied::default();
    let result = stream::run(source, input, |blocks| {
        applied = apply::apply(blocks, root, options)?;
        implied::write(temporary.as_fd(), &applied.implied)
    });
    match result {
        Ok(report) => Ok(LayerReport {
            entries: applied.entries,
            devices_skipped: applied.devices_skipped,
            xattrs_dropped: applied.xattrs_dropped,
            ..report
        }),
        Err(error) => {
            // The first error is the one to tell; what stays, the next worker sweeps.
            bryo_sys::tree::remove_content(&temporary).unwrap_or_default();
            Err(error)
        }
    }
}

fn open_part(layers: &OwnedFd, name: &str) -> Result<Part> {
    let tree = open_layer(layers, name)?;
    let layer = open_directory(layers, name).map_err(|error| Error::io(format!("open layer {name}"), error))?;
    Ok(Part::with_implied(tree, implied::read(layer.as_fd())?))
}

fn open_layer(layers: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let fail = |error: Errno| {
        let kind = if error == Errno::NOENT { Kind::NotFound } else { Kind::Io };
        Error::new(kind, format!("open layer {name}")).with_source(error)
    };
    let layer = open_directory(layers, name).map_err(fail)?;
    open_directory(&layer, "fs").map_err(fail)
}

fn open_directory(parent: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn clone_fd(fd: impl AsFd) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().map_err(|error| Error::io("duplicate a descriptor", error))
}
