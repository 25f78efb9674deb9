// SPDX-License-Identifier: Apache-2.0
//! The parent's side of the unpacking process.
//!
//! Replies are received by whichever thread waits first, for all the others: no thread of its own, so that
//! a caller that was single-threaded stays so.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bryo_identity::Helpers;
use bryo_identity::map::IdMap;
use bryo_identity::userns::{Child, Request as UsernsRequest};
use bryo_sys::clone::Namespaces;
use rustix::fs::{FlockOperation, OFlags};

use super::child::{self, Confined};
use super::protocol::{self, Failure, Outcome, Reply, Request, Task};
use super::{LayerReport, UnpackJob};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::temporary::{self, Temporary};

/// A process that unpacks, counts, exports and removes trees as root of an id map. Dropping the last
/// handle ends it.
#[derive(Clone, Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    dir: PathBuf,
    key: String,
    state: Mutex<State>,
    changed: Condvar,
    child: Child,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    receiving: bool,
    dead: bool,
    replies: HashMap<u64, std::result::Result<Outcome, Failure>>,
}

/// A layer being unpacked. Dropped without [`wait`](Self::wait), its tree is collected later.
#[derive(Debug)]
pub struct UnpackHandle {
    shared: Arc<Shared>,
    id: u64,
    temporary: Temporary,
}

/// A complete tree whose diff id is right. It is removed unless it is committed.
#[derive(Debug)]
pub struct Unpacked {
    shared: Arc<Shared>,
    temporary: Option<Temporary>,
    report: LayerReport,
}

impl Worker {
    /// Makes the process, and clears what dead ones left in its directory.
    ///
    /// # Errors
    /// [`Kind::Identity`] if the user namespace or its map is refused, or the caller has threads.
    pub fn start(store: &Store, map: &IdMap, helpers: Option<&Helpers>) -> Result<Self> {
        let dir = store.create_layers_dir(map.ownership_key())?;
        let open = |path: &Path| {
            File::options()
                .read(true)
                .custom_flags(OFlags::DIRECTORY.union(OFlags::NOFOLLOW).bits().cast_signed())
                .open(path)
                .map_err(|error| Error::io(format!("open {}", path.display()), error))
        };
        let confined = Confined { layers: open(&dir)?, store: open(store.root())?, squash: map.is_single() };
        let (ours, theirs) = bryo_sys::fd::message_pair().map_err(identity)?;
        let request = UsernsRequest { map, helpers, namespaces: Namespaces::USER };
        let spawned = bryo_identity::userns::spawn(request, move |inside| child::main(&inside, &confined, &theirs));
        let worker = Self {
            shared: Arc::new(Shared {
                socket: ours,
                dir,
                key: map.ownership_key().to_owned(),
                state: Mutex::default(),
                changed: Condvar::new(),
                child: spawned.map_err(identity)?,
            }),
        };
        worker.shared.wait(0)?;
        worker.sweep()?;
        Ok(worker)
    }

    /// Returns the name of the directory below `layers/` that this worker owns.
    pub fn ownership_key(&self) -> &str {
        &self.shared.key
    }

    /// Returns the worker's process id on the host.
    pub fn process_id(&self) -> u32 {
        self.shared.child.pid().as_raw_nonzero().get().cast_unsigned()
    }

    /// Starts unpacking one layer from the read end of a pipe or from a file, at its current offset.
    ///
    /// If it fails early, the read end is closed: the writer sees `EPIPE`, and [`UnpackHandle::wait`] says why.
    ///
    /// # Errors
    /// [`Kind::NoSpace`], or [`Kind::Io`] if the worker is gone.
    pub fn unpack(&self, job: UnpackJob, input: OwnedFd) -> Result<UnpackHandle> {
        let temporary = self.shared.temporary()?;
        let task = Task::Unpack {
            dir: temporary.name().to_owned(),
            diff_id: job.diff_id,
            compression: job.compression,
            blob_size: job.blob_size,
            limits: job.limits,
        };
        let id = match self.shared.request(task, &[input.as_fd()]) {
            Ok(id) => id,
            Err(error) => {
                temporary.discard();
                return Err(error);
            }
        };
        Ok(UnpackHandle { shared: Arc::clone(&self.shared), id, temporary })
    }

