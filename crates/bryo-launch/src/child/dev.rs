// SPDX-License-Identifier: Apache-2.0
//! `/dev`: a fresh directory in memory with the harmless devices and nothing else.
//!
//! A user namespace may not make device nodes, so the host's are bound in, one by one, from descriptors that were
//! checked to be what their names say (CVE-2025-31133: a `/dev/null` that was something else).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bryo_sys::check;
use bryo_sys::mount::{Attr, Change, NewFs, attach, clone_tree, set_attr};
use bryo_sys::root::Root;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::error::{Context, Error, Kind, Result};

/// Name, major and minor number. Source: `admin-guide/devices.txt` of the kernel.
pub(super) const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that programs expect, and what they point to.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Clones the host's nodes and checks each.
pub(super) fn open_nodes() -> Result<Vec<OwnedFd>> {
    NODES.iter().map(|(name, major, minor)| open_node(name, *major, *minor)).collect()
}

fn open_node(name: &str, major: u32, minor: u32) -> Result<OwnedFd> {
    let path = format!("/dev/{name}");
    let node = clone_tree(CWD, &path, false).context(Kind::Source, || format!("cannot use the host's {path}"))?;
    let stat = check("fstat", || path.clone(), rustix::fs::fstat(&node))?;
    let is = (FileType::from_raw_mode(stat.st_mode), rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if is != (FileType::CharacterDevice, major, minor) {
        let found = format!("the host's {path} is not the device {major}:{minor}");
        return Err(Error::new(Kind::Source, found));
    }
    Ok(node)
}

/// Makes the directory. It is filled while it is detached from everything, and needs the root only to be put there.
pub(super) fn make(options: &[(String, Option<String>)], attr: Attr) -> Result<OwnedFd> {
    let fs = NewFs::open("tmpfs")?;
    for (key, value) in options {
        match value {
            Some(value) => fs.set(key, value)?,
            None => fs.flag(key)?,
        }
    }
    // The nodes are mounts of their own, so the directory itself can refuse devices.
    Ok(fs.mount(attr | Attr::NOSUID | Attr::NODEV | Attr::NOEXEC)?)
}

/// Fills `/dev` of the new root, on which a file system of [`make`] is mounted. A `console` is the place for a
/// terminal that is mounted later, when nothing can be made here any more.
pub(super) fn fill(root: &Root, nodes: Vec<OwnedFd>, wanted: Option<&[String]>, console: bool) -> Result<()> {
    let dev = root.resolve("/dev")?;
    // What is masked, and who has no input, needs `null`.
    let is_wanted = |name: &str| name == "null" || wanted.is_none_or(|wanted| wanted.iter().any(|w| w == name));
    for ((name, ..), node) in NODES.iter().zip(nodes).filter(|((name, ..), _)| is_wanted(name)) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&dev, *name, flags, Mode::from_raw_mode(0o666));
        let target = check("openat", || format!("/dev/{name}"), target)?;
        set_attr(&node, Change::set(Attr::NOSUID | Attr::NOEXEC))?;
        attach(node, target)?;
    }
    if console {
        root.create_file(Path::new("/dev/console"), Mode::from_raw_mode(0o600))?;
    }
    for (name, to) in LINKS {
        check("symlinkat", || format!("/dev/{name}"), rustix::fs::symlinkat(to, dev.as_fd(), name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        check("mkdirat", || format!("/dev/{name}"), rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)))?;
    }
    Ok(())
}

/// Makes the directory read-only. Devices can still be written to: they are no content of it.
pub(super) fn close(root: &Root) -> Result<()> {
    let change = Change { recursive: false, ..Change::set(Attr::RDONLY) };
    set_attr(root.resolve("/dev")?, change).context(Kind::Confinement, || "cannot make /dev read-only".into())
}
