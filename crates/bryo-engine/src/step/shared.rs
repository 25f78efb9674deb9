// SPDX-License-Identifier: Apache-2.0
//! Steps that machines share: what is known of them travels as an image, so that whatever carries images carries them.
//!
//! The layers of the image are the layers of the steps; its configuration says which step has made which. Layers are
//! verified as those of any image. That a step makes what it is said to have made is believed of whoever gives it.

use std::collections::BTreeMap;

use bryo_image::Digest;
use bryo_image::store::{ImageRecord, Layer, MANIFEST_MAX, NewImage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cache::VERSION;
use super::{CacheEntry, StepCache};
use crate::Engine;
use crate::error::{Error, Kind, Result};

/// The key of the configuration with the steps.
const KEY: &str = "dev.bryo.build.steps";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

#[derive(Debug, Deserialize, Serialize)]
struct Steps {
    version: u32,
    /// One id owns everything in the layers.
    single_id: bool,
    steps: BTreeMap<Digest, CacheEntry>,
}

impl Engine {
    /// Makes an image without a name of steps that are known here.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSpace`], [`Kind::Io`].
    pub fn share_steps(&self, steps: &BTreeMap<Digest, CacheEntry>) -> Result<ImageRecord> {
        let layers: BTreeMap<&Digest, &Layer> =
            steps.values().filter_map(|entry| entry.layer.as_ref()).map(|layer| (&layer.diff_id, layer)).collect();
        let known = Steps { version: VERSION, single_id: self.store_map()?.is_single(), steps: steps.clone() };
        let config = bytes(&json!({
            "architecture": bryo_image::registry::Platform::host().architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": layers.keys().collect::<Vec<_>>()},
            KEY: known,
        }))?;
        let config_digest = self.store.put_blob(&config)?;
        let descriptor =
            |layer: &&Layer| json!({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size});
        let manifest = bytes(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": layers.values().map(descriptor).collect::<Vec<_>>(),
        }))?;
        Ok(self.store.commit_image(&NewImage {
            reference: None,
            manifest: self.store.put_blob(&manifest)?,
            size: manifest.len() as u64,
            media_type: MANIFEST.to_owned(),
            config: config_digest,
            source: None,
        })?)
    }

    /// Takes the steps that such an image tells of, and returns how many there are.
    ///
    /// # Errors
    ///
    /// [`Kind::Source`] when it tells of none, or of those of another kind.
    pub fn take_steps(&self, record: &ImageRecord) -> Result<usize> {
        let image = self.store.image(record)?;
        let config = self.store.read_blob(&image.config_digest, MANIFEST_MAX)?;
        let none = |why: &str| Error::new(Kind::Source, format!("no steps are taken from it: {why}"));
        let mut config: Value = serde_json::from_slice(&config).map_err(|_| none("it is damaged"))?;
        let known = config.get_mut(KEY).map(Value::take).ok_or_else(|| none("it is no cache of a build"))?;
        let known: Steps = serde_json::from_value(known).map_err(|_| none("another version has written it"))?;
        if known.version != VERSION {
            return Err(none("another version has written it"));
        }
        if known.single_id != self.store_map()?.is_single() {
            return Err(none("its files have other owners than here, where ids are mapped in another way"));
        }
        let cache = StepCache::new(&self.store);
        let mut taken = 0;
        for (key, entry) in &known.steps {
            // What is said of a layer must be what was verified.
            if entry.layer.as_ref().is_none_or(|layer| image.layers.contains(layer)) {
                cache.put(key, entry);
                taken += 1;
            }
        }
        Ok(taken)
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    let fail = |e| Error::new(Kind::Io, format!("cannot write down what steps have made: {e}"));
    serde_json::to_vec(value).map_err(fail)
}
