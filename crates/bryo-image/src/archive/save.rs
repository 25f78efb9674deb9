// SPDX-License-Identifier: Apache-2.0
//! Images written out, for other tools to read. The same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::docker::Item;
use super::layout::layout_path;
use crate::copy::copy;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::store::{Image, ImageRecord, Layer, Members, Store};
use crate::unpack::{Limits, sniff};

/// The form of a saved archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SaveFormat {
    /// What `docker load` reads: uncompressed layers.
    DockerArchive,
    /// An OCI image layout in a tar file: the blobs as they came.
    OciArchive,
}

/// Writes images as one archive. Several names of one image are several records.
///
/// # Errors
/// [`Kind::DigestMismatch`] if the store was damaged; [`Kind::Io`] or [`Kind::NoSpace`] if the output fails.
pub fn save(store: &Store, images: &[ImageRecord], format: SaveFormat, output: &mut dyn Write) -> Result<()> {
    let _pin = store.pin()?;
    let mut builder = Builder::new(output);
    match format {
        SaveFormat::DockerArchive => save_docker(store, images, &mut builder)?,
        SaveFormat::OciArchive => save_oci(store, images, &mut builder)?,
    }
    builder.into_inner().and_then(Write::flush).map_err(write_error)
}

/// Writes an image into an OCI image layout, which is made or added to.
///
/// # Errors
/// As [`save`]; [`Kind::Corrupt`] if there is something else at the path.
pub fn save_layout_dir(store: &Store, record: &ImageRecord, dir: &Path, tag: Option<&str>) -> Result<()> {
    let _pin = store.pin()?;
    let blobs = all_blobs_of(store, record)?;
    for name in ["", "blobs", "blobs/sha256", "blobs/sha512"] {
        let path = dir.join(name);
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("create {}", path.display()), error));
            }
            _ => {}
        }
    }
    for digest in blobs {
        write_file(&dir.join(layout_path(&digest)), &mut store.open_blob(&digest)?)?;
    }
    write_file(&dir.join("oci-layout"), &mut { LAYOUT })?;
    let path = dir.join("index.json");
    let mut index: serde_json::Value = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Corrupt, format!("parse {}", path.display())).with_source(error))?,
        Err(_) => index_of(&[]),
    };
    let name = tag.or(record.reference.as_deref());
    let manifests = index["manifests"]
        .as_array_mut()
        .ok_or_else(|| Error::new(Kind::Corrupt, format!("parse {}: no manifests", path.display())))?;
    manifests.retain(|entry| name.is_none() || entry["annotations"][REF_NAME].as_str() != name);
    manifests.push(entry_of(store, record, name)?);
    write_file(&path, &mut &to_bytes(&index)?[..])
}

/// Writes an image as a `dir:` directory: manifest and blobs side by side.
///
/// # Errors
/// As [`save`].
pub fn save_plain_dir(store: &Store, record: &ImageRecord, dir: &Path) -> Result<()> {
    let _pin = store.pin()?;
    let image = store.image(record)?;
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io(format!("create {}", dir.display()), error));
        }
        _ => {}
    }
    write_file(&dir.join("version"), &mut &b"Directory Transport Version: 1.1\n"[..])?;
    for digest in blobs_of(&image) {
        let name = if digest == image.manifest_digest { "manifest.json" } else { digest.hex() };
        write_file(&dir.join(name), &mut store.open_blob(&digest)?)?;
    }
    Ok(())
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

type Output<'a> = Builder<&'a mut dyn Write>;

fn save_oci(store: &Store, images: &[ImageRecord], builder: &mut Output<'_>) -> Result<()> {
    let mut blobs = BTreeSet::new();
    for record in images {
        blobs.extend(all_blobs_of(store, record)?);
    }
    append_dir(builder, "blobs/")?;
    append_dir(builder, "blobs/sha256/")?;
    for digest in &blobs {
        let size = store.has_blob(digest).unwrap_or_default();
        append(builder, &layout_path(digest), size, &mut store.open_blob(digest)?)?;
    }
    let entry = |record: &ImageRecord| entry_of(store, record, record.reference.as_deref());
    let entries = images.iter().map(entry).collect::<Result<Vec<_>>>()?;
    let index = to_bytes(&index_of(&entries))?;
    append(builder, "index.json", index.len() as u64, &mut &index[..])?;
    append(builder, "oci-layout", LAYOUT.len() as u64, &mut &LAYOUT[..])
}

