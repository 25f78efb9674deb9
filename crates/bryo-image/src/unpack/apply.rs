// SPDX-License-Identifier: Apache-2.0
//! One archive applied to one empty root, in the form in which overlayfs takes it as a lower layer.
//!
//! Whiteouts become character devices 0/0, opaque directories the attribute `user.overlay.opaque` (mount option
//! `userxattr`). Every layer has a root of its own, so a member only ever meets what the same archive made.
//!
//! For speed, a file costs four or five system calls: its parent stays open between members, and modes, owners and
//! times of directories are set once at the end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Limits;
use super::entry::{Action, RootPath};
use super::metadata::Metadata;
use super::sparse::SparseMap;
use super::tar::{Member, MemberKind, TarReader};
use super::tree::{self, Tree, failed};
use crate::error::{Error, Kind, Result};

/// What was applied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Applied {
    /// The directories that the archive has no member for, only members in them.
    pub implied: BTreeSet<Vec<u8>>,
    pub entries: u64,
    pub devices_skipped: u64,
    pub xattrs_dropped: u64,
}

/// How to apply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// One id owns everything.
    pub squash: bool,
    /// Whether the archive must have its end mark.
    pub end_mark_needed: bool,
    pub limits: Limits,
}

struct Applier<R> {
    tree: Tree,
    reader: TarReader<R>,
    options: Options,
    /// Directories of the archive, with their inode: at the end, a path may lead to another one.
    directories: HashMap<Vec<u8>, (u64, Metadata)>,
    skipped: HashSet<RootPath>,
    applied: Applied,
}

/// Applies an archive to a directory. The umask of the process must be 0.
///
/// # Errors
/// [`Kind::EscapesRoot`], [`Kind::Corrupt`], [`Kind::Limit`], [`Kind::Identity`], or what the disk says. What is in
/// the directory then is for the caller to remove.
pub(super) fn apply(input: impl BufRead, root: OwnedFd, options: Options) -> Result<Applied> {
    let mut applier = Applier {
        tree: Tree::new(root),
        reader: TarReader::new(input, options.limits, options.end_mark_needed),
        options,
        directories: HashMap::new(),
        skipped: HashSet::new(),
        applied: Applied::default(),
    };
    while let Some(member) = applier.reader.next()? {
        applier.member(member)?;
    }
    applier.finish_directories()?;
    applier.applied.entries = applier.reader.entries();
    applier.applied.implied = applier.tree.implied;
    Ok(applier.applied)
}

impl<R: BufRead> Applier<R> {
    fn member(&mut self, member: Member) -> Result<()> {
        match Action::parse(&member.name, &self.options.limits)? {
            Action::Make(path) if path.is_root() => self.root(member),
            Action::Make(path) => self.make(&path, member),
            Action::Whiteout(path) => self.whiteout(&path),
            Action::Opaque(path) => self.opaque(&path),
            Action::Ignore => Ok(()),
        }
    }

    /// Takes the attributes of the root itself, which can only be a directory.
    fn root(&mut self, mut member: Member) -> Result<()> {
        if member.kind != MemberKind::Directory {
            return Err(Error::new(Kind::EscapesRoot, "unpack the root as something else than a directory"));
        }
        let found = rustix::fs::fstat(self.tree.root()).map_err(|error| failed("stat", b"/", error))?;
        let metadata = self.metadata(&mut member)?;
        self.directories.insert(Vec::new(), (found.st_ino, metadata));
        Ok(())
    }

    fn make(&mut self, path: &RootPath, mut member: Member) -> Result<()> {
        let metadata = self.metadata(&mut member)?;
        match member.kind {
            MemberKind::Regular => self.file(path, &member, &metadata),
            MemberKind::Directory => self.directory(path, metadata),
            MemberKind::HardLink => self.hard_link(path, &member),
            MemberKind::Symlink => {
                let target = member.link.as_slice();
                if target.is_empty() || target.contains(&0) {
                    return Err(failed("make link", path.as_bytes(), Errno::NOENT));
                }
                self.name(path, "make link", |parent, name| rustix::fs::symlinkat(target, parent, name))?;
                self.set_on_name(path, &metadata)
            }
            MemberKind::Fifo => {
                let mode = metadata.mode();
                self.name(path, "make fifo", |parent, name| {
                    rustix::fs::mknodat(parent, name, FileType::Fifo, mode, 0)
                })?;
                self.set_on_name(path, &metadata)
            }
            MemberKind::Device => {
                self.applied.devices_skipped += 1;
                self.skipped.insert(path.clone());
                // What an earlier member put there is gone nevertheless: the archive says so.
                self.clear(path)
            }
        }
    }

