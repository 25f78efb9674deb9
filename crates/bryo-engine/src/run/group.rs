// SPDX-License-Identifier: Apache-2.0
//! The control group of a container that has limits. One without has none, and costs nothing here.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use bryo_cgroup::{Cgroup, Enforced, Handle, Request};
use bryo_launch::relay;
use oci_spec::runtime::{PosixRlimitType, Spec};

use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::options::{Pids, RunOptions};
use crate::plan::Planned;

/// The group that a plan asks for. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Group(Option<Cgroup>);

impl Group {
    /// Makes the group with its limits, or nothing where there are none.
    pub fn make(planned: &Planned, options: &RunOptions) -> Result<Self> {
        let Some((name, resources)) = asked(&planned.plan.spec) else { return Ok(Self(None)) };
        // Signals wait to be read since before the container was made.
        let ending = relay::ending().descriptor()?;
        let made = Cgroup::make(Request {
            name: &name,
            description: &format!("bryo container {}", options.name.as_deref().unwrap_or(&options.image)),
            resources,
            pids_by_default: options.limits.pids == Pids::Default,
            stop: &[ending.as_fd()],
        });
        match made {
            Ok(group) => Ok(Self(Some(group))),
            Err(error) if error.kind() == bryo_cgroup::Kind::Interrupted => {
                let signal = bryo_sys::signal::next(&ending)?.unwrap_or(15);
                let why = format!("signal {signal} ended the start, before the program ran");
                Err(Error::new(Kind::Interrupted(signal), why))
            }
            Err(error) => {
                let flags = options.limits.flags();
                let what = if flags.is_empty() { "a control group".to_owned() } else { flags.join(", ") };
                Err(Error::from(error).within(&format!("cannot enforce {what}")))
            }
        }
    }

    /// Returns its directory, for process 1 to be born in it.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(Cgroup::directory)
    }

    /// Returns its path in the tree.
    pub fn path(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|group| group.path().to_owned())
    }

    /// Says what holds: what the kernel has, or the number of processes that each user inside may have.
    pub fn enforced(&self, spec: &Spec) -> Enforced {
        self.0
            .as_ref()
            .map_or_else(|| Enforced { pids: processes(spec), ..Enforced::default() }, |g| g.enforced().clone())
    }

    /// Tells whether the kernel has killed a process because memory ran out.
    pub fn oom_killed(&self) -> bool {
        self.0.as_ref().is_some_and(Cgroup::oom_killed)
    }
}

/// Reads from the spec which group is asked for, and with what.
fn asked(spec: &Spec) -> Option<(String, &oci_spec::runtime::LinuxResources)> {
    let linux = spec.linux().as_ref()?;
    // In the form that OCI runtimes have for systemd: a slice, a prefix and a name.
    let path = linux.cgroups_path().as_ref()?.to_str()?.strip_prefix(':')?.replace(':', "-");
    Some((path, linux.resources().as_ref()?))
}

/// Reads the limit of processes that each user has for himself.
fn processes(spec: &Spec) -> Option<u64> {
    let limits = spec.process().as_ref()?.rlimits().iter().flatten();
    let limit = limits.into_iter().find(|limit| limit.typ() == PosixRlimitType::RlimitNproc)?;
    Some(limit.soft()).filter(|n| *n != u64::MAX)
}

impl Engine {
    /// Opens the control group of a container that runs: to stop its clock, and to see what it uses.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::Unsupported`] for a container that has none of its own.
    pub fn group(&self, record: &Record) -> Result<Handle> {
        self.process(record)?;
        match &record.limits.cgroup {
            Some(path) => Ok(Handle::open(Path::new(path))?),
            None => {
                let why = "has no control group of its own: start it with a limit, or with --cgroups enabled";
                Err(Error::new(Kind::Unsupported, format!("container {} {why}", record.name)))
            }
        }
    }
}