fn save_docker(store: &Store, images: &[ImageRecord], builder: &mut Output<'_>) -> Result<()> {
    let mut items: BTreeMap<Digest, Item> = BTreeMap::new();
    let mut written = BTreeSet::new();
    for record in images {
        let image = store.image(record)?;
        for layer in &image.layers {
            if written.insert(layer.diff_id.clone()) {
                append_layer(store, layer, builder)?;
            }
        }
        let config = format!("{}.json", image.config_digest.hex());
        if written.insert(image.config_digest.clone()) {
            let size = store.has_blob(&image.config_digest).unwrap_or_default();
            append(builder, &config, size, &mut store.open_blob(&image.config_digest)?)?;
        }
        let layers = image.layers.iter().map(|layer| format!("{}.tar", layer.diff_id.hex())).collect();
        let item = items.entry(image.config_digest).or_insert(Item { config, repo_tags: None, layers });
        if let Some(reference) = &record.reference {
            // Docker knows its own images by their short names only.
            let name = reference.parse::<Reference>().map_or_else(|_| reference.clone(), |name| name.familiar());
            item.repo_tags.get_or_insert_default().push(name);
        }
    }
    let items: Vec<Item> = items.into_values().collect();
    let manifest = to_bytes(&items)?;
    append(builder, "manifest.json", manifest.len() as u64, &mut &manifest[..])
}

/// Appends a layer uncompressed. Its size must be known first, so a compressed one is spooled.
fn append_layer(store: &Store, layer: &Layer, builder: &mut Output<'_>) -> Result<()> {
    let name = format!("{}.tar", layer.diff_id.hex());
    if layer.digest == layer.diff_id {
        return append(builder, &name, layer.size, &mut store.open_blob(&layer.digest)?);
    }
    let mut spool = store.spool()?;
    let size = uncompressed(store, layer, &mut spool)?;
    spool.rewind().map_err(write_error)?;
    append(builder, &name, size, &mut spool)
}

/// Writes a layer's archive uncompressed, and returns its size in bytes.
///
/// # Errors
/// [`Kind::DigestMismatch`] if it has not the diff id that it claims.
pub(crate) fn uncompressed(store: &Store, layer: &Layer, output: &mut dyn Write) -> Result<u64> {
    let mut reader = sniff(store.open_blob(&layer.digest)?)?.decompress(Limits::default().zstd_window_log)?;
    let mut writer = HashingWriter::new(output, layer.diff_id.algorithm());
    copy(&mut reader, &mut writer, "archive")?;
    match writer.finish() {
        (_, found, size) if found == layer.diff_id => Ok(size),
        (_, found, _) => {
            let what = format!("verify layer {}: its diff id is {found}, not {}", layer.digest, layer.diff_id);
            Err(Error::new(Kind::DigestMismatch, what))
        }
    }
}

fn append(builder: &mut Output<'_>, name: &str, size: u64, data: &mut dyn Read) -> Result<()> {
    let mut header = plain_header(EntryType::Regular, 0o644);
    header.set_size(size);
    builder.append_data(&mut header, name, data.take(size)).map_err(write_error)
}

fn append_dir(builder: &mut Output<'_>, name: &str) -> Result<()> {
    builder.append_data(&mut plain_header(EntryType::Directory, 0o755), name, std::io::empty()).map_err(write_error)
}

fn plain_header(entry_type: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn blobs_of(image: &Image) -> BTreeSet<Digest> {
    let layers = image.layers.iter().map(|layer| layer.digest.clone());
    layers.chain([image.manifest_digest.clone(), image.config_digest.clone()]).collect()
}

fn index_of(entries: &[serde_json::Value]) -> serde_json::Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    })
}

/// Lists the blobs of an image, and of the others that it was made with.
fn all_blobs_of(store: &Store, record: &ImageRecord) -> Result<BTreeSet<Digest>> {
    let mut blobs = blobs_of(&store.image(record)?);
    if let Some(members) = store.members(record)? {
        for image in &members.images {
            blobs.extend(blobs_of(&store.image(image)?));
        }
        blobs.insert(members.digest);
    }
    Ok(blobs)
}

fn entry_of(store: &Store, record: &ImageRecord, name: Option<&str>) -> Result<serde_json::Value> {
    let mut entry = match store.members(record)? {
        Some(Members { digest, bytes, .. }) => {
            json!({"mediaType": Members::MEDIA_TYPE, "digest": digest, "size": bytes.len()})
        }
        None => json!({"mediaType": record.media_type, "digest": record.manifest, "size": record.size}),
    };
    if let Some(name) = name {
        entry["annotations"] = json!({ REF_NAME: name });
    }
    Ok(entry)
}

fn to_bytes(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(Kind::Io, "write json").with_source(error))
}

fn write_file(path: &Path, data: &mut dyn Read) -> Result<()> {
    let fail = |error| Error::io(format!("write {}", path.display()), error);
    let mut file = File::create(path).map_err(fail)?;
    copy(data, &mut file, "archive").map(drop)
}

fn write_error(error: std::io::Error) -> Error {
    Error::io("write archive", error)
}
