// SPDX-License-Identifier: Apache-2.0
//! Unpacking what is in the store as blobs already.

use std::sync::atomic::AtomicBool;

use super::{Compression, Limits, UnpackJob, Worker};
use crate::copy::copy;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Error, Kind, Result};
use crate::jobs::share_out;
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
        let missing = store.missing_layers(image, self.ownership_key());
        share_out(missing, PARALLEL, &AtomicBool::new(false), |layers| {
            for layer in layers {
                self.unpack_layer(store, layer, limits)?;
                done(layer);
            }
            Ok(())
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
    let mut writer = HashingWriter::new(std::io::sink(), digest.algorithm());
    copy(&mut store.open_blob(digest)?, &mut writer, &format!("blob {digest}"))?;
    match writer.finish() {
        (_, found, _) if found == *digest => Ok(()),
        (_, found, _) => Err(Error::new(Kind::DigestMismatch, format!("verify blob {digest}: content is {found}"))),
    }
}