    fn metadata(&mut self, member: &mut Member) -> Result<Metadata> {
        let (metadata, dropped) = Metadata::of(member, self.options.squash)?;
        self.applied.xattrs_dropped += dropped;
        Ok(metadata)
    }

    fn file(&mut self, path: &RootPath, member: &Member, metadata: &Metadata) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = metadata.mode();
        let file = self.name(path, "create", |parent, name| rustix::fs::openat(parent, name, flags, mode))?;
        write_member(&mut self.reader, member, file.as_fd(), &path.display())?;
        self.applied.xattrs_dropped += metadata.set_on_file(file.as_fd(), &path.display())?;
        Ok(())
    }

    /// Makes a directory, or takes over an existing one: its attributes are set at the end.
    fn directory(&mut self, path: &RootPath, metadata: Metadata) -> Result<()> {
        let parent = self.tree.parent(path)?;
        let (_, name) = path.split();
        let fail = |error| failed("make directory", path.as_bytes(), error);
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::empty())
        };
        let make = || rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755));
        let dir = match make() {
            Ok(()) => open(),
            Err(Errno::EXIST) => match tree::stat(parent.as_fd(), name).map_err(fail)? {
                found if FileType::from_raw_mode(found.st_mode) == FileType::Directory => open(),
                found => {
                    self.clear(path)?;
                    make().map_err(fail)?;
                    if FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice {
                        // There was a whiteout: what lower layers have in a directory of this name stays hidden.
                        tree::set_opaque(open().map_err(fail)?.as_fd()).map_err(fail)?;
                    }
                    open()
                }
            },
            Err(error) => Err(error),
        };
        let dir = dir.map_err(fail)?;
        let found = rustix::fs::fstat(&dir).map_err(fail)?;
        self.tree.remember(path.as_bytes(), dir);
        self.tree.implied.remove(path.as_bytes());
        self.directories.insert(path.as_bytes().to_vec(), (found.st_ino, metadata));
        Ok(())
    }

    fn hard_link(&mut self, path: &RootPath, member: &Member) -> Result<()> {
        let target = RootPath::parse(&member.link, &self.options.limits)?;
        if self.skipped.contains(&target) {
            self.applied.devices_skipped += 1;
            self.skipped.insert(path.clone());
            return Ok(());
        }
        let from = self.tree.existing_parent(&target)?;
        let (_, from_name) = target.split();
        // Looked at first: clearing the new name must not remove the file it is to be linked to.
        let found = tree::stat(from.as_fd(), from_name).map_err(|error| failed("link to", target.as_bytes(), error))?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory || target.is_root() {
            return Err(failed("link to", target.as_bytes(), Errno::ISDIR));
        }
        let parent = self.tree.parent(path)?;
        if let Ok(there) = tree::stat(parent.as_fd(), path.split().1)
            && (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)
        {
            return Ok(());
        }
        self.name(path, "link", |parent, name| rustix::fs::linkat(&from, from_name, parent, name, AtFlags::empty()))
    }

    /// Hides what lower layers have. What this layer has at the path stays: whiteouts are for lower layers only.
    fn whiteout(&mut self, path: &RootPath) -> Result<()> {
        let parent = self.tree.parent(path)?;
        let (_, name) = path.split();
        let fail = |error| failed("hide", path.as_bytes(), error);
        match rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let found = tree::stat(parent.as_fd(), name).map_err(fail)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let dir = self.tree.open_directory(path.as_bytes()).map_err(fail)?;
            tree::set_opaque(dir.as_fd()).map_err(fail)?;
        }
        Ok(())
    }

    /// Hides all that lower layers have in a directory, which must be one itself and no link to one.
    fn opaque(&mut self, path: &RootPath) -> Result<()> {
        let fail = |error| failed("hide content of", path.as_bytes(), error);
        if !path.is_root() {
            let parent = self.tree.parent(path)?;
            match tree::stat(parent.as_fd(), path.split().1) {
                Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                    return Err(fail(Errno::LOOP));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        let dir = self.tree.directory(path.as_bytes())?;
        tree::set_opaque(dir.as_fd()).map_err(fail)
    }

    /// Creates a name in its parent; what an earlier member put there is replaced.
    fn name<T>(
        &mut self,
        path: &RootPath,
        operation: &str,
        create: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let fail = |error| failed(operation, path.as_bytes(), error);
        let parent = self.tree.parent(path)?;
        let (_, name) = path.split();
        match create(parent.as_fd(), name) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(fail),
        }
        self.clear(path)?;
        create(parent.as_fd(), name).map_err(fail)
    }

    /// Removes what is at a path, if anything.
    fn clear(&mut self, path: &RootPath) -> Result<()> {
        let parent = self.tree.parent(path)?;
        // Names that lead through what goes away now may lead elsewhere later.
        self.tree.forget();
        match bryo_sys::tree::remove(&parent, path.split().1) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("replace", path.as_bytes(), error)),
        }
    }

    fn set_on_name(&mut self, path: &RootPath, metadata: &Metadata) -> Result<()> {
        let parent = self.tree.parent(path)?;
        metadata.set_on_name(parent.as_fd(), path.split().1, &path.display())
    }

    /// Sets what members said about directories, now that nothing is created in them any more.
    fn finish_directories(&mut self) -> Result<()> {
        for (path, (inode, metadata)) in std::mem::take(&mut self.directories) {
            let dir = match self.tree.open_directory(&path) {
                Ok(dir) => dir,
                // A later member replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(failed("open directory", &path, error)),
            };
            let found = rustix::fs::fstat(&dir).map_err(|error| failed("stat", &path, error))?;
            if found.st_ino == inode {
                let path = String::from_utf8_lossy(&path);
                self.applied.xattrs_dropped += metadata.set_on_directory(dir.as_fd(), &format!("{path:?}"))?;
            }
        }
        Ok(())
    }
}

