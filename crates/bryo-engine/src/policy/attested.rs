// SPDX-License-Identifier: Apache-2.0
//! What is attached to an image, as BuildKit attaches it: attestations beside the image in its index.
//!
//! Guarantees: a document counts only if it is what its digest says and names the image's own manifest.

use bryo_image::Digest;
use bryo_image::store::{Image, MANIFEST_MAX, Store};
use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// The largest document that is read, in bytes.
const DOCUMENT_MAX: u64 = 256 << 20;

/// Returns which kind of bill of materials is attached to an image, if one is.
pub(super) fn sbom(store: &Store, image: &Image) -> Result<Option<&'static str>> {
    for record in store.images()?.iter().filter(|record| record.manifest == image.manifest_digest) {
        let Some(index) = record.source.as_ref().filter(|index| store.has_blob(index).is_some()) else { continue };
        let index = document(store, index, MANIFEST_MAX)?;
        for entry in array(&index, "manifests") {
            let of_image = entry["annotations"]["vnd.docker.reference.digest"] == image.manifest_digest.as_str();
            if of_image && entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest" {
                let found = attested(store, entry, &image.manifest_digest)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
    }
    Ok(None)
}

/// Looks for a bill of materials among the statements of one attestation.
fn attested(store: &Store, entry: &Value, subject: &Digest) -> Result<Option<&'static str>> {
    let Some(manifest) = digest(entry).filter(|digest| store.has_blob(digest).is_some()) else { return Ok(None) };
    let manifest = document(store, &manifest, MANIFEST_MAX)?;
    for layer in array(&manifest, "layers").filter(|layer| layer["mediaType"] == "application/vnd.in-toto+json") {
        let Some(kind) = kind(&layer["annotations"]["in-toto.io/predicate-type"]) else { continue };
        let Some(digest) = digest(layer).filter(|digest| store.has_blob(digest).is_some()) else { continue };
        let statement = document(store, &digest, DOCUMENT_MAX)?;
        let named = array(&statement, "subject").any(|of| of["digest"][subject.algorithm().name()] == subject.hex());
        if named && self::kind(&statement["predicateType"]) == Some(kind) && statement["predicate"].is_object() {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

fn kind(predicate: &Value) -> Option<&'static str> {
    match predicate.as_str()? {
        "https://spdx.dev/Document" => Some("SPDX"),
        text if text.starts_with("https://cyclonedx.org/bom") => Some("CycloneDX"),
        _ => None,
    }
}

fn array<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn digest(entry: &Value) -> Option<Digest> {
    entry["digest"].as_str()?.parse().ok()
}

fn document(store: &Store, digest: &Digest, max: u64) -> Result<Value> {
    let bytes = store.read_blob(digest, max)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::new(Kind::Corrupt, format!("parse {digest}: {e}")))
}
