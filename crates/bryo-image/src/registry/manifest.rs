// SPDX-License-Identifier: Apache-2.0
//! From a name to one image: manifests, indexes, and the choice of a platform.
//!
//! Guarantees: a document reached by digest is that document; its media type is the one that was announced;
//! an index leads to its image within a few steps. Faces: indexes that contain themselves or thousands of
//! others, documents with two meanings (CVE-2021-41190).

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::endpoint::Endpoint;
use super::http::{Answer, Attempt, Request};
use super::platform::Platform;
use super::token::Scope;
use super::transfer::{Transfer, verify};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::store::{MANIFEST_MAX, MediaKind, parse_manifest};

const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// An index may point to an index; nobody needs more levels.
const DEPTH_MAX: u32 = 3;
const INDEX_ENTRIES_MAX: usize = 1000;
/// The kernel stacks at most 500 directories.
const LAYERS_MAX: usize = 500;

/// One image as a registry has it: verified documents, no layer yet.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The manifest's bytes.
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// The digest of the index through which it was found.
    pub(crate) source: Option<Digest>,
    /// The configuration's bytes.
    pub(crate) config: Vec<u8>,
    pub(crate) config_digest: Digest,
}

/// A manifest or an index.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    digest: Digest,
}

/// Finds the image of a name for a platform; without one, for this machine.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Platform`], [`Kind::UnsupportedMedia`], [`Kind::Limit`], and those of the
/// transfer.
pub(crate) fn resolve(transfer: &Transfer<'_>, reference: &Reference, platform: Option<&Platform>) -> Result<Resolved> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let mut document = match reference.digest() {
        Some(digest) => transfer.document(digest.as_str(), Some(digest), None)?,
        None => transfer.document(reference.tag().unwrap_or("latest"), None, None)?,
    };
    let mut source = None;
    let mut depth = 0;
    while MediaKind::of(&document.media_type)? == MediaKind::Index {
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(Error::new(Kind::Limit, format!("read index {}: nested too deeply", document.digest)));
        }
        let chosen = choose(&document, wanted)?;
        let digest = Digest::try_from(chosen.digest())?;
        source.get_or_insert(document.digest);
        document = transfer.document(digest.as_str(), Some(&digest), Some(&chosen))?;
    }
    let manifest = parse_manifest(&document.bytes, &document.media_type)?;
    check_manifest(&document, &manifest)?;
    let config_digest = Digest::try_from(manifest.config().digest())?;
    let config = transfer.small_blob(&config_digest, manifest.config().size(), MANIFEST_MAX)?;
    check_platform(&config, wanted)?;
    let Document { bytes, media_type, digest } = document;
    Ok(Resolved { bytes, media_type, digest, source, config, config_digest })
}

impl Transfer<'_> {
    /// Fetches a manifest or index by tag or digest.
    pub(crate) fn document(
        &self,
        name: &str,
        digest: Option<&Digest>,
        announced: Option<&Descriptor>,
    ) -> Result<Document> {
        self.anywhere(name, |endpoint, _| self.document_from(endpoint, name, digest, announced))
    }

    /// Lists what refers to a manifest, as the registry says it, or as whoever pushed it has written it down.
    pub(crate) fn referrers(&self, subject: &Digest) -> Result<ImageIndex> {
        let asked = self.anywhere(subject.as_str(), |endpoint, _| {
            let mut request = Request::get(self.session.url(endpoint, &format!("referrers/{subject}"))?);
            request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
            self.session.send(endpoint, &Scope::pull(endpoint), &request)?.read_all(MANIFEST_MAX)
        });
        let bytes = match asked {
            Err(error) if error.kind() == Kind::NotFound => {
                let name = format!("{}-{}", subject.algorithm().name(), subject.hex());
                self.document(&name, None, None)?.bytes
            }
            asked => asked?,
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Corrupt, format!("parse referrers of {subject}")).with_source(error))
    }

    fn document_from(
        &self,
        endpoint: &Endpoint,
        name: &str,
        digest: Option<&Digest>,
        announced: Option<&Descriptor>,
    ) -> Attempt<Document> {
        let mut request = Request::get(self.session.url(endpoint, &format!("manifests/{name}"))?);
        request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let answer = self.session.send(endpoint, &Scope::pull(endpoint), &request)?;
        let declared: Option<Digest> = answer.header("docker-content-digest").and_then(|text| text.parse().ok());
        let header_type = content_type(&answer);
        let bytes = answer.read_all(MANIFEST_MAX)?;
        let digest = match digest.cloned().or(declared) {
            Some(digest) => {
                verify(&digest, &bytes)?;
                digest
            }
            None => Digest::sha256_of(&bytes),
        };
        let media_type = match header_type {
            Some(media_type) => media_type,
            None => own_media_type(&bytes).ok_or_else(|| {
                Error::new(Kind::UnsupportedMedia, format!("read manifest {digest}: the registry tells no media type"))
            })?,
        };
        if let Some(announced) = announced
            && (announced.media_type().to_string() != media_type || announced.size() != bytes.len() as u64)
        {
            let what = format!("read manifest {digest}: it is not of the type or size that its index announced");
            return Err(Error::new(Kind::Corrupt, what).into());
        }
        MediaKind::of(&media_type)?.check(&bytes, &media_type)?;
        Ok(Document { bytes, media_type, digest })
    }
}

