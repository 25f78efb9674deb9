// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers read back: merged as overlayfs would show them, into one archive in a fixed order.
//!
//! Done by hand rather than through a mount: the order is ours, hard links are found, and nothing is mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::entry::shown;
use super::tree::{self, is_opaque, stat};
use super::writer::{ArchiveWriter, attributes};
use crate::error::{Error, Kind, Result};

/// How deep a tree is read: a descriptor and some stack for each level.
pub(crate) const DEPTH_MAX: usize = 512;

/// What nobody with the ids of a tree may read: files of a directory of the host that are their owner's alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Unreadable {
    /// How many files and directories.
    pub count: u64,
    /// The first of them.
    pub first: String,
}

/// One of the trees that are merged.
#[derive(Debug)]
pub struct Part {
    dir: OwnedFd,
    /// The directories that it has only for what is in them, by path.
    implied: Rc<BTreeSet<Vec<u8>>>,
}

impl Part {
    /// Takes a tree that describes all its directories.
    pub fn new(dir: OwnedFd) -> Self {
        Self { dir, implied: Rc::default() }
    }

    pub(super) fn with_implied(dir: OwnedFd, implied: BTreeSet<Vec<u8>>) -> Self {
        Self { dir, implied: Rc::new(implied) }
    }

    fn open(&self, name: &[u8]) -> rustix::io::Result<Self> {
        Ok(Self { dir: open_directory(self.dir.as_fd(), name)?, implied: Rc::clone(&self.implied) })
    }
}

/// Writes the merged layers, given bottom to top, and says what was left out. With `squash` one id owns everything, which
/// stands for root.
///
/// # Errors
/// [`Kind::Limit`] for a tree that is too deep, [`Kind::Io`].
pub fn export(layers: Vec<Part>, squash: bool, output: File) -> Result<Unreadable> {
    let output = BufWriter::with_capacity(256 << 10, output);
    let archive = ArchiveWriter::new(output, squash);
    let mut export = Export { archive, path: Vec::new(), unreadable: Unreadable::default() };
    // Opened once more: a descriptor that was given may be one that cannot be read.
    let again = |layer: &Part| layer.open(b".").map_err(|error| export.failed("open", error));
    let layers = layers.iter().rev().map(again).collect::<Result<Vec<_>>>()?;
    export.directory(layers)?;
    export.archive.finish()?;
    Ok(export.unreadable)
}

struct Export {
    archive: ArchiveWriter<BufWriter<File>>,
    path: Vec<u8>,
    unreadable: Unreadable,
}

impl Export {
    /// Writes the content of a directory that the given ones, top to bottom, make up.
    fn directory(&mut self, dirs: Vec<Part>) -> Result<()> {
        let mut names: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (at, dir) in dirs.iter().enumerate() {
            let of_one = tree::names(&dir.dir).map_err(|error| self.failed("list", error))?;
            of_one.into_iter().for_each(|name| names.entry(name).or_default().push(at));
        }
        for (name, at) in names {
            let len = self.path.len();
            if len > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            self.entry(&name, &at, &dirs)?;
            self.path.truncate(len);
        }
        Ok(())
    }

    /// Writes one name, which the directories at these indexes have.
    fn entry(&mut self, name: &[u8], at: &[usize], dirs: &[Part]) -> Result<()> {
        let Some(top) = at.first().map(|top| dirs[*top].dir.as_fd()) else {
            return Ok(());
        };
        let found = match stat(top, name) {
            // A container that runs goes on meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|error| self.failed("stat", error))?,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                if self.path.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
                    return Err(Error::new(Kind::Limit, "export: directories too deep"));
                }
                let Some(merged) = self.merged(name, at, dirs)? else { return Ok(()) };
                let described = merged.iter().find(|part| !part.implied.contains(&self.path));
                let Some(top) = described.or(merged.first()).map(|part| part.dir.as_fd()) else { return Ok(()) };
                let read = rustix::fs::fstat(top).and_then(|found| Ok((found, attributes(top)?)));
                let (found, attributes) = read.map_err(|error| self.failed("read attributes of", error))?;
                self.archive.directory(&self.path, &found, &attributes)?;
                self.directory(merged)
            }
            FileType::RegularFile => self.file(top, name),
            FileType::Symlink => {
                match rustix::fs::readlinkat(top, name, Vec::new()) {
                    // It went, or became something else.
                    Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                    Err(error) => Err(self.failed("read", error)),
                    Ok(target) => self.archive.symlink(&self.path, &found, target.as_bytes()),
                }
            }
            FileType::Fifo => self.archive.fifo(&self.path, &found),
            // Whiteouts and sockets.
            _ => Ok(()),
        }
    }

    /// Opens the directories of one name that show through, top to bottom; nothing where one may not be read.
    fn merged(&mut self, name: &[u8], at: &[usize], dirs: &[Part]) -> Result<Option<Vec<Part>>> {
        let mut merged = Vec::new();
        for index in at {
            let dir = match dirs[*index].open(name) {
                Ok(dir) => dir,
                // Something else hides all that is further down; so does what has gone meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => break,
                Err(Errno::ACCESS) => {
                    self.leave_out();
                    return Ok(None);
                }
                Err(error) => return Err(self.failed("open", error)),
            };
            let opaque = is_opaque(&dir.dir);
            merged.push(dir);
            if opaque {
                break;
            }
        }
        Ok(Some(merged))
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(Errno::ACCESS) => {
                self.leave_out();
                return Ok(());
            }
            other => other.map_err(|error| self.failed("open", error))?,
        };
        let found = rustix::fs::fstat(&file).map_err(|error| self.failed("stat", error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile
            || self.archive.hard_link(&self.path, &found)?
        {
            return Ok(());
        }
        let attributes = attributes(file.as_fd()).map_err(|error| self.failed("read attributes of", error))?;
        self.archive.file(&self.path, &found, File::from(file), &attributes)
    }

    fn leave_out(&mut self) {
        if self.unreadable.count == 0 {
            self.unreadable.first = String::from_utf8_lossy(&self.path).into_owned();
        }
        self.unreadable.count += 1;
    }

    fn failed(&self, operation: &str, errno: Errno) -> Error {
        Error::io(format!("{operation} {}", shown(&self.path)), errno)
    }
}

pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}
