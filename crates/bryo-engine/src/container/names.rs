// SPDX-License-Identifier: Apache-2.0
//! Names of containers: a directory of small files, each called by a name and holding an id.
//!
//! No lock is taken to give a name, and yet a name has one holder, and no holder loses it:
//!
//! * A file is whole before it has a name: it is written in the container's directory, and `link(2)` gives it a name or
//!   finds it taken.
//! * Whoever takes a name away, to remove it or to give another instead, has locked (`flock(2)`) the file that the name
//!   leads to, and has seen after that that it still does. A name is given only where there is none and taken away only
//!   by whoever has the lock, so that what was seen holds until the lock is given back.
//! * A name whose container has no directory is nobody's, and everybody may take it away. The directory is there before
//!   the name is given, and is removed before the name is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use super::Id;
use crate::error::{Error, Kind, Result};

/// The longest name.
const MAX_NAME: usize = 128;

/// The file in a container's directory that is given names.
const FILE: &str = "name";

/// The names of the containers in a directory.
#[derive(Debug, Clone)]
pub(super) struct Names {
    dir: PathBuf,
    containers: PathBuf,
}

/// A name that nobody else can take away.
struct Locked {
    path: PathBuf,
    id: Option<Id>,
    _file: File,
}

impl Names {
    /// Uses two directories; that of the names is made when the first is given.
    pub fn new(dir: PathBuf, containers: PathBuf) -> Self {
        Self { dir, containers }
    }

    /// Gives a name to a container that has a directory and no name.
    ///
    /// # Errors
    ///
    /// [`Kind::NameInUse`], [`Kind::NoSpace`], [`Kind::Io`].
    pub fn take(&self, name: &str, id: &Id) -> Result<()> {
        let file = self.containers.join(id.as_str()).join(FILE);
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file);
        let written = written.and_then(|mut f| f.write_all(id.as_str().as_bytes()));
        written.map_err(|e| Error::io("cannot write", &file, e))?;
        let path = self.dir.join(name);
        loop {
            match self.link(&file, &path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => self.vacate(name)?,
                other => return other.map_err(|e| Error::io("cannot make", &path, e)),
            }
        }
    }

    fn link(&self, file: &Path, path: &Path) -> std::io::Result<()> {
        match std::fs::hard_link(file, path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).recursive(true).create(&self.dir)?;
                std::fs::hard_link(file, path)
            }
            other => other,
        }
    }

    /// Returns the container that a name leads to, whether it is still there or not.
    pub fn holder(&self, name: &str) -> Option<Id> {
        Id::parse(&std::fs::read_to_string(self.dir.join(name)).ok()?)
    }

    /// Returns the name of a container: the one it is thought to have, if it has it, else the one it was given since.
    pub fn of(&self, id: &Id, thought: &str) -> Option<String> {
        let leads_here = |name: &str| check(name).is_ok() && self.holder(name).as_ref() == Some(id);
        if leads_here(thought) {
            return Some(thought.to_owned());
        }
        self.every().find(|name| leads_here(name))
    }

    /// Gives a container another name instead of its own, in one step.
    ///
    /// # Errors
    ///
    /// [`Kind::NameInUse`], [`Kind::NoSuchContainer`] when the container is gone, [`Kind::Io`].
    pub fn rename(&self, id: &Id, to: &str) -> Result<()> {
        let gone = || Error::new(Kind::NoSuchContainer, format!("no such container: {}", id.short()));
        loop {
            let from = self.of(id, to).ok_or_else(gone)?;
            if from == to {
                return Ok(());
            }
            let Some(own) = self.lock(&from)?.filter(|own| own.id.as_ref() == Some(id)) else { continue };
            if !self.is_there(id) {
                return Err(gone());
            }
            let path = self.dir.join(to);
            match rustix::fs::renameat_with(CWD, &own.path, CWD, &path, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::EXIST) => (),
                Err(e) => return Err(Error::io("cannot make", &path, e.into())),
            }
            // Two that want each other's name must not wait for each other.
            drop(own);
            self.vacate(to)?;
        }
    }

    /// Takes the name of a container away, whose directory is gone.
    pub fn release(&self, id: &Id, thought: &str) {
        while let Some(name) = self.of(id, thought) {
            match self.lock(&name) {
                // It was given another a moment ago, before the directory went.
                Ok(own) if own.as_ref().is_none_or(|own| own.id.as_ref() != Some(id)) => (),
                // What cannot be removed now is left to the next sweep.
                own => return drop(own.map(|own| own.map(Locked::remove))),
            }
        }
    }

    /// Takes away all names whose container is gone.
    pub fn sweep(&self) {
        for name in self.every() {
            if self.holder(&name).is_none_or(|id| !self.is_there(&id)) {
                // A name that is a container's by now stays, and one that cannot be looked at is in nobody's way.
                let _ = self.vacate(&name);
            }
        }
    }

    /// Sees to it that a name is nobody's.
    fn vacate(&self, name: &str) -> Result<()> {
        let Some(found) = self.lock(name)? else { return Ok(()) };
        if found.id.as_ref().is_some_and(|id| self.is_there(id)) {
            return Err(Error::new(Kind::NameInUse, format!("the name {name} is used by another container")));
        }
        found.remove()
    }

    /// Locks a name; `None` when it is nobody's.
    fn lock(&self, name: &str) -> Result<Option<Locked>> {
        let path = self.dir.join(name);
        let failed = |e| Error::io("cannot lock", &path, e);
        loop {
            let mut file = match File::open(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                other => other.map_err(failed)?,
            };
            let locked = rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive));
            locked.map_err(|e| failed(e.into()))?;
            // Whoever had the lock may have taken the name away.
            let (own, there) = (file.metadata().map_err(failed)?, std::fs::symlink_metadata(&path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
                let mut text = String::new();
                // What is no id is a file that a power failure has damaged, and no container's.
                let id = file.read_to_string(&mut text).ok().and_then(|_| Id::parse(&text));
                return Ok(Some(Locked { path, id, _file: file }));
            }
        }
    }

    /// Tells whether a container's directory exists; in doubt it does.
    fn is_there(&self, id: &Id) -> bool {
        let looked = std::fs::symlink_metadata(self.containers.join(id.as_str()));
        !looked.is_err_and(|e| e.kind() == ErrorKind::NotFound)
    }

    fn every(&self) -> impl Iterator<Item = String> {
        std::fs::read_dir(&self.dir).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok())
    }
}

impl Locked {
    fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io("cannot remove", &self.path, e))
    }
}

/// Refuses what is no name. Source: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(super) fn check(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= MAX_NAME {
        return Ok(());
    }
    let why = "a name begins with a letter or digit and goes on with letters, digits, '_', '.' and '-'";
    Err(Error::new(Kind::InvalidOption, format!("invalid container name {name:?}: {why}")))
}
