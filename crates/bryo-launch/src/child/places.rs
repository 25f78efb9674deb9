// SPDX-License-Identifier: Apache-2.0
//! Places to mount on and to work in, made where they are missing.
//!
//! In the container's own file systems root inside makes them. In what is shared with the host the run user does, by the
//! rights it has there and no others: what comes to be on the host belongs to whom it would belong to if the payload had
//! made it, which with `:me` is the caller.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bryo_sys::root::{self, Root};
use bryo_sys::{Errno, check};
use rustix::fs::{AtFlags, Mode, StatxFlags};

use crate::prepare::PreparedProcess;

/// The root, and which mounts in it are the container's own.
pub(super) struct Places<'a> {
    root: &'a Root,
    own: Vec<u64>,
    run: (u32, u32),
}

impl<'a> Places<'a> {
    /// Begins with the root, which is the container's own.
    pub fn new(root: &'a Root, process: &PreparedProcess) -> bryo_sys::Result<Self> {
        let mut places = Self { root, own: Vec::new(), run: (process.uid, process.gid) };
        places.is_own(root)?;
        Ok(places)
    }

    /// Takes note of a mount that is the container's own. All others are the host's.
    pub fn is_own(&mut self, mount: impl AsFd) -> bryo_sys::Result<()> {
        self.own.push(mount_of(mount.as_fd())?);
        Ok(())
    }

    /// Returns a directory.
    pub fn directory(&self, path: &Path) -> bryo_sys::Result<OwnedFd> {
        self.root.create_dir_all_by(path, |parent, name| {
            self.make(parent, || root::mkdir(parent, name, Mode::from_raw_mode(0o755)))
        })
    }

    /// Returns a file, or whatever else is there.
    pub fn file(&self, path: &Path) -> bryo_sys::Result<OwnedFd> {
        match self.root.resolve(path) {
            Err(e) if e.errno() == Errno::NOENT => (),
            other => return other,
        }
        let (parent, name): (&Path, &OsStr) = root::split(path)?;
        let parent = self.directory(parent)?;
        self.make(parent.as_fd(), || root::touch(parent.as_fd(), name, Mode::from_raw_mode(0o644)))?;
        self.root.resolve(path)
    }

    fn make(&self, parent: BorrowedFd<'_>, make: impl FnOnce() -> bryo_sys::Result<()>) -> bryo_sys::Result<()> {
        if self.own.contains(&mount_of(parent)?) {
            return make();
        }
        let (uid, gid) = self.run;
        bryo_sys::process::with_fs_ids(uid, gid, make)?
    }
}

/// Returns the id of the mount that a descriptor is on (Linux 5.8).
fn mount_of(fd: BorrowedFd<'_>) -> bryo_sys::Result<u64> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    Ok(check("statx", || "STATX_MNT_ID".into(), found)?.stx_mnt_id)
}
