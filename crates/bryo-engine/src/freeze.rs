// SPDX-License-Identifier: Apache-2.0
//! `pause` and `unpause`: a container whose processes do not run, and still are there. The kernel says which one is
//! frozen; nothing is written down about it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bryo_cgroup::Handle;
use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};

/// A container that is frozen for a while. Dropping it lets it go on, and so does the end of this process, whatever ends
/// it: a child waits for the end of a pipe.
///
/// | who | namespaces | ids | may allocate | ends by |
/// |---|---|---|---|---|
/// | child of the command, in a session of its own | the caller's | the caller's | yes: one thread | the end of the pipe |
#[derive(Debug)]
pub(crate) struct Frozen {
    child: OwnedFd,
    /// Its end lets the container go on.
    holds: Option<OwnedFd>,
}

impl Frozen {
    fn new(group: &Handle) -> Result<Self> {
        let pipe = || check("pipe2", || "CLOEXEC".into(), pipe_with(PipeFlags::CLOEXEC));
        let ((ended, holds), (told, tells)) = (pipe()?, pipe()?);
        let child = match fork_into(Namespaces::empty())? {
            Fork::Child => {
                drop((holds, told));
                exit_now(i32::from(watch(group, &ended, &tells).is_err()))
            }
            Fork::Parent { pidfd, .. } => pidfd,
        };
        drop(tells);
        let frozen = Self { child, holds: Some(holds) };
        // Only when it is out of reach of what may end this process.
        if rustix::io::retry_on_intr(|| rustix::io::read(&told, &mut [0; 1])) != Ok(1) {
            return Err(Error::new(Kind::Io, "the process that lets the container go on has ended"));
        }
        group.freeze()?;
        Ok(frozen)
    }
}

/// Waits in the child until nobody holds the container any more, and lets it go on.
fn watch(group: &Handle, ended: &OwnedFd, tells: &OwnedFd) -> Result<()> {
    // Whoever reads the command's output waits for its end, and what a terminal sends goes to the command alone.
    bryo_sys::fd::null_streams()?;
    check("setsid", String::new, rustix::process::setsid())?;
    check("write", || "ready".into(), rustix::io::write(tells, b"r"))?;
    while rustix::io::read(ended, &mut [0; 1]).is_err() {}
    // A container that has ended meanwhile has nothing that could go on.
    Ok(group.thaw()?)
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.holds.take());
        // It has let the container go on when it has ended.
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.child.as_fd()), WaitIdOptions::EXITED)
        });
    }
}

impl Record {
    /// Tells whether the kernel keeps its processes from running.
    pub(crate) fn is_frozen(&self) -> bool {
        let group = self.limits.cgroup.as_ref().and_then(|path| Handle::open(Path::new(path)).ok());
        group.is_some_and(|group| group.is_frozen())
    }

    /// Refuses what needs a container whose processes run.
    pub(crate) fn refuse_paused(&self) -> Result<()> {
        match self.state.status.as_str() {
            "paused" => Err(Error::new(Kind::Paused, format!("container {} is paused", self.name))),
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Freezes every process of a container.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::Paused`], [`Kind::Unsupported`] for a container without a control group of its own.
    pub fn pause(&self, record: &Record) -> Result<()> {
        let group = self.group(record)?;
        if group.is_frozen() {
            return Err(Error::new(Kind::Paused, format!("container {} is already paused", record.name)));
        }
        group.freeze()?;
        self.tell(record, "pause");
        Ok(())
    }

    /// Lets the processes of a container go on.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::NotPaused`].
    pub fn unpause(&self, record: &Record) -> Result<()> {
        self.process(record)?;
        if !record.is_frozen() {
            return Err(Error::new(Kind::NotPaused, format!("container {} is not paused", record.name)));
        }
        self.group(record)?.thaw()?;
        self.tell(record, "unpause");
        Ok(())
    }

    /// Lets a container go on that is asked to end: a frozen process hears of no signal but one.
    pub(crate) fn wake(&self, record: &Record) {
        if record.is_frozen()
            && let Ok(group) = self.group(record)
        {
            // Else it is killed when its time is over.
            let _ = group.thaw();
        }
    }

    /// Freezes a container that runs, if that was asked for, or if it can be.
    pub(crate) fn freeze_for(&self, record: &Record, pause: Option<bool>) -> Result<Option<Frozen>> {
        if pause == Some(false) || record.state.status != "running" {
            return Ok(None);
        }
        match self.group(record) {
            Ok(group) => Ok(Some(Frozen::new(&group)?)),
            Err(e) if pause == Some(true) && e.kind() == Kind::Unsupported => Err(e),
            Err(_) => Ok(None),
        }
    }
}
