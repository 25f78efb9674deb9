// SPDX-License-Identifier: Apache-2.0
//! What a build asks of the engine: the files of a step, its process, and the layer that it leaves.
//!
//! ```text
//! scratch() ──▶ in_tree(work): files are placed          ──┐
//!          └──▶ run_step(process): in the usual confinement ──┴──▶ layer() ──▶ discard_step()
//! ```
//!
//! A step writes into a directory among the containers, as a container does, and is collected as one if the build is
//! killed. It has no record, so that nobody takes it for a container.

mod cache;
mod files;
mod layer;
mod owners;
mod people;
mod process;
mod shared;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use crate::Engine;
use crate::container::{Held, Id, Namespace, remove_layer, remove_trees};
use crate::error::{Error, Result};

pub use bryo_image::unpack::Compression;
pub use cache::{Entry as CacheEntry, StepCache};
pub use files::Working;
pub use layer::{LayerForm, StepLayer};
pub use process::{CacheDirectory, SecretFile, StepListener, StepMount, StepProcess};

/// Where a step writes.
#[derive(Debug)]
pub struct Scratch {
    held: Held,
    id: Id,
    name: String,
    /// Whom the files belong to that the step makes, where one id owns everything on the host.
    maker: Cell<(u32, u32)>,
}

impl Scratch {
    /// Returns the directory with the step's own layer, which is not yet there when nothing was written.
    fn layer(&self) -> PathBuf {
        self.held.dir().join("layer")
    }

    /// Returns what stands for no layers at all: the kernel wants one.
    fn nothing(&self) -> Result<PathBuf> {
        let path = self.held.dir().join("nothing");
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("cannot make", &path, e)),
            _ => Ok(path),
        }
    }

    /// Returns the layers, top first, and what stands for none.
    fn lowers(&self, layers: &[PathBuf]) -> Result<Vec<PathBuf>> {
        Ok(if layers.is_empty() { vec![self.nothing()?] } else { layers.to_vec() })
    }
}

impl Engine {
    /// Makes a place for one step to write to.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::NoSpace`], [`crate::error::Kind::Io`].
    pub fn scratch(&self) -> Result<Scratch> {
        let id = Id::random();
        let name = format!("build-{}", id.short());
        let held = self.containers.create(&id, &name)?;
        Ok(Scratch { held, id, name, maker: Cell::default() })
    }

    /// Removes what a step has written.
    ///
    /// # Errors
    ///
    /// When something could not be removed; it is collected later.
    pub fn discard_step(&self, scratch: Scratch) -> Result<()> {
        let layer = scratch.layer();
        if layer.exists() {
            let map = self.store_map()?;
            remove_layer(&layer, Namespace::New(&map, self.host.helpers.as_ref()))?;
        }
        scratch.held.discard();
        Ok(())
    }

    /// Returns the unpacked content of layers, given bottom to top, in the order that overlays have them: top first, and
    /// each once, since what it has further down is hidden.
    ///
    /// # Errors
    ///
    /// When one is not there.
    pub fn step_layers(&self, layers: &[bryo_image::Digest]) -> Result<Vec<PathBuf>> {
        let map = self.store_map()?;
        let path = |diff_id: &bryo_image::Digest| {
            let path = self.store.layer_dir(map.ownership_key(), diff_id).join("fs");
            if path.is_dir() { Ok(path) } else { Err(gone(diff_id, &path)) }
        };
        let mut seen = std::collections::BTreeSet::new();
        layers.iter().rev().filter(|diff_id| seen.insert(*diff_id)).map(path).collect()
    }

    /// Unpacks what is missing of an image that a stage stands on.
    ///
    /// # Errors
    ///
    /// As a pull; the blobs must be there.
    pub fn unpack_for_build(&self, image: &bryo_image::store::Image) -> Result<()> {
        self.unpack_missing(image, &self.store_map()?)
    }

    /// Forgets what builds have made and keep: layers of steps, which the next collection takes, and the directories
    /// that steps share.
    ///
    /// # Errors
    ///
    /// When something could not be removed.
    pub fn forget_builds(&self) -> Result<()> {
        StepCache::new(&self.store).clear();
        let Ok(entries) = std::fs::read_dir(self.store.root().join("build/mounts")) else { return Ok(()) };
        let map = self.store_map()?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                remove_trees(
                    &path,
                    &[CacheDirectory::DATA, bryo_launch::plan::Volume::UNFINISHED],
                    Namespace::New(&map, self.host.helpers.as_ref()),
                )?;
                std::fs::remove_dir(&path).map_err(|e| Error::io("cannot remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// Tells whether a layer is unpacked, and its blob there.
    pub fn has_step_layer(&self, layer: &bryo_image::store::Layer) -> bool {
        let Ok(map) = self.store_map() else { return false };
        self.store.has_layer(map.ownership_key(), &layer.diff_id)
            && self.store.has_blob(&layer.digest) == Some(layer.size)
    }
}

fn gone(diff_id: &bryo_image::Digest, path: &Path) -> Error {
    let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
    Error::io(&format!("layer {diff_id} is gone from the store:"), path, gone)
}
