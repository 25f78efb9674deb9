// SPDX-License-Identifier: Apache-2.0
//! Images from and to files: `docker save` archives, OCI layouts in archives or directories, `dir:`, root file systems.
//!
//! Guarantees: what is loaded was verified like what is pulled, blob digests and diff ids; a name inside an archive is
//! only ever a key to look up, never a path to open. Trusts: the paths the caller gives. Faces: archives from anyone.

mod change;
mod commit;
mod docker;
mod import;
mod layout;
mod save;
mod source;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use change::Change;
pub use commit::{CommitOptions, commit};
pub use import::{ImportOptions, import};
pub(crate) use save::uncompressed;
pub use save::{SaveFormat, save, save_layout_dir, save_plain_dir};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::{Reference, Source};
use crate::registry::Platform;
use crate::store::{Image, ImageRecord, NewImage, Store, parse_manifest};
use crate::unpack::{Limits, Worker};
use source::{ArchiveFile, Blobs, Directory};

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What the images may cost.
    pub limits: Limits,
    /// Which image to choose where there is one for each platform.
    pub platform: Platform,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), platform: Platform::host() }
    }
}

/// One image of an archive, its blobs stored, about to be unpacked and entered.
struct Incoming {
    references: Vec<String>,
    manifest: Vec<u8>,
    media_type: String,
}

/// What was loaded: one for each name, or one for an image without a name.
pub type Loaded = Vec<ImageRecord>;

/// Loads the images of a transport that is a file or a directory.
///
/// # Errors
/// [`Kind::NotFound`] if the file or the image in it is not there, [`Kind::Corrupt`], [`Kind::DigestMismatch`],
/// [`Kind::Limit`], [`Kind::Platform`]; [`Kind::UnsupportedMedia`] for transports that are no archive.
pub fn load(store: &Store, worker: &Worker, source: &Source, options: &LoadOptions) -> Result<Loaded> {
    Loader { store, worker: Some(worker), options }.source(source)
}

/// As [`load`], and unpacks nothing: for a store of one's own, in which images are only looked at.
///
/// # Errors
/// As [`load`].
pub fn view(store: &Store, source: &Source, options: &LoadOptions) -> Result<Loaded> {
    Loader { store, worker: None, options }.source(source)
}

/// Loads all images of an archive of either kind, compressed or not, from a file or a pipe.
///
/// # Errors
/// As [`load`].
pub fn load_archive(store: &Store, worker: &Worker, input: File, options: &LoadOptions) -> Result<Loaded> {
    Loader { store, worker: Some(worker), options }.archive(input)
}

/// As [`load_archive`], and unpacks nothing: for a store of one's own, in which images are only looked at.
///
/// # Errors
/// As [`load`].
pub fn view_archive(store: &Store, input: File, options: &LoadOptions) -> Result<Loaded> {
    Loader { store, worker: None, options }.archive(input)
}

struct Loader<'a> {
    store: &'a Store,
    /// Who unpacks; nobody where images are only looked at.
    worker: Option<&'a Worker>,
    options: &'a LoadOptions,
}

