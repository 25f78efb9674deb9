// SPDX-License-Identifier: Apache-2.0
//! The image store: an OCI image layout plus unpacked layers, all below one private directory.
//!
//! Guarantees: a blob or layer that is visible under its digest was verified against it; the index
//! is replaced atomically, so readers need no lock; what a killed process leaves behind is either
//! complete or found by [`Store::gc`]. Trusts: the calling user, who owns the directory (mode 0700).
//! Faces: manifests and configurations from anyone; other processes of the same user at the same time.
//!
//! Nothing is flushed to the disk explicitly: after a power loss a blob may be short. Sizes are
//! compared on every use and small documents are hashed again, so that is an error, never a lie.

mod blob;
mod check;
mod gc;
mod image;
mod index;
mod manifest;
mod members;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, IFlags};
use rustix::io::Errno;

pub use blob::{BlobSlot, BlobWriter};
pub use check::CheckReport;
pub use gc::{DiskUsage, GcOptions, GcReport, ImageUsage, LayerUsage};
pub use image::{History, Image, ImageSummary, Layer};
pub use index::{ImageRecord, NewImage, Removed};
pub use manifest::{MANIFEST_MAX, MediaKind, parse_manifest};
pub use members::Members;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// The store below one root directory. Cheap to open, and safe to share between threads.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Keeps garbage collection away while it lives: hold one from the first blob until the image is
/// committed, and while an image is looked up and its use not yet recorded.
#[derive(Debug)]
pub struct Pin {
    lock: File,
}

impl Pin {
    /// Lets garbage be collected again, whoever has inherited the pin: processes that were forked meanwhile share it,
    /// and go on holding what is merely dropped here.
    pub fn release(self) {
        // With the last descriptor it ends in any case.
        let _ = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock);
    }
}

