// SPDX-License-Identifier: Apache-2.0
//! Pushing an image: blobs first, its manifest last, byte for byte as they are in the store.
//!
//! Guarantees: the registry gets a name only for an image whose blobs it has; the manifest's digest is the
//! same there as here. Trusts: the store, whose small documents are verified again. Faces: the registry.

use std::sync::atomic::AtomicBool;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::jobs::share_out;
use crate::progress::{Event, PlannedLayer, Progress};
use crate::reference::Reference;
use crate::registry::{Client, Endpoint, RegistryOptions, Transfer};
use crate::store::{Image, ImageRecord, Store};

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

/// Pushes an image of the store to a registry under a name, and returns the manifest's digest.
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
        if target.digest().is_some_and(|digest| *digest != record.manifest) {
            let what = format!("name the image by digest: it is {}", record.manifest);
            return Err(Error::new(Kind::InvalidReference, what));
        }
        let pin = store.pin()?;
        let (manifest, config) = store.documents(record)?;
        let image = Image::parse(record, &manifest, &config)?;
        let name = target.to_string();
        let layers = PlannedLayer::of(&image);
        progress.event(Event::Resolved { reference: &name, manifest: &record.manifest, layers: &layers });
        let client = Client::new(&options.registry)?;
        let endpoints = [Endpoint::origin(target)];
        let push = Push { store, client: &client, endpoints: &endpoints, progress, stop: AtomicBool::new(false) };
        push.layers(layers, options.concurrency)?;
        let session = client.session()?;
        let transfer = Transfer::new(&session, &endpoints, progress, &push.stop);
        push.blob(&transfer, PlannedLayer { digest: &image.config_digest, size: config.len() as u64 }, &|_| ())?;
        let tag = target.tag().unwrap_or(record.manifest.as_str());
        transfer.put_manifest(tag, &record.media_type, &record.manifest, &manifest)?;
        progress.event(Event::Done { reference: &name, manifest: &record.manifest });
        drop(pin);
        Ok(record.manifest.clone())
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
