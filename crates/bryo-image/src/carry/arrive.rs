// SPDX-License-Identifier: Apache-2.0
//! A stream becomes files below a directory.
//!
//! Whoever controls the directory may swap names while this works, and must gain nothing by it. A file is made by its
//! name, exclusively, and all else is done to the descriptor. A directory is made closed and opened by its name: what is
//! opened must be empty and as it was made, or it is not touched. Of a link or a pipe only the owner is set, by a
//! descriptor that is known to be of one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Carried, LIMITS};
use crate::error::{Error, Kind, Result};
use crate::record;
use crate::unpack::{Member, MemberKind, RootPath, TarReader, allowed, sniff, write_member};

/// Bits that let a program be somebody else.
const SET_ID: u32 = 0o6000;

/// What comes first in a stream: a thing, and all else is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Whether it is a directory.
    pub directory: bool,
}

/// Whom what arrives is to belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// Whoever makes it.
    Maker,
    /// This user and group.
    These(u32, u32),
    /// Whom the stream says.
    Stream,
}

/// Where the first component of every name goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Top {
    /// It is called this.
    Named(Vec<u8>),
    /// It is the directory itself.
    Itself,
    /// Names are what they are.
    AsItIs,
}

/// What things become.
#[derive(Debug)]
pub struct Placing {
    /// What the thing is called there.
    pub top: Top,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Leaves out set-id bits: what was somebody's in a container would be the caller's here.
    pub strip_set_id: bool,
    /// Writes owners down in place of setting them: one id owns everything ([`crate::record`]).
    pub record: bool,
    /// Keeps file capabilities and attributes of users.
    pub attributes: bool,
}

/// A stream whose first member is known.
pub struct Arriving<'a> {
    reader: TarReader<BufReader<Box<dyn Read + 'a>>>,
    first: Option<Member>,
}

impl std::fmt::Debug for Arriving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arriving").field("first", &self.first).finish_non_exhaustive()
    }
}

impl<'a> Arriving<'a> {
    /// Begins to read a stream, compressed or not.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if it is no archive.
    pub fn begin(input: impl Read + 'a) -> Result<Self> {
        let reader = sniff(input)?.decompress(LIMITS.zstd_window_log)?;
        let reader = BufReader::with_capacity(256 << 10, reader);
        let mut reader = TarReader::new(reader, LIMITS, true);
        let first = reader.next()?;
        Ok(Self { reader, first })
    }

    /// Tells what comes; nothing for an empty stream.
    pub fn head(&self) -> Option<Head> {
        self.first.as_ref().map(|first| Head { directory: first.kind == MemberKind::Directory })
    }

    /// Makes everything below a directory, in which no link is followed. The process's umask must be 0.
    ///
    /// # Errors
    /// [`Kind::EscapesRoot`] for a name with `..`, [`Kind::Corrupt`], [`Kind::NoSpace`], [`Kind::Io`]. What was made
    /// until then stays.
    pub fn place(mut self, directory: BorrowedFd<'_>, placing: &Placing) -> Result<Carried> {
        let mut placer = Placer { root: directory, placing, made: HashMap::new(), carried: Carried::default() };
        let mut next = self.first.take();
        while let Some(member) = next {
            placer.member(&member, &mut self.reader)?;
            next = self.reader.next()?;
        }
        placer.finish_directories()?;
        Ok(placer.carried)
    }
}

struct Placer<'a> {
    /// The directory that everything is made below.
    root: BorrowedFd<'a>,
    placing: &'a Placing,
    /// The directories that were made here, to be completed at the end.
    made: HashMap<Vec<u8>, Made>,
    carried: Carried,
}

/// A directory that was made here.
struct Made {
    inode: (u64, u64),
    metadata: Metadata,
}

