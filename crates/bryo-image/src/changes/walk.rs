// SPDX-License-Identifier: Apache-2.0
//! The comparison of a container's own layer with those below it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::merged::{again, enter, failed, hides, is_whiteout, kind, list, look, names};
use super::{Change, ChangeKind, Detail, File as Told, Inodes, Layers, places};
use crate::error::{Error, Kind, Result};
use crate::record;
use crate::unpack::{DEPTH_MAX, attributes, open_directory, stat};

/// How many names a layer may have that is compared.
pub(super) const NAMES_MAX: u64 = 20_000_000;

pub(super) fn walk(layers: &Layers) -> Result<Vec<Detail>> {
    let places = places(layers)?;
    let (path, opaque) = (PathBuf::from("/"), &layers.opaque);
    let mut walk = Walk { opaque, places, path, depth: 0, names: 0, changes: Vec::new() };
    let lowers = layers.lowers.iter().map(again).collect::<Result<Vec<_>>>()?;
    walk.directory(&again(&layers.own)?, &lowers, false)?;
    Ok(walk.changes)
}

struct Walk<'a> {
    opaque: &'a Inodes,
    /// Where mounts are.
    places: BTreeSet<PathBuf>,
    path: PathBuf,
    depth: usize,
    /// How many names were looked at.
    names: u64,
    changes: Vec<Detail>,
}

/// What a directory holds, as far as that concerns the one above it.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Names have come or gone, here or further down.
    moved: bool,
    /// Something was made for a mount and is passed over.
    for_mounts: bool,
}

