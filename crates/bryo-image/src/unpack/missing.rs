// SPDX-License-Identifier: Apache-2.0
//! Unpacking what is in the store as blobs already.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Compression, Limits, UnpackJob, Worker};
use crate::digest::{Digest, HashingReader};
use crate::error::{Error, Kind, Result};
use crate::store::{Image, Layer, Store};

/// How many layers are unpacked at once. Each has two busy threads.
const PARALLEL: usize = 3;

impl Worker {
    /// Unpacks the layers of an image that are missing for this worker's id map, from their blobs.
    ///
    /// `done` is called after each, from any of several threads.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if a blob is not in the store, [`Kind::DigestMismatch`] if one is not what it says.
    pub fn unpack_missing(
        &self,
        store: &Store,
        image: &Image,
        limits: &Limits,
        done: &(dyn Fn(&Layer) + Sync),
    ) -> Result<()> {
        let mut queue = store.missing_layers(image, self.ownership_key());
        queue.reverse();
        let threads = queue.len().min(PARALLEL);
        let queue = Mutex::new(queue);
        let failed = AtomicBool::new(false);
        let work = || -> Result<()> {
            while !failed.load(Ordering::Relaxed) {
                let Some(layer) = queue.lock().ok().and_then(|mut queue| queue.pop()) else { break };
                self.unpack_layer(store, layer, limits).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                done(layer);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(Error::new(Kind::Io, "unpack layers: a thread panicked")))
            })
        })
    }

    fn unpack_layer(&self, store: &Store, layer: &Layer, limits: &Limits) -> Result<()> {
        let job = UnpackJob {
            diff_id: Some(layer.diff_id.clone()),
            compression: Some(Compression::from_media_type(&layer.media_type)?),
            blob_size: Some(layer.size),
            limits: *limits,
        };
        let within = |error: Error| error.within(format!("unpack layer {}", layer.digest));
        let handle = self.unpack(job, store.open_blob(&layer.digest)?.into())?;
        // The blob was verified when it came; it is hashed again, since what the disk has now is unpacked.
        let verified = verify(store, &layer.digest);
        let unpacked = handle.wait().map_err(within)?;
        verified.map_err(within)?;
        unpacked.commit().map(drop)
    }
}

fn verify(store: &Store, digest: &Digest) -> Result<()> {
    let mut reader = HashingReader::new(store.open_blob(digest)?, digest.algorithm());
    std::io::copy(&mut reader, &mut std::io::sink())
        .map_err(|error| Error::io(format!("read blob {digest}"), error))?;
    match reader.finish().0 {
        found if found == *digest => Ok(()),
        found => Err(Error::new(Kind::DigestMismatch, format!("verify blob {digest}: content is {found}"))),
    }
}
