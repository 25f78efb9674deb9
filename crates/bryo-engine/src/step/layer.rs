// SPDX-License-Identifier: Apache-2.0
//! What a step has written becomes a layer of the store.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use bryo_image::Digest;
use bryo_image::changes::{Inodes, Layers, Manner, write_layer};
use bryo_image::store::Layer;
use bryo_image::unpack::{Compression, UnpackJob, Worker};
use bryo_sys::check;
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

/// How a layer is written.
#[derive(Clone, Copy, Debug)]
pub struct LayerForm {
    /// Times later than this, in seconds since the epoch, are written as this.
    pub newest: Option<u64>,
    /// How it is compressed.
    pub compression: Compression,
}

impl Engine {
    /// Makes a layer of what was written to a scratch above `layers`, given top first. What was made at the places of
    /// `mounted` for something to be mounted on is left out.
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
        form: LayerForm,
    ) -> Result<StepLayer> {
        let map = self.store_map()?;
        let manner = Manner { squash: map.is_single(), maker: scratch.maker.get(), newest: form.newest };
        let lowers = scratch.lowers(layers)?;
        let own = self.own_layer(scratch)?.join("upper");
        let (read, write) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        let open = || {
            let lowers = lowers.iter().map(|path| directory(path)).collect::<Result<_>>()?;
            Ok(Layers { own: directory(&own)?, lowers, mounted: mounted.to_vec(), opaque: Inodes::new() })
        };
        let place = Place::Own(&map, self.host.helpers.as_ref());
        let agent = agent::start(place, [write], open, move |layers, [write]| {
            Ok(write_layer(&layers, manner, File::from(write))?)
        })?;
        // Unpacked is what is compressed, as it comes: nobody has to take it apart again.
        let (input, output) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        let compression = form.compression;
        let unpacking = worker.unpack(self.job(Compression::None, None), input)?;
        let archive = Forked { input: File::from(read), output: Some(File::from(output)) };
        let stored = self.store.put_blob_of_unknown_digest(&mut compression.compress(archive));
        // Its own words say more than the end of a pipe.
        let carried = agent.answer()?;
        let (digest, size) = stored?;
        let diff_id = unpacking.wait()?.commit()?.diff_id;
        let layer = Layer { digest, size, media_type: compression.media_type().to_owned(), diff_id };
        Ok(StepLayer { layer, entries: carried.entries })
    }

    fn job(&self, compression: Compression, blob_size: Option<u64>) -> UnpackJob {
        UnpackJob { diff_id: None, compression: Some(compression), blob_size, limits: self.policy.limits }
    }

    /// Makes one layer of several, given bottom to top, which leaves the same of what is below.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::error::Kind::NoSpace), [`Io`](crate::error::Kind::Io); when one is gone or damaged.
    pub fn squash(&self, worker: &Worker, layers: &[Layer], compression: Compression) -> Result<Layer> {
        let archive = bryo_image::squash::squash_layers(&self.store, layers)?;
        let stored = self.store.put_blob_of_unknown_digest(&mut compression.compress(archive))?;
        self.keep(worker, stored, compression)
    }

    /// Unpacks the blob of a layer.
    fn keep(&self, worker: &Worker, (digest, size): (Digest, u64), compression: Compression) -> Result<Layer> {
        let job = self.job(compression, Some(size));
        let report = worker.unpack(job, self.store.open_blob(&digest)?.into())?.wait()?.commit()?;
        let media_type = compression.media_type().to_owned();
        Ok(Layer { digest, size, media_type, diff_id: report.diff_id })
    }
}

/// A reader whose bytes go into a pipe as well.
struct Forked {
    input: File,
    /// Nothing once whoever reads there has ended, and says so elsewhere.
    output: Option<File>,
}

impl Read for Forked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if self.output.as_mut().is_some_and(|output| output.write_all(&buffer[..read]).is_err()) {
            self.output = None;
        }
        Ok(read)
    }
}
