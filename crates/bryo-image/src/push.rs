// SPDX-License-Identifier: Apache-2.0
//! Pushing an image: blobs first, its manifest last, byte for byte as they are in the store.
//!
//! Guarantees: the registry gets a name only for an image whose blobs it has; the manifest's digest is the
//! same there as here. Trusts: the store, whose small documents are verified again. Faces: the registry.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::jobs::share_out;
use crate::progress::{Event, PlannedLayer, Progress};
use crate::reference::Reference;
use crate::registry::{Client, Endpoint, RegistryOptions, Transfer};
use crate::store::{Image, ImageRecord, Members, Store};

/// How to push.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// How the registry is reached. Mirrors are not used.
    pub registry: RegistryOptions,
    /// How many blobs are transferred at the same time.
    pub concurrency: usize,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { registry: RegistryOptions::default(), concurrency: 3 }
    }
}

/// Pushes an image of the store to a registry under a name, with all that it was made with, and returns the digest of
/// its manifest or index.
///
/// Starts threads, all of which have ended when it returns.
///
/// # Errors
/// [`Kind::NotFound`] if a blob is not in the store, [`Kind::Unauthorized`], [`Kind::Unreachable`],
/// [`Kind::Registry`] if the registry refuses it, [`Kind::InvalidReference`] for a name with another digest.
pub fn push(
    store: &Store,
    record: &ImageRecord,
    target: &Reference,
    options: &PushOptions,
    progress: &dyn Progress,
) -> Result<Digest> {
    let send = || {
        let members = store.members(record)?;
        let top = members.as_ref().map_or(&record.manifest, |members| &members.digest);
        if target.digest().is_some_and(|digest| digest != top) {
            return Err(Error::new(Kind::InvalidReference, format!("name the image by digest: it is {top}")));
        }
        let pin = store.pin()?;
        let records = members.as_ref().map_or(std::slice::from_ref(record), |members| &members.images);
        let documents = records.iter().map(|record| store.documents(record)).collect::<Result<Vec<_>>>()?;
        let parse = |(record, (manifest, config)): (_, &(Vec<u8>, Vec<u8>))| Image::parse(record, manifest, config);
        let images = records.iter().zip(&documents).map(parse).collect::<Result<Vec<_>>>()?;
        let name = target.to_string();
        let mut seen = HashSet::new();
        let layers = images.iter().flat_map(PlannedLayer::of).filter(|layer| seen.insert(layer.digest));
        let layers: Vec<PlannedLayer<'_>> = layers.collect();
        progress.event(Event::Resolved { reference: &name, manifest: top, layers: &layers });
        let client = Client::new(&options.registry)?;
        let endpoints = [Endpoint::origin(target)];
        let push = Push { store, client: &client, endpoints: &endpoints, progress, stop: AtomicBool::new(false) };
        push.layers(layers, options.concurrency)?;
        let session = client.session()?;
        let transfer = Transfer::new(&session, &endpoints, progress, &push.stop);
        let tag = target.tag().unwrap_or(top.as_str());
        for ((record, image), (manifest, config)) in records.iter().zip(&images).zip(&documents) {
            push.blob(&transfer, PlannedLayer { digest: &image.config_digest, size: config.len() as u64 }, &|_| ())?;
            // The name comes last, with what has all the others.
            let name = if members.is_some() { record.manifest.as_str() } else { tag };
            transfer.put_manifest(name, &record.media_type, &record.manifest, manifest)?;
        }
        if let Some(Members { digest, bytes, .. }) = &members {
            transfer.put_manifest(tag, Members::MEDIA_TYPE, digest, bytes)?;
        }
        progress.event(Event::Done { reference: &name, manifest: top });
        drop(pin);
        Ok(top.clone())
    };
    send().map_err(|error: Error| error.within(format!("push {target}")))
}

struct Push<'p> {
    store: &'p Store,
    client: &'p Client<'p>,
    endpoints: &'p [Endpoint],
    progress: &'p dyn Progress,
    stop: AtomicBool,
}

impl Push<'_> {
    fn layers(&self, layers: Vec<PlannedLayer<'_>>, concurrency: usize) -> Result<()> {
        share_out(layers, concurrency, &self.stop, |layers| {
            let session = self.client.session()?;
            let transfer = Transfer::new(&session, self.endpoints, self.progress, &self.stop);
            for layer in layers {
                self.blob(&transfer, layer, &|event| self.progress.event(event))?;
            }
            Ok(())
        })
    }

    fn blob(&self, transfer: &Transfer<'_>, blob: PlannedLayer<'_>, tell: &dyn Fn(Event<'_>)) -> Result<()> {
        let PlannedLayer { digest, size } = blob;
        if transfer.has_remote_blob(digest)? {
            tell(Event::LayerExists { digest });
            return Ok(());
        }
        tell(Event::LayerStart { digest, resumed: 0, total: size });
        transfer.upload(digest, size, &|| self.store.open_blob(digest))?;
        tell(Event::LayerDone { digest });
        Ok(())
    }
}
