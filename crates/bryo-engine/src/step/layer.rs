// SPDX-License-Identifier: Apache-2.0
//! What a step has written becomes a layer of the store.

use std::fs::File;
use std::path::PathBuf;

use bryo_image::changes::{Layers, Manner, write_layer};
use bryo_image::store::Layer;
use bryo_image::unpack::{Compression, UnpackJob, Worker};
use bryo_sys::check;
use flate2::Compression as Level;
use flate2::read::GzEncoder;
use rustix::pipe::PipeFlags;

use super::Scratch;
use super::files::directory;
use crate::Engine;
use crate::agent::{self, Place};
use crate::error::Result;

/// A layer that a step has left.
#[derive(Debug)]
pub struct StepLayer {
    /// The layer; it is in the store and unpacked.
    pub layer: Layer,
    /// How many names are in it.
    pub entries: u64,
}

impl Engine {
    /// Makes a layer of what was written to a scratch above `layers`, given top first. What was made at the places of
    /// `mounted` for something to be mounted on is left out. Times later than `newest`, in seconds since the epoch, are
    /// written as that one.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::error::Kind::NoSpace), [`Io`](crate::error::Kind::Io); nothing is left of the layer then.
    pub fn layer(
        &self,
        worker: &Worker,
        scratch: &Scratch,
        layers: &[PathBuf],
        mounted: &[PathBuf],
        newest: Option<u64>,
    ) -> Result<StepLayer> {
        let map = self.store_map()?;
        let manner = Manner { squash: map.is_single(), maker: scratch.maker.get(), newest };
        let lowers = scratch.lowers(layers)?;
        let own = self.own_layer(scratch)?.join("upper");
        let (read, write) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        let open = || {
            let lowers = lowers.iter().map(|path| directory(path)).collect::<Result<_>>()?;
            Ok(Layers { own: directory(&own)?, lowers, mounted: mounted.to_vec() })
        };
        let place = Place::Own(&map, self.host.helpers.as_ref());
        let agent = agent::start(place, [write], open, move |layers, [write]| {
            Ok(write_layer(&layers, manner, File::from(write))?)
        })?;
        let archive = File::from(read);
        let stored = self.store.put_blob_of_unknown_digest(&mut GzEncoder::new(archive, Level::default()));
        // Its own words say more than the end of a pipe.
        let carried = agent.answer()?;
        let (digest, size) = stored?;
        let compression = Compression::Gzip;
        let job = UnpackJob {
            diff_id: None,
            compression: Some(compression),
            blob_size: Some(size),
            limits: self.policy.limits,
        };
        let report = worker.unpack(job, self.store.open_blob(&digest)?.into())?.wait()?.commit()?;
        let media_type = compression.media_type().to_owned();
        let layer = Layer { digest, size, media_type, diff_id: report.diff_id };
        Ok(StepLayer { layer, entries: carried.entries })
    }
}
