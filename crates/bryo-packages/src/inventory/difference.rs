// SPDX-License-Identifier: Apache-2.0
//! What differs between two inventories: packages that came, went, or have another version, and which files they account
//! for.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Inventory, Item, databases, merge};
use rustix::fs::FileType;

use crate::error::Result;
use crate::package::Type;
use crate::readers::pip;
use crate::tree::{Tree, Visit};
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

/// A package that is not as it was, at one place.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What happened.
    pub step: Step,
    /// The package before, with the files that told of it at this place.
    pub before: Option<Item>,
    /// The package now, with the files that tell of it at this place.
    pub after: Option<Item>,
}

/// Lists the packages that differ, by type, name and place. A distribution has one of a name; of what languages install,
/// and of what programs are made of, every copy is one of its own.
pub fn difference(before: &Inventory, after: &Inventory) -> Vec<Difference> {
    let (old, new) = (by_place(before), by_place(after));
    let places: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    let mut found = Vec::new();
    for place in places {
        let mut gone = old.get(&place).cloned().unwrap_or_default();
        let mut come = new.get(&place).cloned().unwrap_or_default();
        let kept: Vec<Copied<'_>> = gone.iter().copied().filter(|a| come.iter().any(|b| a.is(b))).collect();
        gone.retain(|a| !kept.iter().any(|b| a.is(b)));
        come.retain(|a| !kept.iter().any(|b| a.is(b)));
        if let ([a], [b]) = (gone.as_slice(), come.as_slice()) {
            found.push(Difference { step: step(a.item, b.item), before: Some(a.item()), after: Some(b.item()) });
            continue;
        }
        let removed = |a: Copied<'_>| Difference { step: Step::Removed, before: Some(a.item()), after: None };
        found.extend(gone.into_iter().map(removed));
        let added = |b: Copied<'_>| Difference { step: Step::Added, before: None, after: Some(b.item()) };
        found.extend(come.into_iter().map(added));
    }
    found
}

/// Lists the places of the packages of which an inventory has a copy that another one, of what is below it, has not.
pub fn added(below: &Inventory, whole: &Inventory) -> BTreeSet<usize> {
    let old = by_place(below);
    let new = |item: &Item| {
        let is_old = |(place, copy): &(Place<'_>, Copied<'_>)| {
            old.get(place).is_some_and(|there| there.iter().any(|known| known.is(copy)))
        };
        !copies(item).all(|copy| is_old(&copy))
    };
    whole.items.iter().enumerate().filter(|(_, item)| new(item)).map(|(at, _)| at).collect()
}

/// Whose a package is, what it is called and where it lies.
type Place<'a> = (Type, &'a str, &'a str);

/// A package at one of its places.
#[derive(Clone, Copy)]
struct Copied<'a> {
    item: &'a Item,
    /// The file that tells of it there; all of them for a distribution's.
    at: Option<&'a String>,
}

impl Copied<'_> {
    fn is(&self, other: &Copied<'_>) -> bool {
        let (a, b) = (&self.item.package, &other.item.package);
        a.version == b.version && a.arch == b.arch
    }

    fn item(&self) -> Item {
        let locations = self.at.map_or_else(|| self.item.locations.clone(), |at| vec![at.clone()]);
        Item { package: self.item.package.clone(), locations, owned: self.item.owned }
    }
}

fn by_place(inventory: &Inventory) -> BTreeMap<Place<'_>, Vec<Copied<'_>>> {
    let mut places: BTreeMap<Place<'_>, Vec<Copied<'_>>> = BTreeMap::new();
    for (place, copy) in inventory.items.iter().flat_map(copies) {
        places.entry(place).or_default().push(copy);
    }
    places
}

/// Lists the copies of a package: one for a distribution's, which is where its database says.
fn copies(item: &Item) -> impl Iterator<Item = (Place<'_>, Copied<'_>)> {
    let package = &item.package;
    let is_one = package.kind.is_system() || item.locations.is_empty();
    let one = is_one.then_some(((package.kind, package.name.as_str(), ""), Copied { item, at: None }));
    let all = item.locations.iter().filter(move |_| !is_one);
    one.into_iter().chain(
        all.map(|at| ((package.kind, package.name.as_str(), base(package.kind, at)), Copied { item, at: Some(at) })),
    )
}

