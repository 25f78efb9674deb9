// SPDX-License-Identifier: Apache-2.0
//! A process that lends its `/proc` entries.
//!
//! `pasta` takes namespaces by path. The entries of the container's own process belong to nobody, and those of the
//! caller cannot be followed from another user namespace (`ptrace(2)`, access mode checks). A child that has joined
//! both namespaces, with the ids that `pasta` has too, can be looked at by it; it lives until `pasta` has what it needs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Child, Inside};
use bryo_sys::fd::{message_pair, receive, send};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Kind, Result};

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
    /// The number that the other end of the pipe has in the process.
    number: i32,
}

impl Holder {
    /// Makes the process and waits until it has joined both namespaces. It holds a pipe of which the other end is
    /// returned: somebody who knows the process can write into it by a path.
    pub fn join(user: OwnedFd, network: BorrowedFd<'_>, map: &IdMap) -> Result<(Self, OwnedFd)> {
        let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Helper, format!("cannot join the network: {e}"));
        let (mine, theirs) = message_pair().map_err(|e| failed(&e))?;
        let child = userns::enter(user, map, |inside| i32::from(hold(&inside, network, &theirs).is_none()));
        let child = child.map_err(|e| failed(&e))?;
        drop(theirs);
        let mut number = [0; 4];
        match receive(&mine, &mut number) {
            Ok((4, mut fds)) if fds.len() == 1 => {
                Ok((Self { child, number: i32::from_ne_bytes(number) }, fds.remove(0)))
            }
            _ => Err(failed(&"the kernel refused the namespaces")),
        }
    }

    /// Returns the path of one of its `/proc` entries.
    pub fn path(&self, entry: &str) -> String {
        format!("/proc/{}/{entry}", self.child.pid().as_raw_nonzero())
    }

    /// Returns the path of its end of the pipe.
    pub fn pipe(&self) -> String {
        self.path(&format!("fd/{}", self.number))
    }
}

/// Joins, hands the pipe over, and waits for its end. Returns only when something failed.
fn hold(inside: &Inside, network: BorrowedFd<'_>, peer: &OwnedFd) -> Option<std::convert::Infallible> {
    inside.become_root().ok()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).ok()?;
    move_into_link_name_space(network, Some(LinkNameSpaceType::Network)).ok()?;
    // Made with these ids, so that it can be opened with them.
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).ok()?;
    // Only who has all capabilities that this process has may look into it, and pasta gives most of its own up.
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).ok()?;
    // A change of ids has made this process one that nobody may look into, and it has nothing to hide: its memory is
    // a copy of the caller's from before the container ran, but only who has these ids and capabilities may look.
    let dumpable = rustix::process::DumpableBehavior::Dumpable;
    rustix::process::set_dumpable_behavior(dumpable).ok()?;
    send(peer, &write.as_raw_fd().to_ne_bytes(), &[read.as_fd()]).ok()?;
    drop(read);
    loop {
        rustix::event::pause();
    }
}
