// SPDX-License-Identifier: Apache-2.0
//! An image and one more layer become another image.

use std::io::Read;

use flate2::Compression as Level;
use flate2::read::GzEncoder;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::change::Change;
use super::docker;
use super::import::now;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::store::{Image, ImageRecord, MANIFEST_MAX, NewImage, Store};
use crate::unpack::{Compression, LayerReport, Limits, UnpackJob, Worker};

/// What the new image is to be.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Its name, if it gets one.
    pub reference: Option<Reference>,
    /// Changes to its configuration, in order.
    pub changes: Vec<Change>,
    /// Who made it.
    pub author: Option<String>,
    /// A remark for its history.
    pub message: Option<String>,
    /// The command that made the layer.
    pub command: String,
    /// When it is made, in RFC 3339; now if that is not said.
    pub created: Option<String>,
    /// What it may cost.
    pub limits: Limits,
}

/// Puts a layer, an uncompressed archive from a reader, on an image of the store. `whole` is asked when the reader has
/// ended, whether what it has given is all.
///
/// # Errors
/// [`Kind::NotFound`] if blobs of the image are gone; what `whole` answers; [`Kind::NoSpace`]. Nothing is left then.
pub fn commit(
    store: &Store,
    worker: &Worker,
    base: &Image,
    layer: &mut dyn Read,
    whole: impl FnOnce() -> Result<()>,
    options: &CommitOptions,
) -> Result<ImageRecord> {
    let before = store.snapshot();
    let pin = store.pin()?;
    let result = commit_pinned(store, worker, base, layer, whole, options);
    drop(pin);
    if result.is_err() {
        store.discard_new(before.as_ref(), worker);
    }
    result
}

fn commit_pinned(
    store: &Store,
    worker: &Worker,
    base: &Image,
    layer: &mut dyn Read,
    whole: impl FnOnce() -> Result<()>,
    options: &CommitOptions,
) -> Result<ImageRecord> {
    if let Some(gone) = base.layers.iter().find(|layer| store.has_blob(&layer.digest).is_none()) {
        return Err(Error::new(Kind::NotFound, format!("find blob {} of the container's image", gone.digest)));
    }
    let config = store.read_blob(&base.config_digest, MANIFEST_MAX)?;
    let (digest, size) = store.put_blob_of_unknown_digest(&mut GzEncoder::new(layer, Level::default()))?;
    whole()?;
    let job = UnpackJob {
        diff_id: None,
        compression: Some(Compression::Gzip),
        blob_size: Some(size),
        limits: options.limits,
    };
    let report = worker.unpack(job, store.open_blob(&digest)?.into())?.wait()?.commit()?;
    enter(store, base, &config, (&digest, &report), options)
}

fn enter(
    store: &Store,
    base: &Image,
    config: &[u8],
    (digest, report): (&Digest, &LayerReport),
    options: &CommitOptions,
) -> Result<ImageRecord> {
    let config = configuration(config, report, options)?;
    let config = serde_json::to_vec(&config)
        .map_err(|error| Error::new(Kind::Io, "write image configuration").with_source(error))?;
    let config_digest = store.put_blob(&config)?;
    let language = Language::of(&store.read_blob(&base.manifest_digest, MANIFEST_MAX)?);
    let own = Descriptor::new(language.layer(report.compression).into(), report.compressed_size, digest);
    let layers = base.layers.iter().map(|l| Descriptor::new(l.media_type.as_str().into(), l.size, &l.digest));
    let media_type = language.manifest();
    let manifest = docker::manifest_as(
        media_type.into(),
        Descriptor::new(language.config(), config.len() as u64, &config_digest),
        layers.chain([own]).collect(),
    )?;
    store.commit_image(&NewImage {
        reference: options.reference.as_ref().map(Reference::to_string),
        manifest: store.put_blob(&manifest)?,
        size: manifest.len() as u64,
        media_type: media_type.to_owned(),
        config: config_digest,
        source: None,
    })
}

/// Whose media types a manifest speaks in; one manifest speaks in one language, and what is made of an image in its own.
/// Sources: OCI image specification, `media-types.md`; Docker's image manifest, version 2, schema 2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Language {
    Oci,
    Docker,
}

impl Language {
    /// Tells it from a manifest.
    fn of(manifest: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
        let own = document["mediaType"].as_str().or(document["config"]["mediaType"].as_str());
        if own.is_some_and(|own| own.starts_with("application/vnd.docker.")) { Self::Docker } else { Self::Oci }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => docker::MANIFEST_TYPE,
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageConfig,
            Self::Docker => "application/vnd.docker.container.image.v1+json".into(),
        }
    }

    fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (Self::Oci, compression) => compression.media_type(),
        }
    }
}

/// Changes the configuration of the image below, with all that is in it and is not known here.
fn configuration(base: &[u8], report: &LayerReport, options: &CommitOptions) -> Result<Value> {
    let damaged = || Error::new(Kind::Corrupt, "parse the configuration of the container's image");
    let mut document: Map<String, Value> =
        serde_json::from_slice(base).map_err(|error| damaged().with_source(error))?;
    let config = document.entry("config").or_insert_with(|| json!({}));
    if config.is_null() {
        *config = json!({});
    }
    let config = config.as_object_mut().ok_or_else(damaged)?;
    options.changes.iter().for_each(|change| change.apply(config));
    let created = options.created.clone().unwrap_or_else(now);
    let mut step = json!({"created": created, "created_by": options.command});
    for (key, value) in [("author", &options.author), ("comment", &options.message)] {
        if let Some(value) = value {
            step[key] = json!(value);
        }
    }
    let history = document.entry("history").or_insert_with(|| json!([]));
    history.as_array_mut().ok_or_else(damaged)?.push(step);
    let diff_ids = document.get_mut("rootfs").and_then(|rootfs| rootfs.get_mut("diff_ids"));
    diff_ids.and_then(Value::as_array_mut).ok_or_else(damaged)?.push(json!(report.diff_id));
    document.insert("created".to_owned(), json!(created));
    if let Some(author) = &options.author {
        document.insert("author".to_owned(), json!(author));
    }
    // What Docker once wrote about the container that a layer came from would be about another one.
    for stale in ["container", "container_config"] {
        document.remove(stale);
    }
    Ok(Value::Object(document))
}