    /// Removes a directory of the store that holds files of the map's ids, such as a container's upper directory.
    /// Directories of the caller inside it must be writable for the map's ids.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none, [`Kind::Io`] if something in it cannot be removed.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        self.shared.remove_tree(path)
    }

    /// Returns the bytes that unpacked layers take on disk, in the order of the names of their directories.
    pub fn usage(&self, layers: &[String]) -> Result<Vec<u64>> {
        let mut sizes = Vec::with_capacity(layers.len());
        for part in layers.chunks(256) {
            let id = self.shared.request(Task::Usage { layers: part.to_vec() }, &[])?;
            match self.shared.wait(id)? {
                Outcome::Usage(part) => sizes.extend(part),
                _ => return Err(unexpected()),
            }
        }
        Ok(sizes)
    }

    /// Writes the merged content of layers, given bottom to top, as a tar archive in a fixed order.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if one is not unpacked, [`Kind::Io`] if the output fails.
    pub fn export(&self, layers: &[Digest], output: OwnedFd) -> Result<()> {
        let id = self.shared.request(Task::Export { layers: layers.to_vec() }, &[output.as_fd()])?;
        drop(output);
        self.shared.wait(id).map(drop)
    }

    /// Takes an unpacked layer away. It disappears at once, its content right after.
    pub(crate) fn remove_layer(&self, name: &str) -> Result<()> {
        let temporary = self.shared.temporary()?;
        let from = self.shared.dir.join(name);
        // Renamed first, so that nobody finds a layer with half of its content.
        fs::rename(&from, temporary.path().join("layer"))
            .map_err(|error| Error::io(format!("rename {}", from.display()), error))?;
        let inner = self.shared.remove_tree(&temporary.path().join("layer"));
        temporary.discard();
        inner
    }

    /// Removes temporary trees whose makers are dead.
    pub(crate) fn sweep(&self) -> Result<u64> {
        let fail = |error| Error::io(format!("list {}", self.shared.dir.display()), error);
        let mut swept = 0;
        for entry in fs::read_dir(&self.shared.dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if entry.file_name().as_encoded_bytes().starts_with(temporary::PREFIX.as_bytes()) {
                swept += u64::from(self.sweep_one(&entry.path())?);
            }
        }
        Ok(swept)
    }

    fn sweep_one(&self, path: &Path) -> Result<bool> {
        let Ok(dir) = File::open(path) else {
            return Ok(false); // Its maker has just finished with it.
        };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        // A layer on its way out is one level down and was closed to other ids when it was committed.
        let leaving = path.join("layer");
        if leaving.exists() {
            self.shared.remove_tree(&leaving)?;
        }
        self.shared.remove_tree(path)?;
        Ok(true)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn temporary(&self) -> Result<Temporary> {
        let fail = |error| Error::io(format!("create a directory in {}", self.dir.display()), error);
        Temporary::create(&self.dir).map_err(fail)
    }

    fn request(&self, task: Task, fds: &[BorrowedFd<'_>]) -> Result<u64> {
        let id = {
            let mut state = self.state();
            state.last_id += 1;
            state.last_id
        };
        protocol::send(self.socket.as_fd(), &Request { id, task }, fds)?;
        Ok(id)
    }

    fn wait(&self, id: u64) -> Result<Outcome> {
        let mut state = self.state();
        loop {
            if let Some(outcome) = state.replies.remove(&id) {
                return outcome.map_err(Error::from);
            }
            if state.dead {
                return Err(Error::new(Kind::Io, "the unpacking process ended early"));
            }
            if state.receiving {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.receiving = true;
            drop(state);
            let received = protocol::receive::<Reply>(self.socket.as_fd());
            state = self.state();
            state.receiving = false;
            match received {
                Ok(Some((reply, _))) => drop(state.replies.insert(reply.id, reply.outcome)),
                Ok(None) | Err(_) => state.dead = true,
            }
            self.changed.notify_all();
        }
    }

    fn remove_tree(&self, path: &Path) -> Result<()> {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::NotFound, format!("remove {}", path.display())),
            _ => Error::io(format!("remove {}", path.display()), error),
        };
        let meta = fs::symlink_metadata(path).map_err(fail)?;
        if meta.uid() == rustix::process::geteuid().as_raw() {
            // The worker is another user for this directory: only its mode lets it remove what is inside.
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(fail)?;
        }
        let dir = File::options()
            .read(true)
            .custom_flags((OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
            .open(path)
            .map_err(fail)?;
        let mut tries = 0;
        loop {
            let id = self.request(Task::Remove, &[dir.as_fd()])?;
            self.wait(id).map_err(|error| error.within(format!("remove {}", path.display())))?;
            match fs::remove_dir(path) {
                // A worker whose parent was just killed may have a last write to make.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < 50 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return result.map_err(fail),
            }
        }
    }
}

impl UnpackHandle {
    /// Waits for the end.
    ///
    /// # Errors
    /// [`Kind::DigestMismatch`] if the diff id is another one, and all that can be wrong with an archive. Nothing
    /// is left of it.
    pub fn wait(self) -> Result<Unpacked> {
        let Self { shared, id, temporary } = self;
        match shared.wait(id) {
            Ok(Outcome::Unpacked(report)) => Ok(Unpacked { shared, temporary: Some(temporary), report }),
            Ok(_) => {
                temporary.discard();
                Err(unexpected())
            }
            Err(error) => {
                temporary.discard();
                Err(error)
            }
        }
    }
}

impl Unpacked {
    /// Returns what the layer was.
    pub fn report(&self) -> &LayerReport {
        &self.report
    }

    /// Puts the tree in its place. Call it only when the blob's digest was verified as well.
    ///
    /// # Errors
    /// [`Kind::Io`] if it cannot be renamed.
    pub fn commit(mut self) -> Result<LayerReport> {
        let Some(temporary) = self.temporary.take() else {
            return Err(unexpected());
        };
        let target = self.shared.dir.join(self.report.diff_id.hex());
        let what = || format!("put layer {} in place", self.report.diff_id);
        if fs::symlink_metadata(&target).is_err() {
            temporary.close().map_err(|error| Error::io(what(), error))?;
            match fs::rename(temporary.path(), &target) {
                Ok(()) => return Ok(self.report.clone()),
                // Somebody else was faster: theirs is as good.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => {
                    self.temporary = Some(temporary);
                    return Err(Error::io(what(), error));
                }
            }
        }
        self.temporary = Some(temporary);
        Ok(self.report.clone())
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // What cannot be removed now is collected by the next worker.
            self.shared.remove_tree(temporary.path()).unwrap_or_default();
        }
    }
}

fn identity(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Identity, "start the unpacking process").with_source(error)
}

fn unexpected() -> Error {
    Error::new(Kind::Io, "the unpacking process gave an answer to another question")
}
