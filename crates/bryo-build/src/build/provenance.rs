// SPDX-License-Identifier: Apache-2.0
//! What an image was made of, as an in-toto statement. Source: slsa.dev, "Provenance", version 1.

use std::str::FromStr;

use bryo_image::Digest;
use bryo_image::reference::Reference;
use bryo_image::registry::Platform;
use serde_json::{Value, json};

use super::Request;
use super::export::Made;

/// What the statement's content is.
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// What a bill of materials in SPDX is called. Source: in-toto's attestation framework, "Predicate type: SPDX".
pub(super) const SBOM: &str = "https://spdx.dev/Document";

/// Where the form of the parameters is written down.
const BUILD_TYPE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/src/build.md#provenance-v1");

/// How much is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detail {
    /// What the image is made of and when.
    Min,
    /// The values of arguments too.
    Max,
}

/// What `--provenance` says; nothing for none at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Provenance(pub Option<Detail>);

impl FromStr for Provenance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "true" | "min" | "mode=min" => Ok(Self(Some(Detail::Min))),
            "max" | "mode=max" => Ok(Self(Some(Detail::Max))),
            "false" => Ok(Self(None)),
            _ => Err(format!("{text:?} is not known; true, false, mode=min and mode=max are")),
        }
    }
}

/// A statement about an image.
pub(super) struct Statement<'a> {
    pub request: &'a Request<'a>,
    pub made: &'a Made,
    /// The image's manifest.
    pub subject: &'a Digest,
    pub ended: &'a str,
    pub detail: Detail,
}

impl Statement<'_> {
    pub fn document(&self) -> Value {
        let predicate = json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": self.parameters(),
                "resolvedDependencies": self.materials(),
            },
            "runDetails": {
                "builder": {"id": env!("CARGO_PKG_REPOSITORY"), "version": {"bryo": env!("CARGO_PKG_VERSION")}},
                "metadata": {"startedOn": self.made.begun, "finishedOn": self.ended},
            },
        });
        statement(self.request, self.made, self.subject, PREDICATE, predicate)
    }

    /// Says what was asked for. Secrets are no part of it, and neither are values that nobody wants to be told.
    fn parameters(&self) -> Value {
        let mut parameters = json!({
            "configSource": {"path": self.request.dockerfile_name},
            "platform": self.made.platform.to_string(),
        });
        if let Some(target) = &self.request.target {
            parameters["target"] = json!(target);
        }
        if self.detail == Detail::Max {
            let args = self.request.build_args.iter().map(|(name, value)| (format!("build-arg:{name}"), json!(value)));
            let labels = self.request.labels.iter().map(|(name, value)| (format!("label:{name}"), json!(value)));
            parameters["args"] = Value::Object(args.chain(labels).collect());
        }
        parameters
    }

    fn materials(&self) -> Vec<Value> {
        let material = |(name, digest): (&String, &Digest)| {
            let uri = name.parse().map_or_else(|_| name.clone(), |name| purl(&name, &self.made.platform));
            json!({"uri": uri, "digest": digests(digest)})
        };
        self.made.materials.iter().map(material).collect()
    }
}

/// Says something of an image, under all its names.
pub(super) fn statement(
    request: &Request<'_>,
    made: &Made,
    image: &Digest,
    predicate_type: &str,
    predicate: Value,
) -> Value {
    let named = |name: &Reference| json!({"name": purl(name, &made.platform), "digest": digests(image)});
    let mut subject: Vec<Value> = request.names.iter().map(named).collect();
    if subject.is_empty() {
        subject.push(json!({"name": "_", "digest": digests(image)}));
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate_type,
        "subject": subject,
        "predicate": predicate,
    })
}

fn digests(digest: &Digest) -> Value {
    json!({digest.algorithm().name(): digest.hex()})
}

/// Names an image as package URLs do. Source: the purl specification, "docker".
fn purl(name: &Reference, platform: &Platform) -> String {
    let tag = name.tag().map(|tag| format!("@{tag}")).unwrap_or_default();
    let familiar = name.familiar();
    let repository = familiar.split('@').next().unwrap_or_default();
    let repository =
        repository.strip_suffix(&tag.replacen('@', ":", 1)).filter(|_| !tag.is_empty()).unwrap_or(repository);
    format!("pkg:docker/{repository}{tag}?platform={}", platform.to_string().replace('/', "%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_package_urls() {
        let purl = |name: &str| purl(&name.parse().unwrap(), &"linux/arm64".parse().unwrap());
        assert_eq!(purl("alpine:3"), "pkg:docker/alpine@3?platform=linux%2Farm64");
        assert_eq!(purl("localhost:5000/a/b:1"), "pkg:docker/localhost:5000/a/b@1?platform=linux%2Farm64");
    }

    #[test]
    fn how_much_is_said_is_a_word() {
        assert_eq!("mode=max".parse::<Provenance>().unwrap().0, Some(Detail::Max));
        assert_eq!("false".parse::<Provenance>().unwrap().0, None);
        assert!("mode=all".parse::<Provenance>().is_err());
    }
}
