// SPDX-License-Identifier: Apache-2.0
//! The layer that is being made: plain files and directories that go over those of the image.
//!
//! It is written as it will lie on the disk, not through an overlay. An overlay would have to copy up each directory
//! in which something is made, which the kernel refuses where its owner is not in the map, as in a directory of the
//! host; a directory made here merges with the one below it and brings its own owner. Extended attributes are not
//! carried over: what has them in honest images is programs, and those are not copied.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_sys::root::Root;
use bryo_sys::{Errno, Error, Result, check};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timestamps, Uid};

use super::tree::{Tree, kind};

/// Owner and permissions, ids inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
}

impl Attributes {
    /// What belongs to root.
    pub fn root(mode: u32) -> Self {
        Self { uid: 0, gid: 0, mode }
    }

    /// What the merged tree has.
    pub fn of(tree: &Tree, stat: &Stat) -> Self {
        let (uid, gid) = tree.owner(stat);
        Self { uid, gid, mode: stat.st_mode & 0o7777 }
    }
}

/// The layer.
#[derive(Debug)]
pub(super) struct Layer {
    root: Root,
    /// There is but one id, so that nothing is given away.
    squash: bool,
    made: BTreeSet<PathBuf>,
}

impl Layer {
    /// Takes an empty directory.
    pub fn new(root: OwnedFd, squash: bool) -> Self {
        Self { root: Root::from_fd(root), squash, made: BTreeSet::from([PathBuf::from("/")]) }
    }

    /// Tells whether a directory is in this layer already.
    pub fn has(&self, path: &Path) -> bool {
        self.made.contains(path)
    }

    /// Puts a directory over the one of the tree, and makes those above it as the tree has them. The path is a real
    /// one. What the tree has below it stays to be seen.
    pub fn directory(&mut self, tree: &Tree, path: &Path, attributes: Attributes) -> Result<()> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.parent(tree, path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => (),
            Err(errno) => return Err(Error::new("mkdirat", path.display().to_string(), errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty());
        let made = check("openat", || path.display().to_string(), made)?;
        self.set(&made, path, attributes)?;
        self.made.insert(path.to_owned());
        Ok(())
    }

    /// Puts a file over what the tree has at a real path, and returns it to be filled.
    pub fn file(&mut self, tree: &Tree, path: &Path, attributes: Attributes) -> Result<File> {
        let (parent, name) = self.place(tree, path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600));
        let file = check("openat", || path.display().to_string(), file)?;
        self.set(&file, path, attributes)?;
        Ok(file.into())
    }

    /// Puts a symbolic link over the one that the tree has at a real path.
    pub fn link(&mut self, tree: &Tree, path: &Path, target: &Path, attributes: Attributes) -> Result<()> {
        let (parent, name) = self.place(tree, path)?;
        check("symlinkat", || path.display().to_string(), rustix::fs::symlinkat(target, &parent, name))?;
        if self.squash {
            return Ok(());
        }
        let (uid, gid) = owner(attributes);
        let given = rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        check("fchownat", || path.display().to_string(), given)
    }

    /// Returns the owner and the permissions of a file that is in this layer already.
    pub fn attributes(&self, path: &Path) -> Option<Attributes> {
        let file = self.root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        Some(Attributes { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 })
    }

    /// Gives a file the times that the image's has.
    pub fn times(&self, file: &File, stat: &Stat) -> Result<()> {
        let time =
            |tv_sec: i64, nanos: u64| rustix::fs::Timespec { tv_sec, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        check("futimens", String::new, rustix::fs::futimens(file, &times))
    }

    /// Makes room for a name.
    fn place<'a>(&mut self, tree: &Tree, path: &'a Path) -> Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let what = || path.display().to_string();
        let name = path.file_name().ok_or_else(|| Error::new("openat", what(), Errno::ISDIR))?;
        let parent = self.parent(tree, path)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok((parent, name)),
            Err(errno) => Err(Error::new("unlinkat", what(), errno)),
        }
    }

    fn parent(&mut self, tree: &Tree, path: &Path) -> Result<OwnedFd> {
        let up = path.parent().unwrap_or(Path::new("/"));
        if !self.made.contains(up) {
            let attributes = match tree.look(up) {
                Ok(Some((_, stat))) if kind(&stat) == rustix::fs::FileType::Directory => Attributes::of(tree, &stat),
                Ok(_) => Attributes::root(0o755),
                Err(e) if e.errno() == Errno::NOTDIR => Attributes::root(0o755),
                Err(e) => return Err(e),
            };
            self.directory(tree, up, attributes)?;
        }
        self.root.open_at(up, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Owner first: a change of owner takes set-id bits away.
    fn set(&self, fd: &OwnedFd, path: &Path, attributes: Attributes) -> Result<()> {
        if !self.squash {
            let (uid, gid) = owner(attributes);
            check("fchown", || path.display().to_string(), rustix::fs::fchown(fd, uid, gid))?;
        }
        let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
        check("fchmod", || path.display().to_string(), rustix::fs::fchmod(fd, mode))
    }
}

fn owner(attributes: Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}
