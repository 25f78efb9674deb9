// SPDX-License-Identifier: Apache-2.0
//! What is attached to an image, as BuildKit attaches it: attestations beside the image in its index.
//!
//! Guarantees: a document counts only if it is what its digest says and names the image's own manifest. Of a bill of
//! materials, which anybody may have made, nothing is kept but the names around it, and numbers and sizes have limits.

mod lists;

use bryo_image::Digest;
use bryo_image::store::{Image, MANIFEST_MAX, Store};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};
use lists::{Limited, Object};

/// The largest document that is read, in bytes: one of an image with a hundred thousand files has a half of it.
const DOCUMENT_MAX: u64 = 64 << 20;

/// How many documents are read to find one that counts.
const DOCUMENTS: usize = 16;

/// The annotations of an index that say what an entry is attached to.
const REFERENCE: &str = "vnd.docker.reference.digest";
const REFERENCE_KIND: &str = "vnd.docker.reference.type";

/// An image's index.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Limited<Entry>,
}

/// The manifest of an attestation.
#[derive(Deserialize)]
struct Attestation {
    #[serde(default)]
    layers: Limited<Entry>,
}

/// A blob that is named.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: Option<String>,
    media_type: Option<String>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// A statement of in-toto. Source: `https://github.com/in-toto/attestation`, `spec/v1/statement.md`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(default)]
    subject: Limited<Subject>,
    predicate_type: Option<String>,
    #[serde(default)]
    predicate: Object,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

/// Returns which kind of bill of materials is attached to an image, if one is.
pub(super) fn sbom(store: &Store, image: &Image) -> Result<Option<&'static str>> {
    let mut left = DOCUMENTS;
    for record in store.images()?.iter().filter(|record| record.manifest == image.manifest_digest) {
        let Some(index) = record.source.as_ref().filter(|index| store.has_blob(index).is_some()) else { continue };
        let index: Index = document(store, index, MANIFEST_MAX)?;
        for entry in &index.manifests.0 {
            let is = |key: &str, value: &str| entry.annotations.get(key).is_some_and(|found| found == value);
            if is(REFERENCE, image.manifest_digest.as_str()) && is(REFERENCE_KIND, "attestation-manifest") {
                let found = attested(store, entry, &image.manifest_digest, &mut left)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
    }
    Ok(None)
}

/// Looks for a bill of materials among the statements of one attestation.
fn attested(store: &Store, entry: &Entry, subject: &Digest, left: &mut usize) -> Result<Option<&'static str>> {
    let Some(manifest) = entry.kept(store) else { return Ok(None) };
    let manifest: Attestation = document(store, &manifest, MANIFEST_MAX)?;
    for layer in &manifest.layers.0 {
        let statement = layer.media_type.as_deref() == Some("application/vnd.in-toto+json");
        let said = layer.annotations.get("in-toto.io/predicate-type");
        let (true, Some(kind)) = (statement, said.and_then(|kind| self::kind(kind))) else { continue };
        let Some(digest) = layer.kept(store) else { continue };
        *left = left.checked_sub(1).ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("more than {DOCUMENTS} bills of materials are attached to the image"))
        })?;
        if document::<Statement>(store, &digest, DOCUMENT_MAX)?.is(kind, subject) {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

impl Entry {
    /// Returns its digest, if the store has it.
    fn kept(&self, store: &Store) -> Option<Digest> {
        let digest: Digest = self.digest.as_ref()?.parse().ok()?;
        store.has_blob(&digest).is_some().then_some(digest)
    }
}

impl Statement {
    /// Tells whether it is a bill of materials of a kind, for an image.
    fn is(&self, kind: &str, image: &Digest) -> bool {
        let of_image = |subject: &Subject| {
            subject.digest.get(image.algorithm().name()).is_some_and(|digest| digest == image.hex())
        };
        let said = self.predicate_type.as_deref().and_then(self::kind);
        said == Some(kind) && self.predicate.0 && self.subject.0.iter().any(of_image)
    }
}

fn kind(predicate: &str) -> Option<&'static str> {
    match predicate {
        "https://spdx.dev/Document" => Some("SPDX"),
        text if text.starts_with("https://cyclonedx.org/bom") => Some("CycloneDX"),
        _ => None,
    }
}

fn document<T: DeserializeOwned>(store: &Store, digest: &Digest, max: u64) -> Result<T> {
    let bytes = store.read_blob(digest, max)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::new(Kind::Corrupt, format!("parse {digest}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> std::result::Result<bool, String> {
        let image: Digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let statement: std::result::Result<Statement, _> = serde_json::from_str(text);
        statement.map(|statement| statement.is("SPDX", &image)).map_err(|e| e.to_string())
    }

    fn statement(subjects: &str, kind: &str, predicate: &str) -> String {
        format!(r#"{{"_type": "x", "subject": [{subjects}], "predicateType": "{kind}", "predicate": {predicate}}}"#)
    }

    #[test]
    fn only_a_document_of_the_kind_for_the_image_counts() {
        let (spdx, mine) =
            ("https://spdx.dev/Document", format!(r#"{{"digest": {{"sha256": "{}"}}}}"#, "a".repeat(64)));
        let other = mine.replace('a', "b");
        let both = format!("{other}, {mine}");
        for (text, expected) in [
            (statement(&both, spdx, r#"{"packages": [{"name": "x"}, [[{}]]]}"#), true),
            (statement(&other, spdx, "{}"), false),
            (statement("", spdx, "{}"), false),
            (statement(&mine, "https://cyclonedx.org/bom", "{}"), false),
            (statement(&mine, spdx, "[]"), false),
            (statement(&mine, spdx, "null"), false),
            (statement(&mine, spdx, "\"text\""), false),
            (statement(&mine, spdx, "-1"), false),
            (r#"{"predicateType": "https://spdx.dev/Document"}"#.to_owned(), false),
        ] {
            assert_eq!(counts(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_broken_or_has_too_much_is_an_error() {
        let (spdx, many) = ("https://spdx.dev/Document", vec!["{}"; 10_001].join(","));
        assert!(counts(&statement(&many, spdx, "{}")).unwrap_err().contains("10000"));
        assert!(counts(&statement("", spdx, "{\"a\": ")).is_err());
        assert!(counts("[]x").is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            counts(&statement("", spdx, &format!("{{\"a\": {deep}}}"))),
            Ok(false),
            "it is passed over, not built"
        );
    }
}
