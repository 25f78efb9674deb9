// SPDX-License-Identifier: Apache-2.0
//! Image names: Docker's reference grammar and the transports in front of it.
//!
//! Guarantees: a [`Reference`] is inside the grammar of the distribution project's `reference` package,
//! so its parts can stand in a URL or in an annotation without any escaping; two spellings of one name
//! (`alpine`, `docker.io/library/alpine:latest`) parse to equal values. Faces: command lines, archives'
//! `RepoTags`, configuration files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const PATH_MAX: usize = 255;
const DOMAIN_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A full image name: a registry's host, a path, and a tag or a digest or both.
///
/// `Display` writes the full form, in which the store keeps it; [`familiar`](Self::familiar) the short one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry's host with its port, if one was given, such as `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the path below the host, such as `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag; `None` only if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the name is pinned to one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns host and path without tag and digest, such as `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the same repository under another tag.
    ///
    /// # Errors
    /// [`Kind::InvalidReference`] if the tag is outside the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(invalid(tag, "a tag is up to 128 letters, digits, '_', '.' and '-'"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Returns the same repository, pinned to a digest and without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// Returns the shortest spelling that parses to this reference; the default tag is kept.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        if self.domain != DEFAULT_DOMAIN {
            return full;
        }
        let short = &full[DEFAULT_DOMAIN.len() + 1..];
        let shorter = short.strip_prefix(OFFICIAL).unwrap_or(short);
        // `docker.io/example.org/x` must not lose its host: what is left would name another one.
        [shorter, short]
            .into_iter()
            .find(|text| text.parse::<Self>().is_ok_and(|parsed| parsed == *self))
            .map_or(full.clone(), str::to_owned)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid(text, "64 hexadecimal characters are an id, not a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|error| error.within(show(text)))?)),
            None => (text, None),
        };
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        if !is_domain(domain) {
            return Err(invalid(text, "its registry is not a host name, an address or either with a port"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid(text, "a repository name is lower case"));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid(text, "a tag is up to 128 letters, digits, '_', '.' and '-'"));
        }
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
        if path.len() > PATH_MAX {
            return Err(invalid(text, "a repository name is up to 255 characters"));
        }
        if !path.split('/').all(is_component) {
            return Err(invalid(
                text,
                "a repository name is lower-case letters and digits, separated by '.', '_', '__', '-' or '/'",
            ));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { domain: domain.to_owned(), path, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where an image comes from, or goes to: what stands in the place of an image on the command line.
///
/// The words before the colon are those of `containers-transports(5)`, with `rootfs:` and `host:` added.
/// A known word wins over an image of that name: `oci:latest` is the directory `latest`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A name: `alpine`, `docker://alpine`.
    Registry(Reference),
    /// `oci:DIR[:TAG]`, an OCI image layout.
    OciLayout {
        /// The layout's directory.
        dir: PathBuf,
        /// The `org.opencontainers.image.ref.name` to choose.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:REFERENCE]`, what `docker save` writes.
    DockerArchive {
        /// The archive.
        file: PathBuf,
        /// The image to choose.
        reference: Option<Reference>,
    },
    /// `oci-archive:FILE[:TAG]`, an OCI image layout in a tar file.
    OciArchive {
        /// The archive.
        file: PathBuf,
        /// The `org.opencontainers.image.ref.name` to choose.
        tag: Option<String>,
    },
    /// `dir:DIR`, manifest and blobs side by side in one directory.
    Dir(PathBuf),
    /// `rootfs:DIR`, any directory as a read-only root file system.
    Rootfs(PathBuf),
    /// `host:`, this machine's own system.
    Host,
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "host:" {
            return Ok(Self::Host);
        }
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse()?));
        }
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(Self::Registry(text.parse()?));
        };
        match transport {
            "oci" => {
                let (dir, tag) = path_and_name(text, rest)?;
                Ok(Self::OciLayout { dir, tag: tag.map(str::to_owned) })
            }
            "oci-archive" => {
                let (file, tag) = path_and_name(text, rest)?;
                Ok(Self::OciArchive { file, tag: tag.map(str::to_owned) })
            }
            "docker-archive" => {
                let (file, name) = path_and_name(text, rest)?;
                Ok(Self::DockerArchive { file, reference: name.map(str::parse).transpose()? })
            }
            "dir" => Ok(Self::Dir(whole_path(text, rest)?)),
            "rootfs" => Ok(Self::Rootfs(whole_path(text, rest)?)),
            _ => Ok(Self::Registry(text.parse()?)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::Registry(reference) => return write!(f, "{reference}"),
            Self::Host => return f.write_str("host:"),
            Self::OciLayout { dir, tag } => ("oci", dir, tag.clone()),
            Self::OciArchive { file, tag } => ("oci-archive", file, tag.clone()),
            Self::DockerArchive { file, reference } => {
                ("docker-archive", file, reference.as_ref().map(Reference::to_string))
            }
            Self::Dir(path) => ("dir", path, None),
            Self::Rootfs(path) => ("rootfs", path, None),
        };
        write!(f, "{transport}:{}", path.display())?;
        name.map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

/// Splits `PATH[:NAME]` at the first colon, as `containers-transports(5)` does.
fn path_and_name<'a>(text: &str, rest: &'a str) -> Result<(PathBuf, Option<&'a str>)> {
    let (path, name) = match rest.split_once(':') {
        Some((_, "")) => return Err(invalid(text, "nothing follows the last colon")),
        Some((path, name)) => (path, Some(name)),
        None => (rest, None),
    };
    Ok((whole_path(text, path)?, name))
}

