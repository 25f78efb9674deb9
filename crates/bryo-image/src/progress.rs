// SPDX-License-Identifier: Apache-2.0
//! What a pull or a push tells about itself while it runs. This crate prints nothing; the caller renders.

use std::collections::HashSet;
use std::time::Duration;

use crate::digest::Digest;
use crate::store::Image;

/// Receives events, from several threads at once. Must return quickly: the transfer waits for it.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// One layer, as it is announced before the transfer begins.
#[derive(Clone, Copy, Debug)]
pub struct PlannedLayer<'a> {
    /// The blob's digest, which names the layer in all later events.
    pub digest: &'a Digest,
    /// The blob's size in bytes.
    pub size: u64,
}

impl<'a> PlannedLayer<'a> {
    /// Lists the layers of an image in its order, each blob once.
    pub(crate) fn of(image: &'a Image) -> Vec<Self> {
        let mut seen = HashSet::new();
        let layers = image.layers.iter().filter(|layer| seen.insert(&layer.digest));
        layers.map(|layer| Self { digest: &layer.digest, size: layer.size }).collect()
    }
}

/// What happened. Sizes are in bytes of the compressed blob.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The name was resolved; the layers, each blob once, in the image's order.
    Resolved {
        /// The full reference.
        reference: &'a str,
        /// The manifest's digest.
        manifest: &'a Digest,
        /// The layers to come.
        layers: &'a [PlannedLayer<'a>],
    },
    /// The layer is there already; no further event names it.
    LayerExists {
        /// The layer.
        digest: &'a Digest,
    },
    /// The transfer of a layer begins.
    LayerStart {
        /// The layer.
        digest: &'a Digest,
        /// The bytes that are there from an earlier, interrupted transfer.
        resumed: u64,
        /// The bytes there will be.
        total: u64,
    },
    /// More bytes of a layer have been transferred; comes about once per MiB.
    LayerProgress {
        /// The layer.
        digest: &'a Digest,
        /// The bytes that are there.
        done: u64,
    },
    /// All bytes are there and are what the digest says; the rest of the unpacking is awaited.
    LayerVerified {
        /// The layer.
        digest: &'a Digest,
    },
    /// The layer is complete.
    LayerDone {
        /// The layer.
        digest: &'a Digest,
    },
    /// Something failed that may work when tried again.
    Retry {
        /// What is transferred: a digest or a name.
        object: &'a str,
        /// The number of the next attempt; the first try was number 1.
        attempt: u32,
        /// How long the pause before it is.
        pause: Duration,
        /// Why the last attempt failed.
        reason: &'a str,
    },
    /// The image is complete and entered under its name.
    Done {
        /// The full reference.
        reference: &'a str,
        /// The manifest's digest.
        manifest: &'a Digest,
    },
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event<'_>) {}
}