/// What a name is to have.
struct Metadata {
    owner: Option<(u32, u32)>,
    /// Whether the owner is only written down.
    record: bool,
    mode: u32,
    mtime: Option<(i64, u32)>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Placer<'_> {
    fn member<R: BufRead>(&mut self, member: &Member, reader: &mut TarReader<R>) -> Result<()> {
        let path = self.path(&member.name)?;
        if path.as_bytes().is_empty() {
            // The directory itself is there, and stays as it is.
            return match member.kind {
                MemberKind::Directory => Ok(()),
                _ => Err(failed("replace the directory", &path, Errno::ISDIR)),
            };
        }
        let metadata = self.metadata(member, &path)?;
        let parent = self.parent(&path)?;
        let (_, name) = path.split();
        let parent = parent.as_fd();
        match member.kind {
            MemberKind::Device => {
                self.carried.devices += 1;
                return Ok(());
            }
            MemberKind::Directory => self.directory(parent, &path, metadata)?,
            MemberKind::Regular => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let closed = Mode::from_raw_mode(0o600);
                let file = make(&path, || rustix::fs::openat(parent, name, flags, closed), parent)?;
                self.carried.bytes += write_member(reader, member, file.as_fd(), &path.display())?;
                complete(file.as_fd(), &metadata, &path)?;
            }
            MemberKind::Symlink => {
                let link = || rustix::fs::symlinkat(member.link.as_slice(), parent, name);
                make(&path, link, parent)?;
                own_name(parent, &path, FileType::Symlink, &metadata)?;
            }
            MemberKind::Fifo => {
                let mode = Mode::from_raw_mode(metadata.mode);
                make(&path, || rustix::fs::mknodat(parent, name, FileType::Fifo, mode, 0), parent)?;
                own_name(parent, &path, FileType::Fifo, &metadata)?;
            }
            MemberKind::HardLink => self.hard_link(parent, &path, member)?,
        }
        self.carried.entries += 1;
        Ok(())
    }

    /// Returns where a member's name leads, below the root.
    fn path(&self, name: &[u8]) -> Result<RootPath> {
        let own = RootPath::parse(name, &LIMITS)?;
        let own = own.as_bytes();
        let rest = match own.iter().position(|byte| *byte == b'/') {
            Some(at) => &own[at..],
            None => &[],
        };
        let below: Vec<u8> = match &self.placing.top {
            Top::AsItIs => own.to_vec(),
            Top::Itself => rest.to_vec(),
            Top::Named(name) => [name, rest].concat(),
        };
        RootPath::parse(&below, &LIMITS)
    }

    fn metadata(&self, member: &Member, path: &RootPath) -> Result<Metadata> {
        let id = |id: u64| {
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| Error::new(Kind::Identity, format!("set owner of {}: it is no id", path.display())))
        };
        let owner = match self.placing.owner {
            Owner::Maker => None,
            Owner::These(uid, gid) => Some((uid, gid)),
            Owner::Stream => Some((id(member.uid)?, id(member.gid)?)),
        };
        let stripped = if self.placing.strip_set_id { SET_ID } else { 0 };
        let attributes = if self.placing.attributes { member.xattrs.clone() } else { Vec::new() };
        Ok(Metadata {
            owner,
            record: self.placing.record,
            mode: member.mode & !stripped,
            mtime: Some(member.mtime),
            attributes: attributes.into_iter().filter_map(allowed).collect(),
        })
    }

    /// Opens the directory that a name is to be in. An archive may leave out directories; they are made.
    fn parent(&mut self, path: &RootPath) -> Result<OwnedFd> {
        let (above, _) = path.split();
        match beneath(self.root, above) {
            Err(Errno::NOENT) if !above.is_empty() => {
                let above = RootPath::parse(above, &LIMITS)?;
                let parent = self.parent(&above)?;
                let owner = match self.placing.owner {
                    Owner::These(uid, gid) => Some((uid, gid)),
                    Owner::Maker | Owner::Stream => None,
                };
                let record = self.placing.record;
                let metadata = Metadata { owner, record, mode: 0o755, mtime: None, attributes: Vec::new() };
                self.directory(parent.as_fd(), &above, metadata)?;
                beneath(self.root, above.as_bytes()).map_err(|error| failed("open", &above, error))
            }
            other => other.map_err(|error| failed("open the directory of", path, error)),
        }
    }

    /// Makes a directory. One that is there is gone into as it is, and stays as it is.
    fn directory(&mut self, parent: BorrowedFd<'_>, path: &RootPath, metadata: Metadata) -> Result<()> {
        let (_, name) = path.split();
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = beneath(self.root, path.as_bytes());
                return match there {
                    Ok(_) => Ok(()),
                    Err(error) => Err(failed("replace by a directory", path, error)),
                };
            }
            Err(error) => return Err(failed("make directory", path, error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(parent, name, flags, Mode::empty());
        let made = made.map_err(|error| failed("open", path, error))?;
        let found = rustix::fs::fstat(&made).map_err(|error| failed("look at", path, error))?;
        if found.st_mode & 0o7777 & !0o2000 != 0o700 || !is_empty(&made) {
            return Err(failed("make directory", path, Errno::STALE));
        }
        self.made.insert(path.as_bytes().to_vec(), Made { inode: inode(&found), metadata });
        Ok(())
    }

    fn hard_link(&mut self, parent: BorrowedFd<'_>, path: &RootPath, member: &Member) -> Result<()> {
        let target = self.path(&member.link)?;
        let (above, from) = target.split();
        let there = beneath(self.root, above).map_err(|error| failed("find", &target, error))?;
        let (_, name) = path.split();
        make(path, || rustix::fs::linkat(&there, from, parent, name, AtFlags::empty()), parent)
    }

    /// Gives the directories what they are to have, now that nothing is made in them any more: the deepest first, so
    /// that those above are still open.
    fn finish_directories(&mut self) -> Result<()> {
        let mut made: Vec<(Vec<u8>, Made)> = self.made.drain().collect();
        made.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (path, Made { inode: own, metadata }) in made {
            let path = RootPath::parse(&path, &LIMITS)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let (above, name) = path.split();
            let opened = beneath(self.root, above);
            let opened = opened.and_then(|above| rustix::fs::openat(above, name, flags, Mode::empty()));
            // Somebody has put something else there, which is none of ours.
            let Ok(dir) = opened else { continue };
            let found = rustix::fs::fstat(&dir).map_err(|error| failed("look at", &path, error))?;
            if inode(&found) == own {
                complete(dir.as_fd(), &metadata, &path)?;
            }
        }
        Ok(())
    }
}

