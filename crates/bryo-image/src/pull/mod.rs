// SPDX-License-Identifier: Apache-2.0
//! Pulling an image: layers are fetched, verified, decompressed and unpacked at the same time.
//!
//! Guarantees: the image gets its name only when every blob and every unpacked layer is in place; a layer is
//! in place only if both the blob's digest and the diff id are right. What an interrupted pull leaves is a
//! partial blob, which the next one continues, and nothing else. Faces: the registry, and a `kill -9` at any
//! moment.
//!
//! ```text
//! socket ──> hash ──> partial blob ──(sendfile, follows the growing file)──> pipe ──> unpacking process
//!            one thread per layer          a second thread
//! ```
//!
//! The file stands between the two on purpose: a slow unpack does not hold up the connection until the server
//! closes it, a retry in the middle is invisible to the unpacker, and the bytes get there without being
//! copied through this process again.

mod attached;
mod tail;

use std::cell::Cell;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::thread;

pub use self::attached::{Signature, attached};
use self::tail::{Tail, feed, pipe};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::jobs::share_out;
use crate::progress::{Event, PlannedLayer, Progress};
use crate::reference::Reference;
use crate::registry::{BlobWatch, Client, Endpoint, Platform, RegistryOptions, Resolved, Transfer, cancelled, resolve};
use crate::store::{BlobSlot, BlobWriter, Image, ImageRecord, Layer, NewImage, Store};
use crate::unpack::{Compression, Limits, UnpackHandle, UnpackJob, Worker};

const PROGRESS_STEP: u64 = 1 << 20;

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// How the registry is reached.
    pub registry: RegistryOptions,
    /// The platform to choose; `None` for this machine's.
    pub platform: Option<Platform>,
    /// How many layers are transferred at the same time.
    pub concurrency: usize,
    /// What the image may cost.
    pub limits: Limits,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { registry: RegistryOptions::default(), platform: None, concurrency: 3, limits: Limits::default() }
    }
}

/// Pulls an image into the store and unpacks its layers for the worker's id map.
///
/// What is there already is not fetched again. Starts threads, all of which have ended when it returns.
///
/// # Errors
/// [`Kind::NotFound`] for an unknown image, [`Kind::Unreachable`], [`Kind::Unauthorized`],
/// [`Kind::DigestMismatch`] if the registry's bytes are not what their digest or size says,
/// [`Kind::Platform`], [`Kind::UnsupportedMedia`], [`Kind::Limit`], [`Kind::Corrupt`], [`Kind::NoSpace`].
pub fn pull(
    store: &Store,
    worker: &Worker,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    let fetch = || {
        let pin = store.pin()?;
        let client = Client::new(&options.registry)?;
        let endpoints = Endpoint::all(reference, &options.registry.mirrors)?;
        let stop = AtomicBool::new(false);
        let resolved = {
            let session = client.session()?;
            resolve(&Transfer::new(&session, &endpoints, progress, &stop), reference, options.platform.as_ref())?
        };
        let new = describe(reference, &resolved);
        let image = Image::parse(&new.record(), &resolved.bytes, &resolved.config)?;
        let jobs = plan(store, worker.ownership_key(), &image, &options.limits)?;
        let name = reference.to_string();
        announce(&name, &image, &jobs, progress);
        let (client, endpoints, limits) = (&client, &endpoints[..], options.limits);
        Pull { store, worker, client, endpoints, progress, limits, stop }.run(jobs, options.concurrency)?;
        let record = enter(store, &new, &resolved)?;
        progress.event(Event::Done { reference: &name, manifest: &resolved.digest });
        let image = store.image(&record)?;
        drop(pin);
        Ok(image)
    };
    fetch().map_err(|error: Error| error.within(format!("pull {reference}")))
}

/// One layer's work.
#[derive(Clone, Copy, Debug)]
struct Job<'a> {
    layer: &'a Layer,
    compression: Compression,
    unpack: bool,
}

/// What the store gets to know about the image.
fn describe(reference: &Reference, resolved: &Resolved) -> NewImage {
    NewImage {
        reference: Some(reference.to_string()),
        manifest: resolved.digest.clone(),
        size: resolved.bytes.len() as u64,
        media_type: resolved.media_type.clone(),
        config: resolved.config_digest.clone(),
        source: resolved.source.clone(),
    }
}

/// Lists what is missing: every blob once, every diff id once, largest first, so that the last thread to
/// finish has little left.
fn plan<'a>(store: &Store, key: &str, image: &'a Image, limits: &Limits) -> Result<Vec<Job<'a>>> {
    let mut blobs = HashSet::new();
    let mut trees: HashSet<&Digest> = HashSet::new();
    let mut jobs = Vec::new();
    for layer in &image.layers {
        let compression = Compression::from_media_type(&layer.media_type)?;
        if layer.size > limits.compressed {
            let what = format!("fetch layer {}: {} bytes, more than {}", layer.digest, layer.size, limits.compressed);
            return Err(Error::new(Kind::Limit, what));
        }
        let fetch = blobs.insert(&layer.digest) && store.has_blob(&layer.digest) != Some(layer.size);
        let unpack = trees.insert(&layer.diff_id) && !store.has_layer(key, &layer.diff_id);
        if fetch || unpack {
            jobs.push(Job { layer, compression, unpack });
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.layer.size));
    Ok(jobs)
}