/// Writes a member's data into a file, where its map says if it has holes; returns the bytes that were written.
pub(crate) fn write_member<R: BufRead>(
    reader: &mut TarReader<R>,
    member: &Member,
    file: BorrowedFd<'_>,
    path: &str,
) -> Result<u64> {
    let fail = |error: Errno| Error::io(format!("write {path}"), error);
    let mut total = 0;
    match &member.sparse {
        None => reader.each_piece(|piece| {
            total += piece.len() as u64;
            write_all(file, piece).map_err(fail)
        })?,
        Some(map) => {
            write_sparse(reader, map, file, &mut total).map_err(|error| error.within(format!("write {path}")))?
        }
    }
    Ok(total)
}

fn write_sparse<R: BufRead>(
    reader: &mut TarReader<R>,
    map: &SparseMap,
    file: BorrowedFd<'_>,
    total: &mut u64,
) -> Result<()> {
    let fail = |error: Errno| Error::io("write a file with holes", error);
    let mut chunks = map.chunks.iter().copied();
    let (mut offset, mut left) = (0, 0);
    reader.each_piece(|mut piece| {
        *total += piece.len() as u64;
        while !piece.is_empty() {
            if left == 0 {
                // The map was checked: its chunks add up to the data.
                (offset, left) = chunks.next().ok_or_else(|| fail(Errno::NOENT))?;
            }
            let len = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, &piece[..len], offset));
            let written = written.map_err(fail)?;
            offset += written as u64;
            left -= written as u64;
            piece = &piece[written..];
        }
        Ok(())
    })?;
    rustix::fs::ftruncate(file, map.real_size).map_err(fail)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}
