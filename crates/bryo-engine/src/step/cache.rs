// SPDX-License-Identifier: Apache-2.0
//! What steps have made before, by what they were made of.
//!
//! A key is a digest over all that a step depends on: the content below it, the instruction, what commands see of the
//! configuration, the content of what is copied. Secrets are in none of them, but their names.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bryo_image::Digest;
use bryo_image::store::{Layer, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of keys and entries. Another one finds nothing of this one.
pub(super) const VERSION: u32 = 1;

/// The steps that are known.
#[derive(Debug)]
pub struct StepCache {
    dir: PathBuf,
}

/// What a step has made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Entry {
    /// The layer; nothing if nothing was changed.
    pub layer: Option<Layer>,
    /// When it was made.
    pub created: String,
}

impl StepCache {
    /// Uses the cache of a store.
    pub fn new(store: &Store) -> Self {
        Self { dir: store.root().join("build/steps") }
    }

    /// Returns the key of a step.
    pub fn key(inputs: &Value) -> Digest {
        // Maps are written in the order of their keys.
        Digest::sha256_of(format!("{VERSION} {inputs}").as_bytes())
    }

    /// Returns what a step has made; what is damaged is not there.
    pub fn get(&self, key: &Digest) -> Option<Entry> {
        serde_json::from_slice(&fs::read(self.dir.join(key.hex())).ok()?).ok()
    }

    /// Keeps what a step has made. A cache that cannot be written to only costs time.
    pub fn put(&self, key: &Digest, entry: &Entry) {
        let Ok(bytes) = serde_json::to_vec(entry) else { return };
        let _ = fs::create_dir_all(&self.dir);
        let part = self.dir.join(format!(".{}.{}", key.hex(), std::process::id()));
        if fs::write(&part, bytes).is_ok() && fs::rename(&part, self.dir.join(key.hex())).is_err() {
            let _ = fs::remove_file(&part);
        }
    }

    /// Returns the layers that are known: their blobs, and what they are unpacked as.
    pub fn in_use(&self) -> (BTreeSet<Digest>, BTreeSet<Digest>) {
        let (mut blobs, mut layers) = (BTreeSet::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let read = fs::read(entry.path()).ok();
            let parsed = read.and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
            if let Some(layer) = parsed.and_then(|entry| entry.layer) {
                blobs.insert(layer.digest);
                layers.insert(layer.diff_id);
            }
        }
        (blobs, layers)
    }

    /// Removes what builds have left that were killed. Nobody builds meanwhile.
    pub(crate) fn sweep(store: &Store) {
        let Ok(Some(_alone)) = store.pin_alone() else { return };
        for entry in fs::read_dir(store.root().join("build")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("context-") {
                let _ = fs::remove_dir_all(entry.path());
            } else if name.starts_with("script-") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Forgets everything. What was made goes with the next collection, unless an image has it.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_kept_is_found_by_its_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StepCache { dir: dir.path().join("steps") };
        let key = StepCache::key(&json!({"a": 1, "b": [2]}));
        assert_eq!(key, StepCache::key(&json!({"b": [2], "a": 1})));
        assert!(cache.get(&key).is_none());
        let digest = Digest::sha256_of(b"x");
        let layer = Layer { digest: digest.clone(), size: 1, media_type: "m".into(), diff_id: Digest::sha256_of(b"y") };
        cache.put(&key, &Entry { layer: Some(layer), created: "now".into() });
        assert_eq!(cache.get(&key).unwrap().created, "now");
        assert!(cache.get(&StepCache::key(&json!({"a": 2, "b": [2]}))).is_none());
        assert!(cache.in_use().0.contains(&digest));
        fs::write(dir.path().join("steps").join(key.hex()), "{").unwrap();
        assert!(cache.get(&key).is_none());
        cache.clear();
        assert!(cache.in_use().0.is_empty());
    }
}
