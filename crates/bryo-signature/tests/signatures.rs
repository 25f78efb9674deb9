// SPDX-License-Identifier: Apache-2.0
//! Signatures by keys that are made here, and published bundles of Sigstore. Sources of `data/`: the tests of
//! github.com/sigstore/sigstore-rust, and Sigstore's public trusted root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bryo_signature::{Image, Manifest, Trust, simple_signing_line};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ROOT: &str = include_str!("data/trusted_root.json");
const BLOB: &[u8] = include_bytes!("data/blob.txt");
const BLOB_BUNDLE: &str = include_str!("data/blob.sigstore.json");
const IDENTITY: &str = "w.vollprecht@gmail.com";
const ISSUER: &str = "https://github.com/login/oauth";
const REPOSITORY: &str = "registry.example.org/team/app";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn image(bytes: &[u8]) -> Image {
    let manifest = Manifest { sha256: hex(&Sha256::digest(bytes)), bytes: bytes.to_vec() };
    Image { repository: REPOSITORY.into(), manifests: vec![manifest] }
}

fn pem(prefix: &[u8], key: &[u8]) -> String {
    let der = STANDARD.encode([prefix, key].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

/// A key of the kind that `cosign generate-key-pair` makes.
struct Owner(EcdsaKeyPair);

impl Owner {
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap())
    }

    fn trust(&self, root: Option<&str>) -> Trust {
        // Source: RFC 5480, the algorithm of keys on P-256.
        let prefix = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        Trust::key("owner.pub", &pem(&prefix, self.0.public_key().as_ref()), root).unwrap()
    }

    fn line(&self, payload: &Value) -> String {
        let payload = payload.to_string();
        let signature = STANDARD.encode(self.0.sign(&SystemRandom::new(), payload.as_bytes()).unwrap());
        let annotation = |name: &str| (name == "dev.cosignproject.cosign/signature").then(|| signature.clone());
        simple_signing_line(payload.as_bytes(), annotation).unwrap()
    }
}

fn payload(digest: &str, name: &str, kind: &str) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": format!("sha256:{digest}")},
            "type": kind,
        },
        "optional": null,
    })
}

const KIND: &str = "cosign container image signature";

fn refusal(trust: &Trust, document: &str, image: &Image) -> String {
    trust.verify(document.as_bytes(), image).expect_err(document).to_string()
}

#[test]
fn the_owner_of_a_key_has_signed_this_image_by_this_name() {
    let (owner, other) = (Owner::new(), Owner::new());
    let image = image(b"{}");
    let digest = image.manifests[0].sha256.clone();
    let good = owner.line(&payload(&digest, REPOSITORY, KIND));
    let trust = owner.trust(None);
    trust.verify(good.as_bytes(), &image).unwrap();
    // Of several lines one is enough.
    let strange = other.line(&payload(&digest, REPOSITORY, KIND));
    trust.verify(format!("{strange}\n\n{good}\n").as_bytes(), &image).unwrap();

    assert_eq!(refusal(&trust, &strange, &image), "not by the owner of owner.pub");
    let elsewhere = owner.line(&payload(&digest, "registry.example.org/team/other", KIND));
    assert!(refusal(&trust, &elsewhere, &image).starts_with("it is signed as registry.example.org/team/other"));
    let another = owner.line(&payload(&"0".repeat(64), REPOSITORY, KIND));
    assert!(refusal(&trust, &another, &image).starts_with("another image is signed, sha256:000"));
    let blob = owner.line(&payload(&digest, REPOSITORY, "blob"));
    assert!(refusal(&trust, &blob, &image).contains("and no image"));
    // A key with a log asks for an entry in it.
    assert_eq!(refusal(&owner.trust(Some(ROOT)), &good, &image), "it has no entry of the log");
}

#[test]
fn a_byte_that_is_changed_is_no_longer_signed() {
    let owner = Owner::new();
    let image = image(b"{}");
    let line: Value =
        serde_json::from_str(&owner.line(&payload(&image.manifests[0].sha256, REPOSITORY, KIND))).unwrap();
    let trust = owner.trust(None);
    trust.verify(line.to_string().as_bytes(), &image).unwrap();
    for field in ["Payload", "Base64Signature"] {
        let bytes = STANDARD.decode(line[field].as_str().unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let mut line = line.clone();
            line[field] = json!(STANDARD.encode(changed));
            assert_eq!(refusal(&trust, &line.to_string(), &image), "not by the owner of owner.pub", "{field} {at}");
        }
    }
}

#[test]
fn other_kinds_of_keys_are_known_and_what_is_none_is_refused() {
    let random = SystemRandom::new();
    let key = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    // Source: RFC 8410.
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let trust = Trust::key("ed.pub", &pem(&prefix, key.public_key().as_ref()), None).unwrap();
    let image = image(b"{}");
    let text = payload(&image.manifests[0].sha256, REPOSITORY, KIND).to_string();
    let signature = STANDARD.encode(key.sign(text.as_bytes()));
    let line = simple_signing_line(text.as_bytes(), |name| name.ends_with("/signature").then(|| signature.clone()));
    trust.verify(line.unwrap().as_bytes(), &image).unwrap();
    for (pem, root) in [("", None), ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", None)] {
        assert!(Trust::key("x", pem, root).is_err(), "{pem}");
    }
    assert!(Trust::identity(IDENTITY, ISSUER, "{}").is_err());
}

