// SPDX-License-Identifier: Apache-2.0
//! CycloneDX 1.6, in JSON. Source: CycloneDX specification, `schema/bom-1.6.schema.json`.

use serde_json::{Map, Value, json};

use super::{Subject, TOOL, uuid};
use crate::inventory::{Inventory, Item};

/// Writes an inventory.
pub fn cyclonedx(subject: &Subject, inventory: &Inventory) -> Value {
    let refs = refs(inventory);
    let main = "subject";
    let all: Vec<&String> = refs.iter().collect();
    let mut dependencies = vec![json!({"ref": main, "dependsOn": all})];
    for (reference, needs) in refs.iter().zip(&inventory.relations) {
        let needs: Vec<&String> = needs.iter().filter_map(|n| refs.get(*n)).collect();
        dependencies.push(json!({"ref": reference, "dependsOn": needs}));
    }
    let components: Vec<Value> =
        inventory.items.iter().zip(&refs).map(|(item, reference)| component(item, reference, inventory)).collect();
    let mut about = json!({
        "type": if subject.container { "container" } else { "file" },
        "bom-ref": main,
        "name": subject.name,
    });
    if let Some(version) = &subject.version {
        about["version"] = json!(version);
    }
    if let Some(distro) = &inventory.distro {
        about["properties"] = json!([{"name": "bryo:distro", "value": distro.tag()}]);
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(subject, inventory)),
        "version": 1,
        "metadata": {
            "timestamp": subject.time,
            "tools": {"components": [{"type": "application", "name": TOOL.0, "version": TOOL.1}]},
            "component": about,
            "properties": problems(inventory),
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// Names every package; two that a purl does not tell apart get a number.
fn refs(inventory: &Inventory) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let purls = inventory.items.iter().map(|item| item.package.purl(inventory.distro.as_ref()));
    let name = |(n, purl): (usize, String)| if seen.insert(purl.clone()) { purl } else { format!("{purl}#{n}") };
    purls.enumerate().map(name).collect()
}

fn component(item: &Item, reference: &str, inventory: &Inventory) -> Value {
    let package = &item.package;
    let mut out = Map::new();
    out.insert("type".into(), json!("library"));
    out.insert("bom-ref".into(), json!(reference));
    out.insert("name".into(), json!(package.name));
    out.insert("version".into(), json!(package.version));
    if let Some(supplier) = &package.supplier {
        out.insert("supplier".into(), json!({"name": supplier}));
    }
    if !package.licenses.is_empty() {
        let license = |name: &String| json!({"license": {"name": name}});
        out.insert("licenses".into(), package.licenses.iter().map(license).collect());
    }
    out.insert("purl".into(), json!(package.purl(inventory.distro.as_ref())));
    if let Some(source) = &package.source {
        let property = |name: &str, value: &str| json!({"name": format!("bryo:source:{name}"), "value": value});
        out.insert("properties".into(), json!([property("name", &source.name), property("version", &source.version)]));
    }
    let places = item.locations.iter().map(|path| format!("/{path}")).chain(package.files.iter().cloned());
    let occurrences: Vec<Value> = places.map(|place| json!({"location": place})).collect();
    out.insert("evidence".into(), json!({"occurrences": occurrences}));
    Value::Object(out)
}

/// What could not be read is part of the truth.
fn problems(inventory: &Inventory) -> Value {
    let property = |problem: &crate::inventory::Problem| json!({"name": "bryo:unreadable", "value": format!("/{}: {}", problem.path, problem.why)});
    inventory.problems.iter().map(property).collect()
}
