// SPDX-License-Identifier: Apache-2.0
//! The child: from a fresh clone to the payload.
//!
//! | stage | file | namespaces | kernel ids | capabilities | may allocate | ends by |
//! |---|---|---|---|---|---|---|
//! | 1 open | `open.rs` | all new, host's mounts still visible | the caller's | all inside | yes | error to the parent |
//! | 2 build | `rootfs.rs`, `places.rs`, `dev.rs`, `volume.rs`, `copy.rs`, `streams.rs` | own root after `pivot_root` | root inside (a subordinate id) | all inside | yes | error to the parent |
//! | 3 confine | `confine.rs`, `landlock.rs` | complete | the run user | what the spec says | yes | error to the parent |
//! | 4 execute | `exec.rs`, `trampoline.rs`, `init.rs` | complete | the run user | what the spec says | yes | `execve`, or error to the parent |
//!
//! The child may allocate because its parent had one thread when it was cloned (`bryo_sys::clone` makes sure), so
//! that the heap it inherited is whole. It never returns to the parent's code: [`main`] ends in `execve` or in an
//! exit code.
//!
//! Its peer is the parent, over `sync.rs`. What it faces: the root file system's content, in every name of which may
//! be a trap, and nothing that runs: no process of the container exists before the payload.

pub(crate) mod confine;
mod copy;
mod dev;
mod exec;
mod init;
pub(crate) mod landlock;
mod open;
mod places;
mod rootfs;
mod streams;
mod trampoline;
mod volume;

pub(crate) use confine::undumpable;
pub(crate) use exec::refused;

use std::os::fd::{BorrowedFd, OwnedFd};

use bryo_identity::userns::Inside;
use bryo_sys::clone::{Namespaces, join, unshare_cgroup};
use bryo_sys::exec::exit_now;
use rustix::fs::Mode;

use crate::Enforced;
use crate::error::Result;
use crate::idmap::Translated;
use crate::plan::Plan;
use crate::prepare::Prepared;
use crate::sync::ChildEnd;

/// The exit code of a child that never became a payload; the parent hears the reason over the socket.
pub(crate) const NOT_STARTED: i32 = 125;

/// Runs the child.
pub(crate) fn main(
    plan: &Plan,
    prepared: &Prepared,
    translated: Option<Translated>,
    sync: ChildEnd,
    inside: &Inside,
) -> i32 {
    if let Err(error) = build(plan, prepared, translated, &sync, inside) {
        sync.failed(&error);
        return NOT_STARTED;
    }
    // At once, without a destructor: what this frame and those above hold has been closed below them.
    if plan.init {
        exit_now(init::run(&prepared.process, sync));
    }
    sync.failed(&exec::confined(&prepared.process, &sync));
    exit_now(NOT_STARTED)
}

/// Runs a process that enters a container: it is root inside already, and in the pid namespace.
pub(crate) fn enter(prepared: &Prepared, container: BorrowedFd<'_>, sync: &ChildEnd) -> i32 {
    let error = match connect(prepared, container, sync) {
        Ok(()) => exec::confined(&prepared.process, sync),
        Err(error) => error,
    };
    sync.failed(&error);
    NOT_STARTED
}

fn connect(prepared: &Prepared, container: BorrowedFd<'_>, sync: &ChildEnd) -> Result<()> {
    confine::undumpable()?;
    if !prepared.process.manner.detached {
        confine::die_with_parent()?;
    }
    // The helper speaks first, over the same socket.
    sync.wait_exec()?;
    // Of a namespace that the container shares with the host there is nothing to join.
    join(container, prepared.namespaces - (Namespaces::USER | Namespaces::PID))?;
    let (ours, theirs) = streams::make(&prepared.process)?;
    let landlock_abi = landlock::available(prepared.process.manner.landlock)?;
    sync.ready(&theirs, Enforced { landlock_abi })?;
    drop(theirs);
    ours.install()
}

fn build(
    plan: &Plan,
    prepared: &Prepared,
    translated: Option<Translated>,
    sync: &ChildEnd,
    inside: &Inside,
) -> Result<()> {
    // What is made here has the modes that it is given; the caller's files are masked, not the container's.
    rustix::process::umask(Mode::empty());
    if prepared.process.manner.grouped && prepared.namespaces.contains(Namespaces::CGROUP) {
        unshare_cgroup()?;
    }
    let opened = open::open(plan, prepared, translated, sync)?;
    inside.become_root()?;
    confine::undumpable()?;
    confine::die_with_parent()?;
    open::parameters(prepared)?;
    rootfs::build(plan, prepared, opened)?;
    let (ours, theirs) = streams::make(&prepared.process)?;
    if let Some(console) = &theirs.console {
        streams::bind_console(console)?;
    }
    let landlock_abi = landlock::available(plan.landlock)?;
    sync.ready(&theirs, Enforced { landlock_abi })?;
    // The parent must be the only one to hold its ends, or nobody would ever see an end of file.
    drop(theirs);
    sync.wait_exec()?;
    ours.install()
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}
