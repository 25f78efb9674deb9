// SPDX-License-Identifier: Apache-2.0
//! Mounts by descriptor: `open_tree`, `mount_setattr`, `move_mount`, and file systems made with `fsopen`.
//!
//! A mount is made detached, given its flags while nobody can see it, and only then put in place, on a directory that
//! was resolved to a descriptor before. No path is looked up twice.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::error::{Error, Result, check, raw};

bitflags::bitflags! {
    /// What a mount forbids. Source: `mount_setattr(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Attr: u64 {
        /// Nothing can be written.
        const RDONLY = 0x1;
        /// Set-user-id, set-group-id and file capabilities have no effect.
        const NOSUID = 0x2;
        /// Device files cannot be opened.
        const NODEV = 0x4;
        /// Nothing can be executed.
        const NOEXEC = 0x8;
        /// Access times follow the ids of the mount's user namespace, given in the call.
        const IDMAP = 0x0010_0000;
    }
}

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What [`set_attr`] changes.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Flags to set.
    pub set: Attr,
    /// Flags to clear.
    pub clear: Attr,
    /// Takes the mount and all below it out of every peer group.
    pub private: bool,
    /// Applies to the mounts below as well.
    pub recursive: bool,
}

impl Change {
    /// Sets flags on the mount and all below it.
    pub fn set(attr: Attr) -> Self {
        Self { set: attr, clear: Attr::empty(), private: false, recursive: true }
    }
}

/// Changes the flags of a mount given by descriptor. Source: `mount_setattr(2)`, Linux 5.12.
pub fn set_attr(mount: impl AsFd, change: Change) -> Result<()> {
    let attr = MountAttr {
        attr_set: change.set.bits(),
        attr_clr: change.clear.bits(),
        propagation: if change.private { MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    mount_setattr(mount, attr, change.recursive)
}

/// Gives a detached mount the id map of a user namespace, and takes it out of the peer group of what it was cloned from:
/// what is mounted on it later shows nowhere else. Source: `mount_setattr(2)`, ID-mapped mounts.
pub fn set_idmap(mount: impl AsFd, userns: impl AsFd) -> Result<()> {
    use std::os::fd::AsRawFd;
    let userns_fd = u64::try_from(userns.as_fd().as_raw_fd()).unwrap_or(u64::MAX);
    let attr = MountAttr { attr_set: Attr::IDMAP.bits(), userns_fd, propagation: MS_PRIVATE, ..MountAttr::default() };
    mount_setattr(mount, attr, true)
}

/// `MS_PRIVATE` of `linux/mount.h`.
const MS_PRIVATE: u64 = 1 << 18;

fn mount_setattr(mount: impl AsFd, attr: MountAttr, recursive: bool) -> Result<()> {
    use std::os::fd::AsRawFd;
    let fd = mount.as_fd().as_raw_fd();
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<MountAttr>();
    // SAFETY: the path is an empty NUL-terminated string and `attr` is a readable block of the size given.
    let ret = unsafe { libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attr, size) };
    raw("mount_setattr", || format!("{fd}, {attr:?}"), ret).map(drop)
}

/// Clones the mount at a path, relative to a directory, into a detached one. Source: `open_tree(2)`.
pub fn clone_tree(dir: impl AsFd, path: &str, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    check("open_tree", || format!("{path}, {flags:?}"), rustix::mount::open_tree(dir, path, flags))
}

/// Puts a detached mount onto the file or directory that a descriptor holds. Source: `move_mount(2)`.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    check("move_mount", String::new, rustix::mount::move_mount(mount, "", target, "", flags))
}

/// A file system that is being configured. Source: `fsopen(2)`.
#[derive(Debug)]
pub struct NewFs {
    kind: &'static str,
    context: OwnedFd,
}

impl NewFs {
    /// Opens a configuration context for a file system type.
    pub fn open(kind: &'static str) -> Result<Self> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC);
        Ok(Self { kind, context: check("fsopen", || kind.into(), context)? })
    }

    /// Sets an option with a value.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let result = rustix::mount::fsconfig_set_string(&self.context, key, value);
        check("fsconfig", || format!("{}, {key}={value}", self.kind), result)
    }

    /// Sets an option without a value.
    pub fn flag(&self, key: &str) -> Result<()> {
        check("fsconfig", || format!("{}, {key}", self.kind), rustix::mount::fsconfig_set_flag(&self.context, key))
    }

    /// Creates the file system and returns a detached mount of it.
    pub fn mount(self, attr: Attr) -> Result<OwnedFd> {
        check("fsconfig", || format!("{}, create", self.kind), rustix::mount::fsconfig_create(&self.context))
            .map_err(|e| self.explain(e))?;
        let flags = MountAttrFlags::from_bits_retain(u32::try_from(attr.bits()).unwrap_or(0));
        let mount = rustix::mount::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, flags);
        check("fsmount", || format!("{}, {attr:?}", self.kind), mount)
    }

    /// Adds the kernel's own words, which it leaves in the context's message queue.
    fn explain(&self, error: Error) -> Error {
        let mut buffer = [0_u8; 512];
        match rustix::io::read(&self.context, &mut buffer[..]) {
            Ok(n) if n > 0 => {
                let text = String::from_utf8_lossy(&buffer[..n]);
                Error::new(error.call(), format!("{}: {}", error.args(), text.trim()), error.errno())
            }
            _ => error,
        }
    }
}
