// SPDX-License-Identifier: Apache-2.0
//! Stage 1: open what only the caller may open, while this process still has the caller's kernel ids.
//!
//! The store lies below a home that nobody else enters, and a shared directory may too. After the change of ids these
//! doors are shut; the descriptors stay. Everything is opened in this process, not in the parent, because overlayfs
//! takes no layers from another mount namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bryo_sys::clone::Namespaces;
use bryo_sys::mount::{attach, clone_tree};
use bryo_sys::root::Root;
use bryo_sys::{Errno, check};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;

use crate::child::dev;
use crate::error::{Context, Error, Kind, Result};
use crate::idmap::Translated;
use crate::plan::{Plan, RootFs};
use crate::prepare::{MountOp, Prepared, What};
use crate::sync::ChildEnd;

/// What stage 1 hands to stage 2.
#[derive(Debug)]
pub(super) struct Opened {
    /// The layers, top first; empty for an empty root.
    pub lowers: Vec<OwnedFd>,
    /// The container's directory, in which the own layer is made.
    pub scratch: Option<OwnedFd>,
    /// For each mount of the spec in order: the tree to bind, or nothing for a new file system.
    pub binds: Vec<Option<OwnedFd>>,
    /// The host's device nodes, in the order of `dev::NODES`.
    pub devices: Vec<OwnedFd>,
    /// The directories of the volumes in order.
    pub volumes: Vec<Root>,
}

pub(super) fn open(
    plan: &Plan,
    prepared: &Prepared,
    translated: Option<Translated>,
    sync: &ChildEnd,
) -> Result<Opened> {
    // First: from here on nothing that is mounted here shows on the host, and nothing mounted there shows here.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    check("mount", || "/, MS_REC|MS_PRIVATE".into(), rustix::mount::mount_change("/", private)).map_err(denied)?;
    early_settings(prepared)?;
    if prepared.namespaces.contains(Namespaces::NET) {
        sync.network(own_network()?.as_fd())?;
    }
    let (lowers, scratch) = match &plan.root {
        RootFs::Overlay { lowers, scratch, .. } if translated.is_none() => {
            let layers = lowers.iter().map(|p| directory(p)).collect::<Result<_>>()?;
            (layers, Some(directory(scratch)?))
        }
        RootFs::Overlay { scratch, .. } => (Vec::new(), Some(directory(scratch)?)),
        RootFs::Empty { .. } => (Vec::new(), None),
    };
    let (lowers, scratch, volumes) = match translated {
        Some(translated) => take_in(translated, scratch.as_ref())?,
        None => (lowers, scratch, plan.volumes.iter().map(|v| volume(&v.directory)).collect::<Result<_>>()?),
    };
    Ok(Opened {
        lowers,
        scratch,
        binds: prepared.mounts.iter().map(bind).collect::<Result<_>>()?,
        devices: dev::open_nodes()?,
        volumes,
    })
}

/// Puts translated trees into this mount namespace: the kernel stacks and copies only what is in it. Where does not
/// matter, and they are all gone when the root is entered.
fn take_in(translated: Translated, scratch: Option<&OwnedFd>) -> Result<(Vec<OwnedFd>, Option<OwnedFd>, Vec<Root>)> {
    let place = match scratch {
        Some(scratch) => check("dup", String::new, rustix::io::dup(scratch))?,
        None => directory(Path::new("/tmp"))?,
    };
    for tree in translated.layers.iter().chain(&translated.scratch).chain(&translated.volumes) {
        attach(tree, &place).context(Kind::RootFs, || "cannot take a translated tree in".into())?;
    }
    let Translated { layers, scratch, volumes } = translated;
    Ok((layers, scratch, volumes.into_iter().map(Root::from_fd).collect()))
}

/// Settings of the new namespaces that need capabilities but no ids: done while the helpers write the maps.
fn early_settings(prepared: &Prepared) -> Result<()> {
    if let Some(name) = &prepared.hostname {
        check("sethostname", || name.clone(), rustix::system::sethostname(name.as_bytes()))
            .context(Kind::InvalidPlan, || "cannot set the host name".into())?;
    }
    Ok(())
}

/// Sets the parameters of the new namespaces. Some name groups, which the kernel takes only when they are mapped; and
/// the host's `/proc`, which shows the parameters of whoever looks, is out of sight after the next stage.
pub(super) fn parameters(prepared: &Prepared) -> Result<()> {
    for (path, value) in &prepared.sysctls {
        let what = || format!("cannot set {}", path.display());
        let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let fd = check("open", || path.display().to_string(), fd).context(Kind::Confinement, what)?;
        check("write", || value.clone(), rustix::io::write(fd, value.as_bytes())).context(Kind::Confinement, what)?;
    }
    Ok(())
}

/// Makes a network namespace with its loopback up, and returns a descriptor of it.
fn own_network() -> Result<OwnedFd> {
    let what = || "cannot make a network namespace".to_owned();
    bryo_sys::clone::unshare_network().context(Kind::Identity, what)?;
    bryo_sys::net::loopback_up()?;
    let path = "/proc/self/ns/net";
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    check("open", || path.into(), namespace).context(Kind::Identity, what)
}

fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
    check("open", || path.display().to_string(), fd).context(Kind::RootFs, || "cannot open a layer".into())
}

fn volume(path: &Path) -> Result<Root> {
    Root::open(path).context(Kind::Source, || "cannot open a volume".into())
}

fn bind(op: &MountOp) -> Result<Option<OwnedFd>> {
    let What::Bind { source, recursive } = &op.what else { return Ok(None) };
    let path = source.to_string_lossy();
    match clone_tree(CWD, &path, *recursive) {
        // Mounts below a bind came with the caller's mount table and cannot be left out of it by a new namespace.
        Err(e) if e.errno() == Errno::INVAL && !recursive => clone_tree(CWD, &path, true),
        result => result,
    }
    .context(Kind::Source, || format!("cannot share {}", source.display()))
    .map(Some)
}

/// An LSM may let the namespace be made and then refuse what it is for.
fn denied(e: bryo_sys::Error) -> Error {
    let kind = if matches!(e.errno(), Errno::PERM | Errno::ACCESS) { Kind::MountDenied } else { Kind::RootFs };
    Error::sys(kind, "cannot mount in the new user namespace", &e)
}
