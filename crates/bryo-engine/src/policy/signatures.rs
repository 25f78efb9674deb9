// SPDX-License-Identifier: Apache-2.0
//! The signatures that are kept of images: `signatures/DIGEST/` in the store, a file each, as they came.
//!
//! They are looked at when they are needed and believed at no other time.

use std::io::Read;
use std::path::{Path, PathBuf};

use bryo_image::Digest;
use bryo_image::pull::Signature;
use bryo_image::reference::Reference;
use bryo_image::store::{Image, MANIFEST_MAX, Store};
use bryo_packages::cache::write_atomically;
use bryo_signature::{DOCUMENT_MAX, Manifest, Trust};

use super::judge::Finding;
use super::signed::Signer;
use crate::Engine;
use crate::error::{Error, Kind, Result};

/// How many signatures of one image are looked at.
const MANY: usize = 64;
const DIRECTORY: &str = "signatures";

impl Engine {
    /// Keeps a document with signatures of an image; whether it is one is asked when the image is to start.
    ///
    /// # Errors
    ///
    /// That it is too long, or cannot be written.
    pub fn keep_signature(&self, image: &Digest, document: &[u8]) -> Result<()> {
        if document.len() as u64 > DOCUMENT_MAX {
            return Err(Error::new(Kind::Unsupported, format!("a signature has more than {DOCUMENT_MAX} bytes")));
        }
        let name = Digest::sha256_of(document);
        Ok(write_atomically(&self.signatures_of(image).join(name.hex()), document)?)
    }

