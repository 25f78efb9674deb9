// SPDX-License-Identifier: Apache-2.0
//! Overlays of layers that are given by descriptor. Source: the kernel's `filesystems/overlayfs.rst`.
//!
//! Runs in a child that has its own mount namespace and opened the layers there. The layers' paths never reach the
//! kernel as text: it is told `/proc/self/fd/N`, so that nothing between the opening and the mount can change them.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use bryo_sys::mount::{Attr, Change, NewFs, attach, clone_tree, set_attr};
use bryo_sys::{Errno, Error, Result, check};
use rustix::fs::{AtFlags, Mode};
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
    /// Nothing that is written need reach a disk. Else the kernel writes back the whole file system that the writable
    /// layer is on, whoever wrote to it, when the overlay is unmounted, and whoever ends last in it waits for that.
    pub volatile: bool,
}

/// How the kernel is told the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// One option a layer: Linux 6.7.
    PerLayer,
    /// All layers in one option of at most 255 bytes.
    OneOption,
    /// All options in the page of `mount(2)`, for more layers than that on an old kernel.
    Page,
}

/// The directory with which the kernel marks a layer as one that was volatile, in the work directory.
const MARK: &str = "work/incompat";
const MARK_BELOW: &str = "work/incompat/volatile";

/// Removes, from a work directory below another, what the kernel leaves there to remember that a layer is volatile: after a crash nobody
/// may trust it. Who asks for that throws the layer away then, and could not mount it a second time as it is.
///
/// This is not for the child to do, for whom the payload waits.
pub fn forget_volatile(at: impl AsFd, work: &Path) {
    let dirty = format!("{MARK_BELOW}/dirty");
    let marks = [(&*dirty, AtFlags::empty()), (MARK_BELOW, AtFlags::REMOVEDIR), (MARK, AtFlags::REMOVEDIR)];
    for (mark, flags) in marks {
        // What stays is removed with the layer.
        let _ = rustix::fs::unlinkat(&at, work.join(mark), flags);
    }
}

impl Overlay<'_> {
    /// Mounts the layers and returns the mount, detached.
    ///
    /// # Errors
    ///
    /// `EPERM` where a security module refuses mounts in user namespaces, `EINVAL` for layers that cannot be stacked,
    /// and whatever else `fsconfig(2)` or `mount(2)` answer.
    pub fn mount(&self, attr: Attr) -> Result<OwnedFd> {
        match self.mount_by(Interface::PerLayer, attr) {
            // Linux 6.5 and 6.6 refuse the option at once. Older kernels only collect the options and answer the same
            // when the file system is made, so where the error comes from says nothing.
            Err(e) if e.errno() == Errno::INVAL => {
                let fits = self.joined().len() <= MAX_VALUE;
                self.mount_by(if fits { Interface::OneOption } else { Interface::Page }, attr)
            }
            result => result,
        }
    }

    /// Mounts the layers through one of the kernel's interfaces and returns the mount, detached.
    ///
    /// # Errors
    ///
    /// As [`Overlay::mount`], and `EINVAL` for an interface that this kernel does not have.
    pub fn mount_by(&self, interface: Interface, attr: Attr) -> Result<OwnedFd> {
        // One layer alone is no overlay for the kernel, and needs none.
        if let ([only], None) = (self.lowers, &self.upper) {
            let tree = clone_tree(only, "", false)?;
            set_attr(&tree, Change::set(attr | Attr::RDONLY))?;
            return Ok(tree);
        }
        if interface == Interface::Page {
            return self.mount_by_page(attr);
        }
        let fs = NewFs::open("overlay")?;
        if interface == Interface::PerLayer {
            for lower in self.lowers {
                fs.set("lowerdir+", &by_number(lower))?;
            }
        } else {
            fs.set("lowerdir", &self.joined())?;
        }
        if let Some((upper, work)) = &self.upper {
            fs.set("upperdir", &by_number(upper))?;
            fs.set("workdir", &by_number(work))?;
        }
        // Trusted attributes are out of reach in a user namespace (Linux 5.11).
        fs.flag("userxattr")?;
        if self.volatile {
            fs.flag("volatile")?;
        }
        let mount = fs.mount(attr)?;
        self.open_marks();
        Ok(mount)
    }

    /// Lets the caller, who cannot act as root inside, remove the marks of a volatile layer: [`forget_volatile`].
    fn open_marks(&self) {
        let Some((_, work)) = self.upper.as_ref().filter(|_| self.volatile) else { return };
        for mark in ["work", MARK, MARK_BELOW] {
            // What stays is removed with the layer.
            let _ = rustix::fs::chmodat(work, mark, Mode::from_raw_mode(0o777), AtFlags::empty());
        }
    }

    /// Mounts by `mount(2)`, which wants a place, and takes a detached copy of that.
    ///
    /// The place is a directory of a file system in memory, put over a layer for as long as this takes: a name below a
    /// descriptor leads to what is mounted on it, a descriptor's own name in `/proc` does not.
    fn mount_by_page(&self, attr: Attr) -> Result<OwnedFd> {
        let Some(over) = self.lowers.first() else {
            return Err(Error::new("mount", "overlay without layers", Errno::INVAL));
        };
        let mut data = format!("userxattr,lowerdir={}", self.joined());
        if let Some((upper, work)) = &self.upper {
            data += &format!(",upperdir={},workdir={}", by_number(upper), by_number(work));
        }
        if self.volatile {
            data += ",volatile";
        }
        let options = CString::new(data.as_str()).map_err(|_| Error::new("mount", "overlay", Errno::INVAL))?;
        let around = NewFs::open("tmpfs")?.mount(Attr::NOSUID | Attr::NODEV)?;
        check("mkdirat", || "place".into(), rustix::fs::mkdirat(&around, "place", Mode::from_raw_mode(0o700)))?;
        attach(&around, over)?;
        let place = format!("{}/place", by_number(&around));
        let mounted = rustix::mount::mount("overlay", &*place, "overlay", MountFlags::empty(), options.as_c_str());
        let tree = check("mount", || format!("overlay, {data}"), mounted).and_then(|()| {
            let tree = clone_tree(&around, "place", false)?;
            set_attr(&tree, Change::set(attr))?;
            Ok(tree)
        });
        // With the file system in memory goes what is mounted in it.
        let gone = rustix::mount::unmount(&*by_number(&around), UnmountFlags::DETACH);
        check("umount2", || "MNT_DETACH".into(), gone)?;
        self.open_marks();
        tree
    }

    fn joined(&self) -> String {
        self.lowers.iter().map(by_number).collect::<Vec<_>>().join(":")
    }
}

fn by_number(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
