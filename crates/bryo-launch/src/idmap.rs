// SPDX-License-Identifier: Apache-2.0
//! Id-mapped layers: one store on disk, and for each container of root a range of ids that is its own.
//!
//! Runs in the parent, which is root of the host here: only root may give a mount of an ordinary file system a map.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Request};
use bryo_sys::clone::Namespaces;
use bryo_sys::mount::{clone_tree, set_idmap};
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::plan::{Plan, RootFs};

/// Returns layers and volumes in the container's ids, or nothing when no translation is asked for.
pub(crate) fn translate(plan: &Plan) -> Result<Option<Translated>> {
    let Some(owner) = &plan.stored_as else { return Ok(None) };
    let namespace = namespace_of(&owner.translation(&plan.ids))?;
    let translated = |path: &PathBuf| {
        let what = || format!("cannot map the ids of {}", path.display());
        let tree = clone_tree(CWD, &path.to_string_lossy(), false).context(Kind::RootFs, what)?;
        set_idmap(&tree, &namespace).context(Kind::RootFs, what)?;
        Ok(tree)
    };
    let (layers, scratch) = match &plan.root {
        RootFs::Overlay { lowers, scratch, .. } => {
            (lowers.iter().map(translated).collect::<Result<_>>()?, Some(translated(scratch)?))
        }
        RootFs::Empty { .. } => (Vec::new(), None),
    };
    let volumes = plan.volumes.iter().map(|v| translated(&v.directory)).collect::<Result<_>>()?;
    Ok(Some(Translated { layers, scratch, volumes }))
}

/// What the store has, as detached mounts in the container's ids.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The layers, top first.
    pub layers: Vec<OwnedFd>,
    /// The container's own directory: what is written there belongs to the same owner, so that the container can be
    /// started again with other ids.
    pub scratch: Option<OwnedFd>,
    /// The volumes' directories, in the order of the plan.
    pub volumes: Vec<OwnedFd>,
}

/// Makes a user namespace with a map and nothing in it: the form in which the kernel takes the map of a mount.
fn namespace_of(map: &IdMap) -> Result<OwnedFd> {
    let request = Request { map, helpers: None, namespaces: Namespaces::empty() };
    // The process is only there until the map is written, and ends when this one does, written or not.
    let holder = userns::clone(request, None, |inside| i32::from(inside.become_root().is_err()))?;
    let path = format!("/proc/{}/ns/user", holder.pid().as_raw_nonzero());
    let namespace = rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let namespace =
        namespace.map_err(|e| Error::sys(Kind::Identity, "cannot map ids", &bryo_sys::Error::new("open", path, e)))?;
    drop(holder.map(request)?);
    Ok(namespace)
}