    /// Keeps what a registry has of signatures of an image. What is none is passed over.
    ///
    /// # Errors
    ///
    /// As [`Engine::keep_signature`].
    pub fn keep_signatures(&self, signatures: &[(Digest, Signature)]) -> Result<()> {
        for (subject, signature) in signatures {
            match signature {
                Signature::Bundle(bytes) => self.keep_signature(subject, bytes)?,
                Signature::Simple { payload, annotations } => {
                    if let Ok(line) =
                        bryo_signature::simple_signing_line(payload, |name| annotations.get(name).cloned())
                    {
                        self.keep_signature(subject, line.as_bytes())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Forgets the signatures of images that are gone.
    pub(crate) fn sweep_signatures(&self) {
        let Ok(images) = self.store.images() else { return };
        let known = |name: &str| {
            images.iter().any(|image| {
                image.manifest.hex() == name || image.source.as_ref().is_some_and(|source| source.hex() == name)
            })
        };
        for entry in std::fs::read_dir(self.dirs.data.join(DIRECTORY)).into_iter().flatten().flatten() {
            if !known(&entry.file_name().to_string_lossy()) {
                // What cannot be removed now is found the next time.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    fn signatures_of(&self, image: &Digest) -> PathBuf {
        self.dirs.data.join(DIRECTORY).join(image.hex())
    }

    pub(super) fn judge_signatures(&self, signer: &Signer, image: &Image, name: &str) -> Result<Finding> {
        let manifests = manifests(&self.store, image)?;
        let mut documents = Vec::new();
        for manifest in &manifests {
            documents.extend(read_all(&self.dirs.data.join(DIRECTORY).join(&manifest.sha256))?);
        }
        let trusted = trusted(signer)?;
        let who = trusted.iter().map(Trust::name).collect::<Vec<_>>().join(", or ");
        let remedy = "bryo pull fetches signatures beside the image; bryo pull --signature FILE takes them from a file";
        let mut why = format!("there is no signature here, and {who} should have signed it");
        let repository = name.parse::<Reference>().map(|name| name.repository()).unwrap_or_default();
        let image = bryo_signature::Image { repository, manifests };
        for document in documents.iter().take(MANY) {
            for trust in &trusted {
                match trust.verify(document, &image) {
                    Ok(()) => return Ok(Finding::holds(format!("signed by {}", trust.name()))),
                    Err(error) => why = format!("no signature here is good: {error}"),
                }
            }
        }
        Ok(Finding::broken(why, remedy))
    }
}

/// Returns what stands for an image and may have been signed: its manifest, and an index that names it.
fn manifests(store: &Store, image: &Image) -> Result<Vec<Manifest>> {
    let read = |digest: &Digest| -> Result<Manifest> {
        Ok(Manifest { sha256: digest.hex().to_owned(), bytes: store.read_blob(digest, MANIFEST_MAX)? })
    };
    let mut found = vec![read(&image.manifest_digest)?];
    let records = store.images()?;
    let of_image = records.iter().filter(|record| record.manifest == image.manifest_digest);
    for index in of_image.filter_map(|record| record.source.as_ref()) {
        if store.has_blob(index).is_none() || found.iter().any(|known| known.sha256 == index.hex()) {
            continue;
        }
        let index = read(index)?;
        if names(&index.bytes, &image.manifest_digest) {
            found.push(index);
        }
    }
    Ok(found)
}

fn names(index: &[u8], manifest: &Digest) -> bool {
    let index: serde_json::Value = serde_json::from_slice(index).unwrap_or_default();
    let members = index.get("manifests").and_then(serde_json::Value::as_array);
    members.into_iter().flatten().any(|member| member["digest"] == manifest.as_str())
}

fn read_all(dir: &Path) -> Result<Vec<Vec<u8>>> {
    let mut documents = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(documents),
        Err(e) => return Err(Error::io("read", dir, e)),
    };
    // What somebody writes at this moment has another name until it is whole.
    let whole = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| whole(name)).collect();
    names.sort_unstable();
    for name in names.iter().take(MANY) {
        match read(&dir.join(name)) {
            // Somebody has forgotten it since.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (),
            document => documents.push(document.map_err(|e| Error::io("read", &dir.join(name), e))?),
        }
    }
    Ok(documents)
}

fn bounded(path: &Path) -> Result<Vec<u8>> {
    read(path).map_err(|e| Error::io("read", path, e))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads keys and trusted roots: each key is somebody for himself.
fn trusted(signer: &Signer) -> Result<Vec<Trust>> {
    let text = |path: &PathBuf| -> Result<String> {
        let wrong = |_| Error::new(Kind::Source, format!("{} is no text", path.display()));
        String::from_utf8(bounded(path)?).map_err(wrong)
    };
    let wrong = |e: bryo_signature::Error| Error::new(Kind::Source, e.to_string());
    match signer {
        Signer::Keys { keys, root } => {
            let root = root.as_ref().map(text).transpose()?;
            let key =
                |path: &PathBuf| Trust::key(&path.display().to_string(), &text(path)?, root.as_deref()).map_err(wrong);
            keys.iter().map(key).collect()
        }
        Signer::Identity { identity, issuer, root } => {
            Ok(vec![Trust::identity(identity, issuer, &text(root)?).map_err(wrong)?])
        }
        Signer::Anybody | Signer::Nobody => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::signed::scope_of;
    use super::super::{Demand, PolicyFile, Rules};
    use super::*;

    #[test]
    fn what_comes_and_goes_meanwhile_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_all(&dir.path().join("none")).unwrap().is_empty());
        let name = |digit: &str| dir.path().join(digit.repeat(64));
        std::fs::write(name("a"), "a").unwrap();
        // Half a document, under the name that it has until it is whole.
        std::fs::write(dir.path().join(format!(".{}.17", "b".repeat(64))), "{").unwrap();
        // A name that is listed and that nobody can open by now.
        std::os::unix::fs::symlink("gone", name("c")).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), [b"a"]);
        // The control: what is there and cannot be read is one.
        std::fs::create_dir(name("d")).unwrap();
        assert!(read_all(dir.path()).is_err());
    }

    /// What a policy file says of who signs without a key, asked of a bundle that was published.
    #[test]
    fn a_keyless_bundle_is_verified_by_what_the_policy_says() {
        const BUNDLE: &[u8] = include_bytes!("../../../bryo-signature/tests/data/blob.sigstore.json");
        const BLOB: &[u8] = include_bytes!("../../../bryo-signature/tests/data/blob.txt");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root.json");
        std::fs::write(&root, include_bytes!("../../../bryo-signature/tests/data/trusted_root.json")).unwrap();
        let verified = |identity: &str, issuer: &str, signed: &[u8]| {
            let text = format!(
                "[signed.default]\nrefuse = true\n[signed.\"registry.example.org\"]\nidentity = \"{identity}\"\n\
                 issuer = \"{issuer}\"\ntrusted-root = \"{}\"\n",
                root.display()
            );
            let path = dir.path().join("policy.toml");
            std::fs::write(&path, text).unwrap();
            let rules = Rules::load(&[PolicyFile { path, required: true }]).unwrap();
            let Demand::Signed(scopes) = &rules.all[0].demand else { panic!("{rules:?}") };
            let scope = scope_of(scopes, "registry.example.org/team/app").unwrap();
            let manifest = Manifest { sha256: Digest::sha256_of(signed).hex().to_owned(), bytes: signed.to_vec() };
            let repository = "registry.example.org/team/app".into();
            let image = bryo_signature::Image { repository, manifests: vec![manifest] };
            let trusted = trusted(&scope.signer).unwrap();
            assert_eq!(trusted.len(), 1);
            trusted[0].verify(BUNDLE, &image).map_err(|e| e.to_string())
        };
        let (who, by) = ("w.vollprecht@gmail.com", "https://github.com/login/oauth");
        assert_eq!(verified(who, by, BLOB), Ok(()));
        assert!(verified("someone@example.org", by, BLOB).unwrap_err().starts_with("not by someone@example.org"));
        assert!(verified(who, "https://issuer.example", BLOB).is_err());
        assert!(verified(who, by, b"another").is_err());
    }
}