impl Loader<'_> {
    fn source(&self, source: &Source) -> Result<Loaded> {
        match source {
            Source::DockerArchive { file, reference } => {
                let wanted = reference.as_ref().map(Reference::to_string);
                self.run(|| docker::read(self, &ArchiveFile::open(self.store, open(file)?)?, wanted.as_deref()))
            }
            Source::OciArchive { file, tag } => {
                let fallback = local_name(file);
                self.run(|| {
                    let archive = ArchiveFile::open(self.store, open(file)?)?;
                    layout::read(self, &archive, tag.as_deref(), fallback.as_deref())
                })
            }
            Source::OciLayout { dir, tag } => {
                let fallback = local_name(dir);
                self.run(|| layout::read(self, &Directory::open(dir)?, tag.as_deref(), fallback.as_deref()))
            }
            Source::Dir(dir) => {
                let fallback = local_name(dir);
                self.run(|| layout::read_plain(self, &Directory::open(dir)?, fallback.as_deref()))
            }
            other => Err(Error::new(Kind::UnsupportedMedia, format!("load {other}: not an archive"))),
        }
    }

    fn archive(&self, input: File) -> Result<Loaded> {
        self.run(|| {
            let archive = ArchiveFile::open(self.store, input)?;
            // Docker writes both descriptions; the older one has the full names.
            match archive.has("manifest.json") {
                true => docker::read(self, &archive, None),
                false => layout::read(self, &archive, None, None),
            }
        })
    }

    /// Reads, unpacks, enters. What a failure leaves in the store refers to nothing, and is collected at once
    /// unless somebody else is adding an image.
    fn run(&self, read: impl FnOnce() -> Result<Vec<Incoming>>) -> Result<Loaded> {
        let before = self.store.snapshot();
        let pin = self.store.pin()?;
        let result = read().and_then(|images| self.enter(images));
        drop(pin);
        if let (Err(_), Some(worker)) = (&result, self.worker) {
            self.store.discard_new(before.as_ref(), worker);
        }
        result
    }

    fn enter(&self, images: Vec<Incoming>) -> Result<Loaded> {
        if images.is_empty() {
            return Err(Error::new(Kind::NotFound, "load: no image in it"));
        }
        let mut loaded = Vec::new();
        for incoming in images {
            let new = self.check(&incoming)?;
            let names = match incoming.references.is_empty() {
                true => vec![None],
                false => incoming.references.into_iter().map(Some).collect(),
            };
            for reference in names {
                loaded.push(self.store.commit_image(&NewImage { reference, ..new.clone() })?);
            }
        }
        Ok(loaded)
    }

    /// Verifies an image whose blobs are in the store, and unpacks it.
    fn check(&self, incoming: &Incoming) -> Result<NewImage> {
        let manifest = parse_manifest(&incoming.manifest, &incoming.media_type)?;
        let digest = self.store.put_blob(&incoming.manifest)?;
        let new = NewImage {
            reference: None,
            manifest: digest,
            size: incoming.manifest.len() as u64,
            media_type: incoming.media_type.clone(),
            config: manifest.config().digest().try_into()?,
            source: None,
        };
        let image = self.store.image(&new.record())?;
        if let Some(worker) = self.worker {
            self.unpack(&image, worker)?;
        }
        Ok(new)
    }

    fn unpack(&self, image: &Image, worker: &Worker) -> Result<()> {
        let missing = self.store.missing_layers(image, worker.ownership_key());
        for layer in &image.layers {
            // Unpacking verifies the diff id of the blobs it reads. The others may claim that of a layer which is
            // there already: nobody would run them, but they would be saved and pushed under its name.
            if !missing.contains(&layer) && layer.digest != layer.diff_id {
                save::uncompressed(self.store, layer, &mut std::io::sink())?;
            }
        }
        worker.unpack_missing(self.store, image, &self.options.limits, &|_| {})
    }

    /// Stores a blob of an archive under the digest that its manifest claims.
    fn store_blob(&self, blobs: &dyn Blobs, name: &str, digest: &Digest, size: u64) -> Result<()> {
        if size > self.options.limits.compressed {
            return Err(Error::new(Kind::Limit, format!("load blob {digest}: {size} bytes")));
        }
        if self.store.has_blob(digest) == Some(size) {
            return Ok(());
        }
        let mut reader = blobs.open(name)?.0.take(size + 1);
        self.store.put_blob_stream(digest, Some(size), &mut reader)
    }
}

/// Exports an image's file system as a tar archive. Its layers must be unpacked.
pub fn export(store: &Store, worker: &Worker, image: &Image, output: std::os::fd::OwnedFd) -> Result<()> {
    store.layer_paths(image, worker.ownership_key())?;
    let layers: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    worker.export(&layers, output)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Io,
        };
        Error::new(kind, format!("open {}", path.display())).with_source(error)
    })
}

/// Makes a name for an image that has none of its own: `localhost/` and the file's name.
fn local_name(path: &Path) -> Option<String> {
    let name = path.canonicalize().ok()?;
    let stem = name.file_stem()?.to_str()?.to_ascii_lowercase();
    let reference: Reference = format!("localhost/{stem}").parse().ok()?;
    Some(reference.repository())
}
