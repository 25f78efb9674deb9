// SPDX-License-Identifier: Apache-2.0
//! `[Install]`: what `systemctl enable` would do, which it cannot for units that are made at boot.

use std::path::PathBuf;

use super::making::Making;
use crate::generate::Link;
use crate::unit::{Entry, template};

/// Directories of links, by the keys that ask for them.
const DIRECTORIES: [(&str, &str); 3] = [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")];

/// Returns the links that start a service with others, and its further names.
pub(super) fn links(making: &mut Making<'_>, service: &str) -> Vec<Link> {
    const SECTION: &str = "Install";
    let file = &making.source.file;
    let known = |key: &str| matches!(key, "Alias" | "DefaultInstance") || DIRECTORIES.iter().any(|(k, _)| *k == key);
    for entry in file.entries(SECTION).iter().filter(|entry| !known(&entry.key)) {
        making.refuse(entry, "only Alias, WantedBy, RequiredBy, UpheldBy and DefaultInstance can be carried out");
    }
    let mut links = Vec::new();
    for entry in file.all(SECTION, "Alias") {
        for alias in names(making, entry) {
            links.push(Link { path: PathBuf::from(alias), to: service.into() });
        }
    }
    let default = file.last(SECTION, "DefaultInstance");
    let Some(started) = instance(service, default.map(|entry| entry.value.as_str())) else { return links };
    for (key, directory) in DIRECTORIES {
        for entry in file.all(SECTION, key) {
            for target in names(making, entry) {
                let path = PathBuf::from(format!("{target}.{directory}")).join(&started);
                links.push(Link { path, to: format!("../{service}") });
            }
        }
    }
    links
}

/// Returns the names of units in a value: no paths, which would lead out of the directory.
fn names(making: &mut Making<'_>, entry: &Entry) -> Vec<String> {
    let words = making.split(entry);
    let good = |word: &&String| !word.contains('/') && !word.starts_with('.') && word.contains('.');
    if let Some(bad) = words.iter().find(|word| !good(word)) {
        making.refuse(entry, format!("{bad:?} is no name of a unit"));
    }
    words
}

/// Returns the service that is started: of a template, the instance that it is by default, if it says so.
fn instance(service: &str, default: Option<&str>) -> Option<String> {
    let stem = service.strip_suffix(".service").unwrap_or(service);
    match template(stem) {
        Some((base, "")) => default.map(|instance| format!("{base}{instance}.service")),
        _ => Some(service.to_owned()),
    }
}
