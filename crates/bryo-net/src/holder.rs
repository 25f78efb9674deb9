// SPDX-License-Identifier: Apache-2.0
//! A process that lends its `/proc` entries.
//!
//! `pasta` takes namespaces by path, joins the user namespace first and opens the network namespace from inside it.
//! The container's own entries belong to nobody by then, and those of this process can not be followed from another
//! user namespace (`ptrace(2)`, access mode checks). A child that has joined both and kept the caller's kernel ids can
//! be looked at from either side; it lives until `pasta` has what it needs.

use std::os::fd::{BorrowedFd, OwnedFd};

use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Kind, Result};

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Holder {
    /// Makes the process and waits until it has joined both namespaces.
    pub fn join(user: BorrowedFd<'_>, network: BorrowedFd<'_>) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Helper, format!("cannot join the network: {e}"));
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(&e))?;
        match fork_into(Namespaces::empty()).map_err(|e| failed(&e))? {
            Fork::Child => {
                drop(read);
                exit_now(i32::from(hold(user, network, &write).is_err()))
            }
            Fork::Parent { pid, pidfd } => {
                drop(write);
                let holder = Self { pid, pidfd };
                let mut byte = [0];
                match rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut byte)) {
                    Ok(1) => Ok(holder),
                    _ => Err(failed(&"the kernel refused the namespaces")),
                }
            }
        }
    }

    /// Returns its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

/// Joins, says so, and waits for its end.
fn hold(user: BorrowedFd<'_>, network: BorrowedFd<'_>, ready: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The user namespace first: it is what gives the right to the other.
    move_into_link_name_space(user, Some(LinkNameSpaceType::User))?;
    move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
    rustix::io::write(ready, b"j")?;
    loop {
        rustix::event::pause();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // A process that has ended already needs no signal, only to be reaped.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd)), WaitIdOptions::EXITED)
        });
    }
}
