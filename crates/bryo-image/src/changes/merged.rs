// SPDX-License-Identifier: Apache-2.0
//! Layers as overlayfs shows them, name by name, without a mount.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Inodes;
use crate::error::{Error, Result};
use crate::unpack::{is_opaque, open_directory, shown, stat};

/// How many links one path may go through. Source: `path_resolution(7)`.
const LINKS_MAX: usize = 40;

/// What is at a name: in which of the directories, and what.
pub(super) struct Found {
    pub at: usize,
    pub stat: Stat,
}

/// Looks a name up in directories that make up one, top first.
pub(super) fn look(dirs: &[OwnedFd], name: &[u8]) -> Result<Option<Found>> {
    for (at, dir) in dirs.iter().enumerate() {
        match stat(dir.as_fd(), name) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("look at", name, error)),
            Ok(stat) if is_whiteout(&stat) => return Ok(None),
            Ok(stat) => return Ok(Some(Found { at, stat })),
        }
    }
    Ok(None)
}

/// Opens the directories of a name that show through, top first, from where it was found.
pub(super) fn enter(dirs: &[OwnedFd], name: &[u8], from: usize, opaque: &Inodes) -> Result<Vec<OwnedFd>> {
    let mut entered = Vec::new();
    for dir in dirs.iter().skip(from) {
        let dir = match open_directory(dir.as_fd(), name) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => continue,
            // Something else there hides all that is further down.
            Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(error) => return Err(failed("open", name, error)),
        };
        let hides = hides(&dir, opaque);
        entered.push(dir);
        if hides {
            break;
        }
    }
    Ok(entered)
}

/// Tells whether a directory hides all that lower layers have in it: by itself, or because it is among those that do.
pub(super) fn hides(dir: &OwnedFd, opaque: &Inodes) -> bool {
    let listed = || rustix::fs::fstat(dir).is_ok_and(|found| opaque.contains(&(found.st_dev, found.st_ino)));
    is_opaque(dir) || (!opaque.is_empty() && listed())
}

/// Lists the names in directories that make up one.
pub(super) fn names(dirs: &[OwnedFd]) -> Result<BTreeSet<Vec<u8>>> {
    let mut hidden = BTreeSet::new();
    let mut names = BTreeSet::new();
    for dir in dirs {
        for name in list(dir)? {
            // The top one decides.
            if names.contains(&name) || hidden.contains(&name) {
                continue;
            }
            match stat(dir.as_fd(), &name) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("look at", &name, error)),
                Ok(found) if is_whiteout(&found) => drop(hidden.insert(name)),
                Ok(_) => drop(names.insert(name)),
            }
        }
    }
    Ok(names)
}

/// Lists the names in one directory.
pub(super) fn list(dir: &OwnedFd) -> Result<BTreeSet<Vec<u8>>> {
    crate::unpack::names(dir).map_err(|error| failed("list", b".", error))
}

/// Follows every link of a path, among layers that make up one tree. What is not there is where it would be.
pub(super) fn real(layers: &[OwnedFd], path: &Path, opaque: &Inodes) -> Result<PathBuf> {
    let mut way: Vec<Option<Vec<OwnedFd>>> = vec![Some(layers.iter().map(again).collect::<Result<_>>()?)];
    let mut here = PathBuf::from("/");
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            if way.len() > 1 {
                way.pop();
            }
            here.pop();
            continue;
        }
        let name = part.as_bytes();
        let found = match way.last() {
            Some(Some(dirs)) => look(dirs, name)?.map(|found| (dirs, found)),
            _ => None,
        };
        let next = match found {
            Some((dirs, found)) if kind(&found.stat) == FileType::Symlink && links < LINKS_MAX => {
                links += 1;
                let target = match rustix::fs::readlinkat(&dirs[found.at], name, Vec::new()) {
                    // It went, or became something else, and is looked at once more.
                    Err(Errno::NOENT | Errno::INVAL) => {
                        rest.push_front(part);
                        continue;
                    }
                    other => other.map_err(|error| failed("read", name, error))?,
                };
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    way.truncate(1);
                    here = PathBuf::from("/");
                }
                parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
                continue;
            }
            Some((dirs, found)) if kind(&found.stat) == FileType::Directory => {
                Some(enter(dirs, name, found.at, opaque)?)
            }
            _ => None,
        };
        way.push(next);
        here.push(OsStr::from_bytes(name));
    }
    Ok(here)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

/// Opens a directory once more.
pub(super) fn again(dir: &OwnedFd) -> Result<OwnedFd> {
    open_directory(dir.as_fd(), b".").map_err(|error| failed("open", b".", error))
}

pub(super) fn is_whiteout(found: &Stat) -> bool {
    kind(found) == FileType::CharacterDevice && found.st_rdev == 0
}

pub(super) fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

pub(super) fn failed(operation: &str, name: &[u8], errno: Errno) -> Error {
    Error::io(format!("{operation} {} in a layer", shown(name)), errno)
}
