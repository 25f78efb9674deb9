// SPDX-License-Identifier: Apache-2.0
//! The digest of a whole root file system: of layers as overlayfs shows them, with and without a container's own.
//!
//! It is the SHA-256 of a line of bytes for each name, in the order of names, parents first: the path, what it is, its
//! permission bits, its owner and group inside, for a regular file its time of change, attributes, lists of access and the
//! SHA-256 of its content, for a directory its attributes and lists, for a link its target. Times of directories are not
//! in it, since a place to mount on changes them.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::merged::{Found, again, enter, failed, kind, look, names};
use super::walk::{NAMES_MAX, file};
use super::{Inodes, Layers, places};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::unpack::{DEPTH_MAX, attributes, open_directory};

/// The digests of one root file system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roots {
    /// With the container's own layer.
    pub now: Digest,
    /// Without it.
    pub before: Digest,
}

/// Reads a root file system whole and digests it, with and without the container's own layer. Empty directories and files
/// that were made for mounts are not in it.
///
/// # Errors
/// [`Kind::Limit`] for a tree that is too large or too deep, [`Kind::Io`].
pub fn roots(layers: &Layers) -> Result<Roots> {
    let before = layers.lowers.iter().map(again).collect::<Result<Vec<_>>>()?;
    let mut now = vec![again(&layers.own)?];
    now.extend(layers.lowers.iter().map(again).collect::<Result<Vec<_>>>()?);
    let made = made(layers, &before)?;
    let (path, opaque) = (PathBuf::from("/"), &layers.opaque);
    let mut sums = Sums { opaque, made, path, depth: 0, names: 0, now: Sha256::new(), before: Sha256::new() };
    sums.directory(&now, Some(&before))?;
    Ok(Roots { now: finished(sums.now)?, before: finished(sums.before)? })
}

fn finished(sum: Sha256) -> Result<Digest> {
    let hex: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse()
}

/// Lists what the launcher has made to mount on: the places of mounts, and what is above them, that layers do not have.
fn made(layers: &Layers, lowers: &[OwnedFd]) -> Result<BTreeSet<PathBuf>> {
    let mut made = BTreeSet::new();
    for place in places(layers)? {
        for path in place.ancestors().filter(|path| path.parent().is_some()) {
            if !exists(lowers, path, &layers.opaque)? {
                made.insert(path.to_owned());
            }
        }
    }
    Ok(made)
}

fn exists(lowers: &[OwnedFd], path: &Path, opaque: &Inodes) -> Result<bool> {
    let mut dirs = lowers.iter().map(again).collect::<Result<Vec<_>>>()?;
    for part in path.components().skip(1) {
        let name = part.as_os_str().as_bytes();
        match look(&dirs, name)? {
            Some(found) if kind(&found.stat) == FileType::Directory => {
                dirs = enter(&dirs, name, found.at, opaque)?;
            }
            // What is below a file is not there.
            Some(_) => return Ok(path.file_name() == Some(part.as_os_str())),
            None => return Ok(false),
        }
    }
    Ok(true)
}

struct Sums<'a> {
    opaque: &'a Inodes,
    made: BTreeSet<PathBuf>,
    path: PathBuf,
    depth: usize,
    names: u64,
    now: Sha256,
    before: Sha256,
}

