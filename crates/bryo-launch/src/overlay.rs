// SPDX-License-Identifier: Apache-2.0
//! Overlays of layers that are given by descriptor. Source: the kernel's `filesystems/overlayfs.rst`.
//!
//! Runs in a child that has its own mount namespace and opened the layers there. The layers' paths never reach the
//! kernel as text: it is told `/proc/self/fd/N`, so that nothing between the opening and the mount can change them.

use std::os::fd::{AsRawFd, OwnedFd};

use bryo_sys::mount::{Attr, NewFs, clone_tree};
use bryo_sys::{Errno, Result, check};
use rustix::mount::{MountFlags, UnmountFlags};

/// The longest value `fsconfig(2)` takes, in bytes.
const MAX_VALUE: usize = 255;

/// An overlay to be mounted.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// The read-only layers, top first.
    pub lowers: &'a [OwnedFd],
    /// The writable layer and its work directory, on one file system.
    pub upper: Option<(OwnedFd, OwnedFd)>,
}

impl Overlay<'_> {
    /// Mounts the layers and returns the mount, detached.
    ///
    /// # Errors
    ///
    /// `EPERM` where a security module refuses mounts in user namespaces, `EINVAL` for layers that cannot be stacked,
    /// and whatever else `fsconfig(2)` or `mount(2)` answer.
    pub fn mount(&self, attr: Attr) -> Result<OwnedFd> {
        // One layer alone is no overlay for the kernel, and needs none.
        if let ([only], None) = (self.lowers, &self.upper) {
            let tree = clone_tree(only, "", false)?;
            bryo_sys::mount::set_attr(&tree, bryo_sys::mount::Change::set(attr | Attr::RDONLY))?;
            return Ok(tree);
        }
        match self.mount_by_layer(attr) {
            // Before Linux 6.5 all layers are one option.
            Err(e) if e.errno() == Errno::INVAL && e.args().contains("lowerdir+") => self.mount_joined(attr),
            result => result,
        }
    }

    fn mount_by_layer(&self, attr: Attr) -> Result<OwnedFd> {
        let fs = NewFs::open("overlay")?;
        for lower in self.lowers {
            fs.set("lowerdir+", &by_number(lower))?;
        }
        self.finish(fs, attr)
    }

    fn mount_joined(&self, attr: Attr) -> Result<OwnedFd> {
        let joined = self.lowers.iter().map(by_number).collect::<Vec<_>>().join(":");
        if joined.len() > MAX_VALUE {
            return self.mount_by_page(&joined, attr);
        }
        let fs = NewFs::open("overlay")?;
        fs.set("lowerdir", &joined)?;
        self.finish(fs, attr)
    }

    fn finish(&self, fs: NewFs, attr: Attr) -> Result<OwnedFd> {
        if let Some((upper, work)) = &self.upper {
            fs.set("upperdir", &by_number(upper))?;
            fs.set("workdir", &by_number(work))?;
        }
        // Trusted attributes are out of reach in a user namespace (Linux 5.11).
        fs.flag("userxattr")?;
        fs.mount(attr)
    }

    /// Mounts by `mount(2)`, whose options fill a page, somewhere, and takes a detached copy of that.
    fn mount_by_page(&self, joined: &str, attr: Attr) -> Result<OwnedFd> {
        let mut data = format!("userxattr,lowerdir={joined}");
        if let Some((upper, work)) = &self.upper {
            data += &format!(",upperdir={},workdir={}", by_number(upper), by_number(work));
        }
        let place = by_number(&self.lowers[0]);
        let options =
            std::ffi::CString::new(data.as_str()).map_err(|_| bryo_sys::Error::new("mount", "", Errno::INVAL))?;
        let mounted = rustix::mount::mount("overlay", &*place, "overlay", MountFlags::empty(), options.as_c_str());
        check("mount", || format!("overlay, {data}"), mounted)?;
        let tree = clone_tree(rustix::fs::CWD, &place, false)?;
        let gone = rustix::mount::unmount(&*place, UnmountFlags::DETACH);
        check("umount2", || place.clone(), gone)?;
        bryo_sys::mount::set_attr(&tree, bryo_sys::mount::Change::set(attr))?;
        Ok(tree)
    }
}

fn by_number(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
