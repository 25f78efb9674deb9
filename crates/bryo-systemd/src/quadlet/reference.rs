// SPDX-License-Identifier: Apache-2.0
//! Quadlet files that name one another.

use super::making::Making;
use super::{Known, is_kind};
use crate::unit::{Entry, template};
use crate::words;

/// Finds the file that an entry names; refuses one that is not there or is wrong itself. The files of a template's
/// instances may be named as well: the template stands for them.
pub(super) fn find<'a>(making: &mut Making<'a>, entry: &Entry, name: &str) -> Option<&'a Known> {
    let found = making.others.get(name).or_else(|| {
        let (stem, kind) = name.rsplit_once('.')?;
        making.others.get(&format!("{}.{kind}", template(stem)?.0))
    });
    match found {
        None => making.refuse(entry, format!("there is no file {name} in the unit directories")),
        Some(known) if !known.made => making.refuse(entry, format!("{name} is wrong itself, and was left out")),
        Some(known) => return Some(known),
    }
    None
}

/// Makes a unit need another that is made of a Quadlet file.
pub(super) fn need(making: &mut Making<'_>, known: &Known) {
    making.output.push("Unit", "Requires", &known.service);
    making.output.push("Unit", "After", &known.service);
}

/// Puts services in the place of Quadlet files in a list of units.
pub(super) fn services(making: &mut Making<'_>, entry: &Entry) -> String {
    let of_quadlet = |word: &str| word.rsplit_once('.').is_some_and(|(_, kind)| is_kind(kind));
    if !entry.value.split_whitespace().any(of_quadlet) {
        return entry.value.clone();
    }
    let mut units = Vec::new();
    for word in making.split(entry) {
        match of_quadlet(&word) {
            false => units.push(word),
            true => units.extend(find(making, entry, &word).map(|known| instance(&word, &known.service))),
        }
    }
    words::join(units)
}

/// Returns the service of an instance where only its template is known.
fn instance(name: &str, service: &str) -> String {
    let instance = name.rsplit_once('.').and_then(|(stem, _)| template(stem)).map(|(_, instance)| instance);
    match (instance, service.split_once("@.")) {
        (Some(instance), Some((base, kind))) => format!("{base}@{instance}.{kind}"),
        _ => service.to_owned(),
    }
}
