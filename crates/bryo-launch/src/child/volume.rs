// SPDX-License-Identifier: Apache-2.0
//! Named volumes: made by root inside, so that their files belong to the ids of containers and not to the caller.
//!
//! A volume is there whole or not at all. Its data is put together under another name, by one starter at a time, which
//! has locked the volume's directory (`flock(2)`); who comes meanwhile waits, and who dies gives the lock back.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use bryo_sys::mount::{Attr, Change, attach, clone_tree, set_attr};
use bryo_sys::root::Root;
use bryo_sys::{Errno, check};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, RenameFlags, Uid};

use crate::child::copy;
use crate::child::places::Places;
use crate::error::{Context, Kind, Result};
use crate::plan::Volume;
use crate::prepare::PreparedProcess;

/// A volume that is ready to be mounted.
#[derive(Debug)]
pub(super) struct Opened {
    tree: OwnedFd,
    unfinished: Option<Unfinished>,
}

/// The data of a volume that is being made, and the lock that is given back when it is done.
#[derive(Debug)]
struct Unfinished {
    locked: OwnedFd,
    name: String,
    data: OwnedFd,
}

/// Opens the data of all volumes, and begins with it where there is none. While the host's mounts are still there: what
/// lies on a mount that is gone cannot be mounted any more.
pub(super) fn open(plans: &[Volume], directories: &[Root]) -> Result<Vec<Opened>> {
    // One order for all starters: two that make the same volumes must not wait for each other.
    let each: BTreeMap<&Path, &Root> = plans.iter().map(|plan| plan.directory.as_path()).zip(directories).collect();
    let mut volumes = BTreeMap::new();
    for (path, directory) in each {
        let what = || format!("cannot open volume {}", path.file_name().unwrap_or_default().display());
        volumes.insert(path, begin(directory).context(Kind::Source, what)?);
    }
    let opened = |plan: &Volume| {
        let what = || format!("volume for {}", plan.target.display());
        // The first place of a volume that is mounted at several gives it its content.
        let (data, unfinished) = match volumes.get_mut(plan.directory.as_path()) {
            Some((data, unfinished)) => (data, unfinished.take()),
            None => return Err(bryo_sys::Error::new("open", "volume", Errno::NOENT)).context(Kind::Source, what),
        };
        Ok(Opened { tree: clone_tree(data, "", false).context(Kind::RootFs, what)?, unfinished })
    };
    plans.iter().map(opened).collect()
}

/// Returns the data of a volume; of a new one, empty and under another name.
fn begin(directory: &Root) -> bryo_sys::Result<(OwnedFd, Option<Unfinished>)> {
    if let Some(data) = finished(directory)? {
        return Ok((data, None));
    }
    let locked = directory.open_at(".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let lock = rustix::io::retry_on_intr(|| rustix::fs::flock(&locked, FlockOperation::LockExclusive));
    check("flock", || "LOCK_EX".into(), lock)?;
    // Whoever was waited for has made it, or has failed to.
    if let Some(data) = finished(directory)? {
        return Ok((data, None));
    }
    let name = empty(&locked)?;
    let data = directory.open_at(&name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let copy = check("dup", || name.clone(), rustix::io::fcntl_dupfd_cloexec(&data, 0))?;
    Ok((copy, Some(Unfinished { locked, name, data })))
}

fn finished(directory: &Root) -> bryo_sys::Result<Option<OwnedFd>> {
    match directory.open_at(Volume::DATA, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(data) => Ok(Some(data)),
        Err(e) if e.errno() == Errno::NOENT => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes an empty directory for the data of a volume that is locked. What was left by one who was killed goes, unless
/// that belongs to ids that this container has not: then it waits for a collection, under its name.
fn empty(locked: &OwnedFd) -> bryo_sys::Result<String> {
    const MOST: u32 = 100;
    for n in 0..MOST {
        let name = format!("{}{n}", Volume::UNFINISHED);
        let _ = bryo_sys::tree::remove(locked, name.as_bytes());
        match rustix::fs::mkdirat(locked, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => (),
            Err(e) => return Err(bryo_sys::Error::new("mkdirat", name, e)),
        }
    }
    Err(bryo_sys::Error::new("mkdirat", Volume::UNFINISHED, Errno::EXIST))
}

/// Mounts a volume; a new one takes over what the image has at its place.
pub(super) fn mount(
    root: &Root,
    places: &mut Places<'_>,
    plan: &Volume,
    opened: Opened,
    process: &PreparedProcess,
) -> Result<()> {
    let what = || format!("volume for {}", plan.target.display());
    let Opened { tree, unfinished } = opened;
    let existed = root.resolve(&plan.target).is_ok();
    let target = places.directory(&plan.target).context(Kind::RootFs, what)?;
    if let Some(new) = unfinished {
        if existed {
            let from = root.open_at(&plan.target, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
            copy::directory(&from.context(Kind::RootFs, what)?, &new.data).context(Kind::RootFs, what)?;
        } else {
            let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
            check("fchown", || new.name.clone(), rustix::fs::fchown(&new.data, Some(uid), Some(gid)))
                .context(Kind::RootFs, what)?;
        }
        new.finish().context(Kind::RootFs, what)?;
    }
    let read_only = if plan.read_only { Attr::RDONLY } else { Attr::empty() };
    set_attr(&tree, Change::set(Attr::NOSUID | Attr::NODEV | read_only)).context(Kind::RootFs, what)?;
    attach(&tree, target).context(Kind::RootFs, what)?;
    Ok(places.is_own(tree)?)
}

impl Unfinished {
    /// Gives the data its name, and the lock back.
    fn finish(self) -> bryo_sys::Result<()> {
        let Self { locked, name, .. } = &self;
        let done = rustix::fs::renameat_with(locked, name, locked, Volume::DATA, RenameFlags::NOREPLACE);
        check("renameat2", || format!("{name}, {}", Volume::DATA), done)
    }
}