#[test]
fn a_keyless_bundle_is_verified_without_a_network() {
    let image = image(BLOB);
    let trust = Trust::identity(IDENTITY, ISSUER, ROOT).unwrap();
    trust.verify(BLOB_BUNDLE.as_bytes(), &image).unwrap();

    let other = Trust::identity("https://github.com/someone/else", ISSUER, ROOT).unwrap();
    assert!(refusal(&other, BLOB_BUNDLE, &image).starts_with("not by https://github.com/someone/else"));
    let other = Trust::identity(IDENTITY, "https://issuer.example", ROOT).unwrap();
    assert!(refusal(&other, BLOB_BUNDLE, &image).contains("not by"));
    assert!(refusal(&trust, BLOB_BUNDLE, &self::image(b"another")).contains("not by"));
    // Whoever signs without a key is nobody whose key is asked for.
    assert!(refusal(&Owner::new().trust(None), BLOB_BUNDLE, &image).contains("not by"));
}

#[test]
fn every_part_of_a_keyless_bundle_counts() {
    let image = image(BLOB);
    let trust = Trust::identity(IDENTITY, ISSUER, ROOT).unwrap();
    let whole: Value = serde_json::from_str(BLOB_BUNDLE).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut bundle = whole.clone();
        change(&mut bundle);
        refusal(&trust, &bundle.to_string(), &image)
    };
    let flip = |value: &mut Value| {
        let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        *value = json!(STANDARD.encode(bytes));
    };
    changed(&|b| flip(&mut b["messageSignature"]["signature"]));
    changed(&|b| flip(&mut b["messageSignature"]["messageDigest"]["digest"]));
    changed(&|b| flip(&mut b["verificationMaterial"]["certificate"]["rawBytes"]));
    let entry = "/verificationMaterial/tlogEntries/0";
    for part in ["canonicalizedBody", "inclusionPromise/signedEntryTimestamp", "inclusionProof/rootHash"] {
        changed(&|b| flip(b.pointer_mut(&format!("{entry}/{part}")).unwrap()));
    }
    // A time at which the certificate was not valid: expired, or not yet.
    for time in ["2000000000", "1600000000"] {
        changed(&|b| *b.pointer_mut(&format!("{entry}/integratedTime")).unwrap() = json!(time));
    }
    changed(&|b| b["verificationMaterial"]["tlogEntries"] = json!([]));
    // An authority that nobody trusts.
    let mut root: Value = serde_json::from_str(ROOT).unwrap();
    root["certificateAuthorities"] = json!([]);
    let nobody = Trust::identity(IDENTITY, ISSUER, &root.to_string()).unwrap();
    assert!(nobody.verify(BLOB_BUNDLE.as_bytes(), &image).is_err());
}

#[test]
fn a_statement_that_says_something_else_is_no_signature() {
    let bundle = include_str!("data/statement.sigstore.json");
    let image = image(include_bytes!("data/statement.bin"));
    let by = "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
    let trust = Trust::identity(by, "https://token.actions.githubusercontent.com", ROOT).unwrap();
    assert!(refusal(&trust, bundle, &image).starts_with("it is a statement (https://schemas.conda.org/"));
}

#[test]
fn a_bundle_by_a_key_needs_its_log_where_one_is_asked_for() {
    let image = image(include_bytes!("data/artifact.txt"));
    let bundle = include_str!("data/key.sigstore.json");
    let pem = include_str!("data/key.pub");
    Trust::key("key.pub", pem, Some(ROOT)).unwrap().verify(bundle.as_bytes(), &image).unwrap();
    Trust::key("key.pub", pem, None).unwrap().verify(bundle.as_bytes(), &image).unwrap();
    let refused = refusal(&Owner::new().trust(None), bundle, &image);
    assert!(refused.starts_with("not by the owner of owner.pub"), "{refused}");
}

/// Cosign's older form has the certificate and the log's promise beside the signed bytes.
#[test]
fn the_older_keyless_form_is_the_same_bundle() {
    let bundle: Value = serde_json::from_str(BLOB_BUNDLE).unwrap();
    let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
    let number = |value: &Value| value.as_str().unwrap().parse::<i64>().unwrap();
    let id = STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap();
    let line = json!({
        "Base64Signature": bundle["messageSignature"]["signature"],
        "Payload": STANDARD.encode(BLOB),
        "Cert": {"Raw": bundle["verificationMaterial"]["certificate"]["rawBytes"]},
        "Chain": null,
        "Bundle": {
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {
                "body": entry["canonicalizedBody"],
                "integratedTime": number(&entry["integratedTime"]),
                "logIndex": number(&entry["logIndex"]),
                "logID": hex(&id),
            },
        },
    });
    let image = image(BLOB);
    let trust = Trust::identity(IDENTITY, ISSUER, ROOT).unwrap();
    // The signature is good; what is signed was no image.
    assert!(refusal(&trust, &line.to_string(), &image).starts_with("what is signed cannot be read"));
    let mut late = line.clone();
    late["Bundle"]["Payload"]["integratedTime"] = json!(1_600_000_000);
    assert!(refusal(&trust, &late.to_string(), &image).starts_with("not by"));
}

#[test]
fn what_is_no_signature_is_refused() {
    let trust = Owner::new().trust(None);
    let image = image(b"{}");
    for text in ["", "\n\n", "{}", "[]", "nonsense", "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v9+json\"}"]
    {
        refusal(&trust, text, &image);
    }
    assert!(trust.verify(&[0xff; 10], &image).is_err());
    assert!(trust.verify(&vec![b' '; 9 << 20], &image).is_err());
}
