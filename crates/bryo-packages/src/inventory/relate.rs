// SPDX-License-Identifier: Apache-2.0
//! Which package depends on which: names become packages that are there.

use std::collections::HashMap;

use super::Item;
use crate::package::Type;
use crate::readers::pip;

/// Finds for each package those that it depends on, as places in the list, in order.
pub(super) fn relations(items: &[Item]) -> Vec<Vec<usize>> {
    let mut by_name: HashMap<(Type, String), Vec<usize>> = HashMap::new();
    for (n, item) in items.iter().enumerate() {
        let package = &item.package;
        for name in std::iter::once(&package.name).chain(&package.provides) {
            let places = by_name.entry((package.kind, normal(package.kind, name))).or_default();
            if places.last() != Some(&n) {
                places.push(n);
            }
        }
    }
    let needed = |(n, item): (usize, &Item)| {
        let kind = item.package.kind;
        let found = item.package.depends.iter().filter_map(|name| {
            let places = by_name.get(&(kind, normal(kind, name)))?;
            nearest(items, n, places)
        });
        let mut found: Vec<usize> = found.filter(|other| *other != n).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    items.iter().enumerate().map(needed).collect()
}

fn normal(kind: Type, name: &str) -> String {
    if kind == Type::Pypi { pip::normal(name) } else { name.to_owned() }
}

/// Of several of a name, chooses the one that lies nearest, as the languages do that allow several.
fn nearest(items: &[Item], from: usize, places: &[usize]) -> Option<usize> {
    if let [only] = places {
        return Some(*only);
    }
    let here = items[from].locations.first()?;
    let common = |place: &usize| {
        let shared = |path: &String| here.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
        items[*place].locations.iter().map(shared).max().unwrap_or(0)
    };
    // A list of thousands of one name is nobody's.
    places.iter().take(100).max_by_key(|place| common(place)).copied()
}
