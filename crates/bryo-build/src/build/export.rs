// SPDX-License-Identifier: Apache-2.0
//! What has been built enters the store: one manifest, or several and an index.

use std::collections::BTreeMap;

use bryo_image::Digest;
use bryo_image::registry::Platform;
use bryo_image::store::{ImageRecord, MANIFEST_MAX, NewImage, Store};
use bryo_packages::sbom::{Subject, spdx};
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
    fn record(&self) -> ImageRecord {
        ImageRecord {
            reference: None,
            manifest: self.digest.clone(),
            size: self.size as u64,
            media_type: MANIFEST.to_owned(),
            config: Some(self.config.clone()),
            source: None,
        }
    }

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
        let source = match (made.len(), request.provenance, request.sbom) {
            (1, None, false) => None,
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
        for (made, written) in made.iter().zip(written) {
            let statements = self.statements(made, written)?;
            if !statements.is_empty() {
                manifests.push(attest(store, &written.digest, &statements)?);
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Ok(store.put_blob(&bytes(&index)?)?)
    }

    /// Makes what is attested of one image.
    fn statements(&self, made: &Made, written: &Written) -> Result<Vec<Value>> {
        let request = self.request;
        let subject = &written.digest;
        let mut statements = Vec::new();
        if request.sbom {
            let image = self.engine.store().image(&written.record())?;
            let name = request.names.first().map_or_else(|| subject.to_string(), ToString::to_string);
            let what = Subject { name, version: Some(subject.to_string()), container: true, time: self.now.clone() };
            let found = self.engine.packages_of_image(&image, false)?;
            let document = serde_json::to_value(spdx(&what, &found))
                .map_err(|e| wrong(format!("the bill of materials cannot be written: {e}")))?;
            statements.push(provenance::statement(request, made, subject, provenance::SBOM, document));
        }
        if let Some(detail) = request.provenance {
            statements.push(Statement { request, made, subject, ended: &self.now, detail }.document());
        }
        Ok(statements)
    }
}

/// Writes statements as BuildKit does: as the layers of a manifest that no platform takes for an image.
fn attest(store: &Store, subject: &Digest, statements: &[Value]) -> Result<Value> {
    let mut layers = Vec::new();
    for statement in statements {
        let text = bytes(statement)?;
        layers.push(json!({
            "mediaType": "application/vnd.in-toto+json",
            "digest": store.put_blob(&text)?,
            "size": text.len(),
            "annotations": {"in-toto.io/predicate-type": statement["predicateType"]},
        }));
    }
    let config = bytes(&json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer["digest"]).collect::<Vec<_>>()},
    }))?;
    let config_digest = store.put_blob(&config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
        "layers": layers,
    });
    let mut entry = write(store, &manifest, config_digest)?.descriptor();
    entry["annotations"] = json!({
        "vnd.docker.reference.digest": subject,
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