/// Makes a name. What is there goes first, unless it is a directory.
fn make<T>(path: &RootPath, make: impl Fn() -> rustix::io::Result<T>, parent: BorrowedFd<'_>) -> Result<T> {
    match make() {
        Err(Errno::EXIST) => {}
        other => return other.map_err(|error| failed("make", path, error)),
    }
    match rustix::fs::unlinkat(parent, path.split().1, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(failed("replace", path, error)),
    }
    make().map_err(|error| failed("make", path, error))
}

/// Sets owner, mode, attributes and time of what a descriptor has, in this order: a change of owner takes set-id bits and
/// file capabilities away.
fn complete(fd: BorrowedFd<'_>, metadata: &Metadata, path: &RootPath) -> Result<()> {
    if let Some((uid, gid)) = metadata.owner {
        let owned = if metadata.record {
            or_untold(record::write(fd, (uid, gid)))
        } else {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        };
        owned.map_err(|error| owner_failed(path, (uid, gid), error))?;
    }
    let mode = rustix::fs::fchmod(fd, Mode::from_raw_mode(metadata.mode));
    mode.map_err(|error| failed("set mode of", path, error))?;
    for (name, value) in &metadata.attributes {
        let set = rustix::fs::fsetxattr(fd, &name[..], value, XattrFlags::empty());
        or_untold(set).map_err(|error| failed("set attributes of", path, error))?;
    }
    rustix::fs::futimens(fd, &times(metadata)).map_err(|error| failed("set time of", path, error))
}

/// Passes over what a file system without attributes answers, or a map whose only id is not root.
fn or_untold(set: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match set {
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Sets the owner of a link or a pipe that was made by its name, and its time.
fn own_name(parent: BorrowedFd<'_>, path: &RootPath, kind: FileType, metadata: &Metadata) -> Result<()> {
    let (_, name) = path.split();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty());
    let made = made.map_err(|error| failed("open", path, error))?;
    let found = rustix::fs::fstat(&made).map_err(|error| failed("look at", path, error))?;
    if FileType::from_raw_mode(found.st_mode) != kind {
        return Err(failed("make", path, Errno::STALE));
    }
    // Links and pipes have no attributes that an owner could be written down in.
    if let Some((uid, gid)) = metadata.owner.filter(|_| !metadata.record) {
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let owned = rustix::fs::chownat(&made, "", user, group, AtFlags::EMPTY_PATH);
        owned.map_err(|error| owner_failed(path, (uid, gid), error))?;
    }
    let set = rustix::fs::utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW);
    // The time of a name that was swapped is the least of what whoever swaps names can have.
    set.or_else(|error| if error == Errno::NOENT { Ok(()) } else { Err(failed("set time of", path, error)) })
}

fn times(metadata: &Metadata) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: match metadata.mtime {
            Some((tv_sec, nanoseconds)) => Timespec { tv_sec, tv_nsec: nanoseconds.into() },
            None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        },
    }
}

/// Opens a directory below another. No link is followed: a path that somebody else may write to leads where its words
/// say, or nowhere.
pub fn beneath(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let open = |dir: BorrowedFd<'_>, name: &[u8]| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty())
    };
    let mut here = open(root, b".")?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        here = open(here.as_fd(), name)?;
    }
    Ok(here)
}

fn is_empty(dir: &OwnedFd) -> bool {
    let Ok(listing) = rustix::fs::Dir::read_from(dir) else { return false };
    listing.flatten().all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."))
}

fn inode(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

fn failed(operation: &str, path: &RootPath, errno: Errno) -> Error {
    Error::io(format!("{operation} {}", path.display()), errno)
}

fn owner_failed(path: &RootPath, (uid, gid): (u32, u32), errno: Errno) -> Error {
    let what = format!("set owner of {} to {uid}:{gid}", path.display());
    match errno {
        Errno::INVAL | Errno::OVERFLOW => Error::new(Kind::Identity, what).with_source(errno),
        _ => Error::io(what, errno),
    }
}
