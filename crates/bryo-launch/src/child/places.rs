// SPDX-License-Identifier: Apache-2.0
//! Places to mount on and to work in, made where they are missing.
//!
//! In the container's own file systems root inside makes them. In what is shared with the host the run user does, by the
//! rights it has there and no others: what comes to be on the host belongs to whom it would belong to if the payload had
//! made it, which with `:me` is the caller.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bryo_sys::root::{self, Root};
use bryo_sys::{Errno, check};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use crate::prepare::PreparedProcess;

/// The root, and which mounts in it are the container's own.
pub(super) struct Places<'a> {
    root: &'a Root,
    own: Vec<u64>,
    links: OwnedFd,
    run: (u32, u32),
}

/// Where the kernel shows itself, and devices are: what confines is there.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

impl<'a> Places<'a> {
    /// Begins with the root, which is the container's own. `links` are those of [`links`].
    pub fn new(root: &'a Root, links: OwnedFd, process: &PreparedProcess) -> bryo_sys::Result<Self> {
        let mut places = Self { root, own: Vec::new(), links, run: (process.uid, process.gid) };
        places.is_own(root)?;
        Ok(places)
    }

    /// Takes note of a mount that is the container's own. All others are the host's.
    pub fn is_own(&mut self, mount: impl AsFd) -> bryo_sys::Result<()> {
        self.own.push(mount_of(mount.as_fd())?);
        Ok(())
    }

    /// Returns a directory to mount on. A link of the image cannot make that one in which the kernel shows itself: what
    /// is there would be hidden, and what confines be put over something else (CVE-2023-27561).
    pub fn directory(&self, path: &Path) -> bryo_sys::Result<OwnedFd> {
        self.apart(path, self.within(path)?)
    }

    /// Returns a directory to work in, wherever that is.
    pub fn within(&self, path: &Path) -> bryo_sys::Result<OwnedFd> {
        self.root.create_dir_all_by(path, |parent, name| {
            self.make(parent, || root::mkdir(parent, name, Mode::from_raw_mode(0o755)))
        })
    }

    /// Returns a file to mount on, or whatever else is there, as [`Places::directory`].
    pub fn file(&self, path: &Path) -> bryo_sys::Result<OwnedFd> {
        match self.root.resolve(path) {
            Err(e) if e.errno() == Errno::NOENT => (),
            other => return self.apart(path, other?),
        }
        let (parent, name): (&Path, &OsStr) = root::split(path)?;
        let parent = self.apart(path, self.within(parent)?)?;
        self.make(parent.as_fd(), || root::touch(parent.as_fd(), name, Mode::from_raw_mode(0o644)))?;
        self.apart(path, self.root.resolve(path)?)
    }

    fn apart(&self, path: &Path, found: OwnedFd) -> bryo_sys::Result<OwnedFd> {
        let number = found.as_fd().as_raw_fd().to_string();
        let place = check("readlinkat", || number.clone(), rustix::fs::readlinkat(&self.links, &number, Vec::new()))?;
        let place = Path::new(OsStr::from_bytes(place.to_bytes()));
        if is_kernels(place) && !is_kernels(path) {
            let why = format!("{} leads to {}", path.display(), place.display());
            return Err(bryo_sys::Error::new("move_mount", why, Errno::LOOP));
        }
        Ok(found)
    }

    fn make(&self, parent: BorrowedFd<'_>, make: impl FnOnce() -> bryo_sys::Result<()>) -> bryo_sys::Result<()> {
        if self.own.contains(&mount_of(parent)?) {
            return make();
        }
        let (uid, gid) = self.run;
        bryo_sys::process::with_fs_ids(uid, gid, make)?
    }
}

/// Opens the links that tell where a descriptor leads, as this process sees it. While the host's `/proc` is there: the
/// container's may have none.
pub(super) fn links() -> bryo_sys::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    check("open", || "/proc/self/fd".into(), rustix::fs::open("/proc/self/fd", flags, Mode::empty()))
}

fn is_kernels(path: &Path) -> bool {
    KERNELS.iter().any(|kernels| path.starts_with(kernels))
}

/// Returns the id of the mount that a descriptor is on (Linux 5.8).
fn mount_of(fd: BorrowedFd<'_>) -> bryo_sys::Result<u64> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    Ok(check("statx", || "STATX_MNT_ID".into(), found)?.stx_mnt_id)
}
