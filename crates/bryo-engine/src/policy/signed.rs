// SPDX-License-Identifier: Apache-2.0
//! The rule on signatures: which images it is for, and who must have signed them.

use std::path::PathBuf;

use super::judge::Finding;
use crate::Engine;
use crate::error::Result;
use crate::run::Image;

/// Who must have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Nobody needs to have.
    Anybody,
    /// Whoever it was, the image is refused.
    Nobody,
    /// The owner of one of these keys.
    Keys {
        /// Public keys in PEM.
        keys: Vec<PathBuf>,
        /// What the log of signatures is verified by, if an entry in one is asked for.
        root: Option<PathBuf>,
    },
    /// Somebody whom an issuer knows by this name.
    Identity {
        /// The name in the certificate.
        identity: String,
        /// Who vouches for it.
        issuer: String,
        /// What certificates and logs are verified by.
        root: PathBuf,
    },
}

impl Signer {
    /// Tells whether a signature can make a difference.
    pub fn is_somebody(&self) -> bool {
        matches!(self, Self::Keys { .. } | Self::Identity { .. })
    }
}

/// Some images, and who must have signed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// A name, the beginning of one, `*.DOMAIN` or `default`.
    pub pattern: String,
    /// Who must have signed.
    pub signer: Signer,
}

/// Returns the scope that says most about a full name.
pub(super) fn scope_of<'s>(scopes: &'s [Scope], name: &str) -> Option<&'s Scope> {
    let fitting = scopes.iter().filter_map(|scope| Some((fit(&scope.pattern, name)?, scope)));
    fitting.max_by_key(|(fit, _)| *fit).map(|(_, scope)| scope)
}

/// Says how well a pattern fits a full name: the longer the better, and any domain less than any registry.
fn fit(pattern: &str, name: &str) -> Option<(u8, usize)> {
    if pattern == "default" {
        return Some((0, 0));
    }
    if let Some(domain) = pattern.strip_prefix("*.") {
        let registry = name.split('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
        let inside = registry.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        return inside.then_some((1, domain.len()));
    }
    let rest = name.strip_prefix(pattern)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some((2, pattern.len()))
}

impl Engine {
    pub(super) fn judge_signed(&self, scopes: &[Scope], image: &Image, asked: &str) -> Result<Finding> {
        let Image::Stored(image) = image else {
            let why = format!("{asked} is no image, and nobody can have signed it");
            return Ok(Finding::broken(why, "take an image"));
        };
        // One without a name is judged as those that no scope names.
        let name = image.reference.clone().unwrap_or_default();
        let Some(scope) = scope_of(scopes, &name) else {
            let why = format!("no scope of the policy is for {name:?}");
            return Ok(Finding::broken(why, "name it in the policy, or [signed.default]"));
        };
        Ok(match &scope.signer {
            Signer::Anybody => Finding::holds(format!("{:?} needs no signature", scope.pattern)),
            Signer::Nobody => Finding::broken(format!("{:?} is refused", scope.pattern), "take another image"),
            signer => self.judge_signatures(signer, image, &name)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_that_says_most_decides() {
        let scope = |pattern: &str| Scope { pattern: pattern.into(), signer: Signer::Anybody };
        let all = ["default", "*.example.org", "r.example.org", "r.example.org/a", "r.example.org/a/b:1"].map(scope);
        let of = |name: &str| scope_of(&all, name).map(|scope| scope.pattern.as_str());
        assert_eq!(of("docker.io/library/a:1"), Some("default"));
        assert_eq!(of("q.example.org:5000/a:1"), Some("*.example.org"));
        assert_eq!(of("example.org/a:1"), Some("default"));
        assert_eq!(of("badexample.org/a:1"), Some("default"));
        assert_eq!(of("r.example.org/ab:1"), Some("r.example.org"));
        assert_eq!(of("r.example.org/a/c:1"), Some("r.example.org/a"));
        assert_eq!(of("r.example.org/a/b:1"), Some("r.example.org/a/b:1"));
        assert_eq!(of("r.example.org/a/b:12"), Some("r.example.org/a"));
        assert_eq!(of(""), Some("default"));
        assert_eq!(scope_of(&all[1..], "docker.io/a:1"), None);
    }
}
