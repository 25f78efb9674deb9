// SPDX-License-Identifier: Apache-2.0
//! A process with all that a container's process is, where the container is not: the ids, capabilities, filter and
//! Landlock of the plan, among the host's files, processes and networks. What such a process finds is what an escape
//! would give.
//!
//! ```text
//! parent                       child
//! clone (user, mount) ───────> the host's mounts, a copy of its own
//! writes the id maps ────────> becomes root inside, makes every mount of its copy read-only,
//!                              drops to the run user and its capabilities
//!          <── what it finds ─ looks around; on its word: the filter and Landlock as well; looks again
//! ```
//!
//! | who | namespaces | kernel ids | capabilities | may allocate | ends by |
//! |---|---|---|---|---|---|
//! | child | the host's, but for a user namespace with the container's map and a read-only copy of the mounts | the run user's | what the spec says | yes | its exit code |
//!
//! Guarantees: it cannot write to a file system, not even the time of an access: what is read through a read-only mount
//! is not noted down (`mount_setattr(2)`). It executes nothing, so it gives up new privileges whatever the spec says.

use std::os::fd::{AsFd, OwnedFd};

use bryo_identity::Helpers;
use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Child, Inside};
use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use bryo_sys::mount::{Attr, Change, set_attr};
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags};

use crate::child::{confine, landlock};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Landlock;
use crate::prepare::{Manner, PreparedProcess, prepare};

/// Whom to be.
#[derive(Debug, Clone, Copy)]
pub struct Outsider<'a> {
    /// The spec of the container.
    pub spec: &'a Spec,
    /// Its ids; none for those of the host themselves, which only root of the host can take.
    pub ids: Option<&'a IdMap>,
    /// The helpers that write the map.
    pub helpers: Option<&'a Helpers>,
    /// How its files are confined beyond its root.
    pub landlock: Landlock,
}

/// A process outside, before its filter and Landlock.
#[derive(Debug)]
pub struct Outside {
    process: PreparedProcess,
    landlock: Landlock,
    mounts: String,
    gains: bool,
}

impl Outside {
    /// Tells whether programs may give the container's process new privileges. The probe, which executes nothing, gives
    /// them up all the same.
    pub fn gains_privileges(&self) -> bool {
        self.gains
    }

    /// Returns the mounts in the words of `/proc/self/mountinfo`, as they were before they were made read-only.
    pub fn mounts(&self) -> &str {
        &self.mounts
    }

    /// Takes on Landlock and the filter as well; tells whether Landlock is in force.
    ///
    /// Landlock lets a container at its own root and at nothing else, and that root does not exist outside.
    ///
    /// # Errors
    ///
    /// [`Kind::Confinement`], when the kernel refuses them.
    pub fn confine(&self) -> Result<bool> {
        let landlocked = landlock::available(self.landlock)? > 0;
        if landlocked {
            landlock::restrict_to(None)?;
        }
        confine::filter(&self.process)?;
        Ok(landlocked)
    }
}

/// Starts the process, which runs `body` with itself, or with the reason why it could not become what it should, and
/// with the descriptor to write to. Returns the process and the descriptor to read from. The calling process must have
/// one thread.
///
/// # Errors
///
/// [`Kind::InvalidPlan`] for a spec that cannot be obeyed; what the kernel or the helpers refuse.
pub fn look(outsider: Outsider<'_>, body: impl FnOnce(Result<Outside>, OwnedFd) -> i32) -> Result<(Child, OwnedFd)> {
    let manner = Manner {
        single_id: outsider.ids.is_some_and(IdMap::is_single),
        // Nothing of it changes an owner.
        emulate_ids: false,
        observed: false,
        ports: None,
        // Both come later, on the process's own word.
        landlock: Landlock::Off,
        interactive: false,
        detached: false,
        // Its limits are no authority, and are left out.
        grouped: true,
    };
    let mut process = prepare(outsider.spec, manner)?.process;
    let gains = !std::mem::replace(&mut process.no_new_privileges, true);
    process.rlimits.clear();
    process.cwd = "/".into();
    let (read, write) = check("pipe2", String::new, rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC))?;
    let become_outsider = |inside: Option<&Inside>| -> i32 {
        let mounts = enter(&process, inside, &write);
        body(mounts.map(|mounts| Outside { process, landlock: outsider.landlock, mounts, gains }), write)
    };
    let child = match outsider.ids {
        Some(map) => {
            let request = userns::Request { map, helpers: outsider.helpers, namespaces: Namespaces::MOUNT };
            // At once, without a destructor: the descriptors of this frame and of those above are closed.
            userns::clone(request, None, |inside| exit_now(become_outsider(Some(&inside))))?.map(request)?
        }
        None => match fork_into(Namespaces::MOUNT)? {
            Fork::Child => exit_now(become_outsider(None)),
            Fork::Parent { pid, pidfd } => Child::adopt(pid, pidfd),
        },
    };
    Ok((child, read))
}

/// Becomes the process; returns the mounts as they were before they were made read-only.
fn enter(process: &PreparedProcess, inside: Option<&Inside>, pipe: &OwnedFd) -> Result<String> {
    if let Some(inside) = inside {
        inside.become_root()?;
    }
    confine::undumpable()?;
    confine::die_with_parent()?;
    let what = || "cannot make the host's mounts read-only".to_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| Error::new(Kind::System, format!("cannot read /proc/self/mountinfo: {e}")))?;
    let root = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = check("open", || "/".into(), root)?;
    let change = Change { set: Attr::RDONLY, clear: Attr::empty(), private: true, recursive: true };
    set_attr(&root, change).context(Kind::Confinement, what)?;
    drop(root);
    bryo_sys::fd::close_all_but(&[pipe.as_fd()])
        .context(Kind::Confinement, || "cannot close the other descriptors".into())?;
    confine::identity(process)?;
    Ok(mounts)
}
