// SPDX-License-Identifier: Apache-2.0
//! `index.json`: which images there are and how they are called.
//!
//! Readers parse whatever file is there; writers hold one lock, write a new file and rename it. The
//! configuration's digest is kept in an annotation, so that finding an image by id reads this one file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Store;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;

pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONFIG: &str = "dev.bryo.image.config";
const SOURCE: &str = "dev.bryo.image.source";

/// One entry of the index: an image under one name, or without a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageRecord {
    /// The full reference, such as `docker.io/library/alpine:latest`; `None` for an untagged image.
    pub reference: Option<String>,
    /// The manifest's digest.
    pub manifest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: String,
    /// The configuration's digest, which is the image's id; `None` if another tool wrote the entry.
    pub config: Option<Digest>,
    /// The digest under which a registry knows it, if that is another one (a multi-platform index).
    pub source: Option<Digest>,
}

/// An image whose blobs are all in the store, about to get its entry.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// The full reference, or `None` for an image without a name.
    pub reference: Option<String>,
    /// The manifest's digest.
    pub manifest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: String,
    /// The configuration's digest.
    pub config: Digest,
    /// The digest of the index it was chosen from, if any.
    pub source: Option<Digest>,
}

/// What a removal did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// The names that are gone.
    pub untagged: Vec<String>,
    /// The id of the image, if no name of it is left: its content goes with the next collection.
    pub deleted: Option<Digest>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexFile {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Vec<Entry>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Entry {
    fn new(image: &NewImage) -> Self {
        let mut annotations = BTreeMap::from([(CONFIG.to_owned(), image.config.to_string())]);
        if let Some(reference) = &image.reference {
            annotations.insert(REF_NAME.to_owned(), reference.clone());
        }
        if let Some(source) = &image.source {
            annotations.insert(SOURCE.to_owned(), source.to_string());
        }
        Self {
            media_type: image.media_type.clone(),
            digest: image.manifest.clone(),
            size: image.size,
            annotations,
            rest: BTreeMap::new(),
        }
    }

    fn name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }

    fn record(&self) -> ImageRecord {
        let digest = |key| self.annotations.get(key).and_then(|text| text.parse().ok());
        ImageRecord {
            reference: self.name().map(str::to_owned),
            manifest: self.digest.clone(),
            size: self.size,
            media_type: self.media_type.clone(),
            config: digest(CONFIG),
            source: digest(SOURCE),
        }
    }
}

impl NewImage {
    /// Returns the entry that it will get.
    pub(crate) fn record(&self) -> ImageRecord {
        Entry::new(self).record()
    }
}

impl ImageRecord {
    /// Returns the image's id: the configuration's digest, or the manifest's if that is not known.
    pub fn id(&self) -> &Digest {
        self.config.as_ref().unwrap_or(&self.manifest)
    }

    fn has_digest(&self, digest: &Digest) -> bool {
        [Some(&self.manifest), self.config.as_ref(), self.source.as_ref()].contains(&Some(digest))
    }
}

