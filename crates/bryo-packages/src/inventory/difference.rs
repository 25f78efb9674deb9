// SPDX-License-Identifier: Apache-2.0
//! What differs between two inventories: packages that came, went, or have another version, and which files they account
//! for.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Inventory, Item, databases, merge};
use crate::error::Result;
use crate::package::Type;
use crate::readers::pip;
use crate::tree::Tree;
use crate::version::Scheme;

/// What happened to a package.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has a later version.
    Upgraded,
    /// It has an earlier version.
    Downgraded,
    /// It has another version, or is for another machine, and nobody can tell which is later.
    Changed,
}

/// A package that is not as it was.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a> {
    /// What happened.
    pub step: Step,
    /// The package before.
    pub before: Option<&'a Item>,
    /// The package now.
    pub after: Option<&'a Item>,
}

/// Lists the packages that differ, by type and name.
pub fn difference<'a>(before: &'a Inventory, after: &'a Inventory) -> Vec<Difference<'a>> {
    let (old, new) = (by_name(before), by_name(after));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    let mut found = Vec::new();
    for name in names {
        let sides = |side: &BTreeMap<Name<'a>, Vec<&'a Item>>| side.get(&name).cloned().unwrap_or_default();
        let (mut gone, mut come) = (sides(&old), sides(&new));
        let same = |a: &Item, b: &Item| a.package.version == b.package.version && a.package.arch == b.package.arch;
        let kept: Vec<&Item> = gone.iter().copied().filter(|a| come.iter().any(|b| same(a, b))).collect();
        gone.retain(|a| !kept.iter().any(|b| same(a, b)));
        come.retain(|a| !kept.iter().any(|b| same(a, b)));
        if let ([a], [b]) = (gone.as_slice(), come.as_slice()) {
            found.push(Difference { step: step(a, b), before: Some(a), after: Some(b) });
            continue;
        }
        found.extend(gone.into_iter().map(|a| Difference { step: Step::Removed, before: Some(a), after: None }));
        found.extend(come.into_iter().map(|b| Difference { step: Step::Added, before: None, after: Some(b) }));
    }
    found
}

type Name<'a> = (Type, &'a str);

fn by_name(inventory: &Inventory) -> BTreeMap<Name<'_>, Vec<&Item>> {
    let mut names: BTreeMap<Name<'_>, Vec<&Item>> = BTreeMap::new();
    for item in &inventory.items {
        names.entry((item.package.kind, &item.package.name)).or_default().push(item);
    }
    names
}

fn step(before: &Item, after: &Item) -> Step {
    let (before, after) = (&before.package, &after.package);
    match Scheme::of(after.kind).compare(&before.version, &after.version) {
        Some(Ordering::Less) => Step::Upgraded,
        Some(Ordering::Greater) => Step::Downgraded,
        _ => Step::Changed,
    }
}

/// Adds to packages the files that a tree's databases have for them.
///
/// # Errors
///
/// As [`databases`].
pub fn add_files(tree: &Tree, items: &mut [Item]) -> Result<()> {
    if items.iter().any(|item| item.package.kind.is_system()) {
        let found = merge(&[databases(tree)?]);
        let same = |a: &Item, b: &Item| super::order(&a.package) == super::order(&b.package);
        for item in items.iter_mut() {
            if let Some(known) = found.items.iter().find(|known| same(known, item)) {
                item.package.files.clone_from(&known.package.files);
            }
        }
    }
    for item in items.iter_mut().filter(|item| item.package.kind == Type::Pypi) {
        for place in &item.locations {
            pip::add_files(tree, place, &mut item.package);
        }
    }
    Ok(())
}

/// Files that packages account for, by their own word.
#[derive(Debug, Default)]
pub struct Claims {
    files: HashSet<String>,
    beginnings: Vec<String>,
}