impl Store {
    /// Opens the store at `root`, creating what is missing. Costs two system calls when it exists.
    ///
    /// # Errors
    /// [`Kind::Io`] if the directory is not the caller's or cannot be made private.
    pub fn open(root: &Path) -> Result<Self> {
        let store = Self { root: root.to_path_buf() };
        match fs::symlink_metadata(root) {
            Ok(meta) => store.check_private(&meta)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format!("open store {}", root.display()), error)),
        }
        if fs::symlink_metadata(store.index_path()).is_err() {
            store.create()?;
        }
        Ok(store)
    }

    /// Returns the root directory of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the OCI image layout's directory, which other tools may read.
    pub fn layout_dir(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Returns the directory of the unpacked layers that one id map owns.
    pub fn layers_dir(&self, ownership_key: &str) -> PathBuf {
        self.root.join("layers").join(ownership_key)
    }

    /// Returns the directory of one unpacked layer; its content is in `fs` below. It may not exist.
    pub fn layer_dir(&self, ownership_key: &str, diff_id: &Digest) -> PathBuf {
        self.layers_dir(ownership_key).join(diff_id.hex())
    }

    /// Returns the content directories of an image's layers, bottom to top, each once: overlayfs takes none twice, and
    /// what a layer has further down is hidden by what it has further up.
    ///
    /// # Errors
    /// [`Kind::NotFound`], naming the diff ids that are not unpacked for this id map.
    pub fn layer_paths(&self, image: &Image, ownership_key: &str) -> Result<Vec<PathBuf>> {
        let missing = self.missing_layers(image, ownership_key);
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|layer| layer.diff_id.as_str()).collect();
            let what = format!("find unpacked layers {}", names.join(", "));
            return Err(Error::new(Kind::NotFound, what));
        }
        let ids: Vec<&Digest> = image.layers.iter().map(|layer| &layer.diff_id).collect();
        let uppermost = ids.iter().enumerate().filter(|(at, id)| !ids[at + 1..].contains(id));
        Ok(uppermost.map(|(_, id)| self.layer_dir(ownership_key, id).join("fs")).collect())
    }

    /// Returns the layers of an image that are not unpacked for this id map, each diff id once.
    pub fn missing_layers<'a>(&self, image: &'a Image, ownership_key: &str) -> Vec<&'a Layer> {
        let mut missing: Vec<&Layer> = Vec::new();
        for layer in &image.layers {
            let known = missing.iter().any(|other| other.diff_id == layer.diff_id);
            if !known && !self.has_layer(ownership_key, &layer.diff_id) {
                missing.push(layer);
            }
        }
        missing
    }

    /// Returns whether a layer is completely unpacked for this id map.
    pub fn has_layer(&self, ownership_key: &str, diff_id: &Digest) -> bool {
        fs::symlink_metadata(self.layer_dir(ownership_key, diff_id)).is_ok()
    }

    /// Keeps garbage collection away until the returned pin is dropped.
    ///
    /// # Errors
    /// [`Kind::Io`] if the lock file cannot be opened.
    pub fn pin(&self) -> Result<Pin> {
        let lock = self.lock_file("gc.lock")?;
        rustix::fs::flock(&lock, FlockOperation::LockShared).map_err(|error| Error::io("lock the store", error))?;
        Ok(Pin { lock })
    }

    /// As [`pin`](Self::pin), and alone: nobody adds an image or makes a container meanwhile. `None` if somebody does
    /// at this moment.
    ///
    /// # Errors
    /// [`Kind::Io`] if the lock file cannot be opened.
    pub fn pin_alone(&self) -> Result<Option<Pin>> {
        let lock = self.lock_file("gc.lock")?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Pin { lock })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock the store", error)),
        }
    }

    /// Creates the directory that holds the layers of one id map, and returns its path.
    pub(crate) fn create_layers_dir(&self, ownership_key: &str) -> Result<PathBuf> {
        let dir = self.layers_dir(ownership_key);
        make_dir(&dir, 0o755)?;
        spread(&dir);
        Ok(dir)
    }

    fn check_private(&self, meta: &fs::Metadata) -> Result<()> {
        let refuse = |why: &str| {
            let what = format!("open store {}: {why}", self.root.display());
            Err(Error::new(Kind::Io, what))
        };
        if !meta.is_dir() {
            return refuse("it is not a directory");
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return refuse("it belongs to another user");
        }
        if meta.mode() & 0o077 != 0 {
            fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
                .map_err(|error| Error::io("make the store private", error))?;
        }
        Ok(())
    }

    /// Creates the layout. The index comes last: its presence says that all the rest is there.
    fn create(&self) -> Result<()> {
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io(format!("create {}", parent.display()), error))?;
        }
        make_dir(&self.root, 0o700)?;
        for (dir, mode) in [
            ("images", 0o755),
            ("images/blobs", 0o755),
            ("images/blobs/sha256", 0o755),
            ("partial", 0o700),
            ("layers", 0o755),
        ] {
            make_dir(&self.root.join(dir), mode)?;
        }
        let layout = self.layout_dir().join("oci-layout");
        fs::write(&layout, b"{\"imageLayoutVersion\":\"1.0.0\"}")
            .map_err(|error| Error::io(format!("write {}", layout.display()), error))?;
        self.create_index()
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("images/index.json")
    }

    fn partial_dir(&self) -> PathBuf {
        self.root.join("partial")
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.root.join(name);
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Error::io(format!("open lock {}", path.display()), error))
    }
}

/// Creates a directory unless it is there. Its mode is not left to the caller's umask: ids of containers go through it.
fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| Error::io(format!("create {}", path.display()), error))
}

/// Asks the file system to give each subdirectory a region of its own, as `chattr +T` does: layers have nothing to do
/// with each other, and several are written at once. Otherwise ext4 puts all their inodes where the directory's own is
/// and, if it has no journal, looks there at every inode that was removed in the last minutes before it makes one: an
/// image pulled soon after another was removed then takes several times as long. Only a hint, which not all know.
fn spread(dir: &Path) {
    let Ok(dir) = File::open(dir) else { return };
    let Ok(flags) = rustix::fs::ioctl_getflags(&dir) else { return };
    if !flags.contains(IFlags::TOPDIR) {
        rustix::fs::ioctl_setflags(&dir, flags | IFlags::TOPDIR).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