impl Store {
    /// Lists all entries, in the order in which they were made. Takes no lock.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the index is not one.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        Ok(self.read_index()?.manifests.iter().map(Entry::record).collect())
    }

    /// Finds an image by full or short name, `name@digest`, digest, or unique prefix of its id.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::InvalidReference`] if a prefix fits several images.
    pub fn find(&self, name_or_id: &str) -> Result<ImageRecord> {
        let records = self.images()?;
        let not_found = || Error::new(Kind::NotFound, format!("find image {name_or_id:?}"));
        if let Some(record) = by_name(&records, name_or_id) {
            return Ok(record.clone());
        }
        if let Ok(digest) = name_or_id.parse::<Digest>() {
            let found = records.iter().find(|record| record.has_digest(&digest));
            return found.cloned().ok_or_else(not_found);
        }
        let prefix = name_or_id.strip_prefix("sha256:").unwrap_or(name_or_id);
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if prefix.is_empty() || !prefix.bytes().all(hexadecimal) {
            return Err(not_found());
        }
        let mut found = records.iter().filter(|record| record.id().hex().starts_with(prefix));
        let first = found.next().ok_or_else(not_found)?;
        if found.any(|other| other.id() != first.id()) {
            let what = format!("find image {name_or_id:?}: several ids begin so");
            return Err(Error::new(Kind::InvalidReference, what));
        }
        Ok(first.clone())
    }

    /// Enters an image whose blobs are in the store. A name is taken from the image that had it; that
    /// one stays as untagged.
    pub fn commit_image(&self, image: &NewImage) -> Result<ImageRecord> {
        let entry = Entry::new(image);
        let record = entry.record();
        self.change_index(|index| {
            put(index, entry);
            Ok(())
        })?;
        Ok(record)
    }

    /// Gives an image one more name, a full reference.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if the image is gone.
    pub fn tag(&self, record: &ImageRecord, reference: &str) -> Result<()> {
        self.change_index(|index| {
            let mut entry = index
                .manifests
                .iter()
                .find(|entry| entry.digest == record.manifest)
                .cloned()
                .ok_or_else(|| Error::new(Kind::NotFound, format!("tag image {}", record.id())))?;
            entry.annotations.insert(REF_NAME.to_owned(), reference.to_owned());
            put(index, entry);
            Ok(())
        })
    }

    /// Removes a name, and the image with its last name; given an id, all names with `force`.
    ///
    /// The content goes with the next [`gc`](Self::gc).
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Busy`] for an id with several names without `force`.
    pub fn remove(&self, name_or_id: &str, force: bool) -> Result<Removed> {
        let target = self.find(name_or_id)?;
        let named = by_name(std::slice::from_ref(&target), name_or_id).is_some() && !name_or_id.contains('@');
        let mut removed = Removed::default();
        self.change_index(|index| {
            let same = |entry: &Entry| entry.digest == target.manifest;
            let names = index.manifests.iter().filter(|entry| same(entry)).count();
            if !named && names > 1 && !force {
                let what = format!("remove image {name_or_id}: it has {names} names");
                return Err(Error::new(Kind::Busy, what));
            }
            index.manifests.retain(|entry| {
                let goes = same(entry) && (!named || entry.name() == target.reference.as_deref());
                if goes && let Some(name) = entry.name() {
                    removed.untagged.push(name.to_owned());
                }
                !goes
            });
            if !index.manifests.iter().any(same) {
                removed.deleted = Some(target.id().clone());
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// Writes an empty index if there is none.
    pub(super) fn create_index(&self) -> Result<()> {
        let lock = self.lock_index()?;
        if !self.index_path().exists() {
            self.write_index(&IndexFile {
                schema_version: 2,
                media_type: Some(INDEX_TYPE.to_owned()),
                manifests: Vec::new(),
                rest: BTreeMap::new(),
            })?;
        }
        drop(lock);
        Ok(())
    }

    fn read_index(&self) -> Result<IndexFile> {
        let path = self.index_path();
        let bytes = fs::read(&path).map_err(|error| Error::io(format!("read {}", path.display()), error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Corrupt, format!("parse {}", path.display())).with_source(error))
    }

    fn change_index(&self, change: impl FnOnce(&mut IndexFile) -> Result<()>) -> Result<()> {
        let lock = self.lock_index()?;
        let mut index = self.read_index()?;
        change(&mut index)?;
        self.write_index(&index)?;
        drop(lock);
        Ok(())
    }

    fn lock_index(&self) -> Result<File> {
        let lock = self.lock_file("index.lock")?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| Error::io("lock the image index", error))?;
        Ok(lock)
    }

    /// Replaces the index. The caller holds the lock, so one fixed temporary name serves.
    fn write_index(&self, index: &IndexFile) -> Result<()> {
        let path = self.index_path();
        let temporary = self.root.join("index.json.new");
        let fail = |error| Error::io(format!("write {}", path.display()), error);
        let mut bytes = serde_json::to_vec_pretty(index).map_err(|error| fail(error.into()))?;
        bytes.push(b'\n');
        let mut file = File::create(&temporary).map_err(fail)?;
        file.write_all(&bytes).map_err(fail)?;
        // The one file that a power loss must not leave empty.
        file.sync_data().map_err(fail)?;
        fs::rename(&temporary, &path).map_err(fail)
    }
}

/// Finds by full name, short name, or `name@digest`.
fn by_name<'a>(records: &'a [ImageRecord], name: &str) -> Option<&'a ImageRecord> {
    let exact = |record: &&ImageRecord| record.reference.as_deref() == Some(name);
    if let Some(record) = records.iter().find(exact) {
        return Some(record);
    }
    let reference: Reference = name.parse().ok()?;
    let Some(digest) = reference.digest() else {
        let full = reference.to_string();
        return records.iter().find(|record| record.reference.as_deref() == Some(full.as_str()));
    };
    let repository = reference.repository();
    records.iter().find(|record| {
        let same_repository = record
            .reference
            .as_deref()
            .and_then(|text| text.parse::<Reference>().ok())
            .is_some_and(|other| other.repository() == repository);
        same_repository && record.has_digest(digest)
    })
}

/// Adds an entry; its name leaves whichever image had it.
fn put(index: &mut IndexFile, entry: Entry) {
    let (name, digest) = (entry.name().map(str::to_owned), entry.digest.clone());
    if let Some(name) = &name {
        let mut untagged = Vec::new();
        index.manifests.retain_mut(|other| {
            if other.name() != Some(name) {
                return true;
            }
            other.annotations.remove(REF_NAME);
            untagged.push(other.clone());
            false
        });
        for old in untagged {
            let known = index.manifests.iter().any(|other| other.digest == old.digest);
            if !known && old.digest != digest {
                index.manifests.push(old);
            }
        }
        // A named entry stands for the image: a nameless one beside it would say nothing more.
        index.manifests.retain(|other| other.digest != digest || other.name().is_some());
    } else if index.manifests.iter().any(|other| other.digest == digest) {
        return;
    }
    index.manifests.push(entry);
}