/// Returns what of the path of a description stays the same from one version to the next.
fn base(kind: Type, path: &str) -> &str {
    match kind {
        Type::Pypi => {
            let described =
                path.trim_end_matches("/METADATA").trim_end_matches("/PKG-INFO").trim_end_matches("/EGG-INFO");
            described.rsplit_once('/').map_or("", |(dir, _)| dir)
        }
        Type::Gem => path.rsplit_once("/specifications/").map_or(path, |(dir, _)| dir),
        _ => path,
    }
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
        item.package.files.clear();
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
    /// The directories that files are in, and those above them.
    dirs: HashSet<String>,
    beginnings: Vec<String>,
}

impl Claims {
    /// Adds what a package accounts for. The modules of a program account for no file: they are in one.
    pub fn add(&mut self, item: &Item) {
        let package = &item.package;
        for path in package.files.iter().map(|path| common(path)) {
            let above = path.match_indices('/').skip(1).map(|(at, _)| path[..at].to_owned());
            self.dirs.extend(above);
            self.files.insert(path);
        }
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

impl Claims {
    /// Tells whether a tree's directory, by its absolute path, has files and packages account for every one of them: what
    /// such packages take with them when they go.
    ///
    /// # Errors
    ///
    /// As [`Tree::walk`].
    pub fn has_all_in(&self, path: &str, tree: &Tree) -> Result<bool> {
        let dir = format!("{}/", path.trim_end_matches('/'));
        if !self.dirs.contains(&common(path)) && !self.beginnings.iter().any(|beginning| beginning.starts_with(&dir)) {
            return Ok(false);
        }
        let inside = path.trim_matches('/').as_bytes();
        let is_below =
            |one: &[u8], other: &[u8]| one.strip_prefix(other).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
        let (mut any, mut all) = (false, true);
        tree.walk(&mut |entry| match entry.kind {
            FileType::Directory if is_below(entry.path, inside) || is_below(inside, entry.path) => Visit::Enter,
            FileType::Directory => Visit::Skip,
            _ if is_below(entry.path, inside) => {
                any = true;
                all &= self.has(&format!("/{}", entry.text()));
                Visit::Skip
            }
            _ => Visit::Skip,
        })?;
        Ok(any && all)
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
        let items: Vec<_> = items.iter().map(|(kind, name, version)| (*kind, *name, *version, [].as_slice())).collect();
        placed(&items)
    }

    fn placed(items: &[(Type, &str, &str, &[&str])]) -> Inventory {
        let item = |(kind, name, version, places): &(Type, &str, &str, &[&str])| Item {
            package: Package::new(*kind, *name, *version),
            locations: places.iter().map(|place| (*place).to_owned()).collect(),
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
            .into_iter()
            .map(|d| (d.after.or(d.before).unwrap().package.name, d.step))
            .collect();
        let expected = [
            ("a", Step::Upgraded),
            ("b", Step::Downgraded),
            ("gone", Step::Removed),
            ("a", Step::Added),
            ("twice", Step::Upgraded),
        ];
        for one in expected {
            assert!(found.contains(&(one.0.to_owned(), one.1)), "{one:?} {found:?}");
        }
        assert_eq!(found.len(), expected.len());
        assert!(difference(&after, &after).is_empty());
    }

    #[test]
    fn a_directory_goes_with_the_package_that_has_all_in_it() {
        let dir = tempfile::tempdir().unwrap();
        for path in
            ["usr/share/doc/gzip/copyright", "usr/share/doc/gzip/a/b", "usr/share/mixed/own", "usr/share/mixed/x"]
        {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(path), "").unwrap();
        }
        let tree = Tree::open(dir.path(), crate::tree::Limits::default()).unwrap();
        let mut item = inventory(&[(Type::Deb, "gzip", "1")]).items.remove(0);
        item.package.files = ["/usr/share/doc/gzip/copyright", "/usr/share/doc/gzip/a/b", "/usr/share/mixed/own"]
            .map(str::to_owned)
            .to_vec();
        let mut claims = Claims::default();
        claims.add(&item);
        let mut module = inventory(&[(Type::Npm, "m", "1")]).items.remove(0);
        module.locations = vec!["app/node_modules/m/package.json".into()];
        std::fs::create_dir_all(dir.path().join("app/node_modules/m")).unwrap();
        std::fs::write(dir.path().join("app/node_modules/m/package.json"), "").unwrap();
        let has = |path: &str| claims.has_all_in(path, &tree).unwrap();
        assert!(!has("/app/node_modules/m"), "the control: nobody has claimed it");
        claims.add(&module);
        let has = |path: &str| claims.has_all_in(path, &tree).unwrap();
        assert!(has("/app/node_modules/m"));
        assert!(has("/usr/share/doc/gzip") && has("/usr/share/doc/gzip/a") && has("/usr/share/doc"));
        for path in ["/usr/share/mixed", "/usr", "/usr/share/doc/gz", "/usr/share/doc/gzip/copyright", "/none"] {
            assert!(!has(path), "{path}");
        }
    }

    #[test]
    fn a_copy_elsewhere_is_a_package_that_has_come() {
        let venv = "venv/lib/python3/site-packages/six-1.dist-info/METADATA";
        let home = "home/app/lib/six-1.dist-info/METADATA";
        let deb = "var/lib/dpkg/status";
        let before = placed(&[
            (Type::Pypi, "six", "1", &[venv]),
            (Type::Npm, "a", "1", &["app/node_modules/a/package.json"]),
            (Type::Gem, "rake", "13", &["usr/lib/gems/specifications/rake-13.gemspec"]),
            (Type::Golang, "stdlib", "1.21", &["usr/bin/gosu"]),
            (Type::Cargo, "libc", "0.2", &["usr/bin/rg"]),
            (Type::Deb, "base", "1", &[deb]),
        ]);
        let after = placed(&[
            (Type::Pypi, "six", "1", &[home, venv]),
            (Type::Npm, "a", "1", &["app/node_modules/a/package.json", "tmp/node_modules/a/package.json"]),
            (Type::Gem, "rake", "13", &["home/app/gems/specifications/rake-13.gemspec"]),
            (Type::Gem, "rake", "14", &["usr/lib/gems/specifications/rake-14.gemspec"]),
            (Type::Golang, "stdlib", "1.21", &["tmp/x", "usr/bin/gosu"]),
            (Type::Cargo, "libc", "0.2", &["usr/bin/rg", "tmp/rg"]),
            // A distribution's package is one, wherever its database lies.
            (Type::Deb, "base", "1", &["var/lib/dpkg/status.d/base", deb]),
        ]);
        let found: Vec<_> = difference(&before, &after)
            .into_iter()
            .map(|d| {
                let place = d.after.or(d.before).unwrap().locations.concat();
                (d.step, place)
            })
            .collect();
        let expected = [
            (Step::Added, home),
            (Step::Added, "tmp/node_modules/a/package.json"),
            (Step::Added, "home/app/gems/specifications/rake-13.gemspec"),
            (Step::Upgraded, "usr/lib/gems/specifications/rake-14.gemspec"),
            (Step::Added, "tmp/x"),
            (Step::Added, "tmp/rg"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        expected
            .iter()
            .for_each(|(step, place)| assert!(found.contains(&(*step, (*place).to_owned())), "{place} {found:?}"));
        assert_eq!(added(&before, &after).into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert!(difference(&after, &after).is_empty() && added(&after, &after).is_empty());
        // Another version at the same place is no second copy.
        let later = placed(&[(Type::Pypi, "six", "2", &["venv/lib/python3/site-packages/six-2.dist-info/METADATA"])]);
        let first = placed(&[(Type::Pypi, "six", "1", &[venv])]);
        assert_eq!(difference(&first, &later).iter().map(|d| d.step).collect::<Vec<_>>(), [Step::Upgraded]);
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
