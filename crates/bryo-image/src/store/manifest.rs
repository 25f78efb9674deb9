// SPDX-License-Identifier: Apache-2.0
//! Manifests read strictly: one document has one meaning, or is refused.
//!
//! Faces: documents crafted to be read as a manifest by one tool and as an index by another
//! (CVE-2021-41190); oversized documents.

use oci_spec::image::ImageManifest;

use crate::error::{Error, Kind, Result};

/// The largest manifest, index or image configuration that is read, in bytes.
pub const MANIFEST_MAX: u64 = 4 << 20;

/// What a manifest's media type says it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaKind {
    /// One image, of the OCI or the Docker version 2 schema 2 form.
    Manifest,
    /// A list of manifests, one per platform.
    Index,
}

impl MediaKind {
    /// Tells the kind from a media type.
    ///
    /// # Errors
    /// [`Kind::UnsupportedMedia`] for anything else, such as Docker's schema 1.
    pub fn of(media_type: &str) -> Result<Self> {
        match media_type {
            "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
                Ok(Self::Manifest)
            }
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                Ok(Self::Index)
            }
            other => {
                let what = format!("read manifest of media type {other:?}");
                Err(Error::new(Kind::UnsupportedMedia, what))
            }
        }
    }

    /// Checks that a document is of this kind in every respect: its own `mediaType`, if any, equals
    /// the declared one, and it has no member of the other kind.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for a document that could be read both ways.
    pub fn check(self, bytes: &[u8], media_type: &str) -> Result<()> {
        let fail = |why: String| Error::new(Kind::Corrupt, format!("read {media_type}: {why}"));
        let document: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        if let Some(own) = document.get("mediaType")
            && own.as_str() != Some(media_type)
        {
            return Err(fail(format!("it says that it is {own}")));
        }
        let foreign: &[&str] = match self {
            Self::Manifest => &["manifests", "fsLayers"],
            Self::Index => &["layers", "config", "fsLayers"],
        };
        match foreign.iter().find(|key| document.contains_key(**key)) {
            Some(key) => Err(fail(format!("it has the member {key:?} of another kind"))),
            None => Ok(()),
        }
    }
}

/// Parses an image manifest whose descriptor declared `media_type`.
///
/// # Errors
/// [`Kind::UnsupportedMedia`] if the type is not a manifest's, [`Kind::Corrupt`] if it is malformed or
/// ambiguous, [`Kind::Limit`] if it is too large.
pub fn parse_manifest(bytes: &[u8], media_type: &str) -> Result<ImageManifest> {
    if bytes.len() as u64 > MANIFEST_MAX {
        return Err(Error::new(Kind::Limit, "read manifest: too large"));
    }
    if MediaKind::of(media_type)? != MediaKind::Manifest {
        let what = format!("read image manifest: {media_type} is an index");
        return Err(Error::new(Kind::UnsupportedMedia, what));
    }
    MediaKind::Manifest.check(bytes, media_type)?;
    serde_json::from_slice(bytes).map_err(|error| Error::new(Kind::Corrupt, "parse image manifest").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

    fn document(extra: &str) -> Vec<u8> {
        let hex = "0".repeat(64);
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json",
            "digest":"sha256:{hex}","size":2}},"layers":[]{extra}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_plain_manifest_is_read() {
        assert!(parse_manifest(&document(""), OCI).is_ok());
        let own = format!(r#","mediaType":"{OCI}""#);
        assert!(parse_manifest(&document(&own), OCI).is_ok());
    }

    #[test]
    fn a_document_with_two_readings_is_refused() {
        for extra in [
            r#","manifests":[]"#,
            r#","fsLayers":[]"#,
            r#","mediaType":"application/vnd.oci.image.index.v1+json""#,
            r#","mediaType":7"#,
        ] {
            let error = parse_manifest(&document(extra), OCI).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{extra}");
        }
        let index = "application/vnd.oci.image.index.v1+json";
        let error = MediaKind::Index.check(&document(""), index).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
    }

    #[test]
    fn other_media_types_are_not_guessed() {
        let error = parse_manifest(&document(""), "application/json").unwrap_err();
        assert_eq!(error.kind(), Kind::UnsupportedMedia);
    }
}
