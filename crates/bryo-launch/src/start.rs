// SPDX-License-Identifier: Apache-2.0
//! The parent's side: from a plan to a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bryo_identity::userns::{self, Around, Child, Inside, Request, Unmapped};
use bryo_sys::check;
use bryo_sys::clone::Namespaces;
use bryo_sys::listener::Listener;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, Signal};

use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::prepare::{Manner, prepare};
use crate::sync::{ChildEnd, ParentEnd};
use crate::{Enforced, Streams, child, idmap, observe};

/// A container that is complete but for its network, and waits for the word to execute its payload.
///
/// Dropping it ends it: nothing has run.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    sync: ParentEnd,
    user: OwnedFd,
    own_network: bool,
    network: Option<OwnedFd>,
    observed: bool,
}

/// A container whose payload runs. Dropping it kills all its processes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    user: OwnedFd,
    streams: Streams,
    enforced: Enforced,
    listener: Option<Listener>,
}

/// Makes the container of a plan, up to the payload; inside another user namespace, if one is given. Its first process
/// is born in a control group, if one is given, whose limits are in force already: a plan with limits is refused
/// without one.
///
/// The calling process must have one thread. Where a step does not need the one before, it runs beside it: the child
/// opens the layers while the helpers write the maps, and mounts while the caller attaches the network. What else there
/// is to do for the first process, which `meanwhile` gets a descriptor for, is best done while the helpers work.
///
/// # Errors
///
/// Each with the [`Kind`] that says who can mend it. Nothing is left behind but the directories the plan names.
pub fn start(
    plan: &Plan,
    around: Option<Around<'_>>,
    group: Option<BorrowedFd<'_>>,
    meanwhile: impl FnOnce(BorrowedFd<'_>),
) -> Result<Starting> {
    if plan.observed && plan.init {
        return Err(Error::new(Kind::InvalidPlan, "a payload below a small init cannot be observed"));
    }
    let manner = Manner {
        single_id: plan.ids.is_single(),
        emulate_ids: plan.emulate_ids,
        observed: plan.observed,
        landlock: plan.landlock,
        ports: plan.ports.clone(),
        interactive: plan.interactive,
        detached: false,
        grouped: group.is_some(),
    };
    let prepared = prepare(&plan.spec, manner)?;
    let translated = idmap::translate(plan)?;
    let (parent_end, child_end) = bryo_sys::fd::message_pair()?;
    // A network namespace is the most expensive of all; the child makes its own while the helpers write the maps.
    let mut namespaces = prepared.namespaces - Namespaces::NET;
    if group.is_some() {
        // Made with the child it would have its root where the caller is.
        namespaces -= Namespaces::CGROUP;
    }
    let request = Request { map: &plan.ids, helpers: plan.helpers.as_ref(), namespaces };
    let own_network = prepared.namespaces.contains(Namespaces::NET);
    let mut ours = Some(ParentEnd(parent_end));
    let theirs = ChildEnd(child_end);
    let body = |inside: Inside| {
        // The child's copy of the parent's end must go, or it would never see that the parent is gone.
        drop(ours.take());
        child::main(plan, &prepared, translated, theirs, &inside)
    };
    let unmapped = match around {
        Some(around) => userns::clone_in(around, request, group, body)?,
        None => userns::clone(request, group, body)?,
    };
    let sync = ours.ok_or_else(|| Error::new(Kind::Lost, "the socket to the child is gone"))?;
    match complete(unmapped, request, meanwhile) {
        Ok((child, user)) => Ok(Starting { child, sync, user, own_network, network: None, observed: plan.observed }),
        // A child that failed early makes its parent fail too, and only the child knows the reason.
        Err(error) => Err(sync.failure().unwrap_or(error)),
    }
}

/// Opens the child's user namespace and writes its maps, in this order: afterwards its `/proc` entries belong to nobody.
fn complete(
    unmapped: Unmapped,
    request: Request<'_>,
    meanwhile: impl FnOnce(BorrowedFd<'_>),
) -> Result<(Child, OwnedFd)> {
    let path = format!("/proc/{}/ns/user", unmapped.pid().as_raw_nonzero());
    let user = rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let user = check("open", || path, user)?;
    Ok((unmapped.map_while(request, meanwhile)?, user))
}

impl Starting {
    /// Returns the process id on the host of what will be process 1 inside.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Returns a descriptor that is readable once the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Returns the container's user namespace.
    pub fn user_namespace(&self) -> BorrowedFd<'_> {
        self.user.as_fd()
    }

    /// Returns the container's network namespace.
    ///
    /// # Errors
    ///
    /// What the child reports when it could not make one; [`Kind::InvalidPlan`] when the plan has none of its own.
    pub fn take_network_namespace(&mut self) -> Result<OwnedFd> {
        let none = || Error::new(Kind::InvalidPlan, "the container has no network namespace of its own");
        self.wait_network()?;
        let network = self.network.as_ref().ok_or_else(none)?;
        Ok(check("dup", String::new, rustix::io::fcntl_dupfd_cloexec(network, 3))?)
    }

    /// Its message comes first, wanted or not, and once.
    fn wait_network(&mut self) -> Result<()> {
        if std::mem::take(&mut self.own_network) {
            self.network = Some(self.sync.wait_network()?);
        }
        Ok(())
    }

    /// Executes the payload and returns once it runs.
    ///
    /// # Errors
    ///
    /// What the child reports: a mount that failed, a program that does not exist, ...
    pub fn release(mut self) -> Result<Running> {
        self.wait_network()?;
        let observed = self.observed;
        // A child that has failed already has left its reason in the socket; the word to go on finds nobody.
        let _ = self.sync.exec();
        let (streams, enforced) = self.sync.wait_ready()?;
        if observed {
            observe::stop_at_payload(&self.child, &self.sync)?;
        }
        let listener = self.sync.wait_running()?;
        Ok(Running { child: self.child, user: self.user, streams, enforced, listener })
    }
}

impl Running {
    /// Returns the process id on the host of process 1 inside.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Returns a descriptor that is readable once process 1 inside has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Returns the container's user namespace, in which what it leaves behind can be removed.
    pub fn user_namespace(&self) -> BorrowedFd<'_> {
        self.user.as_fd()
    }

    /// Tells what was enforced.
    pub fn enforced(&self) -> Enforced {
        self.enforced
    }

    /// Gives the caller's ends of the standard streams away, once.
    pub fn take_streams(&mut self) -> Streams {
        std::mem::take(&mut self.streams)
    }

    /// Tells whether process 1 inside has ended.
    pub fn has_ended(&self) -> bool {
        self.child.has_ended(Duration::ZERO)
    }

    /// Gives away where the changes of owners are heard that a plan wants to have emulated, once. As long as nobody
    /// answers, they wait.
    pub fn take_listener(&mut self) -> Option<Listener> {
        self.listener.take()
    }

    /// Sends a signal to process 1 inside.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Waits for the end of process 1 and returns its exit code, or 128 and the number of the signal that ended it,
    /// with the user namespace, which stays alive for the clean-up.
    ///
    /// # Errors
    ///
    /// When somebody else has reaped it.
    pub fn wait(self) -> Result<(i32, OwnedFd)> {
        let code = self.child.wait().map_err(|e| Error::new(Kind::System, e.to_string()))?;
        Ok((code, self.user))
    }
}