impl Walk<'_> {
    /// Compares the content of a directory with that of those below it, which an opaque directory above may have hidden.
    fn directory(&mut self, own: &OwnedFd, lowers: &[OwnedFd], hidden: bool) -> Result<Seen> {
        if self.depth > DEPTH_MAX {
            return Err(Error::new(Kind::Limit, "compare: directories too deep"));
        }
        let mut all = list(own)?;
        // The kernel marks the topmost one only: nothing of lower layers is in it, and so nothing of them further down.
        let hidden = hidden || hides(own, self.opaque);
        if hidden {
            // What is not there any more is not named either.
            all.extend(names(lowers)?);
        }
        self.names = self.names.saturating_add(all.len() as u64);
        if self.names > NAMES_MAX {
            return Err(Error::new(Kind::Limit, format!("compare: there are more than {NAMES_MAX} names")));
        }
        let mut seen = Seen::default();
        for name in all {
            self.path.push(OsStr::from_bytes(&name));
            self.depth += 1;
            let one = self.name(own, &name, lowers, hidden)?;
            self.depth -= 1;
            self.path.pop();
            seen.moved |= one.moved;
            seen.for_mounts |= one.for_mounts;
        }
        Ok(seen)
    }

    fn name(&mut self, own: &OwnedFd, name: &[u8], lowers: &[OwnedFd], hidden: bool) -> Result<Seen> {
        let below = look(lowers, name)?;
        let found = match stat(own.as_fd(), name) {
            Ok(found) => Some(found),
            // Where lower layers are hidden it is gone; elsewhere it went a moment ago.
            Err(Errno::NOENT) if hidden => None,
            Err(Errno::NOENT) => return Ok(Seen::default()),
            Err(error) => return Err(failed("look at", name, error)),
        };
        let Some(found) = found.filter(|found| !is_whiteout(found)) else {
            if let Some(below) = &below {
                self.note(ChangeKind::Deleted, None, Some(&below.stat));
            }
            return Ok(Seen { moved: below.is_some(), for_mounts: false });
        };
        // What lower layers have at an opaque directory's names counts as what was there before.
        match (kind(&found) == FileType::Directory, below) {
            (true, Some(below)) if kind(&below.stat) == FileType::Directory => {
                let lowers = enter(lowers, name, below.at, self.opaque)?;
                self.same_directory(own, name, (&found, &below.stat), (&lowers, hidden))
            }
            (true, below) => self.new_directory(own, name, &found, below.as_ref().map(|below| &below.stat)),
            (false, None) => Ok(self.new_file(&found)),
            (false, Some(below)) => {
                if self.differs(own, &lowers[below.at], name, &found, &below.stat)? {
                    self.note(ChangeKind::Changed, Some(&found), Some(&below.stat));
                }
                Ok(Seen::default())
            }
        }
    }

    /// A directory that was there before.
    fn same_directory(
        &mut self,
        own: &OwnedFd,
        name: &[u8],
        (now, before): (&Stat, &Stat),
        (lowers, hidden): (&[OwnedFd], bool),
    ) -> Result<Seen> {
        let place = self.changes.len();
        let Some(dir) = opened(own, name)? else { return Ok(Seen::default()) };
        let seen = self.directory(&dir, lowers, hidden)?;
        let recorded = |dir: &OwnedFd| record::read(dir.as_fd());
        let same_record = lowers.first().is_none_or(|below| recorded(&dir) == recorded(below));
        let same = same_record && same_owner(now, before) && (same_time(now, before) || seen.for_mounts);
        if seen.moved || !same {
            self.note_at(place, ChangeKind::Changed, Some(now), Some(before));
        }
        Ok(Seen { for_mounts: false, ..seen })
    }

    /// A directory that was not there, or was something else.
    fn new_directory(&mut self, own: &OwnedFd, name: &[u8], now: &Stat, before: Option<&Stat>) -> Result<Seen> {
        let place = self.changes.len();
        let Some(dir) = opened(own, name)? else { return Ok(Seen::default()) };
        let seen = self.directory(&dir, &[], true)?;
        let empty = self.changes.len() == place;
        if empty && before.is_none() && (seen.for_mounts || self.places.contains(&self.path)) {
            return Ok(Seen { moved: false, for_mounts: true });
        }
        let kind = if before.is_some() { ChangeKind::Changed } else { ChangeKind::Added };
        self.note_at(place, kind, Some(now), before);
        Ok(Seen { moved: true, for_mounts: false })
    }

    fn new_file(&mut self, found: &Stat) -> Seen {
        let regular = kind(found) == FileType::RegularFile;
        if regular && found.st_size == 0 && self.places.contains(&self.path) {
            return Seen { moved: false, for_mounts: true };
        }
        self.note(ChangeKind::Added, Some(found), None);
        Seen { moved: true, for_mounts: false }
    }

    /// Tells whether a file is another than it was: by what is written down about it, and where all of that is the same
    /// by what is in it.
    fn differs(&self, own: &OwnedFd, below: &OwnedFd, name: &[u8], now: &Stat, before: &Stat) -> Result<bool> {
        let link = |dir: &OwnedFd| rustix::fs::readlinkat(dir, name, Vec::new());
        if kind(now) != kind(before) || !same_owner(now, before) {
            return Ok(true);
        }
        match kind(now) {
            FileType::Symlink => {
                let before = link(below).map_err(|e| failed("read", name, e))?;
                match link(own) {
                    // It went, or became something else.
                    Err(Errno::NOENT | Errno::INVAL) => Ok(true),
                    now => Ok(now.map_err(|e| failed("read", name, e))? != before),
                }
            }
            FileType::RegularFile if now.st_size == before.st_size && same_time(now, before) => {
                let (Some(now), Some(before)) = (file(own, name)?, file(below, name)?) else { return Ok(true) };
                let read = |file: &File| attributes(file.as_fd()).map_err(|e| failed("read attributes of", name, e));
                Ok(read(&now)? != read(&before)?
                    || !same_content(now, before)
                        .map_err(|e| Error::io(format!("compare {}", self.path.display()), e))?)
            }
            FileType::RegularFile => Ok(true),
            _ => Ok(!same_time(now, before)),
        }
    }

    fn note(&mut self, kind: ChangeKind, now: Option<&Stat>, before: Option<&Stat>) {
        self.note_at(self.changes.len(), kind, now, before);
    }

    /// Notes a change before those that are in it.
    fn note_at(&mut self, place: usize, kind: ChangeKind, now: Option<&Stat>, before: Option<&Stat>) {
        let change = Change { kind, path: self.path.clone() };
        self.changes.insert(place, Detail { change, now: now.map(Told::of), before: before.map(Told::of) });
    }
}

fn opened(own: &OwnedFd, name: &[u8]) -> Result<Option<OwnedFd>> {
    match open_directory(own.as_fd(), name) {
        // A container that runs goes on meanwhile.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        other => other.map(Some).map_err(|error| failed("open", name, error)),
    }
}

/// Opens a regular file; nothing for what is none any more.
pub(super) fn file(dir: &OwnedFd, name: &[u8]) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        other => other.map_err(|error| failed("open", name, error))?,
    };
    let found = rustix::fs::fstat(&opened).map_err(|error| failed("look at", name, error))?;
    Ok((kind(&found) == FileType::RegularFile).then(|| File::from(opened)))
}

fn same_content(mut a: File, mut b: File) -> std::io::Result<bool> {
    const PIECE: u64 = 256 << 10;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        a.by_ref().take(PIECE).read_to_end(&mut one)?;
        b.by_ref().take(PIECE).read_to_end(&mut other)?;
        if one != other || one.is_empty() {
            return Ok(one == other);
        }
    }
}

fn same_owner(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) == (b.st_mode, b.st_uid, b.st_gid, b.st_rdev)
}

fn same_time(a: &Stat, b: &Stat) -> bool {
    (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}
