// SPDX-License-Identifier: Apache-2.0
//! Another process in a container that runs: confined as the container's own, never less.
//!
//! ```text
//! parent            helper                                 child
//! fork ───────────> joins the user and pid namespaces,
//!                   becomes root inside, forks ──────────> is the parent's child, and in the pid namespace;
//! reaps it <─────── sends its pidfd, ends
//! Exec ──────────────────────────────────────────────────> joins the other namespaces
//!             <── Ready + fds ──────────────────────────── its standard streams are made
//!                                                          drops to the user, filters, execve
//! ```
//!
//! | who | namespaces | kernel ids | may allocate | ends by |
//! |---|---|---|---|---|
//! | helper | the host's, then the container's user namespace | the caller's, then root inside | yes | its exit code |
//! | child | the container's | root inside, then the user | yes | `execve`, or error to the parent |
//!
//! What runs in the container sees the child and must not look into it: it holds no descriptor but its socket and
//! streams, and is not dumpable, with a memory that belongs to the host's user namespace (CVE-2016-9962).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Child};
use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_sibling};
use bryo_sys::exec::exit_now;
use oci_spec::runtime::Spec;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::Pid;

use crate::Streams;
use crate::child;
use crate::error::{Error, Kind, Result};
use crate::plan::{Landlock, TcpPorts};
use crate::prepare::{Manner, prepare};
use crate::sync::{ChildEnd, ParentEnd};

/// A process to be, in a container that runs.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The container's spec with the process that is wanted.
    pub spec: &'a Spec,
    /// The container's ids.
    pub ids: &'a IdMap,
    /// Any process in the container that has executed a program of it.
    pub container: BorrowedFd<'a>,
    /// Passes standard input on.
    pub interactive: bool,
    /// Leaves the process alone: it has no streams, and goes on when the caller ends.
    pub detached: bool,
    /// What confines the container's own process.
    pub landlock: Landlock,
    /// The TCP ports that the container may use; nothing for all.
    pub ports: Option<TcpPorts>,
    /// How long each step may take: what is opened and executed is the container's, and may keep one waiting.
    pub patience: Option<Duration>,
    /// The container's control group, if it has one of its own.
    pub group: Option<BorrowedFd<'a>>,
}

/// A process that runs in a container that others supervise. Dropping it ends it.
#[derive(Debug)]
pub struct Entered {
    child: Child,
    streams: Streams,
}

/// Starts the process. The calling process must have one thread, and be of the user who started the container.
///
/// # Errors
///
/// Each with the [`Kind`] that says who can mend it. Nothing is left behind.
pub fn enter(entry: &Entry<'_>) -> Result<Entered> {
    let manner = Manner {
        single_id: entry.ids.is_single(),
        emulate_ids: false,
        observed: false,
        ports: entry.ports.clone(),
        landlock: entry.landlock,
        interactive: entry.interactive,
        detached: entry.detached,
        grouped: entry.group.is_some(),
    };
    let prepared = prepare(entry.spec, manner)?;
    let (ours, theirs) = bryo_sys::fd::message_pair()?;
    if let Some(patience) = entry.patience {
        let set = set_socket_timeout(&ours, Timeout::Recv, Some(patience));
        check("setsockopt", || format!("SO_RCVTIMEO, {patience:?}"), set)?;
    }
    let mut ours = Some(ParentEnd(ours));
    let mut theirs = Some(ChildEnd(theirs));
    let helper = userns::join(entry.container, Namespaces::PID, entry.ids, entry.group, |inside| {
        drop(ours.take());
        let Some(sync) = theirs.take() else { return child::NOT_STARTED };
        // The command line, which nothing keeps others from reading, may have a variable that is a secret.
        let hidden = bryo_sys::process::forget_command_line(c"bryo exec").map_err(Error::from);
        // A kernel that lets everything be dumped (`fs.suid_dumpable`) forgets it with every change of ids.
        let hidden = hidden
            .and_then(|()| child::undumpable())
            .and_then(|()| Ok(inside.become_root()?))
            .and_then(|()| child::undumpable());
        match hidden.and_then(|()| Ok(fork_sibling(Namespaces::empty())?)) {
            Ok(Fork::Child) => exit_now(child::enter(&prepared, entry.container, &sync)),
            Ok(Fork::Parent { pid, pidfd }) => i32::from(sync.entered(pid, pidfd.as_fd()).is_err()),
            Err(error) => {
                sync.failed(&error);
                child::NOT_STARTED
            }
        }
    })?;
    drop(theirs);
    let sync = ours.ok_or_else(|| Error::new(Kind::Lost, "the socket to the child is gone"))?;
    conclude(&sync, helper)
}

fn conclude(sync: &ParentEnd, helper: Child) -> Result<Entered> {
    let (pid, pidfd) = sync.wait_entered()?;
    let child = Child::adopt(pid, pidfd);
    // A child that has failed already has left its reason in the socket; the word to go on finds nobody.
    let _ = sync.exec();
    helper.wait()?;
    let (streams, _) = sync.wait_ready()?;
    sync.wait_running()?;
    Ok(Entered { child, streams })
}

impl Entered {
    /// Returns a descriptor that is readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Leaves it to itself, to end with its container. Whoever reaps orphans on this host will reap it.
    pub fn leave(self) {
        self.child.leave();
    }

    /// Returns its process id on the host.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Gives the caller's ends of the standard streams away, once.
    pub fn take_streams(&mut self) -> Streams {
        std::mem::take(&mut self.streams)
    }

    /// Waits for its end and returns its exit code, or 128 and the number of the signal that ended it.
    ///
    /// # Errors
    ///
    /// When somebody else has reaped it.
    pub fn wait(self) -> Result<i32> {
        self.child.wait().map_err(|e| Error::new(Kind::System, e.to_string()))
    }
}
