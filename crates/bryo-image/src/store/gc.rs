// SPDX-License-Identifier: Apache-2.0
//! What may go, and how much there is: mark and sweep over blobs and layers.
//!
//! Everything that an entry of the index reaches stays, and what the caller says is in use. Writers hold a
//! shared lock ([`Store::pin`]); collection takes it exclusively or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use rustix::fs::FlockOperation;
use serde_json::Value;

use super::index::INDEX_TYPE;
use super::manifest::{MANIFEST_MAX, MediaKind};
use super::{ImageSummary, Store};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::unpack::Worker;

/// How deep indexes may nest in a store that other tools write to.
const NESTING_MAX: usize = 4;

/// What the names of derived layers begin with; the file `image` in them names the manifest they were derived from.
const DERIVED: &str = "derived-";

/// What a collection spares.
#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// Diff ids that containers use, although no image may have them any more; of derived layers, the part of the name
    /// that is a digest.
    pub layers_in_use: BTreeSet<Digest>,
    /// Blobs that something else than an image refers to.
    pub blobs_in_use: BTreeSet<Digest>,
    /// Keeps interrupted downloads, so that they can be resumed.
    pub keep_partial: bool,
}

/// What a collection removed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GcReport {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of those blobs and of partial files.
    pub bytes: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Partial files and temporary trees of processes that are gone.
    pub leftovers: u64,
}

/// What the store takes on disk, in real blocks.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// The images.
    pub images: Vec<ImageUsage>,
    /// The unpacked layers.
    pub layers: Vec<LayerUsage>,
    /// Bytes of all blobs together, each counted once.
    pub blobs: u64,
    /// Bytes of interrupted downloads.
    pub partial: u64,
}

/// One image's blobs.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The image; its size is what it would take alone.
    pub summary: ImageSummary,
    /// Bytes of blobs that no other image has.
    pub unique: u64,
}

/// One unpacked layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayerUsage {
    /// The hexadecimal part of its diff id.
    pub name: String,
    /// The id map that owns it.
    pub ownership_key: String,
    /// Bytes on disk; `None` if it belongs to another map than the worker's.
    pub bytes: Option<u64>,
    /// Whether an image has it.
    pub referenced: bool,
}

/// What the index reaches.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub blobs: BTreeSet<Digest>,
    pub layers: BTreeSet<String>,
}

/// What the store had at a moment: blobs, and layers by id map and name.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<(String, String)>,
}

impl Store {
    /// Removes what nothing refers to. Layers of other id maps than the worker's stay.
    ///
    /// # Errors
    /// [`Kind::Busy`] while another process adds an image; nothing is removed then. [`Kind::Corrupt`],
    /// [`Kind::DigestMismatch`] or [`Kind::NotFound`] if the index, or the manifest or configuration of an image, cannot
    /// be read: what it refers to is unknown, so nothing is removed.
    pub fn gc(&self, options: &GcOptions, worker: Option<&Worker>) -> Result<GcReport> {
        let Some(pin) = self.pin_alone()? else {
            return Err(Error::new(Kind::Busy, "collect garbage: another process adds an image"));
        };
        let mut marked = self.mark()?;
        marked.layers.extend(options.layers_in_use.iter().map(|id| id.hex().to_owned()));
        marked.blobs.extend(options.blobs_in_use.iter().cloned());
        let mut report = GcReport::default();
        self.sweep_blobs(&marked, &mut report)?;
        if !options.keep_partial {
            self.sweep_partial(&mut report)?;
        }
        // Every image can be read: nothing is to be learnt from what was put aside.
        for path in self.put_aside() {
            report.leftovers += u64::from(fs::remove_file(path).is_ok());
        }
        if let Some(worker) = worker {
            report.leftovers += worker.sweep()?;
            for (key, name) in self.layer_names()? {
                if key == worker.ownership_key() && !self.is_wanted(&key, &name, &marked) {
                    worker.remove_layer(&name)?;
                    report.layers += 1;
                }
            }
        }
        drop(pin);
        Ok(report)
    }