fn announce(name: &str, image: &Image, jobs: &[Job<'_>], progress: &dyn Progress) {
    let layers = PlannedLayer::of(image);
    progress.event(Event::Resolved { reference: name, manifest: &image.manifest_digest, layers: &layers });
    for layer in layers {
        if !jobs.iter().any(|job| job.layer.digest == *layer.digest) {
            progress.event(Event::LayerExists { digest: layer.digest });
        }
    }
}

/// Enters the image: content before reference.
fn enter(store: &Store, new: &NewImage, resolved: &Resolved) -> Result<ImageRecord> {
    let documents = [(&resolved.config_digest, &resolved.config), (&resolved.digest, &resolved.bytes)];
    for (digest, bytes) in documents {
        store.put_blob_stream(digest, Some(bytes.len() as u64), &mut bytes.as_slice())?;
    }
    store.commit_image(new)
}

/// What the threads of one pull share.
struct Pull<'p> {
    store: &'p Store,
    worker: &'p Worker,
    client: &'p Client<'p>,
    endpoints: &'p [Endpoint],
    progress: &'p dyn Progress,
    limits: Limits,
    /// Set by the first failure; the others end soon after.
    stop: AtomicBool,
}

impl Pull<'_> {
    fn run(&self, jobs: Vec<Job<'_>>, concurrency: usize) -> Result<()> {
        share_out(jobs, concurrency, &self.stop, |jobs| {
            let session = self.client.session()?;
            let transfer = Transfer::new(&session, self.endpoints, self.progress, &self.stop);
            for job in jobs {
                self.layer(&transfer, job)?;
                self.progress.event(Event::LayerDone { digest: &job.layer.digest });
            }
            Ok(())
        })
    }

    fn layer(&self, transfer: &Transfer<'_>, job: Job<'_>) -> Result<()> {
        let Layer { digest, size, .. } = job.layer;
        let BlobSlot::Write(writer) = self.store.begin_blob(digest, Some(*size))? else {
            self.progress.event(Event::LayerStart { digest, resumed: *size, total: *size });
            self.progress.event(Event::LayerVerified { digest });
            return self.unpack_stored(job);
        };
        // Wrong bytes may be an earlier pull's or a mirror's. The registry itself gets one chance to do better.
        let doubtful = !writer.is_empty() || self.endpoints.len() > 1;
        match self.fetch(transfer, job, writer) {
            Err(error) if error.kind() == Kind::DigestMismatch && doubtful => {
                match self.store.begin_blob(digest, Some(*size))? {
                    BlobSlot::Write(mut writer) => {
                        writer.restart()?;
                        self.fetch(&transfer.origin_only(), job, writer)
                    }
                    BlobSlot::Present => self.unpack_stored(job),
                }
            }
            result => result,
        }
    }

    fn unpack_stored(&self, job: Job<'_>) -> Result<()> {
        if !job.unpack {
            return Ok(());
        }
        let blob = self.store.open_blob(&job.layer.digest)?;
        self.start_unpack(job, blob.into())?.wait()?.commit()?;
        Ok(())
    }

    fn start_unpack(&self, job: Job<'_>, input: OwnedFd) -> Result<UnpackHandle> {
        let unpack = UnpackJob {
            diff_id: Some(job.layer.diff_id.clone()),
            compression: Some(job.compression),
            blob_size: Some(job.layer.size),
            limits: self.limits,
        };
        self.worker.unpack(unpack, input)
    }

    /// Downloads a layer while its unpacking follows.
    fn fetch(&self, transfer: &Transfer<'_>, job: Job<'_>, mut writer: BlobWriter) -> Result<()> {
        let Layer { digest, size, .. } = job.layer;
        let resumed = writer.len();
        self.progress.event(Event::LayerStart { digest, resumed, total: *size });
        let tail = Tail::default();
        let watch = Watch { tail: &tail, progress: self.progress, digest, reported: Cell::new(resumed) };
        let download = |writer: &mut BlobWriter| {
            watch.available(writer.len())?;
            transfer.blob(digest, *size, writer, &watch)
        };
        if !job.unpack {
            download(&mut writer)?;
            writer.commit()?;
            self.progress.event(Event::LayerVerified { digest });
            return Ok(());
        }
        let (read_end, write_end) = pipe()?;
        let source = writer.reader()?;
        let handle = self.start_unpack(job, read_end)?;
        let (downloaded, unpacked) = thread::scope(|scope| {
            let follower = scope.spawn(|| {
                feed(&source, write_end, &tail);
                let unpacked = handle.wait();
                if unpacked.as_ref().is_err_and(|error| !blames_content(error.kind())) {
                    tail.give_up();
                }
                unpacked
            });
            let downloaded = download(&mut writer).and_then(|()| writer.commit());
            tail.finish(downloaded.is_ok());
            if downloaded.is_ok() {
                self.progress.event(Event::LayerVerified { digest });
            }
            (downloaded, follower.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        match (downloaded, unpacked) {
            (Ok(()), unpacked) => unpacked?.commit().map(drop),
            // The download ended because the unpacker had.
            (Err(_), Err(refused)) if tail.is_given_up() => Err(refused),
            (Err(error), _) => Err(error),
        }
    }
}

/// Tells errors of the unpacker that wrong bytes explain. The download then goes on, since only the blob's
/// digest tells whether the registry lied about the bytes or the image is like that.
fn blames_content(kind: Kind) -> bool {
    matches!(kind, Kind::Corrupt | Kind::UnsupportedMedia | Kind::DigestMismatch | Kind::EscapesRoot)
}

struct Watch<'w> {
    tail: &'w Tail,
    progress: &'w dyn Progress,
    digest: &'w Digest,
    reported: Cell<u64>,
}

impl BlobWatch for Watch<'_> {
    fn available(&self, len: u64) -> Result<()> {
        if !self.tail.grow(len) {
            return Err(cancelled());
        }
        if len.abs_diff(self.reported.get()) >= PROGRESS_STEP {
            self.reported.set(len);
            self.progress.event(Event::LayerProgress { digest: self.digest, done: len });
        }
        Ok(())
    }
}
