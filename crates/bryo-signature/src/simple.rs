// SPDX-License-Identifier: Apache-2.0
//! Cosign's simple signing: a small document that names a repository and a digest, and a signature of its bytes. Source:
//! github.com/sigstore/cosign, `specs/SIGNATURE_SPEC.md`, and `containers-signature(5)`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::types::SignatureBytes;

use crate::{Error, Image, Result, Trust, Who, bundle};

/// The words for what is signed.
const TYPES: [&str; 2] = ["cosign container image signature", "https://sigstore.dev/cosign/sign/v1"];
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";

/// A line that `cosign download signature` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    base64_signature: String,
    payload: String,
    #[serde(default)]
    cert: Option<Certificate>,
    #[serde(default)]
    chain: Option<Vec<Certificate>>,
    #[serde(default)]
    bundle: Option<Logged>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Certificate {
    raw: String,
}

/// What the log has said. Source: Rekor's API, `LogEntry`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Logged {
    signed_entry_timestamp: String,
    payload: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: Signed,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Verifies one line.
pub(crate) fn verify(trust: &Trust, line: &str, image: &Image) -> Result<()> {
    let line: Line = serde_json::from_str(line)
        .map_err(|e| Error::new(format!("neither a bundle nor what cosign download signature prints: {e}")))?;
    let payload = decode("payload", &line.payload)?;
    match &trust.who {
        Who::Key { key, logged: false, .. } => {
            let signature = SignatureBytes::new(decode("signature", &line.base64_signature)?);
            let key =
                VerificationKey::from_spki(key).map_err(|e| Error::new(format!("the key cannot be used: {e}")))?;
            let verified = key.verify(&payload, &signature);
            verified.map_err(|_| Error::new(format!("not by {}", trust.name())))?;
        }
        Who::Key { .. } | Who::Identity { .. } => {
            bundle::verify_over(trust, &bundle::parse(&as_bundle(&line, &payload)?.to_string())?, &payload)?;
        }
    }
    // Only now is it somebody's word.
    check(&payload, image)
}

/// Checks what was signed: this image, as an image, by this name.
fn check(payload: &[u8], image: &Image) -> Result<()> {
    let Payload { critical } =
        serde_json::from_slice(payload).map_err(|e| Error::new(format!("what is signed cannot be read: {e}")))?;
    if !TYPES.contains(&critical.kind.as_str()) {
        return Err(Error::new(format!("what is signed is {:?}, and no image", critical.kind)));
    }
    let digest = critical.image.digest.strip_prefix("sha256:").unwrap_or_default();
    if !image.manifests.iter().any(|manifest| manifest.sha256 == digest) {
        return Err(Error::new(format!("another image is signed, {}", critical.image.digest)));
    }
    let signed = repository(&critical.identity.reference);
    if signed != image.repository {
        return Err(Error::new(format!("it is signed as {signed}, and not as {}", image.repository)));
    }
    Ok(())
}

/// Returns a reference without tag and digest, by bryo's name for Docker's registry.
fn repository(reference: &str) -> String {
    let name = reference.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    name.strip_prefix("index.").filter(|rest| rest.starts_with("docker.io/")).unwrap_or(name).to_owned()
}

/// Says the same as a bundle of the first version, which has a promise of the log instead of a proof.
fn as_bundle(line: &Line, payload: &[u8]) -> Result<Value> {
    let logged = line.bundle.as_ref().ok_or_else(|| Error::new("it has no entry of the log"))?;
    let hex = &logged.payload.log_id;
    let id = hex_bytes(hex).ok_or_else(|| Error::new(format!("{hex:?} is no log's id")))?;
    let body: Value = serde_json::from_slice(&decode("entry of the log", &logged.payload.body)?)
        .map_err(|e| Error::new(format!("its entry of the log cannot be read: {e}")))?;
    let certificates: Vec<Value> =
        line.cert.iter().chain(line.chain.iter().flatten()).map(|cert| json!({"rawBytes": cert.raw})).collect();
    let signer = if certificates.is_empty() {
        json!({"publicKey": {"hint": ""}})
    } else {
        json!({"x509CertificateChain": {"certificates": certificates}})
    };
    let mut material = signer;
    material["tlogEntries"] = json!([{
        "logIndex": logged.payload.log_index.to_string(),
        "logId": {"keyId": STANDARD.encode(id)},
        "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
        "integratedTime": logged.payload.integrated_time.to_string(),
        "inclusionPromise": {"signedEntryTimestamp": logged.signed_entry_timestamp},
        "canonicalizedBody": logged.payload.body,
    }]);
    Ok(json!({
        "mediaType": BUNDLE,
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(Sha256::digest(payload))},
            "signature": line.base64_signature,
        },
    }))
}

/// Writes what a registry has of a signature as a line: the signed bytes, the annotations of their layer. Source:
/// Cosign's `SIGNATURE_SPEC.md`, "Properties".
///
/// # Errors
///
/// That an annotation is missing or cannot be read.
pub fn line(payload: &[u8], annotation: impl Fn(&str) -> Option<String>) -> Result<String> {
    let signature =
        annotation("dev.cosignproject.cosign/signature").ok_or_else(|| Error::new("it has no signature"))?;
    let certificates = |name: &str| -> Result<Vec<Value>> {
        let pem = annotation(name).unwrap_or_default();
        let inner = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
        inner
            .map(|rest| {
                let body = rest.split("-----END CERTIFICATE-----").next().unwrap_or_default();
                let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
                decode("certificate", &body).map(|_| json!({"Raw": body}))
            })
            .collect()
    };
    let logged = annotation("dev.sigstore.cosign/bundle").map(|text| serde_json::from_str::<Value>(&text)).transpose();
    let logged = logged.map_err(|e| Error::new(format!("its entry of the log cannot be read: {e}")))?;
    let line = json!({
        "Base64Signature": signature,
        "Payload": STANDARD.encode(payload),
        "Cert": certificates("dev.sigstore.cosign/certificate")?.into_iter().next(),
        "Chain": certificates("dev.sigstore.cosign/chain")?,
        "Bundle": logged,
    });
    Ok(line.to_string())
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text.trim()).map_err(|e| Error::new(format!("its {what} is no base64: {e}")))
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    (digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit)).then(|| pairs.collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_tag_and_digest() {
        for (signed, name) in [
            ("registry.example:5000/a/b", "registry.example:5000/a/b"),
            ("registry.example:5000/a/b:1", "registry.example:5000/a/b"),
            ("ghcr.io/a@sha256:00", "ghcr.io/a"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine"),
            ("index.example.org/a", "index.example.org/a"),
        ] {
            assert_eq!(repository(signed), name);
        }
    }

    #[test]
    fn hex_is_whole_bytes_of_digits() {
        assert_eq!(hex_bytes("00ff"), Some(vec![0, 255]));
        for wrong in ["0", "0g", "+1", "éé"] {
            assert_eq!(hex_bytes(wrong), None, "{wrong}");
        }
    }
}
