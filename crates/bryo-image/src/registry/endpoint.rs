// SPDX-License-Identifier: Apache-2.0
//! Where a repository is found: its mirrors in order, then the registry itself.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::reference::Reference;

/// One server that has a repository.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    /// The host with its port as a user writes it: the name for credentials and for `insecure`.
    pub(super) domain: String,
    /// The repository's path on that server.
    pub(super) path: String,
    /// Whether it is a mirror and not the registry that the reference names.
    pub(super) mirror: bool,
}

impl Endpoint {
    /// Returns the registry that the reference names.
    pub(crate) fn origin(reference: &Reference) -> Self {
        Self { domain: reference.domain().to_owned(), path: reference.path().to_owned(), mirror: false }
    }

    /// Returns all servers of a reference in the order in which they are to be tried.
    ///
    /// # Errors
    /// [`Kind::InvalidReference`] if a configured mirror is not `HOST[:PORT][/PREFIX]`.
    pub(crate) fn all(reference: &Reference, mirrors: &BTreeMap<String, Vec<String>>) -> Result<Vec<Self>> {
        let configured = mirrors.get(reference.domain()).into_iter().flatten();
        let mut all = configured.map(|mirror| Self::mirror(mirror, reference.path())).collect::<Result<Vec<_>>>()?;
        all.push(Self::origin(reference));
        Ok(all)
    }

    fn mirror(text: &str, path: &str) -> Result<Self> {
        let (domain, prefix) = text.trim_end_matches('/').split_once('/').unwrap_or((text.trim_end_matches('/'), ""));
        let path = if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
        // The reference parser is the judge of both parts.
        let parsed = format!("{domain}/{path}").parse::<Reference>();
        if parsed.is_ok_and(|parsed| parsed.domain() == domain && parsed.path() == path) {
            return Ok(Self { domain: domain.to_owned(), path, mirror: true });
        }
        let what = format!("read mirror {text:?}: it is written as HOST[:PORT][/PREFIX], without a scheme");
        Err(Error::new(Kind::InvalidReference, what))
    }

    /// Returns the host and port that requests go to.
    pub(super) fn authority(&self) -> &str {
        match self.domain.as_str() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_before_the_origin() {
        let reference: Reference = "alpine".parse().unwrap();
        let mirrors =
            BTreeMap::from([("docker.io".to_owned(), vec!["m.io:5000".to_owned(), "cache.io/hub/".to_owned()])]);
        let all = Endpoint::all(&reference, &mirrors).unwrap();
        let shown: Vec<_> = all.iter().map(|e| format!("{} {} {}", e.authority(), e.path, e.mirror)).collect();
        assert_eq!(
            shown,
            [
                "m.io:5000 library/alpine true",
                "cache.io hub/library/alpine true",
                "registry-1.docker.io library/alpine false"
            ]
        );
        let other: Reference = "quay.io/a/b".parse().unwrap();
        assert_eq!(Endpoint::all(&other, &mirrors).unwrap(), [Endpoint::origin(&other)]);
    }

    #[test]
    fn a_mirror_is_a_host_and_a_prefix() {
        for bad in ["https://m.io", "", "/", "user@m.io", "m.io/../x", "word"] {
            assert!(Endpoint::mirror(bad, "a/b").is_err(), "{bad:?}");
        }
    }
}
