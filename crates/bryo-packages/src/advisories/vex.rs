// SPDX-License-Identifier: Apache-2.0
//! OpenVEX documents: somebody's word that a flaw does not matter in a product, and why. Source: openvex, specification
//! 0.2.0.

use serde::Deserialize;

use crate::error::{Error, Result};

/// What is said of a flaw in a product.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It does not matter.
    NotAffected,
    /// It does.
    Affected,
    /// It is mended.
    Fixed,
    /// Nobody knows yet.
    UnderInvestigation,
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(rename = "@context")]
    context: String,
    #[serde(default)]
    timestamp: Option<String>,
    statements: Vec<Statement>,
}

/// One statement.
#[derive(Clone, Debug, Deserialize)]
pub struct Statement {
    vulnerability: Vulnerability,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    products: Vec<Product>,
    /// What is said.
    pub status: Status,
    /// Why, as a word of the specification.
    #[serde(default)]
    pub justification: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub impact_statement: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Vulnerability {
    /// As the first versions of the specification had it.
    Name(String),
    Whole {
        #[serde(default)]
        name: Option<String>,
        #[serde(default, rename = "@id")]
        id: Option<String>,
        #[serde(default)]
        aliases: Vec<String>,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Product {
    Name(String),
    Whole {
        #[serde(default, rename = "@id")]
        id: Option<String>,
        #[serde(default)]
        identifiers: Identifiers,
        #[serde(default)]
        subcomponents: Vec<Product>,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Identifiers {
    purl: Option<String>,
}

/// Reads a document: its statements, the older ones first, as a later word replaces an earlier one.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is no OpenVEX document.
pub fn parse(data: &[u8]) -> Result<Vec<Statement>> {
    let refused = || Error::corrupt("it is no OpenVEX document");
    let document: Document = serde_json::from_slice(data).map_err(|e| refused().with_source(e))?;
    if !document.context.starts_with("https://openvex.dev/ns") {
        return Err(refused());
    }
    let mut statements = document.statements;
    for statement in &mut statements {
        statement.timestamp = statement.timestamp.take().or_else(|| document.timestamp.clone());
    }
    statements.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    Ok(statements)
}

impl Statement {
    /// Tells whether it speaks of a flaw, by any of its names.
    pub fn is_about(&self, names: &[&str]) -> bool {
        match &self.vulnerability {
            Vulnerability::Name(name) => names.contains(&name.as_str()),
            Vulnerability::Whole { name, id, aliases } => {
                let last = id.as_deref().map(|id| id.rsplit('/').next().unwrap_or(id));
                let all = name.as_deref().into_iter().chain(last).chain(aliases.iter().map(String::as_str));
                all.into_iter().any(|own| names.contains(&own))
            }
        }
    }

    /// Tells whether it speaks of a package: itself, or as part of the image it is in. Without products it speaks of all
    /// that the document is given with.
    pub fn applies(&self, purl: &str, subject: &[String]) -> bool {
        self.products.is_empty() || self.products.iter().any(|product| product.has(purl, subject))
    }
}

impl Product {
    fn ids(&self) -> Vec<&str> {
        match self {
            Self::Name(name) => vec![name],
            Self::Whole { id, identifiers, .. } => id.iter().chain(&identifiers.purl).map(String::as_str).collect(),
        }
    }

    fn has(&self, purl: &str, subject: &[String]) -> bool {
        let parts: &[Product] = match self {
            Self::Name(_) => &[],
            Self::Whole { subcomponents, .. } => subcomponents,
        };
        let is_subject = self.ids().iter().any(|id| subject.iter().any(|name| is_named(id, name)));
        if is_subject {
            return parts.is_empty() || parts.iter().any(|part| part.has(purl, &[]));
        }
        parts.is_empty() && self.ids().iter().any(|id| fits(id, purl))
    }
}

/// Tells whether a product's name is that of an image: its name, or a purl with its digest.
fn is_named(id: &str, name: &str) -> bool {
    let plain = id.replace("%3A", ":").replace("%3a", ":");
    id == name || (name.starts_with("sha256:") && name.len() == 71 && plain.contains(name))
}

/// Tells whether one purl covers another: what it does not say, it leaves open.
fn fits(general: &str, special: &str) -> bool {
    let split = |purl: &str| {
        let (rest, qualifiers) = purl.split_once('?').unwrap_or((purl, ""));
        let (name, version) = match rest.rsplit_once('@') {
            Some((name, version)) if !version.contains('/') => (name.to_owned(), Some(version.to_owned())),
            _ => (rest.to_owned(), None),
        };
        let qualifiers: Vec<String> = qualifiers.split('&').filter(|q| !q.is_empty()).map(str::to_owned).collect();
        (name, version, qualifiers)
    };
    let ((name, version, qualifiers), (own_name, own_version, own)) = (split(general), split(special));
    name.starts_with("pkg:")
        && name == own_name
        && (version.is_none() || version == own_version)
        && qualifiers.iter().all(|qualifier| own.contains(qualifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURL: &str = "pkg:deb/debian/openssl@3.0.11-1?arch=amd64&distro=debian-12";

    fn one(product: &str) -> Statement {
        let text = format!(
            r#"{{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{{"vulnerability":{{"name":"CVE-1"}},
            "products":[{product}],"status":"not_affected"}}]}}"#
        );
        parse(text.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_statement_covers_what_it_names_and_nothing_else() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let subject = ["docker.io/library/x:1".to_owned(), digest.clone()];
        for (product, expected) in [
            (r#"{"@id":"pkg:deb/debian/openssl"}"#.to_owned(), true),
            (r#"{"@id":"pkg:deb/debian/openssl@3.0.11-1"}"#.to_owned(), true),
            (r#""pkg:deb/debian/openssl@3.0.11-1?distro=debian-12""#.to_owned(), true),
            (r#"{"identifiers":{"purl":"pkg:deb/debian/openssl@3.0.11-1"}}"#.to_owned(), true),
            (r#"{"@id":"pkg:deb/debian/openssl@3.0.12-1"}"#.to_owned(), false),
            (r#"{"@id":"pkg:deb/debian/openssl?distro=debian-11"}"#.to_owned(), false),
            (r#"{"@id":"pkg:deb/debian/openssl-dev"}"#.to_owned(), false),
            (r#"{"@id":"docker.io/library/x:1"}"#.to_owned(), true),
            (r#"{"@id":"docker.io/library/x:2"}"#.to_owned(), false),
            (format!(r#"{{"@id":"pkg:oci/x@sha256%3A{}"}}"#, "a".repeat(64)), true),
            (format!(r#"{{"@id":"pkg:oci/x@sha256%3A{}"}}"#, "b".repeat(64)), false),
            (r#"{"@id":"docker.io/library/x:1","subcomponents":[{"@id":"pkg:deb/debian/openssl"}]}"#.to_owned(), true),
            (r#"{"@id":"docker.io/library/x:1","subcomponents":[{"@id":"pkg:deb/debian/curl"}]}"#.to_owned(), false),
            (r#"{"@id":"docker.io/library/y:1","subcomponents":[{"@id":"pkg:deb/debian/openssl"}]}"#.to_owned(), false),
        ] {
            assert_eq!(one(&product).applies(PURL, &subject), expected, "{product}");
        }
        assert!(one("").is_about(&["DSA-1", "CVE-1"]) && !one("").is_about(&["CVE-10"]));
    }

    #[test]
    fn another_document_is_refused() {
        assert!(parse(b"{}").is_err());
        assert!(parse(br#"{"@context":"https://example.com","statements":[]}"#).is_err());
    }
}
