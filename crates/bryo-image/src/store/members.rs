// SPDX-License-Identifier: Apache-2.0
//! Images that belong together: the platforms of one, and what is attested of them.

use oci_spec::image::ImageIndex;

use super::index::INDEX_TYPE;
use super::manifest::{MANIFEST_MAX, MediaKind};
use super::{ImageRecord, Store};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// An index of the store with all that it lists.
#[derive(Debug)]
pub struct Members {
    /// The index's digest.
    pub digest: Digest,
    /// The index, byte for byte.
    pub bytes: Vec<u8>,
    /// What it lists, in its order.
    pub images: Vec<ImageRecord>,
}

impl Members {
    /// The media type of the index.
    pub const MEDIA_TYPE: &str = INDEX_TYPE;
}

impl Store {
    /// Returns the index that an image was made with. An image that was chosen from one elsewhere has none here: what
    /// else is in that is not here.
    ///
    /// # Errors
    /// [`Kind::Corrupt`], [`Kind::DigestMismatch`] if the index was damaged.
    pub fn members(&self, record: &ImageRecord) -> Result<Option<Members>> {
        let Some(digest) = record.source.as_ref().filter(|digest| self.has_blob(digest).is_some()) else {
            return Ok(None);
        };
        let bytes = self.read_blob(digest, MANIFEST_MAX)?;
        MediaKind::Index.check(&bytes, INDEX_TYPE)?;
        let index: ImageIndex = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Corrupt, format!("parse index {digest}")).with_source(error))?;
        let member = |descriptor: &oci_spec::image::Descriptor| {
            Ok(ImageRecord {
                reference: record.reference.clone(),
                manifest: descriptor.digest().try_into()?,
                size: descriptor.size(),
                media_type: descriptor.media_type().to_string(),
                config: None,
                source: None,
            })
        };
        let images = index.manifests().iter().map(member).collect::<Result<Vec<_>>>()?;
        let whole = images.iter().all(|image| self.has_blob(&image.manifest).is_some());
        Ok(whole.then(|| Members { digest: digest.clone(), bytes, images }))
    }
}
