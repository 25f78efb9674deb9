// SPDX-License-Identifier: Apache-2.0
//! OCI image layouts, in an archive or a directory, and `dir:` directories. Source: OCI image specification,
//! "image-layout.md"; `containers-transports(5)`.

use oci_spec::image::{Descriptor, ImageIndex};

use super::docker::MANIFEST_TYPE;
use super::source::Blobs;
use super::{Incoming, Loader};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::registry::Platform;
use crate::store::{MANIFEST_MAX, MediaKind, parse_manifest};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd and Docker put the full name; their `ref.name` is only the tag.
const FULL_NAME: &str = "io.containerd.image.name";
/// How deep indexes may nest.
const NESTING_MAX: usize = 4;

/// Stores the blobs of a layout's images, or of the one that is wanted.
pub(super) fn read(
    loader: &Loader<'_>,
    blobs: &dyn Blobs,
    wanted: Option<&str>,
    fallback: Option<&str>,
) -> Result<Vec<Incoming>> {
    let layout: serde_json::Value = parse(&blobs.read("oci-layout", MANIFEST_MAX)?, "oci-layout")?;
    if layout["imageLayoutVersion"].as_str().is_none_or(|version| !version.starts_with("1.")) {
        return Err(Error::new(Kind::UnsupportedMedia, "read oci-layout: unknown version"));
    }
    let index: ImageIndex = parse(&blobs.read("index.json", MANIFEST_MAX)?, "index.json")?;
    let mut images = Vec::new();
    for descriptor in index.manifests() {
        let names = [FULL_NAME, REF_NAME].map(|key| annotation(descriptor, key));
        if let Some(wanted) = wanted
            && !names.contains(&Some(wanted))
        {
            continue;
        }
        let bytes = read_blob(blobs, descriptor)?;
        let media_type = descriptor.media_type().to_string();
        let (manifest, media_type) = choose(loader, blobs, bytes, media_type, 0)?;
        store_blobs(loader, blobs, &manifest, &media_type, layout_path)?;
        let references = reference(names, fallback).into_iter().collect();
        images.push(Incoming { references, manifest, media_type });
    }
    match (images.is_empty(), wanted) {
        (true, Some(wanted)) => Err(Error::new(Kind::NotFound, format!("find {wanted:?} in the layout"))),
        _ => Ok(images),
    }
}

/// Stores the blobs of a `dir:` directory's one image.
pub(super) fn read_plain(loader: &Loader<'_>, blobs: &dyn Blobs, fallback: Option<&str>) -> Result<Vec<Incoming>> {
    let manifest = blobs.read("manifest.json", MANIFEST_MAX)?;
    let document: serde_json::Value = parse(&manifest, "manifest.json")?;
    let media_type = document["mediaType"].as_str().unwrap_or(MANIFEST_TYPE).to_owned();
    store_blobs(loader, blobs, &manifest, &media_type, |digest| digest.hex().to_owned())?;
    let references = fallback.map(|name| format!("{name}:latest")).into_iter().collect();
    Ok(vec![Incoming { references, manifest, media_type }])
}

/// Takes the full name, if the layout has one; else its tag under a local name.
fn reference(names: [Option<&str>; 2], fallback: Option<&str>) -> Option<String> {
    let full = names.into_iter().flatten().find(|name| name.contains(['/', ':', '@']));
    if let Some(reference) = full.and_then(|name| name.parse::<Reference>().ok()) {
        return Some(reference.to_string());
    }
    let tag = names.into_iter().flatten().next().unwrap_or("latest");
    let reference: Reference = format!("{}:{tag}", fallback?).parse().ok()?;
    Some(reference.to_string())
}

/// Follows indexes to the manifest for the platform.
fn choose(
    loader: &Loader<'_>,
    blobs: &dyn Blobs,
    bytes: Vec<u8>,
    media_type: String,
    depth: usize,
) -> Result<(Vec<u8>, String)> {
    if MediaKind::of(&media_type)? == MediaKind::Manifest {
        return Ok((bytes, media_type));
    }
    if depth == NESTING_MAX {
        return Err(Error::new(Kind::Corrupt, "read index: nested too deep"));
    }
    MediaKind::Index.check(&bytes, &media_type)?;
    let index: ImageIndex = parse(&bytes, "index")?;
    let wanted = &loader.options.platform;
    let best = index.manifests().iter().filter_map(|descriptor| {
        let distance = match descriptor.platform() {
            Some(platform) => wanted.distance(&Platform {
                os: platform.os().to_string(),
                architecture: platform.architecture().to_string(),
                variant: platform.variant().clone(),
            })?,
            None => u32::MAX,
        };
        Some((distance, descriptor))
    });
    let (_, best) = best.min_by_key(|(distance, _)| *distance).ok_or_else(|| {
        let what = format!("find an image for {}/{} in the index", wanted.os, wanted.architecture);
        Error::new(Kind::Platform, what)
    })?;
    let bytes = read_blob(blobs, best)?;
    choose(loader, blobs, bytes, best.media_type().to_string(), depth + 1)
}

/// Stores a manifest's configuration and layers.
fn store_blobs(
    loader: &Loader<'_>,
    blobs: &dyn Blobs,
    manifest: &[u8],
    media_type: &str,
    path: impl Fn(&Digest) -> String,
) -> Result<()> {
    let manifest = parse_manifest(manifest, media_type)?;
    for descriptor in std::iter::once(manifest.config()).chain(manifest.layers()) {
        let digest: Digest = descriptor.digest().try_into()?;
        loader.store_blob(blobs, &path(&digest), &digest, descriptor.size())?;
    }
    Ok(())
}

fn read_blob(blobs: &dyn Blobs, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest: Digest = descriptor.digest().try_into()?;
    let bytes = blobs.read(&layout_path(&digest), MANIFEST_MAX)?;
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    if hasher.finish() != digest || bytes.len() as u64 != descriptor.size() {
        return Err(Error::new(Kind::DigestMismatch, format!("verify manifest {digest}")));
    }
    Ok(bytes)
}

/// Returns the path of a blob in a layout.
pub(super) fn layout_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    descriptor.annotations().as_ref()?.get(key).map(String::as_str)
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(Kind::Corrupt, format!("parse {name}")).with_source(error))
}
