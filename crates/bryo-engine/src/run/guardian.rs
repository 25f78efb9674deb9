// SPDX-License-Identifier: Apache-2.0
//! A process that ends a container whose supervisor was killed.
//!
//! The kernel's own tie to a parent (`PR_SET_PDEATHSIG`) is undone by every change of user, which entrypoints make, and
//! by a payload that does not want it. The guardian stands outside: it waits for the end of a pipe of which the
//! supervisor holds the other end, and kills process 1 inside, and with it all others. It shares the supervisor's locks
//! (`flock(2)` locks belong to the open file), so that the container and its range of ids count as in use until the
//! container is gone. A control group of the container's own, which nobody else would remove, it removes.
//!
//! | who | namespaces | ids | may allocate | ends by |
//! |---|---|---|---|---|
//! | child of the supervisor | the caller's | the caller's | yes: one thread | the supervisor's signal, or after the container |

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::error::Result;

/// The guardian of one container. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Guardian {
    pidfd: OwnedFd,
    /// Its end is the word that the supervisor is gone.
    _alive: OwnedFd,
}

impl Guardian {
    /// Watches over process 1 of a container, and over its control group.
    pub fn watch(container: BorrowedFd<'_>, group: Option<&Path>) -> Result<Self> {
        let (watched, alive) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        match fork_into(Namespaces::empty())? {
            Fork::Child => {
                drop(alive);
                // Whoever reads the caller's output waits for its end. A guardian that keeps it is better than none.
                let _ = bryo_sys::fd::let_go();
                guard(&watched, container);
                if let Some(group) = group {
                    // A supervisor that lives still wants to read there, and ends this process before it is removed.
                    wait(&mut [PollFd::new(&watched, PollFlags::IN)]);
                    bryo_cgroup::remove(group);
                }
                exit_now(0)
            }
            Fork::Parent { pidfd, .. } => Ok(Self { pidfd, _alive: alive }),
        }
    }
}

/// How long most containers run at least that run for long.
const SHORT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Waits for the end of either; after that of the supervisor, sees to that of the container.
fn guard(watched: &OwnedFd, container: BorrowedFd<'_>) {
    let mut either = [PollFd::new(watched, PollFlags::IN), PollFd::from_borrowed_fd(container, PollFlags::IN)];
    // Most containers end at once, and are not worth it.
    if poll(&mut either, Some(&SHORT)) == Ok(0) {
        // It has a copy of all that its parent has, and needs next to nothing.
        let _ = bryo_sys::memory::give_back();
    }
    wait(&mut either);
    // One that has ended already needs no signal.
    let _ = rustix::process::pidfd_send_signal(container, Signal::KILL);
    wait(&mut [PollFd::from_borrowed_fd(container, PollFlags::IN)]);
}

fn wait(fds: &mut [PollFd<'_>]) {
    while poll(fds, None).is_err() {}
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // It may have ended with the container; in either case it must not stay a zombie.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd)), WaitIdOptions::EXITED)
        });
    }
}