impl Sums<'_> {
    /// Adds what is in a directory; without `before` both trees have the same there.
    fn directory(&mut self, now: &[OwnedFd], before: Option<&[OwnedFd]>) -> Result<()> {
        if self.depth > DEPTH_MAX {
            return Err(Error::new(Kind::Limit, "digest the root: directories too deep"));
        }
        let mut all = names(now)?;
        if let Some(before) = before {
            all.extend(names(before)?);
        }
        self.names = self.names.saturating_add(all.len() as u64);
        if self.names > NAMES_MAX {
            return Err(Error::new(Kind::Limit, format!("digest the root: there are more than {NAMES_MAX} names")));
        }
        for name in all {
            self.path.push(std::ffi::OsStr::from_bytes(&name));
            self.depth += 1;
            self.name(&name, now, before)?;
            self.depth -= 1;
            self.path.pop();
        }
        Ok(())
    }

    fn name(&mut self, name: &[u8], now: &[OwnedFd], before: Option<&[OwnedFd]>) -> Result<()> {
        let found = look(now, name)?;
        let Some(lowers) = before else {
            if let Some(found) = &found {
                let line = self.line(now, name, found)?;
                self.now.update(&line);
                self.before.update(&line);
            }
            return self.below(name, (now, found), None);
        };
        let below = look(lowers, name)?;
        let mut same = None;
        if let Some(found) = found.as_ref().filter(|found| below.is_some() || !self.is_made(found)) {
            let line = self.line(now, name, found)?;
            self.now.update(&line);
            // What shows through is the same file, and is read once.
            same = (found.at > 0).then_some(line);
        }
        if let Some(below) = &below {
            let line = match same {
                Some(line) => line,
                None => self.line(lowers, name, below)?,
            };
            self.before.update(&line);
        }
        self.below(name, (now, found), Some((lowers, below)))
    }

    fn is_made(&self, found: &Found) -> bool {
        let empty = kind(&found.stat) == FileType::RegularFile && found.stat.st_size == 0;
        (kind(&found.stat) == FileType::Directory || empty) && self.made.contains(&self.path)
    }

    /// Goes into a directory, in each tree that has it.
    fn below(
        &mut self,
        name: &[u8],
        (now, found): (&[OwnedFd], Option<Found>),
        before: Option<(&[OwnedFd], Option<Found>)>,
    ) -> Result<()> {
        let opened = |dirs: &[OwnedFd], found: Option<Found>| match found {
            Some(found) if kind(&found.stat) == FileType::Directory => enter(dirs, name, found.at, self.opaque),
            _ => Ok(Vec::new()),
        };
        let own = found.as_ref().is_some_and(|found| found.at == 0);
        let inner = opened(now, found)?;
        let lower = match before {
            None => None,
            // The own layer has nothing there: all that is below is the same in both.
            Some((_, Some(_))) if !own && !inner.is_empty() => None,
            Some((dirs, below)) => Some(opened(dirs, below)?),
        };
        if inner.is_empty() && lower.as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        self.directory(&inner, lower.as_deref())
    }

    /// Describes one name.
    fn line(&self, dirs: &[OwnedFd], name: &[u8], found: &Found) -> Result<Vec<u8>> {
        let stat = &found.stat;
        let mut line = self.path.as_os_str().as_bytes().to_vec();
        line.push(0);
        for number in [u64::from(stat.st_mode), u64::from(stat.st_uid), u64::from(stat.st_gid), stat.st_rdev] {
            line.extend(number.to_le_bytes());
        }
        match kind(stat) {
            FileType::RegularFile => self.content(&dirs[found.at], name, stat, &mut line)?,
            FileType::Directory => {
                let dir = open_directory(dirs[found.at].as_fd(), name).map_err(|e| failed("open", name, e))?;
                self.attributes(dir.as_fd(), &mut line)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&dirs[found.at], name, Vec::new());
                line.extend(target.map_err(|e| failed("read", name, e))?.to_bytes());
            }
            _ => (),
        }
        line.push(0);
        Ok(line)
    }

    /// Adds all attributes that say who may do what, or that a program may have set; not those of overlayfs itself.
    fn attributes(&self, file: BorrowedFd<'_>, line: &mut Vec<u8>) -> Result<()> {
        let path = || self.path.as_os_str().as_bytes();
        let own = attributes(file).map_err(|e| failed("read attributes of", path(), e))?;
        for (name, value) in own.into_iter().chain(lists(file).map_err(|e| failed("read lists of", path(), e))?) {
            line.extend(name.as_bytes());
            line.push(0);
            line.extend((value.len() as u64).to_le_bytes());
            line.extend(value);
        }
        Ok(())
    }

    fn content(&self, dir: &OwnedFd, name: &[u8], stat: &Stat, line: &mut Vec<u8>) -> Result<()> {
        let gone = || Error::new(Kind::Io, format!("digest {}: it is no file any more", self.path.display()));
        let mut file = file(dir, name)?.ok_or_else(gone)?;
        line.extend(stat.st_mtime.to_le_bytes());
        line.extend(stat.st_mtime_nsec.to_le_bytes());
        self.attributes(file.as_fd(), line)?;
        let mut sum = Sha256::new();
        let mut piece = vec![0u8; 256 << 10];
        loop {
            let read = file.read(&mut piece);
            let read = read.map_err(|e| Error::io(format!("digest {}", self.path.display()), e))?;
            if read == 0 {
                break;
            }
            sum.update(&piece[..read]);
        }
        line.extend(sum.finalize());
        Ok(())
    }
}

