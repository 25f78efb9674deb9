// SPDX-License-Identifier: Apache-2.0
//! Looking at every name of a tree, by descriptor.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Bytes, Inodes, Tree, regular};
use crate::error::{Error, Kind, Result};

/// How many problems with directories are told one by one.
const TOLD: usize = 20;

/// One name of a tree.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its path from the root, without a slash in front.
    pub path: &'a [u8],
    /// What it is.
    pub kind: FileType,
    dirs: &'a Arc<Vec<OwnedFd>>,
    at: usize,
    name: &'a [u8],
    hides: bool,
}

/// A name of a tree that is looked at later, by whoever has time. Its directory stays open until then.
#[derive(Debug)]
pub struct Later {
    path: Vec<u8>,
    kind: FileType,
    dirs: Arc<Vec<OwnedFd>>,
    at: usize,
    name: usize,
}

impl Later {
    /// Returns the name as the walk has seen it.
    pub fn entry(&self) -> Entry<'_> {
        let name = &self.path[self.name..];
        Entry { path: &self.path, kind: self.kind, dirs: &self.dirs, at: self.at, name, hides: false }
    }
}

impl Entry<'_> {
    /// Puts it off.
    pub fn later(&self) -> Later {
        let name = self.path.len() - self.name.len();
        Later { path: self.path.to_vec(), kind: self.kind, dirs: Arc::clone(self.dirs), at: self.at, name }
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.dirs[self.at].as_fd()
    }

    /// Returns the last component of its path.
    pub fn name(&self) -> &[u8] {
        self.name
    }

    /// Returns its path as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.path).into_owned()
    }

    /// Tells whether it hides what lower layers have at this name, or in this directory.
    pub fn hides(&self) -> bool {
        self.hides
    }

    /// Looks at it closer.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn stat(&self) -> Result<Stat> {
        let stat = rustix::fs::statat(self.dir(), self.name, AtFlags::SYMLINK_NOFOLLOW);
        stat.map_err(|e| Error::io(format!("look at {}", self.text()), e))
    }

    /// Returns where it leads to; it must be a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn target(&self) -> Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(self.dir(), self.name, Vec::new());
        target.map(CString::into_bytes).map_err(|e| Error::io(format!("read the link {}", self.text()), e))
    }

    /// Opens it; it must be a regular file.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn open(&self) -> Result<Bytes> {
        let file = regular(self.dir(), self.name).map_err(|e| Error::io(format!("read {}", self.text()), e))?;
        Ok(Bytes::new(file, self.text()))
    }

    /// Opens it; it must be a directory.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Io`].
    pub fn directory(&self) -> Result<OwnedFd> {
        directory(self.dir(), self.name).map_err(|e| Error::io(format!("read {}", self.text()), e))
    }

    /// Tells whether there is a directory of another name beside it.
    pub fn has_directory(&self, name: &str) -> bool {
        let stat = rustix::fs::statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Opens what has another name in the same directory.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Io`].
    pub fn beside(&self, name: &str) -> Result<Bytes> {
        let mut path = String::from_utf8_lossy(&self.path[..self.path.len() - self.name.len()]).into_owned();
        path.push_str(name);
        match regular(self.dir(), name.as_bytes()) {
            Ok(file) => Ok(Bytes::new(file, path)),
            Err(e) => Err(Error::io(format!("read {path}"), e)),
        }
    }
}

/// What is done with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// What is in it is looked at.
    Enter,
    /// It is left alone.
    Skip,
}

/// What a walk came by.
#[derive(Debug, Default)]
pub struct Walked {
    /// How many names there were.
    pub entries: u64,
    /// Directories that were not looked into, and why.
    pub problems: Vec<(String, Error)>,
}

/// A directory that is being looked at.
struct Level {
    dirs: Arc<Vec<OwnedFd>>,
    names: std::vec::IntoIter<(Vec<u8>, (FileType, usize))>,
    length: usize,
}

pub(super) fn walk(tree: &Tree, visit: &mut dyn FnMut(&Entry<'_>) -> Visit) -> Result<Walked> {
    let Tree { roots, limits, opaque } = tree;
    let top = |e: Errno| Error::io("read the root directory", e);
    let dirs = roots.iter().map(|root| directory(root.as_fd(), b".")).collect::<rustix::io::Result<Vec<_>>>();
    let dirs = dirs.map_err(top)?;
    let names = names(&dirs).map_err(top)?;
    let mut walked = Walked::default();
    let mut path: Vec<u8> = Vec::new();
    let dirs = Arc::new(dirs);
    let mut levels = vec![Level { dirs, names: names.into_iter().collect::<Vec<_>>().into_iter(), length: 0 }];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.length);
        let Some((name, (kind, at))) = level.names.next() else {
            levels.pop();
            continue;
        };
        walked.entries += 1;
        if walked.entries > limits.entries {
            return Err(Error::new(Kind::Limit, format!("read the tree: it has more than {} names", limits.entries)));
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(&name);
        let single = level.dirs.len() == 1;
        let whiteout = single && kind == FileType::CharacterDevice && is_whiteout(&level.dirs[at], &name);
        let mut inside = None;
        let mut hides = whiteout;
        if kind == FileType::Directory {
            match enter_from(&level.dirs, &name, at, opaque) {
                Ok(dirs) => {
                    hides = single && dirs.first().is_some_and(|dir| is_opaque(dir, opaque));
                    inside = Some(dirs);
                }
                Err(e) => note(&mut walked, &path, Error::io("read the directory", e)),
            }
        }
        let entry = Entry { path: &path, kind, dirs: &level.dirs, at, name: &name, hides };
        if visit(&entry) == Visit::Skip {
            continue;
        }
        let Some(dirs) = inside else { continue };
        if levels.len() >= limits.depth {
            let why = format!("read the directory: it lies deeper than {}", limits.depth);
            note(&mut walked, &path, Error::new(Kind::Limit, why));
            continue;
        }
        match self::names(&dirs) {
            Ok(found) => {
                let names = found.into_iter().collect::<Vec<_>>().into_iter();
                levels.push(Level { dirs: Arc::new(dirs), names, length: path.len() });
            }
            Err(e) => note(&mut walked, &path, Error::io("read the directory", e)),
        }
    }
    Ok(walked)
}

/// What goes while it is looked at is no problem.
fn note(walked: &mut Walked, path: &[u8], error: Error) {
    if error.kind() != Kind::NotFound && walked.problems.len() < TOLD {
        walked.problems.push((String::from_utf8_lossy(path).into_owned(), error));
    }
}

/// Lists the names in directories that make up one, with what they are and in which they are, in order.
fn names(dirs: &[OwnedFd]) -> rustix::io::Result<BTreeMap<Vec<u8>, (FileType, usize)>> {
    let mut found: BTreeMap<Vec<u8>, (FileType, usize)> = BTreeMap::new();
    for (at, dir) in dirs.iter().enumerate() {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || found.contains_key(name) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                known => known,
            };
            found.insert(name.to_vec(), (kind, at));
        }
    }
    if dirs.len() > 1 {
        found.retain(|name, (kind, at)| *kind != FileType::CharacterDevice || !is_whiteout(&dirs[*at], name));
    }
    Ok(found)
}

/// Opens the directories of a name that show through, top first.
pub(super) fn enter(dirs: &[OwnedFd], name: &[u8], opaque: &Inodes) -> rustix::io::Result<Vec<OwnedFd>> {
    let at = dirs.iter().position(|dir| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok());
    enter_from(dirs, name, at.ok_or(Errno::NOENT)?, opaque)
}

fn enter_from(dirs: &[OwnedFd], name: &[u8], from: usize, opaque: &Inodes) -> rustix::io::Result<Vec<OwnedFd>> {
    let mut entered = Vec::new();
    for dir in dirs.iter().skip(from) {
        let dir = match directory(dir.as_fd(), name) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => continue,
            Err(error) if entered.is_empty() => return Err(error),
            // Something else there hides all that is further down.
            Err(_) => break,
        };
        let hides = dirs.len() > 1 && is_opaque(&dir, opaque);
        entered.push(dir);
        if hides {
            break;
        }
    }
    Ok(entered)
}

pub(super) fn directory(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn is_whiteout(dir: &OwnedFd, name: &[u8]) -> bool {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::CharacterDevice && s.st_rdev == 0)
}

fn is_opaque(dir: &OwnedFd, opaque: &Inodes) -> bool {
    let has = |attribute: &std::ffi::CStr| {
        let mut value = [0u8; 2];
        matches!(rustix::fs::fgetxattr(dir, attribute, &mut value), Ok(1)) && value[0] == b'y'
    };
    let listed = || rustix::fs::fstat(dir).is_ok_and(|found| opaque.contains(&(found.st_dev, found.st_ino)));
    has(c"user.overlay.opaque") || has(c"trusted.overlay.opaque") || (!opaque.is_empty() && listed())
}
