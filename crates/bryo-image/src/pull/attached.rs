// SPDX-License-Identifier: Apache-2.0
//! What a registry has beside an image: signatures and attestations.
//!
//! Guarantees: what is stored is what its digest says; how much is read is bounded. Believes nothing of what it fetches:
//! whether a signature is one is for others to say. Sources: Cosign's `SIGNATURE_SPEC.md`; the OCI distribution
//! specification, "Listing Referrers"; BuildKit's `attestation-storage.md`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use oci_spec::image::{Descriptor, ImageIndex};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::{Client, Endpoint, RegistryOptions, Transfer};
use crate::store::{ImageRecord, MediaKind, Store, parse_manifest};

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The largest signature and the largest statement, in bytes.
const SIGNATURE_MAX: u64 = 4 << 20;
const STATEMENT_MAX: u64 = 64 << 20;
/// How many documents of a kind are fetched.
const MANY: usize = 32;

/// One signature as a registry has it.
#[derive(Clone, Debug)]
pub enum Signature {
    /// Signed bytes, and what the annotations of their layer say of them.
    Simple {
        /// The bytes.
        payload: Vec<u8>,
        /// By their names.
        annotations: BTreeMap<String, String>,
    },
    /// A bundle of Sigstore.
    Bundle(Vec<u8>),
}

/// Fetches the signatures of an image that is here, of its manifest and of the index that it was chosen from; with
/// `statements` what is attested of it enters the store, beside the index.
///
/// # Errors
/// [`Kind::Unreachable`], [`Kind::Unauthorized`], [`Kind::DigestMismatch`], [`Kind::Limit`]. That there are none is no
/// error.
pub fn attached(
    store: &Store,
    reference: &Reference,
    record: &ImageRecord,
    options: &RegistryOptions,
    statements: bool,
    progress: &dyn Progress,
) -> Result<Vec<(Digest, Signature)>> {
    let fetch = || {
        let _pin = store.pin()?;
        let client = Client::new(options)?;
        let endpoints = Endpoint::all(reference, &options.mirrors)?;
        let stop = AtomicBool::new(false);
        let session = client.session()?;
        let transfer = Transfer::new(&session, &endpoints, progress, &stop);
        let mut found = Vec::new();
        for subject in [Some(&record.manifest), record.source.as_ref()].into_iter().flatten() {
            let signatures = transfer.tagged(subject)?.into_iter().chain(transfer.referring(subject)?);
            found.extend(signatures.map(|signature| (subject.clone(), signature)));
        }
        if let Some(index) = &record.source {
            transfer.keep_index(store, index, &record.manifest, statements)?;
        }
        Ok(found)
    };
    fetch().map_err(|error: Error| error.within(format!("fetch what is attached to {reference}")))
}

impl Transfer<'_> {
    /// Fetches what Cosign has put beside an image under a tag of its own.
    fn tagged(&self, subject: &Digest) -> Result<Vec<Signature>> {
        let name = format!("{}-{}.sig", subject.algorithm().name(), subject.hex());
        let Some(document) = missing(self.document(&name, None, None))? else { return Ok(Vec::new()) };
        let manifest = parse_manifest(&document.bytes, &document.media_type)?;
        let layers = manifest.layers().iter().filter(|layer| layer.media_type().to_string() == SIMPLE);
        let fetch = |layer: &Descriptor| {
            let payload = self.small_blob(&Digest::try_from(layer.digest())?, layer.size(), SIGNATURE_MAX)?;
            let annotations = layer.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
            Ok(Signature::Simple { payload, annotations })
        };
        layers.take(MANY).map(fetch).collect()
    }

    /// Fetches the bundles that refer to an image.
    fn referring(&self, subject: &Digest) -> Result<Vec<Signature>> {
        let Some(listed) = missing(self.referrers(subject))? else { return Ok(Vec::new()) };
        let is_bundle = |entry: &&Descriptor| {
            entry.artifact_type().as_ref().is_some_and(|kind| kind.to_string().starts_with(BUNDLE))
        };
        let mut found = Vec::new();
        for entry in listed.manifests().iter().filter(is_bundle).take(MANY) {
            let digest = Digest::try_from(entry.digest())?;
            let document = self.document(digest.as_str(), Some(&digest), None)?;
            let manifest = parse_manifest(&document.bytes, &document.media_type)?;
            for layer in manifest.layers().iter().filter(|layer| layer.media_type().to_string().starts_with(BUNDLE)) {
                let digest = Digest::try_from(layer.digest())?;
                found.push(Signature::Bundle(self.small_blob(&digest, layer.size(), SIGNATURE_MAX)?));
            }
        }
        Ok(found)
    }

    /// Keeps the index that an image was chosen from, and what is attested of the image there.
    fn keep_index(&self, store: &Store, index: &Digest, image: &Digest, statements: bool) -> Result<()> {
        let Some(document) = missing(self.document(index.as_str(), Some(index), None))? else { return Ok(()) };
        if MediaKind::of(&document.media_type)? != MediaKind::Index {
            return Ok(());
        }
        let listed: ImageIndex = serde_json::from_slice(&document.bytes)
            .map_err(|error| Error::new(Kind::Corrupt, format!("parse index {index}")).with_source(error))?;
        let of_image = |entry: &&Descriptor| {
            let says = |key: &str| entry.annotations().as_ref().and_then(|all| all.get(key)).map(String::as_str);
            says("vnd.docker.reference.type") == Some("attestation-manifest")
                && says("vnd.docker.reference.digest") == Some(image.as_str())
        };
        for entry in listed.manifests().iter().filter(of_image).filter(|_| statements).take(MANY) {
            let digest = Digest::try_from(entry.digest())?;
            let document = self.document(digest.as_str(), Some(&digest), Some(entry))?;
            let manifest = parse_manifest(&document.bytes, &document.media_type)?;
            let layers = manifest.layers().iter().filter(|layer| layer.media_type().to_string() == STATEMENT);
            for part in layers.chain([manifest.config()]) {
                let digest = Digest::try_from(part.digest())?;
                let bytes = self.small_blob(&digest, part.size(), STATEMENT_MAX)?;
                store.put_blob_stream(&digest, Some(part.size()), &mut bytes.as_slice())?;
            }
            store.put_blob_stream(&digest, None, &mut document.bytes.as_slice())?;
        }
        store.put_blob_stream(index, None, &mut document.bytes.as_slice())
    }
}

/// Takes what is not there for nothing. Registries that do not know a question answer as if there was no answer.
fn missing<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
