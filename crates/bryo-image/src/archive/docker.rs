// SPDX-License-Identifier: Apache-2.0
//! What `docker save` writes: `manifest.json`, configurations, layers. Source: moby, `image/tarexport`.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifestBuilder, MediaType};
use serde::{Deserialize, Serialize};

use super::source::{ArchiveFile, Blobs};
use super::{Incoming, Loader};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::store::MANIFEST_MAX;
use crate::unpack::{Compression, sniff};

/// The media type of the manifests that are made here.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// One image in `manifest.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub config: String,
    pub repo_tags: Option<Vec<String>>,
    pub layers: Vec<String>,
}

/// Stores the blobs of all images, or of the one that is wanted.
pub(super) fn read(loader: &Loader<'_>, archive: &ArchiveFile, wanted: Option<&str>) -> Result<Vec<Incoming>> {
    let bytes = archive.read("manifest.json", MANIFEST_MAX)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(Kind::Corrupt, "parse manifest.json of the archive").with_source(error))?;
    let mut images = Vec::new();
    for item in items {
        let tags = item.repo_tags.iter().flatten();
        let mut references = tags.map(|tag| full_name(tag)).collect::<Result<Vec<_>>>()?;
        if let Some(wanted) = wanted {
            references.retain(|reference| reference == wanted);
            if references.is_empty() {
                continue;
            }
        }
        let manifest = store_item(loader, archive, &item)?;
        images.push(Incoming { references, manifest, media_type: MANIFEST_TYPE.to_owned() });
    }
    match (images.is_empty(), wanted) {
        (true, Some(wanted)) => Err(Error::new(Kind::NotFound, format!("find {wanted} in the archive"))),
        _ => Ok(images),
    }
}

fn full_name(tag: &str) -> Result<String> {
    Ok(tag.parse::<Reference>()?.to_string())
}

fn store_item(loader: &Loader<'_>, archive: &ArchiveFile, item: &Item) -> Result<Vec<u8>> {
    let config_bytes = archive.read(&item.config, MANIFEST_MAX)?;
    let config: ImageConfiguration = serde_json::from_slice(&config_bytes)
        .map_err(|error| Error::new(Kind::Corrupt, format!("parse {:?}", item.config)).with_source(error))?;
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != item.layers.len() {
        let what = format!("load image: {} layers, but {} diff ids", item.layers.len(), diff_ids.len());
        return Err(Error::new(Kind::Corrupt, what));
    }
    let config_digest = loader.store.put_blob(&config_bytes)?;
    let mut layers = Vec::new();
    for (name, diff_id) in item.layers.iter().zip(diff_ids) {
        layers.push(store_layer(loader, archive, name, &diff_id.parse()?)?);
    }
    let config = Descriptor::new(MediaType::ImageConfig, config_bytes.len() as u64, &config_digest);
    manifest(config, layers)
}

/// Builds the bytes of a manifest.
pub(super) fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Vec<u8>> {
    manifest_as(MediaType::ImageManifest, config, layers)
}

/// As [`manifest`], of a media type.
pub(super) fn manifest_as(media_type: MediaType, config: Descriptor, layers: Vec<Descriptor>) -> Result<Vec<u8>> {
    let fail = || Error::new(Kind::Corrupt, "build image manifest");
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(media_type)
        .config(config)
        .layers(layers)
        .build()
        .map_err(|error| fail().with_source(error))?;
    serde_json::to_vec(&manifest).map_err(|error| fail().with_source(error))
}

/// Stores a layer as it is. An uncompressed one is its own diff id, so it is verified by that.
fn store_layer(loader: &Loader<'_>, archive: &ArchiveFile, name: &str, diff_id: &Digest) -> Result<Descriptor> {
    let (reader, size) = archive.open(name)?;
    let compression = sniff(reader)?.compression;
    let digest = if compression == Compression::None {
        loader.store_blob(archive, name, diff_id, size)?;
        diff_id.clone()
    } else {
        loader.store.put_blob_of_unknown_digest(&mut archive.open(name)?.0)?.0
    };
    Ok(Descriptor::new(compression.media_type().into(), size, &digest))
}
