// SPDX-License-Identifier: Apache-2.0
//! What has been built enters the store: one manifest, or several and an index.

use std::collections::BTreeMap;

use bryo_image::Digest;
use bryo_image::registry::Platform;
use bryo_image::store::{ImageRecord, MANIFEST_MAX, NewImage, Store};
use serde_json::{Value, json};

use super::Builder;
use super::provenance::{self, Statement};
use crate::error::{Result, wrong};
use crate::state::State;

/// The media types that are written.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What was built for one platform.
#[derive(Debug)]
pub(super) struct Made {
    pub platform: Platform,
    pub state: State,
    /// The images that it stands on, and their manifests.
    pub materials: BTreeMap<String, Digest>,
    /// When the build began.
    pub begun: String,
}

/// A manifest that is in the store.
struct Written {
    digest: Digest,
    size: usize,
    config: Digest,
}

impl Written {
    fn descriptor(&self) -> Value {
        json!({"mediaType": MANIFEST, "digest": self.digest, "size": self.size})
    }
}

impl Builder<'_> {
    /// Enters what was built into the store, under its names.
    pub(super) fn enter(&self, made: &[Made]) -> Result<ImageRecord> {
        let (store, request) = (self.engine.store(), self.request);
        let written = made.iter().map(|made| self.manifest(made)).collect::<Result<Vec<_>>>()?;
        // Here the image is the one that this machine can run.
        let own = made.iter().position(|made| Platform::host().distance(&made.platform).is_some()).unwrap_or(0);
        let source = match (made.len(), request.provenance) {
            (1, None) => None,
            _ => Some(self.index(made, &written)?),
        };
        let mut names = request.names.iter().map(ToString::to_string);
        let record = store.commit_image(&NewImage {
            reference: names.next(),
            manifest: written[own].digest.clone(),
            size: written[own].size as u64,
            media_type: MANIFEST.to_owned(),
            config: written[own].config.clone(),
            source,
        })?;
        names.try_for_each(|name| store.tag(&record, &name))?;
        Ok(record)
    }

    fn manifest(&self, made: &Made) -> Result<Written> {
        let store = self.engine.store();
        let config = bytes(&made.state.configuration(&self.now))?;
        if config.len() as u64 > MANIFEST_MAX {
            return Err(wrong(format!("the image's configuration has {} bytes, and nobody reads it", config.len())));
        }
        let config_digest = store.put_blob(&config)?;
        let layer = |layer: &bryo_image::store::Layer| json!({"mediaType": media_type(&layer.media_type), "digest": layer.digest, "size": layer.size});
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": made.state.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        if !self.request.annotations.is_empty() {
            manifest["annotations"] = json!(self.request.annotations);
        }
        write(store, &manifest, config_digest)
    }

    /// Writes what lists the platforms, and what is attested of each.
    fn index(&self, made: &[Made], written: &[Written]) -> Result<Digest> {
        let store = self.engine.store();
        let mut manifests = Vec::new();
        for (made, written) in made.iter().zip(written) {
            let mut entry = written.descriptor();
            entry["platform"] = json!({"os": made.platform.os, "architecture": made.platform.architecture});
            if let Some(variant) = &made.platform.variant {
                entry["platform"]["variant"] = json!(variant);
            }
            manifests.push(entry);
        }
        if let Some(detail) = self.request.provenance {
            for (made, written) in made.iter().zip(written) {
                let statement =
                    Statement { request: self.request, made, subject: &written.digest, ended: &self.now, detail };
                manifests.push(attest(store, &statement)?);
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Ok(store.put_blob(&bytes(&index)?)?)
    }
}

/// Writes a statement as BuildKit does: as the layer of a manifest that no platform takes for an image.
fn attest(store: &Store, statement: &Statement<'_>) -> Result<Value> {
    let text = bytes(&statement.document())?;
    let digest = store.put_blob(&text)?;
    let config = bytes(&json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }))?;
    let config_digest = store.put_blob(&config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
        "layers": [{
            "mediaType": "application/vnd.in-toto+json",
            "digest": digest,
            "size": text.len(),
            "annotations": {"in-toto.io/predicate-type": provenance::PREDICATE},
        }],
    });
    let mut entry = write(store, &manifest, config_digest)?.descriptor();
    entry["annotations"] = json!({
        "vnd.docker.reference.digest": statement.subject,
        "vnd.docker.reference.type": "attestation-manifest",
    });
    entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    Ok(entry)
}

fn write(store: &Store, manifest: &Value, config: Digest) -> Result<Written> {
    let manifest = bytes(manifest)?;
    Ok(Written { digest: store.put_blob(&manifest)?, size: manifest.len(), config })
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| wrong(format!("the image cannot be written: {e}")))
}

/// Returns the OCI's word for a layer's form: one manifest speaks one language.
fn media_type(of_layer: &str) -> String {
    match of_layer {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
        other => other.to_owned(),
    }
}
