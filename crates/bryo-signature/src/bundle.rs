// SPDX-License-Identifier: Apache-2.0
//! Sigstore's bundles. Source: github.com/sigstore/protobuf-specs, `sigstore_bundle.proto`, and Cosign's `sign` predicate.

use serde::Deserialize;
use sigstore_verify::types::{Artifact, Bundle, SignatureContent};

use crate::{Error, Image, Result, Trust, Who};

/// What statements about an image stand for a signature: that it was signed, and that it was built. Others may as well
/// say that it is bad.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const BUILT: &str = "https://slsa.dev/provenance/";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marked {
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
}

/// Tells whether a document says of itself that it is a bundle.
pub(crate) fn is_bundle(text: &str) -> bool {
    let marked: std::result::Result<Marked, _> = serde_json::from_str(text);
    marked.is_ok_and(|marked| marked.media_type.starts_with("application/vnd.dev.sigstore.bundle"))
}

/// Verifies a bundle over any of an image's manifests.
pub(crate) fn verify(trust: &Trust, text: &str, image: &Image) -> Result<()> {
    let bundle = parse(text)?;
    if let SignatureContent::DsseEnvelope(envelope) = &bundle.content {
        let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
            .map_err(|e| Error::new(format!("its statement cannot be read: {e}")))?;
        let kind = &statement.predicate_type;
        if kind != SIGNED && !kind.starts_with(BUILT) {
            return Err(Error::new(format!("it is a statement ({kind}), and no signature")));
        }
    }
    let mut why = Error::new("the image has no manifest");
    for manifest in &image.manifests {
        match verify_over(trust, &bundle, &manifest.bytes) {
            Ok(()) => return Ok(()),
            Err(error) => why = error,
        }
    }
    Err(why)
}

pub(crate) fn parse(text: &str) -> Result<Bundle> {
    Bundle::from_json(text).map_err(|e| Error::new(format!("no bundle of Sigstore: {e}")))
}

/// Verifies a bundle over bytes.
pub(crate) fn verify_over(trust: &Trust, bundle: &Bundle, bytes: &[u8]) -> Result<()> {
    let artifact = Artifact::from_blob(bytes);
    let verified = match &trust.who {
        Who::Key { policy, logged: false, .. } => {
            // Who trusts a key alone asks nobody for the time.
            let mut bundle = bundle.clone();
            if !bundle.verification_material.tlog_entries.is_empty() {
                bundle.verification_material.timestamp_verification_data = Default::default();
            }
            trust.verifier.verify(artifact, &bundle, policy)
        }
        Who::Key { policy, .. } => trust.verifier.verify(artifact, bundle, policy),
        Who::Identity { policy, .. } => trust.verifier.verify(artifact, bundle, policy.as_ref()),
    };
    let verified = verified.map_err(|e| Error::new(format!("not by {}: {e}", trust.name())))?;
    // What the policy above asks for, once more and in one place.
    let whole = verified.certificate_verified() && verified.tlog_verified() && verified.identity_policy_checked();
    if matches!(trust.who, Who::Identity { .. }) && !whole {
        return Err(Error::new("its certificate or its entry in the log was not verified"));
    }
    Ok(())
}
