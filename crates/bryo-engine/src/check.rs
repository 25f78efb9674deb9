// SPDX-License-Identifier: Apache-2.0
//! Whether everything that the engine keeps is whole, and what nobody refers to.

use bryo_image::store::{CheckReport, GcOptions};

use crate::Engine;
use crate::container::Record;
use crate::error::Result;

/// What a look at everything has found.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the store of images.
    pub store: CheckReport,
    /// How many containers there are.
    pub containers: usize,
    /// How many volumes there are.
    pub volumes: usize,
    /// Containers that stand on a layer which is gone: their names, and that of the layer.
    pub groundless: Vec<(String, String)>,
    /// Directories of containers that are none, or were to go away when they ended.
    pub abandoned: Vec<String>,
    /// What is left of volumes that were being made or removed.
    pub volumes_left: Vec<String>,
}

impl Findings {
    /// Tells whether everything is there that should be, and is what it should be.
    pub fn is_whole(&self) -> bool {
        self.store.is_whole() && self.groundless.is_empty()
    }

    /// Tells whether there is anything that nobody refers to.
    pub fn has_orphans(&self) -> bool {
        let CheckReport { orphaned_blobs, orphaned_layers, leftovers, .. } = &self.store;
        let of_store = orphaned_blobs.is_empty() && orphaned_layers.is_empty() && leftovers.is_empty();
        !(of_store && self.abandoned.is_empty() && self.volumes_left.is_empty())
    }
}

impl Engine {
    /// Looks at everything; with `content` every blob is read and hashed again. Changes nothing.
    ///
    /// # Errors
    ///
    /// What keeps it from looking.
    pub fn check(&self, content: bool) -> Result<Findings> {
        let records = self.containers.all();
        let options =
            GcOptions { layers_in_use: self.layers_in_use(), blobs_in_use: self.blobs_in_use(), keep_partial: false };
        let volumes = std::fs::read_dir(self.volumes_dir()).into_iter().flatten().flatten();
        let names = volumes.filter_map(|entry| entry.file_name().into_string().ok());
        Ok(Findings {
            store: self.store.check(&options, content)?,
            containers: records.len(),
            volumes: self.volumes().len(),
            groundless: records.iter().filter_map(|record| Some((record.name.clone(), self.lacks(record)?))).collect(),
            abandoned: self.containers.abandoned().iter().map(|id| id.to_string()).collect(),
            volumes_left: names.filter(|name| name.starts_with('.')).collect(),
        })
    }

    /// Names a layer that a container stands on and that is not there.
    fn lacks(&self, record: &Record) -> Option<String> {
        record.layers.iter().find(|name| self.layer_path(name).is_none()).cloned()
    }
}
