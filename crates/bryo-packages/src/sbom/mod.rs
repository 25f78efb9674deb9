// SPDX-License-Identifier: Apache-2.0
//! Bills of materials: an inventory in the words that other tools read.
//!
//! The same inventory at the same time gives the same document, to the byte.

mod cyclonedx;
mod spdx;

use sha2::{Digest, Sha256};

use crate::inventory::Inventory;

pub use cyclonedx::cyclonedx;
pub use spdx::spdx;

/// What a document is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name, as the caller knows it.
    pub name: String,
    /// What tells it from others of that name, such as a digest.
    pub version: Option<String>,
    /// Whether it is an image or a container, and not a directory.
    pub container: bool,
    /// When it was looked at: RFC 3339, UTC, whole seconds.
    pub time: String,
}

/// The program that has written it.
const TOOL: (&str, &str) = ("bryo", env!("CARGO_PKG_VERSION"));

/// Makes a number that no other document has, from what is in this one.
fn uuid(subject: &Subject, inventory: &Inventory) -> String {
    let mut hash = Sha256::new();
    let version = subject.version.as_deref().unwrap_or_default();
    for text in [&subject.name, version, &subject.time] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for item in &inventory.items {
        hash.update(item.package.purl(inventory.distro.as_ref()).as_bytes());
        hash.update([0]);
    }
    let mut bytes: Vec<u8> = hash.finalize()[..16].to_vec();
    // A number of the maker's own kind. Source: RFC 9562, section 5.8.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::inventory::{Finding, Scan, merge};
    use crate::package::{Distro, Package, Type};

    pub fn example() -> (Subject, Inventory) {
        let mut libc = Package::new(Type::Deb, "libc6", "2.36-9");
        libc.licenses = vec!["GPL-2.0 or whatever\u{1b}".into()];
        libc.supplier = Some("Somebody <a@b.c>".into());
        let mut bash = Package::new(Type::Deb, "bash", "5.2");
        bash.depends = vec!["libc6".into(), "not-there".into()];
        bash.files = vec!["/bin/bash".into()];
        let distro = Distro::parse(b"ID=debian\nVERSION_ID=12");
        let finding =
            Finding { path: "var/lib/dpkg/status".into(), packages: vec![libc, bash], distro: None, owns: vec![] };
        let os = Finding { path: "usr/lib/os-release".into(), packages: vec![], distro, owns: vec![] };
        let subject = Subject {
            name: "docker.io/library/x:latest".into(),
            version: Some("sha256:00".into()),
            container: true,
            time: "2026-01-02T03:04:05Z".into(),
        };
        (subject, merge(&[Scan { findings: vec![finding, os], ..Scan::default() }]))
    }

    #[test]
    fn relations_and_evidence_are_in_both_forms() {
        let (subject, inventory) = example();
        let document = cyclonedx(&subject, &inventory);
        assert_eq!(document["components"][0]["name"], "bash");
        assert_eq!(document["components"][0]["evidence"]["occurrences"][1]["location"], "/bin/bash");
        let bash = &document["components"][0]["bom-ref"];
        let needs = document["dependencies"].as_array().unwrap().iter().find(|d| d["ref"] == *bash).unwrap();
        assert_eq!(needs["dependsOn"], serde_json::json!([document["components"][1]["bom-ref"]]));
        let document = spdx(&subject, &inventory);
        let relations = document["relationships"].as_array().unwrap();
        let depends: Vec<_> = relations.iter().filter(|r| r["relationshipType"] == "DEPENDS_ON").collect();
        assert_eq!(depends.len(), 1);
        assert_eq!(cyclonedx(&subject, &inventory), cyclonedx(&subject, &inventory));
        let other = Subject { time: "2026-01-02T03:04:06Z".into(), ..subject.clone() };
        assert_ne!(uuid(&subject, &inventory), uuid(&other, &inventory));
    }
}
