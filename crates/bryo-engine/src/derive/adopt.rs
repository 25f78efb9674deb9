// SPDX-License-Identifier: Apache-2.0
//! Giving state to the user that replaces root.
//!
//! Changes hands: directories, symbolic links, and files with data, below the places named. Never changes hands: what
//! can be executed (who owns a program decides what it does), what has a second name somewhere else, devices, sockets
//! and pipes, what package managers keep. A file has to be copied for that, so there is a limit; a service's own files,
//! such as the journal of a fresh database, have a higher one than root's.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bryo_sys::{Errno, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::layer::{Attributes, Layer};
use super::places::Kept;
use super::services::{self, Services};
use super::tree::{Tree, kind};

/// The largest file of root that changes hands, in bytes.
const ROOT_FILE_MAX: u64 = 1 << 20;

/// The largest file of a service that changes hands, in bytes.
const SERVICE_FILE_MAX: u64 = 64 << 20;

/// How many bytes are copied for one image at most.
const TOTAL_MAX: u64 = 256 << 20;

/// How many entries are looked at for one image at most.
const ENTRIES_MAX: u32 = 250_000;

/// How deep a tree is gone into; deeper levels keep their owner.
const DEPTH_MAX: u32 = 64;

/// Secrets of `/etc`, which no service account owns in an honest image.
const SECRETS: [&str; 13] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/group",
    "/etc/group-",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/pam.d",
];

/// Which entries change hands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule<'a> {
    /// All of them.
    All,
    /// All of them, but root's of what is kept; directories that hold such are shared.
    AllBut(&'a Kept),
    /// Those that are not root's.
    Others,
    /// Those that are root's.
    Roots,
    /// Those that belong to a service; of root's those that a group of these may use and others may not, which change
    /// their group alone.
    OfServices(&'a Services),
}

/// What gives things to a user.
#[derive(Debug)]
pub(super) struct Adoption<'a> {
    tree: &'a Tree,
    layer: &'a mut Layer,
    to: (u32, u32),
    protected: BTreeSet<PathBuf>,
    bytes: u64,
    entries: u32,
    owners: BTreeSet<u32>,
}

impl<'a> Adoption<'a> {
    /// Prepares to give things to a user and a group inside, but nothing at or below the real paths given.
    pub fn new(tree: &'a Tree, layer: &'a mut Layer, to: (u32, u32), mut protected: BTreeSet<PathBuf>) -> Self {
        protected.extend(SECRETS.iter().filter_map(|path| Some(tree.real(Path::new(path)).ok()?.path)));
        Self { tree, layer, to, protected, bytes: 0, entries: 0, owners: BTreeSet::new() }
    }

    /// Gives a directory, by its real path, and what is in it.
    ///
    /// # Errors
    ///
    /// When the layer cannot be written. What cannot be read keeps its owner.
    pub fn directory(&mut self, path: &Path, rule: Rule<'_>) -> Result<()> {
        match self.tree.look(path) {
            Ok(Some((_, stat))) if kind(&stat) == FileType::Directory => self.entry(path, &stat, rule, 0),
            Ok(_) => Ok(()),
            Err(e) => passable(e),
        }
    }

    /// Leaves what is at or below these real paths alone from now on.
    pub fn protect(&mut self, paths: Vec<PathBuf>) {
        self.protected.extend(paths);
    }

    /// Returns the accounts, other than root, that owned a state directory.
    pub fn into_owners(self) -> BTreeSet<u32> {
        self.owners
    }

    fn entry(&mut self, path: &Path, stat: &Stat, rule: Rule<'_>, depth: u32) -> Result<()> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX || self.protected.contains(path) {
            return Ok(());
        }
        let (uid, gid) = self.tree.owner(stat);
        let rule = match rule {
            Rule::AllBut(kept) if kept.paths.contains(path) => Rule::Others,
            rule => rule,
        };
        let (applies, to) = match rule {
            Rule::OfServices(services) if uid == 0 => (services.gids.contains(&gid) && is_for_group(stat), 0),
            Rule::OfServices(services) => (services.owns(uid), self.to.0),
            Rule::Others => (uid != 0, self.to.0),
            Rule::Roots => (uid == 0, self.to.0),
            Rule::All | Rule::AllBut(_) => (true, self.to.0),
        };
        let mut attributes = Attributes { uid: to, gid: self.to.1, mode: stat.st_mode & 0o7777 };
        match kind(stat) {
            FileType::Directory => {
                // Everybody can write to such a one of root already, and its owner could take away what others put
                // there. One of a service is the service's own, and it may insist on that.
                let common = uid == 0 && stat.st_mode & 0o1002 == 0o1002;
                if matches!(rule, Rule::AllBut(kept) if uid == 0 && kept.above.contains(path)) {
                    attributes = Attributes { uid: 0, mode: attributes.mode | 0o1070, ..attributes };
                }
                if applies && !common {
                    self.layer.directory(self.tree, path, attributes)?;
                }
                if services::IDS.contains(&uid) && matches!(rule, Rule::All | Rule::AllBut(_) | Rule::Others) {
                    self.owners.insert(uid);
                }
                self.below(path, rule, depth + 1)
            }
            // The owners of a foreign tree are not known; its files stay what they are.
            _ if !applies || self.tree.foreign => Ok(()),
            FileType::RegularFile if self.is_data(stat, uid) => self.file(path, stat, attributes),
            FileType::Symlink => match self.tree.look(path) {
                Ok(Some((link, _))) => {
                    let target = self.tree.target(&link)?;
                    self.layer.link(self.tree, path, &target, attributes)
                }
                Ok(None) => Ok(()),
                Err(e) => passable(e),
            },
            _ => Ok(()),
        }
    }

    fn below(&mut self, path: &Path, rule: Rule<'_>, depth: u32) -> Result<()> {
        if depth > DEPTH_MAX {
            return Ok(());
        }
        let dir = match self.tree.list(path) {
            Ok(dir) => dir,
            Err(e) => return passable(e),
        };
        let Ok(entries) = Dir::read_from(&dir) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // What cannot be looked at keeps its owner.
            if let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                self.entry(&path.join(std::ffi::OsStr::from_bytes(name.to_bytes())), &stat, rule, depth)?;
            }
        }
        Ok(())
    }

    fn is_data(&self, stat: &Stat, uid: u32) -> bool {
        let size = size(stat);
        let limit = if uid == 0 { ROOT_FILE_MAX } else { SERVICE_FILE_MAX };
        stat.st_mode & 0o6111 == 0 && stat.st_nlink == 1 && size <= limit && self.bytes + size <= TOTAL_MAX
    }

    fn file(&mut self, path: &Path, stat: &Stat, attributes: Attributes) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut from: std::fs::File = match self.tree.open(path, flags, Mode::empty()) {
            Ok(fd) => fd.into(),
            Err(e) => return passable(e),
        };
        let mut to = self.layer.file(self.tree, path, attributes)?;
        self.bytes += size(stat);
        std::io::copy(&mut from, &mut to).map_err(|e| {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            bryo_sys::Error::new("write", path.display().to_string(), errno)
        })?;
        self.layer.times(&to, stat)
    }
}

/// Tells whether the group may do what others may not.
fn is_for_group(stat: &Stat) -> bool {
    (stat.st_mode >> 3) & !stat.st_mode & 0o7 != 0
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What may not be read, or is named too deep to be named, stays as it is.
fn passable(e: bryo_sys::Error) -> Result<()> {
    match e.errno() {
        Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG | Errno::NOENT | Errno::LOOP | Errno::NOTDIR => Ok(()),
        _ => Err(e),
    }
}
