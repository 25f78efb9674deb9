// SPDX-License-Identifier: Apache-2.0
//! A tree of files that is only read: a directory, a container's view, or layers that make up one, top first.
//!
//! Guarantees: no link is ever followed, every file is opened from its own directory's descriptor, nothing but regular
//! files is opened, and depth, number of names and size of what is read have limits. Trusts nothing below the roots,
//! which may change meanwhile.
//!
//! Layers are in the form of overlayfs: a character device 0/0 hides a name, the attribute `user.overlay.opaque` (or
//! `trusted.overlay.opaque`, which only root of the machine may read) hides all that lower layers have in a directory.

mod bytes;
mod walk;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

pub use bytes::Bytes;
pub use walk::{Entry, Later, Visit, Walked};

use crate::error::{Error, Kind, Result};

/// What reading a tree may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many names are looked at.
    pub entries: u64,
    /// How deep directories may lie.
    pub depth: usize,
    /// How many bytes of one database are read.
    pub database: usize,
    /// How many bytes of one database that is text are read.
    pub text: usize,
    /// How many bytes of one small file, that describes one package, are read.
    pub document: usize,
    /// How many packages are taken from one tree.
    pub packages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 5_000_000,
            depth: 128,
            database: 512 << 20,
            text: 64 << 20,
            document: 8 << 20,
            packages: 1_000_000,
        }
    }
}

/// Files, by device and inode.
pub type Inodes = BTreeSet<(u64, u64)>;

/// A tree of files.
#[derive(Debug)]
pub struct Tree {
    roots: Vec<OwnedFd>,
    limits: Limits,
    opaque: Inodes,
}

impl Tree {
    /// Takes directories that make up one tree, top first.
    pub fn new(roots: Vec<OwnedFd>, limits: Limits) -> Self {
        Self { roots, limits, opaque: Inodes::new() }
    }

    /// Says of directories that they hide what lower layers have in them, where only somebody else may read that.
    #[must_use]
    pub fn with_opaque(self, opaque: Inodes) -> Self {
        Self { opaque, ..self }
    }

    /// Opens a trusted path of the host as a tree.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] and [`Kind::Io`] when it is no directory that can be read.
    pub fn open(path: &Path, limits: Limits) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty());
        let root = root.map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        Ok(Self::new(vec![root], limits))
    }

    /// Returns what reading it may cost.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Looks at every name once, parents first. `visit` says of a directory whether what is in it is looked at.
    ///
    /// # Errors
    ///
    /// [`Kind::Limit`] for too many names; [`Kind::Io`] when the roots cannot be read. A directory below that cannot
    /// be read is reported in what is returned.
    pub fn walk(&self, visit: &mut dyn FnMut(&Entry<'_>) -> Visit) -> Result<Walked> {
        walk::walk(self, visit)
    }

    /// Tells whether it is one directory, and not several that make up one.
    pub fn is_single(&self) -> bool {
        self.roots.len() == 1
    }

    /// Opens a regular file by its path from the root. No component may be a link.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Io`].
    pub fn file(&self, path: &str) -> Result<Bytes> {
        let mut dirs: Vec<OwnedFd> = Vec::new();
        for root in &self.roots {
            dirs.push(walk::directory(root.as_fd(), b".").map_err(|e| failed(path, e))?);
        }
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(failed(path, Errno::INVAL));
        }
        let name = parts.pop().ok_or_else(|| failed(path, Errno::ISDIR))?;
        for part in parts {
            dirs = walk::enter(&dirs, part.as_bytes(), &self.opaque).map_err(|e| failed(path, e))?;
        }
        for dir in &dirs {
            match regular(dir, name.as_bytes()) {
                Err(Errno::NOENT) => (),
                other => return Ok(Bytes::new(other.map_err(|e| failed(path, e))?, path)),
            }
        }
        Err(Error::new(Kind::NotFound, format!("read {path}: there is no such file")))
    }

    /// Reads a regular file whole, up to the limit of one that describes one package.
    ///
    /// # Errors
    ///
    /// As [`Tree::file`]; [`Kind::Limit`].
    pub fn document(&self, path: &str) -> Result<Vec<u8>> {
        self.file(path)?.whole(self.limits.document)
    }
}

/// Opens a regular file in a directory; a FIFO or a device is refused, not waited for.
fn regular(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|errno| match errno {
        // What hides a name in a layer is a device that nobody can open.
        Errno::NXIO => Errno::NOENT,
        other => other,
    })?;
    let found = rustix::fs::fstat(&fd)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        FileType::CharacterDevice if found.st_rdev == 0 => Err(Errno::NOENT),
        _ => Err(Errno::INVAL),
    }
}

fn failed(path: &str, errno: Errno) -> Error {
    Error::io(format!("read {path}"), errno)
}

#[cfg(test)]
mod tests;