/// Reads who else may do what with a file, and with what comes to be in a directory. Source: `acl(5)`.
fn lists(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<(String, Vec<u8>)>> {
    let mut lists = Vec::new();
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        let mut value = vec![0; 64 << 10];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            length => {
                value.truncate(length?);
                lists.push((name.to_owned(), value));
            }
        }
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Makes a lower layer, lets something change its own one, and says whether the root is still the same.
    fn unchanged(change: impl FnOnce(&Path)) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let (own, lower) = (dir.path().join("own"), dir.path().join("lower"));
        fs::create_dir_all(lower.join("d/s")).unwrap();
        fs::write(lower.join("d/file"), "x").unwrap();
        std::os::unix::fs::symlink("file", lower.join("d/link")).unwrap();
        fs::create_dir(&own).unwrap();
        change(&own);
        let open = |path| OwnedFd::from(fs::File::open(path).unwrap());
        let (mounted, opaque) = (vec!["/mnt/share".into()], Inodes::new());
        let layers = Layers { own: open(&own), lowers: vec![open(&lower)], mounted, opaque };
        let roots = roots(&layers).unwrap();
        roots.now == roots.before
    }

    #[test]
    fn every_change_is_in_the_digest_and_what_mounts_need_is_not() {
        assert!(unchanged(|_| ()));
        assert!(unchanged(|own| fs::create_dir_all(own.join("mnt/share")).unwrap()));
        assert!(
            unchanged(|own| fs::create_dir(own.join("d")).unwrap()),
            "a directory that was only opened for writing"
        );
        let changes: [fn(&Path); 7] = [
            |own| fs::write(own.join("new"), "").unwrap(),
            |own| fs::create_dir(own.join("dir")).unwrap(),
            |own| {
                fs::create_dir_all(own.join("mnt/share")).unwrap();
                fs::write(own.join("mnt/share/hidden"), "x").unwrap();
            },
            |own| {
                fs::create_dir(own.join("d")).unwrap();
                fs::write(own.join("d/file"), "y").unwrap();
            },
            |own| {
                fs::create_dir(own.join("d")).unwrap();
                let anew = fs::File::open(own.join("d")).unwrap();
                rustix::fs::fsetxattr(&anew, c"user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
            },
            |own| {
                fs::create_dir(own.join("d")).unwrap();
                let dir = fs::File::open(own.join("d")).unwrap();
                rustix::fs::fsetxattr(&dir, c"user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
            },
            |own| {
                fs::create_dir(own.join("d")).unwrap();
                let dir = fs::File::open(own.join("d")).unwrap();
                // Version 2: the owner, the group and others may do all, and so may all that comes to be in it.
                let entry = |tag: u8| [tag, 0, 7, 0, 0xff, 0xff, 0xff, 0xff];
                let list = [&[2, 0, 0, 0][..], &entry(1), &entry(4), &entry(0x20)].concat();
                let name = c"system.posix_acl_default";
                rustix::fs::fsetxattr(&dir, name, &list, rustix::fs::XattrFlags::empty()).unwrap();
            },
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert!(!unchanged(change), "change {n}");
        }
    }
}
