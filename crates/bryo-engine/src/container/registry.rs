// SPDX-License-Identifier: Apache-2.0
//! Finding, making and holding containers.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bryo_image::store::Image;
use bryo_sys::lock;

use super::names::{self, Names};
use super::{Id, ProcessId, Record, Status};
use crate::error::{Error, Kind, Result};
use crate::options::RunOptions;

/// The file in which a container is written down; a directory without one is none.
const RECORD: &str = "container.json";

/// The file that its supervisor has locked.
const LOCK: &str = "lock";

/// The directories that hold containers and their names.
#[derive(Debug, Clone)]
pub struct Containers {
    containers: PathBuf,
    names: Names,
}

/// A container that this process supervises. While the value lives, everybody else sees the container as alive.
#[derive(Debug)]
pub struct Held {
    id: Id,
    dir: PathBuf,
    names: Names,
    /// The name as it was when this was made.
    name: String,
    lock: File,
}

impl Containers {
    /// Uses the directories below the root of the data; they are made when the first container is.
    pub fn new(data: &Path) -> Self {
        let containers = data.join("containers");
        Self { names: Names::new(data.join("names"), containers.clone()), containers }
    }

    /// Makes the directory of a new container, takes its name, and holds it.
    ///
    /// # Errors
    ///
    /// [`Kind::NameInUse`], [`Kind::InvalidOption`] for a name that is none, [`Kind::NoSpace`], [`Kind::Io`].
    pub fn create(&self, id: &Id, name: &str) -> Result<Held> {
        names::check(name)?;
        let dir = self.containers.join(id.as_str());
        match private_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                private_dir_all(&self.containers).map_err(|e| Error::io("cannot make", &self.containers, e))?;
                private_dir(&dir).map_err(|e| Error::io("cannot make", &dir, e))?;
            }
            other => other.map_err(|e| Error::io("cannot make", &dir, e))?,
        }
        let lock = match lock_file(&dir, true) {
            Ok(lock) => lock,
            Err(e) => {
                let _ = std::fs::remove_dir_all(&dir);
                return Err(e);
            }
        };
        let held = self.held(id.clone(), name.to_owned(), lock);
        match self.names.take(name, id) {
            Ok(()) => Ok(held),
            Err(e) => {
                held.discard();
                Err(e)
            }
        }
    }

    /// Returns the name that a container has now, if it has one; `thought` is the one that it had.
    pub(crate) fn name_of(&self, id: &Id, thought: &str) -> Option<String> {
        self.names.of(id, thought)
    }

    /// Gives a container another name, whether it runs or not. Its networks are not told: [`crate::Engine::rename`].
    ///
    /// # Errors
    ///
    /// [`Kind::NameInUse`], [`Kind::InvalidOption`] for a name that is none, [`Kind::NoSuchContainer`] when it is gone,
    /// [`Kind::Io`].
    pub fn rename(&self, id: &Id, name: &str) -> Result<()> {
        names::check(name)?;
        self.names.rename(id, name)
    }

    /// Reads all records, newest first. What cannot be read is passed over: it is being made or being removed.
    pub fn all(&self) -> Vec<Record> {
        let Ok(entries) = std::fs::read_dir(&self.containers) else { return Vec::new() };
        let ids = entries.filter_map(|e| Id::parse(&e.ok()?.file_name().to_string_lossy()));
        let mut records: Vec<Record> = ids.filter_map(|id| self.read(&id).ok()).collect();
        records.sort_by(|a, b| b.created.cmp(&a.created));
        records
    }

    /// Finds a container by name, id, or an id's unique beginning.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchContainer`], or [`Kind::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<Record> {
        let none = || Error::new(Kind::NoSuchContainer, format!("no such container: {}", name.escape_debug()));
        if names::check(name).is_err() {
            return Err(none());
        }
        if let Some(record) = self.names.holder(name).and_then(|id| self.read(&id).ok()) {
            return Ok(record);
        }
        let entries = std::fs::read_dir(&self.containers).map_err(|_| none())?;
        let ids = entries.filter_map(|e| Id::parse(&e.ok()?.file_name().to_string_lossy()));
        let mut found = ids.filter(|id| id.as_str().starts_with(name));
        match (found.next(), found.next()) {
            (Some(id), None) => self.read(&id).map_err(|_| none()),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Ambiguous, format!("more than one container's id begins with {name}")))
            }
            (None, _) => Err(none()),
        }
    }

    /// Reads one record, with the state that the kernel knows and the name that it has now.
    fn read(&self, id: &Id) -> Result<Record> {
        let lives = |record: &Record| record.state.process.as_ref().and_then(ProcessId::open).is_some();
        let alone = |record: &Record| record.state.is_active() && !self.is_held(id) && !lives(record);
        let mut record = self.read_files(id)?;
        if alone(&record) {
            // Its supervisor may have written the end down after this was read, and before it gave the lock back.
            record = self.read_files(id)?;
        }
        if alone(&record) {
            // It was killed, and the container with it.
            record.state.status = "exited".into();
            record.state.pid = 0;
            record.state.process = None;
            record.state.exit_code.get_or_insert(137);
            record.state.unreachable();
        }
        if record.state.status == "running" && record.is_frozen() {
            record.state.status = "paused".into();
        }
        if let Some(name) = self.names.of(id, &record.name) {
            record.name = name;
        }
        Ok(record)
    }

    /// Reads what is written down about a container.
    fn read_files(&self, id: &Id) -> Result<Record> {
        let path = self.containers.join(id.as_str()).join(RECORD);
        let bytes = std::fs::read(&path).map_err(|e| Error::io("cannot read", &path, e))?;
        let mut record: Record = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(Kind::Corrupt, format!("{}: {e}", path.display())))?;
        let state = std::fs::read(self.containers.join(id.as_str()).join("state.json"));
        if let Some(state) = state.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            record.state = state;
        }
        Ok(record)
    }

    /// Reads what was asked for of a container, as it is written down now.
    pub(crate) fn options(&self, id: &Id) -> Result<RunOptions> {
        Ok(self.read_files(id)?.options)
    }

    /// Changes what is written down about a container. Nobody else may change it meanwhile.
    pub(crate) fn rewrite(&self, id: &Id, change: impl FnOnce(&mut Record)) -> Result<()> {
        let dir = self.dir(id);
        let mut record = self.read_files(id)?;
        change(&mut record);
        write_file(&dir, RECORD, &record)
    }

    /// Reads the image that a container is made from; a root that is no image has none.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`], [`Kind::Io`].
    pub fn image(&self, id: &Id) -> Result<Option<Image>> {
        let path = self.dir(id).join("image.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| Error::new(Kind::Corrupt, format!("{}: {e}", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("cannot read", &path, e)),
        }
    }

    /// Returns the directory of a container on the host.
    pub fn dir(&self, id: &Id) -> PathBuf {
        self.containers.join(id.as_str())
    }

    /// Tells whether a process supervises a container.
    pub fn is_held(&self, id: &Id) -> bool {
        let path = self.containers.join(id.as_str()).join(LOCK);
        File::open(path).is_ok_and(|file| lock::is_taken(file).unwrap_or(false))
    }

    /// Tells whether a process supervises a container, made already or in the making, whose id begins with this.
    pub fn is_any_held(&self, beginning: &str) -> bool {
        let entries = std::fs::read_dir(&self.containers).into_iter().flatten();
        let mut ids = entries.filter_map(|e| Id::parse(&e.ok()?.file_name().to_string_lossy()));
        ids.any(|id| id.as_str().starts_with(beginning) && self.is_held(&id))
    }

    /// Takes hold of a container that does not run, to start or to remove it.
    ///
    /// # Errors
    ///
    /// [`Kind::Running`] when somebody supervises it, or when its payload has outlived who did;
    /// [`Kind::NoSuchContainer`] when it is gone.
    pub fn hold(&self, record: &Record) -> Result<Held> {
        let lock = match lock_file(&self.containers.join(record.id.as_str()), false) {
            Err(e) if e.kind() == Kind::Running => return Err(running(&record.name)),
            other => other?,
        };
        let held = self.held(record.id.clone(), record.name.clone(), lock);
        let now = self.read(&record.id);
        if now.is_ok_and(|now| now.state.process.as_ref().and_then(ProcessId::open).is_some()) {
            return Err(running(&record.name));
        }
        Ok(held)
    }

    /// Returns the ids of directories that nobody supervises and that are of no use: without a record, or of a
    /// container that was to go away when it ended.
    pub fn abandoned(&self) -> Vec<Id> {
        let Ok(entries) = std::fs::read_dir(&self.containers) else { return Vec::new() };
        let ids = entries.filter_map(|e| Id::parse(&e.ok()?.file_name().to_string_lossy()));
        ids.filter(|id| !self.is_held(id) && self.read(id).map_or(true, |record| self.is_over(&record))).collect()
    }

    /// Tells whether a container that nobody supervises was to go away when it ended: it has been started, and is not
    /// about to be started again.
    pub fn is_over(&self, record: &Record) -> bool {
        record.auto_remove && record.state.status != "created" && !self.is_kept(&record.id)
    }

    /// Tells whether a container was to go away when it ended, has ended, and is there all the same.
    pub fn is_leftover(&self, record: &Record) -> bool {
        record.auto_remove && record.state.status == "exited" && !self.is_held(&record.id)
    }

    /// Takes hold of an abandoned directory; `None` when somebody has taken or removed it meanwhile.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`] when it cannot be locked.
    pub fn hold_abandoned(&self, id: &Id) -> Result<Option<Held>> {
        let dir = self.containers.join(id.as_str());
        let name = self.read(id).map(|r| r.name).unwrap_or_default();
        match lock_file(&dir, true) {
            Ok(lock) => Ok(Some(self.held(id.clone(), name, lock))),
            Err(e) if e.kind() == Kind::Running || !dir.exists() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Returns the container that a name leads to, whether it is one or what is left of one.
    pub(crate) fn holder(&self, name: &str) -> Option<Id> {
        self.names.holder(name)
    }

    /// Removes names whose container is gone.
    pub fn sweep_names(&self) {
        self.names.sweep();
    }

    fn held(&self, id: Id, name: String, lock: File) -> Held {
        Held { dir: self.containers.join(id.as_str()), id, names: self.names.clone(), name, lock }
    }
}

impl Held {
    /// Returns the container's directory on the host.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory in which the container's own layer is kept: open to the ids of the container, below a
    /// directory that only the caller can enter.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSpace`], [`Kind::Io`].
    pub fn layer(&self) -> Result<PathBuf> {
        let path = self.dir.join("layer");
        let made = match DirBuilder::new().mode(0o777).create(&path) {
            // What an earlier run has written.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(path),
            made => made,
        };
        // The mode of mkdir is cut by the umask.
        made.and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)))
            .map_err(|e| Error::io("cannot make", &path, e))?;
        Ok(path)
    }

    /// Writes the record, state included.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSpace`], [`Kind::Io`].
    pub fn write(&self, record: &Record) -> Result<()> {
        // Where it is newer than the record, the state has a file of its own, which must not be left behind.
        if self.dir.join("state.json").exists() {
            self.write_state(&record.state)?;
        }
        write_file(&self.dir, RECORD, record)
    }

    /// Writes the state alone.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSpace`], [`Kind::Io`].
    pub fn write_state(&self, state: &Status) -> Result<()> {
        write_file(&self.dir, "state.json", state)
    }

    /// Writes the image that the container is made from, so that it can be started when the image is gone.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSpace`], [`Kind::Io`].
    pub fn write_image(&self, image: &Image) -> Result<()> {
        write_file(&self.dir, "image.json", image)
    }

    /// Removes the directory and the name. The layer must be gone, or empty but for the launcher's own directories.
    pub fn discard(self) {
        /// How often somebody may put something into the directory while it is being removed.
        const TRIES: u32 = 16;
        // First what makes it a container: without the lock, which goes with the rest, it would look as if it had been
        // killed. The name last: it is nobody's only when the directory is gone.
        let _ = std::fs::remove_file(self.dir.join(RECORD));
        for _ in 0..TRIES {
            match std::fs::remove_dir_all(&self.dir) {
                Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => (),
                _ => break,
            }
        }
        self.names.release(&self.id, &self.name);
        drop(self.lock);
    }
}

