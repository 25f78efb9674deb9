// SPDX-License-Identifier: Apache-2.0
//! A layer's root, and everything that changes names below it: by descriptor of the parent directory.
//!
//! Guarantees: no operation reaches anything outside the root. A path is resolved with the root as its `/`
//! (`openat2(2)`, `RESOLVE_IN_ROOT`), so links in the archive mean what they will mean in the container; the
//! last component is never followed. Faces: links planted by earlier members, and processes that swap names meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::entry::{RootPath, shown};
use crate::error::{Error, Kind, Result};

/// How many resolved parents are kept. Archives list a directory's members together.
const CACHED: usize = 64;
/// How many links to missing directories are followed while making parents; the kernel follows 40.
const LINKS_MAX: usize = 40;

/// A root directory, with its most recently used directories at hand.
#[derive(Debug)]
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    cache: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Directories that had to be made for what is in them, by the paths that led there.
    pub implied: BTreeSet<Vec<u8>>,
}

impl Tree {
    /// Takes a directory as root.
    pub fn new(root: OwnedFd) -> Self {
        Self { root: Rc::new(root), cache: HashMap::new(), implied: BTreeSet::new() }
    }

    /// Returns the root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Forgets resolved directories: names that led to them may lead elsewhere now.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// Opens the directory that holds a path's last component, making missing ones (0755, root).
    pub fn parent(&mut self, path: &RootPath) -> Result<Rc<OwnedFd>> {
        self.directory(path.split().0)
    }

    /// Opens an existing directory, for paths of hard link targets.
    pub fn existing_parent(&mut self, path: &RootPath) -> Result<Rc<OwnedFd>> {
        let (parent, _) = path.split();
        if let Some(known) = self.cache.get(parent) {
            return Ok(Rc::clone(known));
        }
        self.resolve(parent).map(Rc::new).map_err(|error| failed("find directory of", path.as_bytes(), error))
    }

    /// Opens a directory by its path, making what is missing.
    pub fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(known) = self.cache.get(path) {
            return Ok(Rc::clone(known));
        }
        let found = match self.resolve(path) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(path, LINKS_MAX)?,
            Err(error) => return Err(failed("resolve", path, error)),
        };
        Ok(self.remember(path, found))
    }

    /// Keeps a directory that members will follow into.
    pub fn remember(&mut self, path: &[u8], dir: OwnedFd) -> Rc<OwnedFd> {
        if self.cache.len() >= CACHED {
            self.cache.clear();
        }
        let dir = Rc::new(dir);
        self.cache.insert(path.to_vec(), Rc::clone(&dir));
        dir
    }

    /// Opens a directory for reading attributes and setting them; the last component is not followed.
    pub fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    fn resolve(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        open_in_root(&self.root, path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Makes the missing directories of a path, which may have links and `..` from links on the way: the kernel
    /// resolves each prefix anew inside the root, and only a single name is ever created, in an open directory.
    fn make_directories(&mut self, path: &[u8], links: usize) -> Result<OwnedFd> {
        let mut current: Rc<OwnedFd> = Rc::clone(&self.root);
        let mut prefix: Vec<u8> = Vec::with_capacity(path.len());
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let parent_len = prefix.len();
            if !prefix.is_empty() {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(name);
            let next = match self.resolve(&prefix) {
                Ok(next) => next,
                Err(Errno::NOENT) if matches!(name, b"." | b"..") => {
                    return Err(failed("resolve", path, Errno::NOENT));
                }
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_one(&current, name, &prefix, parent_len, links)?,
                Err(error) => return Err(failed("resolve", path, error)),
            };
            current = Rc::new(next);
        }
        match Rc::try_unwrap(current) {
            Ok(dir) => Ok(dir),
            Err(shared) => shared.try_clone().map_err(|error| Error::io("duplicate a descriptor", error)),
        }
    }

    fn make_one(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        prefix: &[u8],
        parent_len: usize,
        links: usize,
    ) -> Result<OwnedFd> {
        let fail = |error| failed("make directory", prefix, error);
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                self.implied.insert(prefix.to_vec());
                return self.resolve(prefix).map_err(fail);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let found = stat(parent.as_fd(), name).map_err(fail)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::CharacterDevice => {
                // A whiteout, as devices are never made: the directory replaces what lower layers have.
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(fail)?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(fail)?;
                let dir = self.resolve(prefix).map_err(fail)?;
                set_opaque(dir.as_fd()).map_err(fail)?;
                Ok(dir)
            }
            FileType::Symlink if links > 0 => {
                // A link to a directory that does not exist yet: inside the root, like everything.
                let target = rustix::fs::readlinkat(parent, name, Vec::new()).map_err(fail)?.into_bytes();
                let mut path = Vec::new();
                if !target.starts_with(b"/") && parent_len > 0 {
                    path.extend_from_slice(&prefix[..parent_len]);
                    path.push(b'/');
                }
                path.extend_from_slice(&target);
                self.make_directories(&path, links - 1)
            }
            FileType::Symlink => Err(fail(Errno::LOOP)),
            _ => Err(fail(Errno::NOTDIR)),
        }
    }
}

fn open_in_root(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    bryo_sys::lookup::open_in_root(root.as_fd(), Path::new(OsStr::from_bytes(path)), flags, Mode::empty())
}

/// Returns a name's attributes, not following it.
pub(crate) fn stat(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Lists the names in a directory, each once, whatever becomes of it meanwhile. One that was removed has none.
pub(crate) fn names(dir: impl AsFd) -> rustix::io::Result<BTreeSet<Vec<u8>>> {
    let listing = match Dir::read_from(dir) {
        Err(Errno::NOENT) => return Ok(BTreeSet::new()),
        other => other?,
    };
    let mut names = BTreeSet::new();
    for entry in listing {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            other => other?,
        };
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.insert(name.to_vec());
        }
    }
    Ok(names)
}

/// Tells whether a directory hides all that lower layers have in it.
pub fn is_opaque(dir: impl AsFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(dir, c"user.overlay.opaque", &mut value[..]).is_ok() && value == *b"y"
}

/// Marks a directory as hiding all that lower layers have in it. Source: `Documentation/filesystems/overlayfs.rst`.
pub(super) fn set_opaque(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let dir = rustix::fs::openat(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fsetxattr(&dir, c"user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty())
}

/// Describes a failed operation on a path of the archive.
pub(super) fn failed(operation: &str, path: &[u8], errno: Errno) -> Error {
    let what = format!("{operation} {}", shown(path));
    match errno {
        // What no file system operation of ours fails with unless the archive asks for the impossible.
        Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::EXIST | Errno::ISDIR | Errno::MLINK => {
            Error::new(Kind::Corrupt, what).with_source(errno)
        }
        Errno::XDEV => Error::new(Kind::EscapesRoot, what).with_source(errno),
        Errno::NAMETOOLONG => Error::new(Kind::Limit, what).with_source(errno),
        _ => Error::io(what, errno),
    }
}
