// SPDX-License-Identifier: Apache-2.0
//! One image: its manifest and configuration, read from the store and verified.

use std::collections::HashSet;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::manifest::{MANIFEST_MAX, parse_manifest};
use super::{ImageRecord, Store};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// An image whose manifest and configuration were verified against their digests.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Image {
    /// The full reference under which it was found, if it has one.
    pub reference: Option<String>,
    /// The manifest's digest.
    pub manifest_digest: Digest,
    /// The configuration's digest: the image's id.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The layers, bottom to top.
    pub layers: Vec<Layer>,
    /// How the image wants its health to be checked, as it is: Docker's configuration has it, the OCI's has not.
    #[serde(default)]
    pub healthcheck: Option<serde_json::Value>,
}

/// The part of a configuration that only Docker's has.
#[derive(Deserialize)]
struct DockerConfiguration {
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Healthcheck")]
    healthcheck: Option<serde_json::Value>,
}

/// One layer of an image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Layer {
    /// The digest of the blob, as it is in the registry.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The blob's media type.
    pub media_type: String,
    /// The digest of the uncompressed archive: the name of the unpacked layer.
    pub diff_id: Digest,
}

/// One line of an image's list.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// The entry.
    pub record: ImageRecord,
    /// The image's id.
    pub id: Digest,
    /// When it was made, in RFC 3339, as the configuration claims.
    pub created: Option<String>,
    /// The size of its blobs in bytes: compressed layers, manifest and configuration.
    pub size: u64,
    /// Operating system and architecture, such as `linux/amd64`.
    pub platform: String,
}

/// One step of an image's history, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    /// When, in RFC 3339.
    pub created: Option<String>,
    /// The command that made the layer.
    pub created_by: Option<String>,
    /// The author's remark.
    pub comment: Option<String>,
    /// The layer it made, or `None` for a step that only changed the configuration.
    pub layer: Option<Layer>,
}

impl Image {
    /// Puts together an image from a manifest and a configuration whose digests were verified.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if either is malformed or they do not fit together.
    pub fn parse(record: &ImageRecord, manifest: &[u8], config: &[u8]) -> Result<Self> {
        let manifest = parse_manifest(manifest, &record.media_type)?;
        // What is wrong with it is said of the whole below.
        let docker: Option<DockerConfiguration> = serde_json::from_slice(config).ok();
        let config: ImageConfiguration = serde_json::from_slice(config)
            .map_err(|error| Error::new(Kind::Corrupt, "parse image configuration").with_source(error))?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers().len() {
            let what = format!(
                "read image {}: {} layers, but {} diff ids",
                record.manifest,
                manifest.layers().len(),
                diff_ids.len()
            );
            return Err(Error::new(Kind::Corrupt, what));
        }
        let layers = manifest
            .layers()
            .iter()
            .zip(diff_ids)
            .map(|(descriptor, diff_id)| {
                Ok(Layer {
                    digest: descriptor.digest().try_into()?,
                    size: descriptor.size(),
                    media_type: descriptor.media_type().to_string(),
                    diff_id: diff_id.parse()?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            reference: record.reference.clone(),
            manifest_digest: record.manifest.clone(),
            config_digest: manifest.config().digest().try_into()?,
            config,
            layers,
            healthcheck: docker.and_then(|docker| docker.config?.healthcheck),
        })
    }

    /// Returns the steps that made the image, oldest first. An image without history has one per layer.
    pub fn history(&self) -> Vec<History> {
        let mut layers = self.layers.iter().cloned();
        let mut steps: Vec<History> = self
            .config
            .history()
            .iter()
            .flatten()
            .map(|step| History {
                created: step.created().clone(),
                created_by: step.created_by().clone(),
                comment: step.comment().clone(),
                layer: match step.empty_layer() {
                    Some(true) => None,
                    _ => layers.next(),
                },
            })
            .collect();
        steps.extend(layers.map(|layer| History {
            created: None,
            created_by: None,
            comment: None,
            layer: Some(layer),
        }));
        steps
    }

    /// Returns operating system and architecture, such as `linux/amd64`.
    pub fn platform(&self) -> String {
        format!("{}/{}", self.config.os(), self.config.architecture())
    }
}

impl Store {
    /// Reads an image's manifest and configuration, verifying both.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::DigestMismatch`] or [`Kind::Corrupt`] if the store was damaged;
    /// [`Kind::UnsupportedMedia`] if another tool put something else there.
    pub fn image(&self, record: &ImageRecord) -> Result<Image> {
        let what = || match &record.reference {
            Some(reference) => format!("open image {reference}"),
            None => format!("open image {}", record.manifest),
        };
        let (manifest, config) = self.documents(record).map_err(|error| error.within(what()))?;
        Image::parse(record, &manifest, &config).map_err(|error| error.within(what()))
    }

    /// Returns an entry's list line.
    pub fn summary(&self, record: &ImageRecord) -> Result<ImageSummary> {
        let (manifest, config) = self.documents(record)?;
        let image = Image::parse(record, &manifest, &config)?;
        let mut seen = HashSet::new();
        let layers: u64 =
            image.layers.iter().filter(|layer| seen.insert(layer.digest.clone())).map(|layer| layer.size).sum();
        Ok(ImageSummary {
            record: record.clone(),
            id: image.config_digest.clone(),
            created: image.config.created().clone(),
            size: layers + manifest.len() as u64 + config.len() as u64,
            platform: image.platform(),
        })
    }

    /// Reads manifest and configuration as they are, verified against their digests.
    pub fn documents(&self, record: &ImageRecord) -> Result<(Vec<u8>, Vec<u8>)> {
        let bytes = self.read_blob(&record.manifest, MANIFEST_MAX)?;
        if bytes.len() as u64 != record.size {
            let what = format!("read manifest {}: wrong size", record.manifest);
            return Err(Error::new(Kind::DigestMismatch, what));
        }
        let manifest = parse_manifest(&bytes, &record.media_type)?;
        let config: Digest = manifest.config().digest().try_into()?;
        let config = self.read_blob(&config, MANIFEST_MAX)?;
        Ok((bytes, config))
    }
}