fn content_type(answer: &Answer<'_>) -> Option<String> {
    let text = answer.header(CONTENT_TYPE.as_str())?;
    let media_type = text.split(';').next().unwrap_or_default().trim();
    (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
}

fn own_media_type(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Own {
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
    }
    serde_json::from_slice::<Own>(bytes).ok()?.media_type
}

/// Chooses the entry that fits best: the platform's image, else a nested index, else the only entry.
fn choose(document: &Document, wanted: &Platform) -> Result<Descriptor> {
    let index: ImageIndex = serde_json::from_slice(&document.bytes)
        .map_err(|error| Error::new(Kind::Corrupt, format!("parse index {}", document.digest)).with_source(error))?;
    let entries = index.manifests();
    if entries.len() > INDEX_ENTRIES_MAX {
        let what = format!("read index {}: {} entries", document.digest, entries.len());
        return Err(Error::new(Kind::Limit, what));
    }
    let kind_is =
        |entry: &Descriptor, kind| MediaKind::of(entry.media_type().as_ref()).is_ok_and(|found| found == kind);
    let fitting = entries
        .iter()
        .filter_map(|entry| Some((wanted.distance(&platform_of(entry)?)?, entry)))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, entry)) = fitting {
        return Ok(entry.clone());
    }
    let nameless: Vec<_> = entries.iter().filter(|entry| entry.platform().is_none()).collect();
    let nested = nameless.iter().find(|entry| kind_is(entry, MediaKind::Index));
    // An entry without a platform is judged by its configuration later.
    let only = nameless.first().filter(|entry| nameless.len() == 1 && kind_is(entry, MediaKind::Manifest));
    if let Some(entry) = nested.or(only) {
        return Ok((*entry).clone());
    }
    let offered: Vec<String> =
        entries.iter().filter_map(platform_of).filter(|p| p.os != "unknown").map(|p| p.to_string()).collect();
    let shown = if offered.is_empty() { "no platform".to_owned() } else { offered.join(", ") };
    Err(Error::new(Kind::Platform, format!("choose an image for {wanted}: the index has {shown}")))
}

fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    Some(Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    })
}

fn check_manifest(document: &Document, manifest: &ImageManifest) -> Result<()> {
    let config_type = manifest.config().media_type().to_string();
    if !CONFIG_TYPES.contains(&config_type.as_str()) {
        let what = format!("read manifest {}: an artifact of type {config_type:?} is not an image", document.digest);
        return Err(Error::new(Kind::UnsupportedMedia, what));
    }
    if manifest.layers().len() > LAYERS_MAX {
        let what = format!("read manifest {}: {} layers", document.digest, manifest.layers().len());
        return Err(Error::new(Kind::Limit, what));
    }
    Ok(())
}

/// Checks the platform that the configuration itself claims; an index may have lied or be missing.
fn check_platform(config: &[u8], wanted: &Platform) -> Result<()> {
    let config: ImageConfiguration = serde_json::from_slice(config)
        .map_err(|error| Error::new(Kind::Corrupt, "parse image configuration").with_source(error))?;
    let offered = Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone(),
    };
    if wanted.distance(&offered).is_some() {
        return Ok(());
    }
    Err(Error::new(Kind::Platform, format!("choose an image for {wanted}: this one is for {offered}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, &str)]) -> Document {
        let hex = |n: usize| format!("{n:064x}");
        let entries: Vec<String> = entries
            .iter()
            .enumerate()
            .map(|(n, (media, platform))| {
                let platform = match platform.split('/').collect::<Vec<_>>()[..] {
                    [os, arch] => format!(r#","platform":{{"os":"{os}","architecture":"{arch}"}}"#),
                    [os, arch, v] => format!(r#","platform":{{"os":"{os}","architecture":"{arch}","variant":"{v}"}}"#),
                    _ => String::new(),
                };
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.{media}.v1+json","digest":"sha256:{}","size":7{platform}}}"#,
                    hex(n)
                )
            })
            .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        Document {
            digest: Digest::sha256_of(text.as_bytes()),
            bytes: text.into_bytes(),
            media_type: "application/vnd.oci.image.index.v1+json".into(),
        }
    }

    fn chosen(entries: &[(&str, &str)], wanted: &str) -> Result<u64> {
        let entry = choose(&index(entries), &wanted.parse().unwrap())?;
        Ok(u64::from_str_radix(&entry.digest().digest()[48..], 16).unwrap())
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let m = "manifest";
        let all = [(m, "linux/arm/v6"), (m, "linux/amd64"), (m, "linux/arm/v7"), (m, "unknown/unknown")];
        assert_eq!(chosen(&all, "linux/amd64").unwrap(), 1);
        assert_eq!(chosen(&all, "linux/arm").unwrap(), 2);
        assert_eq!(chosen(&all, "linux/arm/v6").unwrap(), 0);
        let error = chosen(&all, "linux/riscv64").unwrap_err();
        assert_eq!(error.kind(), Kind::Platform);
        assert!(error.to_string().ends_with("the index has linux/arm/v6, linux/amd64, linux/arm/v7"), "{error}");
    }

    #[test]
    fn entries_without_a_platform_are_a_last_resort() {
        assert_eq!(chosen(&[("manifest", "linux/s390x"), ("index", "")], "linux/amd64").unwrap(), 1);
        assert_eq!(chosen(&[("manifest", "")], "linux/amd64").unwrap(), 0);
        assert_eq!(chosen(&[("manifest", ""), ("manifest", "")], "amd64").unwrap_err().kind(), Kind::Platform);
        assert_eq!(chosen(&[], "linux/amd64").unwrap_err().kind(), Kind::Platform);
    }

    #[test]
    fn an_endless_index_is_refused() {
        let many = vec![("manifest", "linux/amd64"); INDEX_ENTRIES_MAX + 1];
        assert_eq!(chosen(&many, "linux/amd64").unwrap_err().kind(), Kind::Limit);
    }

    #[test]
    fn the_configuration_has_the_last_word_on_the_platform() {
        let config = br#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert!(check_platform(config, &"linux/arm64".parse().unwrap()).is_ok());
        let error = check_platform(config, &"linux/amd64".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Platform);
    }
}