fn whole_path(text: &str, path: &str) -> Result<PathBuf> {
    if path.is_empty() || path.contains('\0') {
        return Err(invalid(text, "a path must follow the transport"));
    }
    Ok(PathBuf::from(path))
}

/// Splits off the registry: the first segment, if it cannot be a path component.
fn split_domain(text: &str) -> (&str, &str) {
    let Some((first, rest)) = text.split_once('/') else {
        return (DEFAULT_DOMAIN, text);
    };
    let looks_like_host =
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase());
    match first {
        LEGACY_DOMAIN => (DEFAULT_DOMAIN, rest),
        _ if looks_like_host => (first, rest),
        _ => (DEFAULT_DOMAIN, text),
    }
}

fn is_domain(text: &str) -> bool {
    if text.len() > DOMAIN_MAX {
        return false;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port_ok = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port_ok && host.split('.').all(label_ok)
}

/// Accepts `[a-z0-9]+` runs joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).filter(|run| !run.is_empty());
    let edges_ok = text.bytes().next().is_some_and(alphanumeric) && text.bytes().last().is_some_and(alphanumeric);
    edges_ok
        && separators.into_iter().all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn show(text: &str) -> String {
    let shown: String = text.chars().take(160).collect();
    format!("parse image name {shown:?}")
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(Kind::InvalidReference, format!("{}: {why}", show(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn full(text: &str) -> String {
        text.parse::<Reference>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn short_names_become_full_ones() {
        for (short, long) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("a/b/c", "docker.io/a/b/c:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("ghcr.io/a/b_c.d__e--f", "ghcr.io/a/b_c.d__e--f:latest"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("[fd00::1]/x", "[fd00::1]/x:latest"),
            ("Registry/x", "Registry/x:latest"),
            ("local-host/x", "docker.io/local-host/x:latest"),
            ("test:5000", "docker.io/library/test:5000"),
            ("x:_T.a-g", "docker.io/library/x:_T.a-g"),
        ] {
            assert_eq!(full(short), long);
            assert_eq!(full(long), long);
        }
    }

    #[test]
    fn a_digest_replaces_the_default_tag_only() {
        assert_eq!(full(&format!("alpine@sha256:{HEX}")), format!("docker.io/library/alpine@sha256:{HEX}"));
        let both: Reference = format!("r.io:1/a:v1@sha256:{HEX}").parse().unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().hex()), (Some("v1"), HEX));
        assert_eq!((both.domain(), both.path()), ("r.io:1", "a"));
        assert_eq!(both.with_digest(both.digest().unwrap()).to_string(), format!("r.io:1/a@sha256:{HEX}"));
        assert_eq!(both.with_tag("v2").unwrap().to_string(), "r.io:1/a:v2");
        assert!(both.with_tag("a/b").is_err());
    }

    #[test]
    fn the_familiar_form_parses_back() {
        for (text, familiar) in [
            ("alpine", "alpine:latest"),
            ("user/app:1", "user/app:1"),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("docker.io/library/a/b", "library/a/b:latest"),
            ("docker.io/localhost/x", "docker.io/localhost/x:latest"),
            ("docker.io/library/localhost/x", "library/localhost/x:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        let long_tag = format!("x:{}", "t".repeat(129));
        let long_path = format!("r.io/{}", "p".repeat(256));
        let long_host = format!("{}.io/x", "h".repeat(256));
        let short_digest = format!("x@sha256:{}", &HEX[1..]);
        for bad in [
            "",
            " ",
            "Alpine",
            "a/B",
            "-x",
            "x-",
            ".x",
            "a..b",
            "a___b",
            "a._b",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "r.io/../etc",
            "x:",
            "x:-t",
            "x:.t",
            "x:a:b",
            "x:t/y z",
            "r.io:0/x",
            "r.io:65536/x",
            "r.io:99999999999/x",
            "r.io:+5/x",
            "r.io:/x",
            "-r.io/x",
            "r-.io/x",
            "r..io/x",
            "u:p@r.io/x",
            "[::1/x",
            "[zz::]/x",
            "::1/x",
            "x@",
            "x@sha256:",
            "x@md5:d41d8cd98f00b204e9800998ecf8427e",
            "a\nb",
            "a\u{1b}[31m",
            "é",
            "http://r.io/x",
            HEX,
            &long_tag,
            &long_path,
            &long_host,
            &short_digest,
        ] {
            let error = bad.parse::<Reference>().expect_err(bad);
            assert!(matches!(error.kind(), Kind::InvalidReference | Kind::InvalidDigest), "{bad:?}");
            assert!(!error.to_string().contains('\u{1b}'), "{bad:?}");
        }
    }

    #[test]
    fn lengths_at_the_limit_are_accepted() {
        full(&format!("x:{}", "t".repeat(128)));
        full(&format!("r.io/{}", "p".repeat(255)));
    }

    #[test]
    fn transports_name_their_parts() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        let path = PathBuf::from;
        assert_eq!(source("host:"), Source::Host);
        assert_eq!(source("docker://alpine"), Source::Registry("alpine".parse().unwrap()));
        assert_eq!(source("alpine:3"), Source::Registry("alpine:3".parse().unwrap()));
        assert_eq!(source("host:5000/x"), Source::Registry("host:5000/x".parse().unwrap()));
        assert_eq!(source("oci:/a/b"), Source::OciLayout { dir: path("/a/b"), tag: None });
        assert_eq!(
            source("oci:d:docker.io/library/x:1"),
            Source::OciLayout { dir: path("d"), tag: Some("docker.io/library/x:1".into()) }
        );
        assert_eq!(source("oci-archive:f.tar:t"), Source::OciArchive { file: path("f.tar"), tag: Some("t".into()) });
        assert_eq!(
            source("docker-archive:f.tar:x:1"),
            Source::DockerArchive { file: path("f.tar"), reference: Some("x:1".parse().unwrap()) }
        );
        assert_eq!(source("dir:/x"), Source::Dir(path("/x")));
        assert_eq!(source("rootfs:/x:y"), Source::Rootfs(path("/x:y")));
    }

    #[test]
    fn sources_print_as_they_parse() {
        for text in ["host:", "oci:/a", "oci:/a:t", "oci-archive:/a:t", "docker-archive:/a", "dir:/x", "rootfs:/x"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn transports_without_a_path_are_refused() {
        for bad in ["oci:", "oci-archive:", "docker-archive:", "dir:", "rootfs:", "oci::t", "oci:d:", "docker://", "h:"]
        {
            assert_eq!(bad.parse::<Source>().expect_err(bad).kind(), Kind::InvalidReference);
        }
    }
}
