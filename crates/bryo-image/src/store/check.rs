// SPDX-License-Identifier: Apache-2.0
//! Whether the store is whole: mark what images refer to, and look at what is there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::gc::GcOptions;
use super::{MANIFEST_MAX, Store, make_dir, parse_manifest};
use crate::copy::copy;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Error, Kind, Result};

/// What a look at the store has found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckReport {
    /// How many blobs there are.
    pub blobs: u64,
    /// How many unpacked layers there are.
    pub layers: u64,
    /// Blobs whose content is not what their name says.
    pub damaged: Vec<Digest>,
    /// Blobs that cannot be read, and why.
    pub unreadable_blobs: Vec<(Digest, String)>,
    /// Images that cannot be read, by name or digest, and why.
    pub unreadable: Vec<(String, String)>,
    /// Images and the blobs of them that are not there.
    pub missing: Vec<(String, Digest)>,
    /// Blobs that no image refers to, and their sizes in bytes.
    pub orphaned_blobs: Vec<(Digest, u64)>,
    /// Layers that neither an image nor a container stands on, as `owner/name`.
    pub orphaned_layers: Vec<String>,
    /// What interrupted downloads and dead processes have left, and what was damaged and put aside.
    pub leftovers: Vec<PathBuf>,
}

impl CheckReport {
    /// Tells whether everything is there that should be, and is what it should be.
    pub fn is_whole(&self) -> bool {
        let images = self.unreadable.is_empty() && self.missing.is_empty();
        images && self.damaged.is_empty() && self.unreadable_blobs.is_empty()
    }
}

impl Store {
    /// Looks at everything in the store. With `content` each blob is read and hashed again. Takes no lock: what is being
    /// added at this moment may be told as an orphan.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the index is not one, [`Kind::Io`].
    pub fn check(&self, options: &GcOptions, content: bool) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        self.each_blob(|digest, _, _| {
            report.blobs += 1;
            let found = if content { self.content_of(digest) } else { Ok(digest.clone()) };
            match found {
                Ok(found) if found == *digest => {}
                Ok(_) => report.damaged.push(digest.clone()),
                // It was removed a moment ago.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => report.unreadable_blobs.push((digest.clone(), error.chain())),
            }
            Ok(())
        })?;
        let layers = self.layer_names()?;
        report.layers = layers.len() as u64;
        self.check_images(&mut report)?;
        // Where an image cannot be read, what it refers to is unknown, and nothing is an orphan.
        if report.unreadable.is_empty() {
            self.find_orphans(options, layers, &mut report)?;
        }
        report.leftovers = self.leftovers();
        Ok(report)
    }

    fn check_images(&self, report: &mut CheckReport) -> Result<()> {
        let mut seen = BTreeSet::new();
        for record in self.images()? {
            if !seen.insert(record.manifest.clone()) {
                continue;
            }
            let name = record.reference.clone().unwrap_or_else(|| record.manifest.to_string());
            let read = self.documents(&record).and_then(|(manifest, _)| parse_manifest(&manifest, &record.media_type));
            let manifest = match read {
                Ok(manifest) => manifest,
                Err(error) => {
                    report.unreadable.push((name, error.chain()));
                    continue;
                }
            };
            for layer in manifest.layers() {
                let digest: Digest = layer.digest().try_into()?;
                if self.has_blob(&digest) != Some(layer.size()) {
                    report.missing.push((name.clone(), digest));
                }
            }
        }
        Ok(())
    }

    fn find_orphans(&self, options: &GcOptions, layers: Vec<(String, String)>, report: &mut CheckReport) -> Result<()> {
        let mut marked = match self.mark() {
            // Removed a moment ago, when its name was known already: nothing is an orphan for certain.
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            other => other?,
        };
        marked.layers.extend(options.layers_in_use.iter().map(|id| id.hex().to_owned()));
        marked.blobs.extend(options.blobs_in_use.iter().cloned());
        self.each_blob(|digest, meta, _| {
            if !marked.blobs.contains(digest) {
                report.orphaned_blobs.push((digest.clone(), meta.len()));
            }
            Ok(())
        })?;
        for (key, name) in layers {
            if !self.is_wanted(&key, &name, &marked) {
                report.orphaned_layers.push(format!("{key}/{name}"));
            }
        }
        Ok(())
    }

    /// Lists partial files, trees of layers that were being unpacked or removed, and what was put aside.
    fn leftovers(&self) -> Vec<PathBuf> {
        let list = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let partial = list(self.partial_dir());
        let trees = list(self.root.join("layers")).flat_map(list);
        let unfinished = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
            name.starts_with(crate::temporary::PREFIX.as_bytes()) && !is_locked(path)
        };
        let mut all: Vec<PathBuf> = partial.filter(|path| !is_locked(path)).chain(trees.filter(unfinished)).collect();
        all.extend(self.put_aside());
        all.sort();
        all
    }

    /// Takes a blob that is not what its name says out of the way, so that it is fetched again. One that may be a
    /// manifest or a configuration is put aside: a person may still read from it what the image was made of. It goes
    /// with the next collection for which every image can be read.
    ///
    /// # Errors
    /// [`Kind::Io`] if it cannot be moved or removed.
    pub fn remove_damaged(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        let done = if self.has_blob(digest).is_some_and(|size| size <= MANIFEST_MAX) {
            make_dir(&self.damaged_dir(), 0o700)?;
            std::fs::rename(path, self.damaged_dir().join(format!("{}-{}", digest.algorithm().name(), digest.hex())))
        } else {
            std::fs::remove_file(path)
        };
        done.map_err(|error| Error::io(format!("remove blob {digest}"), error))
    }

    /// Lists what was damaged and put aside.
    pub(super) fn put_aside(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.damaged_dir()).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn damaged_dir(&self) -> PathBuf {
        self.root.join("damaged")
    }

    fn content_of(&self, digest: &Digest) -> Result<Digest> {
        let mut writer = HashingWriter::new(std::io::sink(), digest.algorithm());
        copy(&mut self.open_blob(digest)?, &mut writer, &format!("blob {digest}"))?;
        let (_, found, _) = writer.finish();
        Ok(found)
    }
}

/// Tells whether whoever made it lives. What cannot be opened is gone.
fn is_locked(path: &PathBuf) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return true };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}
