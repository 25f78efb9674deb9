// SPDX-License-Identifier: Apache-2.0
//! What Quadlet files mean. Source: `podman-systemd.unit(5)`.
//!
//! A module for each kind of file. Each key is known with its meaning here, or it is refused: a key that was passed over
//! would be a limit that does not hold, or a directory that is not shared.

mod container;
mod install;
mod making;
mod network;
mod reference;
mod service;
mod volume;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::generate::{Generator, Problem, Unit};
use crate::unit::{File, template};
use making::Making;

/// A Quadlet file with its drop-ins.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where the file is.
    pub path: PathBuf,
    /// Its name without the kind.
    pub stem: String,
    /// What it describes: `container`, `volume`, `network`, or what bryo does not make.
    pub kind: String,
    /// What it says, drop-ins included.
    pub file: File,
}

/// What others may refer to by a file's name.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The service that is made of it.
    pub service: String,
    /// The container, volume or network itself, as bryo calls it.
    pub name: String,
    /// Whether there is a service at all.
    pub made: bool,
}

/// All files, by their names.
pub(crate) type Others = BTreeMap<String, Known>;

/// The kinds that bryo makes services of, with the sections that describe them, and what keeps it from making others.
const KINDS: [(&str, Option<&str>, &str); 8] = [
    ("container", Some("Container"), ""),
    ("volume", Some("Volume"), ""),
    ("network", Some("Network"), ""),
    ("kube", None, "Kubernetes files are not run; write a .container file for each container"),
    ("pod", None, "containers do not share the namespaces of a pod; connect them by a .network file"),
    ("build", None, "images are not built by a unit; build it, load it, and name it with Image="),
    ("image", None, "an image is pulled by the container that needs it; name it there with Image= and Pull="),
    ("artifact", None, "artifacts are not fetched; leave the file out"),
];

/// Tells whether a file's kind is one of Quadlet's.
pub(crate) fn is_kind(kind: &str) -> bool {
    KINDS.iter().any(|(known, _, _)| *known == kind)
}

/// Makes the units of all files, those first that others need.
pub(crate) fn convert(generator: &Generator<'_>, sources: &[Source]) -> (Vec<Unit>, Vec<Problem>) {
    let mut others: Others = sources.iter().map(|source| (source.file_name(), source.describe())).collect();
    let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
    let (mut units, mut problems) = (Vec::new(), Vec::new());
    let mut ordered: Vec<&Source> = sources.iter().collect();
    ordered.sort_by_key(|source| source.kind == "container");
    for source in ordered {
        let made = make(generator, source, &others).and_then(|unit| match taken.get(&unit.name) {
            None => Ok(unit),
            Some(other) => {
                let why =
                    format!("{} is made from {} already; say ServiceName= in one of them", unit.name, other.display());
                Err(vec![Problem::of_file(&source.path, why)])
            }
        });
        match made {
            Ok(unit) => {
                taken.insert(unit.name.clone(), source.path.clone());
                units.push(unit);
            }
            Err(found) => {
                others.entry(source.file_name()).and_modify(|known| known.made = false);
                problems.extend(found);
            }
        }
    }
    (units, problems)
}

fn make(generator: &Generator<'_>, source: &Source, others: &Others) -> Result<Unit, Vec<Problem>> {
    let Some((_, section, why)) = KINDS.iter().find(|(kind, _, _)| *kind == source.kind) else {
        return Err(vec![Problem::of_file(&source.path, "bryo makes no unit of this kind of file")]);
    };
    let Some(section) = section else {
        return Err(vec![Problem::of_file(
            &source.path,
            format!("bryo makes no unit of a .{} file: {why}", source.kind),
        )]);
    };
    let mut making = Making::new(generator, source, others, section);
    match source.kind.as_str() {
        "container" => container::make(&mut making),
        "volume" => volume::make(&mut making),
        _ => network::make(&mut making),
    }
    making.finish()
}

impl Source {
    /// Returns the file's name, by which others refer to it.
    fn file_name(&self) -> String {
        format!("{}.{}", self.stem, self.kind)
    }

    /// Returns the section that is bryo's, for a kind that it makes.
    fn section(&self) -> &'static str {
        KINDS.iter().find(|(kind, _, _)| *kind == self.kind).and_then(|(_, section, _)| *section).unwrap_or_default()
    }

    /// Returns what others refer to.
    fn describe(&self) -> Known {
        let section = self.section();
        let said = |key: &str| self.file.last(section, key).map(|entry| entry.value.clone());
        let (suffix, key) = match self.kind.as_str() {
            "volume" => ("-volume", "VolumeName"),
            "network" => ("-network", "NetworkName"),
            _ => ("", "ContainerName"),
        };
        let service = said("ServiceName").unwrap_or_else(|| match template(&self.stem) {
            Some((base, instance)) => format!("{}{suffix}@{instance}", base.trim_end_matches('@')),
            None => format!("{}{suffix}", self.stem),
        });
        // An instance has its name from the unit that is started; "@" is no letter of a name.
        let own = match (self.kind.as_str(), template(&self.stem)) {
            ("container", None) => "systemd-%N".to_owned(),
            ("container", Some(_)) => "systemd-%P_%I".to_owned(),
            _ => format!("systemd-{}", self.stem),
        };
        Known { service: format!("{service}.service"), name: said(key).unwrap_or(own), made: true }
    }
}