    /// Lists what there is before an operation, for [`discard_new`](Self::discard_new); `None` if it cannot be listed.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let mut snapshot = Snapshot::default();
        let insert = |digest: &Digest, _: &fs::Metadata, _: &std::path::Path| {
            snapshot.blobs.insert(digest.clone());
            Ok(())
        };
        self.each_blob(insert).ok()?;
        snapshot.layers.extend(self.layer_names().ok()?);
        Some(snapshot)
    }

    /// Removes what a failed operation has left: new blobs and layers that nothing refers to. Whoever adds an image at
    /// the same time may be about to refer to them; then they stay for the next collection.
    pub(crate) fn discard_new(&self, before: Option<&Snapshot>, worker: &Worker) {
        let discard = || -> Result<()> {
            let Some(before) = before else { return Ok(()) };
            let Some(_pin) = self.pin_alone()? else { return Ok(()) };
            let mut marked = self.mark()?;
            marked.blobs.extend(before.blobs.iter().cloned());
            self.sweep_blobs(&marked, &mut GcReport::default())?;
            for layer in self.layer_names()? {
                let known = before.layers.contains(&layer) || self.is_wanted(&layer.0, &layer.1, &marked);
                if !known && layer.0 == worker.ownership_key() {
                    worker.remove_layer(&layer.1)?;
                }
            }
            Ok(())
        };
        // The operation's own error is the one to tell.
        discard().unwrap_or_default();
    }

    /// Counts what the store takes. Takes no lock: it is a picture of a moment.
    pub fn df(&self, worker: Option<&Worker>) -> Result<DiskUsage> {
        let records = self.images()?;
        let (mut marked, mut sets) = (Marked::default(), Vec::new());
        for record in &records {
            let mut set = Marked::default();
            self.mark_manifest(&record.manifest, &record.media_type, 0, &mut set)?;
            marked.layers.extend(set.layers);
            marked.blobs.extend(set.blobs.iter().cloned());
            sets.push(set.blobs);
        }
        let mut usage = DiskUsage { layers: self.layer_usage(&marked, worker)?, ..DiskUsage::default() };
        for (index, record) in records.iter().enumerate() {
            let Ok(summary) = self.summary(record) else {
                continue; // An index of another tool is no image of ours.
            };
            let others = records.iter().zip(&sets).filter(|(other, _)| other.manifest != record.manifest);
            let shared: BTreeSet<&Digest> = others.flat_map(|(_, set)| set).collect();
            let unique = sets[index].iter().filter(|digest| !shared.contains(digest));
            let unique = unique.filter_map(|digest| self.has_blob(digest)).sum();
            usage.images.push(ImageUsage { summary, unique });
        }
        self.each_blob(|_, meta, _| {
            usage.blobs += meta.blocks() * 512;
            Ok(())
        })?;
        for entry in fs::read_dir(self.partial_dir()).into_iter().flatten().flatten() {
            usage.partial += entry.metadata().map_or(0, |meta| meta.blocks() * 512);
        }
        Ok(usage)
    }

    fn layer_usage(&self, marked: &Marked, worker: Option<&Worker>) -> Result<Vec<LayerUsage>> {
        let mut layers = Vec::new();
        for (ownership_key, name) in self.layer_names()? {
            let referenced = self.is_wanted(&ownership_key, &name, marked);
            let bytes = match worker {
                Some(worker) if worker.ownership_key() == ownership_key => {
                    worker.usage(std::slice::from_ref(&name))?.first().copied()
                }
                _ => None,
            };
            layers.push(LayerUsage { name, ownership_key, bytes, referenced });
        }
        Ok(layers)
    }

    /// Marks what every image reaches.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if an image lacks its manifest or its configuration, [`Kind::Corrupt`] or
    /// [`Kind::DigestMismatch`] if they are not what they were: what it reaches is unknown then.
    pub(super) fn mark(&self) -> Result<Marked> {
        let mut marked = Marked::default();
        for record in self.images()? {
            let reached = self.must_have(&record.manifest, "manifest").and_then(|()| {
                self.mark_manifest(&record.manifest, &record.media_type, 0, &mut marked)?;
                if let Some(index) = &record.source {
                    self.mark_manifest(index, INDEX_TYPE, 0, &mut marked)?;
                }
                record.config.as_ref().map_or(Ok(()), |config| self.must_have(config, "configuration"))
            });
            let name = || record.reference.clone().unwrap_or_else(|| record.manifest.to_string());
            reached.map_err(|error| error.within(format!("find what image {} refers to", name())))?;
        }
        Ok(marked)
    }

    fn must_have(&self, digest: &Digest, what: &str) -> Result<()> {
        let there = self.has_blob(digest).map(drop);
        there.ok_or_else(|| Error::new(Kind::NotFound, format!("open {what} {digest}: it is not in the store")))
    }

    /// Marks what a manifest or index reaches. Members without a blob here are no matter: other platforms.
    fn mark_manifest(&self, digest: &Digest, media_type: &str, depth: usize, marked: &mut Marked) -> Result<()> {
        if self.has_blob(digest).is_none() || !marked.blobs.insert(digest.clone()) || depth > NESTING_MAX {
            return Ok(());
        }
        let bytes = self.read_blob(digest, MANIFEST_MAX)?;
        let document: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Corrupt, format!("parse manifest {digest}")).with_source(error))?;
        let members = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten();
        if MediaKind::of(media_type).ok() == Some(MediaKind::Index) {
            for member in members("manifests") {
                if let (Some(digest), Some(media_type)) = (digest_of(member), member["mediaType"].as_str()) {
                    self.mark_manifest(&digest, media_type, depth + 1, marked)?;
                }
            }
            return Ok(());
        }
        marked.blobs.extend(members("layers").filter_map(digest_of));
        if let Some(config) = document.get("config").and_then(digest_of) {
            if self.has_blob(&config).is_some_and(|size| size <= MANIFEST_MAX) {
                let bytes = self.read_blob(&config, MANIFEST_MAX)?;
                let config: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let ids = config["rootfs"]["diff_ids"].as_array().into_iter().flatten();
                let ids = ids.filter_map(|id| id.as_str()?.parse::<Digest>().ok());
                marked.layers.extend(ids.map(|id| id.hex().to_owned()));
            }
            marked.blobs.insert(config);
        }
        Ok(())
    }

    /// Tells whether a layer stays. One that was derived from an image stays as long as that, or as it is in use.
    pub(super) fn is_wanted(&self, ownership_key: &str, name: &str, marked: &Marked) -> bool {
        let Some(id) = name.strip_prefix(DERIVED) else { return marked.layers.contains(name) };
        let image = || {
            let text = fs::read_to_string(self.layers_dir(ownership_key).join(name).join("image")).ok()?;
            text.trim().parse::<Digest>().ok()
        };
        marked.layers.contains(id) || image().is_some_and(|digest| marked.blobs.contains(&digest))
    }

    fn sweep_blobs(&self, marked: &Marked, report: &mut GcReport) -> Result<()> {
        self.each_blob(|digest, meta, path| {
            if !marked.blobs.contains(digest) {
                fs::remove_file(path).map_err(|error| Error::io(format!("remove blob {digest}"), error))?;
                report.blobs += 1;
                report.bytes += meta.len();
            }
            Ok(())
        })
    }

    fn sweep_partial(&self, report: &mut GcReport) -> Result<()> {
        let dir = self.partial_dir();
        let entries = fs::read_dir(&dir).map_err(|error| Error::io(format!("list {}", dir.display()), error))?;
        for entry in entries.flatten() {
            let Ok(file) = File::open(entry.path()) else { continue };
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue; // Its writer lives.
            }
            // Another writer may rename its index between our look and this.
            if fs::remove_file(entry.path()).is_ok() {
                report.leftovers += 1;
                report.bytes += file.metadata().map_or(0, |meta| meta.len());
            }
        }
        Ok(())
    }

    pub(super) fn each_blob(
        &self,
        mut visit: impl FnMut(&Digest, &fs::Metadata, &std::path::Path) -> Result<()>,
    ) -> Result<()> {
        for algorithm in ["sha256", "sha512"] {
            let dir = self.root.join("images/blobs").join(algorithm);
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let name = format!("{algorithm}:{}", entry.file_name().display());
                // Files that are no blobs belong to other tools.
                if let (Ok(digest), Ok(meta)) = (name.parse::<Digest>(), entry.metadata()) {
                    visit(&digest, &meta, &entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Lists the unpacked layers: id map, and hexadecimal diff id.
    pub(super) fn layer_names(&self) -> Result<Vec<(String, String)>> {
        let mut names = Vec::new();
        let root = self.root.join("layers");
        let keys = match fs::read_dir(&root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
            other => other.map_err(|error| Error::io(format!("list {}", root.display()), error))?,
        };
        for key in keys.flatten() {
            for layer in fs::read_dir(key.path()).into_iter().flatten().flatten() {
                let (key, name) = (key.file_name().into_string(), layer.file_name().into_string());
                if let (Ok(key), Ok(name)) = (key, name)
                    && !name.starts_with('.')
                {
                    names.push((key, name));
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

fn digest_of(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}
