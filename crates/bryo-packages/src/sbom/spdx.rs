// SPDX-License-Identifier: Apache-2.0
//! SPDX 2.3, in JSON. Source: SPDX specification 2.3, `schemas/spdx-schema.json`.

use serde_json::{Value, json};

use super::{Subject, TOOL, uuid};
use crate::inventory::{Inventory, Item};

/// Writes an inventory.
pub fn spdx(subject: &Subject, inventory: &Inventory) -> Value {
    let main = "SPDXRef-Subject";
    let id = |n: usize| format!("SPDXRef-Package-{n}");
    let mut packages = vec![about(subject, main)];
    packages.extend(inventory.items.iter().enumerate().map(|(n, item)| package(item, &id(n), inventory)));
    let relation = |from: &str, word: &str, to: &str| json!({"spdxElementId": from, "relationshipType": word, "relatedSpdxElement": to});
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", main)];
    relations.extend((0..inventory.items.len()).map(|n| relation(main, "CONTAINS", &id(n))));
    for (n, needs) in inventory.relations.iter().enumerate() {
        relations.extend(needs.iter().map(|other| relation(&id(n), "DEPENDS_ON", &id(*other))));
    }
    let problems = inventory.problems.iter().map(|problem| format!("not read: /{}: {}", problem.path, problem.why));
    let mut info = json!({"created": subject.time, "creators": [format!("Tool: {}-{}", TOOL.0, TOOL.1)]});
    let comment: Vec<String> = problems.collect();
    if !comment.is_empty() {
        info["comment"] = json!(comment.join("\n"));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("urn:uuid:{}", uuid(subject, inventory)),
        "creationInfo": info,
        "packages": packages,
        "relationships": relations,
    })
}

fn about(subject: &Subject, id: &str) -> Value {
    let mut out = json!({
        "SPDXID": id,
        "name": subject.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": if subject.container { "CONTAINER" } else { "FILE" },
    });
    if let Some(version) = &subject.version {
        out["versionInfo"] = json!(version);
    }
    out
}

fn package(item: &Item, id: &str, inventory: &Inventory) -> Value {
    let package = &item.package;
    let places: Vec<String> = item.locations.iter().map(|path| format!("/{path}")).collect();
    let mut out = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "supplier": package.supplier.as_ref().map_or("NOASSERTION".to_owned(), |name| format!("Organization: {name}")),
        "sourceInfo": format!("found in {}", places.join(", ")),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl(inventory.distro.as_ref()),
        }],
    });
    if !package.licenses.is_empty() {
        // Databases have words of their own, which are no expressions of SPDX.
        out["licenseComments"] = json!(format!("declared as: {}", package.licenses.join(", ")));
    }
    if let Some(source) = &package.source {
        let text = format!("; built from {} {}", source.name, source.version);
        out["sourceInfo"] = json!(out["sourceInfo"].as_str().unwrap_or_default().to_owned() + &text);
    }
    out
}
