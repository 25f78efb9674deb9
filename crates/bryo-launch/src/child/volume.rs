// SPDX-License-Identifier: Apache-2.0
//! Named volumes: made by root inside, so that their files belong to the ids of containers and not to the caller.

use std::os::fd::{AsFd, OwnedFd};

use bryo_sys::mount::{Attr, Change, attach, clone_tree, set_attr};
use bryo_sys::root::Root;
use bryo_sys::{Errno, check};
use rustix::fs::{Dir, FileType, Gid, Mode, OFlags, Uid};

use crate::child::places::Places;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Volume;
use crate::prepare::PreparedProcess;

/// Deeper trees than this are not copied into a new volume.
const MAX_DEPTH: u32 = 64;

/// A volume that is ready to be mounted.
#[derive(Debug)]
pub(super) struct Opened {
    data: OwnedFd,
    tree: OwnedFd,
    fresh: bool,
}

/// Opens a volume's data, and makes it when there is none. While the host's mounts are still there: what lies on a
/// mount that is gone cannot be mounted any more.
pub(super) fn open(plan: &Volume, directory: &Root) -> Result<Opened> {
    let what = || format!("volume for {}", plan.target.display());
    let fresh = match rustix::fs::mkdirat(directory, "_data", Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(e) => check("mkdirat", || "_data".into(), Err(e)).context(Kind::Source, what)?,
    };
    let data = directory.open_at("_data", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    let data = data.context(Kind::Source, what)?;
    let tree = clone_tree(&data, "", false).context(Kind::RootFs, what)?;
    Ok(Opened { data, tree, fresh })
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
    let Opened { data, tree, fresh } = opened;
    let existed = root.resolve(&plan.target).is_ok();
    let target = places.directory(&plan.target).context(Kind::RootFs, what)?;
    if fresh && existed {
        let from = root.open_at(&plan.target, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        copy_directory(&from.context(Kind::RootFs, what)?, &data, MAX_DEPTH)?;
    } else if fresh {
        let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
        check("fchown", || "_data".into(), rustix::fs::fchown(&data, Some(uid), Some(gid)))?;
    }
    let read_only = if plan.read_only { Attr::RDONLY } else { Attr::empty() };
    set_attr(&tree, Change::set(Attr::NOSUID | Attr::NODEV | read_only)).context(Kind::RootFs, what)?;
    attach(&tree, target).context(Kind::RootFs, what)?;
    Ok(places.is_own(tree)?)
}

/// Copies content, modes and owners of a directory of the image into an empty one. Links are copied as links.
fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::new(Kind::RootFs, "the image's directory is too deep for a volume"));
    }
    let listing = check("openat", || ".".into(), Dir::read_from(from))?;
    for entry in listing {
        let entry = check("getdents64", String::new, entry)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let open = |fd: &OwnedFd, flags| {
            let fd =
                rustix::fs::openat(fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
            check("openat", || name.to_string_lossy().into_owned(), fd)
        };
        match entry.file_type() {
            FileType::Directory => {
                let made = rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700));
                check("mkdirat", || name.to_string_lossy().into_owned(), made)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                copy_directory(&open(from, flags)?, &open(to, flags)?, depth - 1)?;
            }
            FileType::RegularFile => {
                let source = open(from, OFlags::RDONLY | OFlags::NONBLOCK)?;
                let copy = open(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
                let mut writer = std::fs::File::from(copy);
                let copied = std::io::copy(&mut std::fs::File::from(source.try_clone().map_err(io)?), &mut writer);
                copied.map_err(io)?;
                own_like(&source, &writer)?;
            }
            FileType::Symlink => {
                let link = check("readlinkat", String::new, rustix::fs::readlinkat(from, name, Vec::new()))?;
                check("symlinkat", String::new, rustix::fs::symlinkat(&link, to, name))?;
            }
            // Sockets, FIFOs and devices are not content.
            _ => (),
        }
    }
    own_like(from, to)
}

/// Owner before mode: a change of owner takes set-user-id bits away.
fn own_like(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let stat = check("fstat", String::new, rustix::fs::fstat(from))?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    check("fchown", String::new, rustix::fs::fchown(&to, Some(uid), Some(gid)))?;
    check("fchmod", String::new, rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode)))?;
    Ok(())
}

fn io(e: std::io::Error) -> bryo_sys::Error {
    bryo_sys::Error::new("copy", "volume content", Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