/// Writes a file of a container, whole or not at all.
fn write_file(dir: &Path, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let (path, temporary) = (dir.join(name), dir.join(format!(".{name}")));
    let bytes = serde_json::to_vec(value)
        .map_err(|e| Error::new(Kind::Corrupt, format!("cannot write down the container: {e}")))?;
    std::fs::write(&temporary, bytes).map_err(|e| Error::io("cannot write", &temporary, e))?;
    std::fs::rename(&temporary, &path).map_err(|e| Error::io("cannot write", &path, e))
}

/// Locks a directory. A lock file that is gone by the time it is locked was removed with its directory; where there may
/// be none yet it is made.
fn lock_file(dir: &Path, make: bool) -> Result<File> {
    let path = dir.join(LOCK);
    let none = || Error::new(Kind::NoSuchContainer, "no such container: it was removed");
    let file = match OpenOptions::new().write(true).create(make).truncate(false).mode(0o600).open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(none()),
        other => other.map_err(|e| Error::io("cannot open", &path, e))?,
    };
    if !lock::take(&file)? {
        return Err(running("it"));
    }
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (file.metadata(), std::fs::metadata(&path)) {
        (Ok(own), Ok(there)) if same(&own, &there) => Ok(file),
        _ => Err(none()),
    }
}

fn running(name: &str) -> Error {
    Error::new(Kind::Running, format!("container {name} is running"))
}

fn private_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn private_dir_all(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}