impl Claims {
    /// Adds what a package accounts for. The modules of a program account for no file: they are in one.
    pub fn add(&mut self, item: &Item) {
        let package = &item.package;
        self.files.extend(package.files.iter().map(|path| common(path)));
        for place in &item.locations {
            match package.kind {
                Type::Npm => self.beginnings.extend(place.strip_suffix("package.json").map(|dir| format!("/{dir}"))),
                Type::Gem => self.beginnings.extend(gem(place)),
                _ => (),
            }
        }
        if package.kind == Type::Deb {
            let info = |end: char| format!("/var/lib/dpkg/info/{}{end}", package.name);
            self.beginnings.extend([info('.'), info(':')]);
        }
    }

    /// Tells whether a package accounts for a file, by its absolute path.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains(&common(path)) || self.beginnings.iter().any(|beginning| path.starts_with(beginning))
    }
}

/// Returns where a gem lies whose specification is at a path.
fn gem(place: &str) -> Option<String> {
    let (base, name) = place.rsplit_once("/specifications/")?;
    let name = name.strip_prefix("default/").unwrap_or(name).strip_suffix(".gemspec")?;
    Some(format!("/{base}/gems/{name}/"))
}

/// Brings the paths together by which distributions call the same file, since most have made one directory of `/bin` and
/// `/usr/bin`, and some of `/usr/sbin` too.
fn common(path: &str) -> String {
    let short = path.strip_prefix("/usr").filter(|rest| {
        ["/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/"].iter().any(|directory| rest.starts_with(directory))
    });
    let short = short.unwrap_or(path);
    match short.strip_prefix("/sbin/") {
        Some(rest) => format!("/bin/{rest}"),
        None => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Package;

    fn inventory(items: &[(Type, &str, &str)]) -> Inventory {
        let item = |(kind, name, version): &(Type, &str, &str)| Item {
            package: Package::new(*kind, *name, *version),
            locations: Vec::new(),
            owned: false,
        };
        Inventory { items: items.iter().map(item).collect(), ..Inventory::default() }
    }

    #[test]
    fn packages_come_go_and_change_their_versions() {
        let before = inventory(&[
            (Type::Deb, "a", "1.9"),
            (Type::Deb, "b", "1:1"),
            (Type::Deb, "gone", "1"),
            (Type::Npm, "twice", "1.0.0"),
            (Type::Npm, "twice", "2.0.0"),
        ]);
        let after = inventory(&[
            (Type::Deb, "a", "1.10"),
            (Type::Deb, "b", "2"),
            (Type::Npm, "twice", "2.0.0"),
            (Type::Npm, "twice", "3.0.0"),
            (Type::Pypi, "a", "1"),
        ]);
        let found: Vec<_> = difference(&before, &after)
            .iter()
            .map(|d| (d.after.or(d.before).unwrap().package.name.as_str(), d.step))
            .collect();
        let expected = [
            ("a", Step::Upgraded),
            ("b", Step::Downgraded),
            ("gone", Step::Removed),
            ("a", Step::Added),
            ("twice", Step::Upgraded),
        ];
        for one in expected {
            assert!(found.contains(&one), "{one:?} {found:?}");
        }
        assert_eq!(found.len(), expected.len());
        assert!(difference(&after, &after).is_empty());
    }

    #[test]
    fn a_package_accounts_for_its_files_whatever_their_directory_is_called() {
        let mut item = inventory(&[(Type::Deb, "a", "1")]).items.remove(0);
        item.package.files = vec!["/bin/a".into(), "/usr/sbin/b".into()];
        let mut claims = Claims::default();
        claims.add(&item);
        for path in ["/usr/bin/a", "/bin/a", "/sbin/b", "/var/lib/dpkg/info/a.postinst"] {
            assert!(claims.has(path), "{path}");
        }
        for path in ["/usr/bin/ab", "/usr/local/bin/a", "/var/lib/dpkg/info/ab.postinst"] {
            assert!(!claims.has(path), "{path}");
        }
        let mut gem = inventory(&[(Type::Gem, "rake", "1")]).items.remove(0);
        gem.locations = vec!["usr/lib/gems/3.1/specifications/rake-1.gemspec".into()];
        claims.add(&gem);
        assert!(claims.has("/usr/lib/gems/3.1/gems/rake-1/exe/rake"));
    }
}
