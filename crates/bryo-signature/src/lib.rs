// SPDX-License-Identifier: Apache-2.0
//! Signatures on images, verified without a network.
//!
//! Guarantees: an image is said to be signed only if somebody whom the caller has named has signed this very manifest, as
//! an image; everything else is a reason why it is not. Trusts: the keys and the trusted root that it is given, and the
//! clock only not to run behind. Faces: documents from anyone.
//!
//! Two forms are read: Sigstore's bundles, and Cosign's simple signing as `cosign download signature` prints it.

mod bundle;
mod provider;
mod simple;

use std::fmt;

use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::DerPublicKey;
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

pub use simple::line as simple_signing_line;

/// The largest document that is read, in bytes.
pub const DOCUMENT_MAX: u64 = 8 << 20;
/// How many signatures of a document are looked at.
const SIGNATURES_MAX: usize = 64;

/// Why an image is not said to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// The result of a verification.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A manifest or index that stands for an image.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its digest: the 64 digits of SHA-256.
    pub sha256: String,
    /// What it is the digest of.
    pub bytes: Vec<u8>,
}

/// An image that somebody should have signed.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name without tag and digest.
    pub repository: String,
    /// What may have been signed: its manifest, and the index that leads to it.
    pub manifests: Vec<Manifest>,
}

/// Who is trusted.
pub struct Trust {
    who: Who,
    verifier: Verifier,
}

enum Who {
    Key { name: String, key: DerPublicKey, policy: PublicKeyVerificationPolicy, logged: bool },
    Identity { identity: String, issuer: String, policy: Box<VerificationPolicy> },
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.name()).finish()
    }
}

impl Trust {
    /// Trusts the owner of a public key in PEM; `name` is what it is called. With a trusted root, in the JSON form of
    /// Sigstore, a signature must be in a log as well.
    ///
    /// # Errors
    ///
    /// That the key or the root cannot be read.
    pub fn key(name: &str, pem: &str, root: Option<&str>) -> Result<Self> {
        provider::install();
        let key =
            DerPublicKey::from_pem(pem).map_err(|e| Error::new(format!("{name} is no public key in PEM: {e}")))?;
        let policy = PublicKeyVerificationPolicy::new(key.clone());
        let logged = root.is_some();
        let policy = if logged { policy } else { policy.skip_tlog_unsafe() };
        const EMPTY: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
        let verifier = verifier(root.unwrap_or(EMPTY))?;
        Ok(Self { who: Who::Key { name: name.to_owned(), key, policy, logged }, verifier })
    }

    /// Trusts somebody whom an issuer knew by a name when the signature was made, by what a trusted root says of
    /// certificates and logs.
    ///
    /// # Errors
    ///
    /// That the root cannot be read.
    pub fn identity(identity: &str, issuer: &str, root: &str) -> Result<Self> {
        provider::install();
        let policy = Box::new(VerificationPolicy::new(identity, issuer));
        let (identity, issuer) = (identity.to_owned(), issuer.to_owned());
        Ok(Self { who: Who::Identity { identity, issuer, policy }, verifier: verifier(root)? })
    }

    /// Says who it is.
    pub fn name(&self) -> String {
        match &self.who {
            Who::Key { name, .. } => format!("the owner of {name}"),
            Who::Identity { identity, issuer, .. } => format!("{identity} ({issuer})"),
        }
    }

    /// Verifies that a document has a signature of this image.
    ///
    /// # Errors
    ///
    /// Why none of its signatures is one.
    pub fn verify(&self, document: &[u8], image: &Image) -> Result<()> {
        if document.len() as u64 > DOCUMENT_MAX {
            return Err(Error::new("it is too long for a signature"));
        }
        let text = std::str::from_utf8(document).map_err(|_| Error::new("it is no text"))?;
        if bundle::is_bundle(text) {
            return bundle::verify(self, text, image);
        }
        let mut why = Error::new("there is no signature in it");
        for line in text.lines().filter(|line| !line.trim().is_empty()).take(SIGNATURES_MAX) {
            let verified = if bundle::is_bundle(line) {
                bundle::verify(self, line, image)
            } else {
                simple::verify(self, line, image)
            };
            match verified {
                Ok(()) => return Ok(()),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

fn verifier(root: &str) -> Result<Verifier> {
    let root = TrustedRoot::from_json(root).map_err(|e| Error::new(format!("no trusted root of Sigstore: {e}")))?;
    Verifier::new(&root).map_err(|e| Error::new(format!("the trusted root of Sigstore is wrong: {e}")))
}
