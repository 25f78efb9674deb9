// SPDX-License-Identifier: Apache-2.0
//! What is installed: each layer looked at alone, and what shows through put together.
//!
//! A layer's findings depend on nothing but its content, so that they are kept by its digest (see [`crate::cache`]). What
//! an upper layer hides is told by the names that it has.

mod crew;
mod difference;
mod relate;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

pub use difference::{Claims, Difference, Step, add_files, added, difference};

use crate::error::{Error, Kind, Result};
use crate::package::{Distro, Package, Type};
use crate::readers::{self, Form, dpkg, pip};
use crate::tree::{Entry, Limits, Tree, Visit};

/// How many problems of one tree are told one by one.
const TOLD: usize = 100;

/// What one file says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Finding {
    /// Its path, without a slash in front.
    pub path: String,
    /// The packages that it tells of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// The distribution that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distro: Option<Distro>,
    /// Descriptions of packages that belong to packages of the distribution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owns: Vec<String>,
}

/// A file or directory that could not be read, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The path.
    pub path: String,
    /// What went wrong.
    pub why: String,
}

/// What was found in one layer, or in a tree that stands alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Scan {
    /// What was found, by path.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// How many names there are.
    pub entries: u64,
    /// Every name, as a number that says what of lower layers it hides; sorted.
    #[serde(skip)]
    pub names: Vec<u64>,
}

/// What is installed, and where that is written.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// The package.
    #[serde(flatten)]
    pub package: Package,
    /// The files that tell of it.
    pub locations: Vec<String>,
    /// Whether a package of the distribution has brought it, whose advisories then count.
    pub owned: bool,
}

/// All that is installed in a tree.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inventory {
    /// The distribution, if it says which.
    pub distro: Option<Distro>,
    /// The packages, by type, name and version.
    pub items: Vec<Item>,
    /// Which packages each depends on, as places in `items`.
    #[serde(skip)]
    pub relations: Vec<Vec<usize>>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// How many names the tree has.
    pub entries: u64,
}

impl Inventory {
    /// Tells whether nothing at all told of packages: what is in there is unknown, which is not the same as nothing.
    pub fn is_unscannable(&self) -> bool {
        self.items.is_empty()
    }
}

/// Looks for packages in a tree.
///
/// # Errors
///
/// [`Kind::Limit`] for too many names; [`Kind::Io`] when its root cannot be read. What else cannot be read is told in
/// what is returned.
pub fn scan(tree: &Tree, files: bool) -> Result<Scan> {
    let mut scan = Scan::default();
    let reader = Reader { limits: tree.limits(), files, packages: AtomicUsize::new(0) };
    // Several roots are several descriptors for each directory that waits.
    let helpers = if tree.is_single() { crew::helpers() } else { 0 };
    let (walked, mut found) = crew::with(
        helpers,
        |number, entry| reader.read(number, entry),
        |crew| {
            let mut number = 0;
            tree.walk(&mut |entry| {
                scan.names.push(hidden_by(entry));
                scan.misplaced(entry);
                if entry.kind == FileType::Directory {
                    if entry.hides() {
                        scan.names.push(self::number(entry.path, Mark::Opaque));
                    }
                    return if is_made_up(entry.path) { Visit::Skip } else { Visit::Enter };
                }
                number += 1;
                match readers::form(entry.path) {
                    _ if entry.kind != FileType::RegularFile => (),
                    // Of what may be large one is read at a time.
                    Some(form) if form.is_large() => crew.read(number, entry),
                    _ => crew.leave(number, entry),
                }
                if reader.is_over() { Visit::Skip } else { Visit::Enter }
            })
        },
    );
    let walked = walked?;
    if reader.is_over() {
        let limit = tree.limits().packages;
        return Err(Error::new(Kind::Limit, format!("list packages: there are more than {limit}")));
    }
    // In the order of the walk, whoever has read what.
    found.sort_unstable_by_key(|found: &Found| found.number);
    for Found { path, said, .. } in found {
        match said {
            Ok(said) => scan.take(path, said),
            Err(e) => scan.problem(&path, &e),
        }
    }
    walked.problems.iter().for_each(|(path, e)| scan.problem(path, e));
    scan.entries = walked.entries;
    scan.names.sort_unstable();
    if files {
        scan.findings.iter_mut().for_each(|finding| list_files(tree, finding));
    }
    Ok(scan)
}

/// Reads the databases of distributions and nothing else, with the files of their packages.
///
/// # Errors
///
/// [`Kind::Io`] when the tree's root cannot be read.
pub fn databases(tree: &Tree) -> Result<Scan> {
    let mut scan = Scan::default();
    tree.walk(&mut |entry| {
        if entry.kind == FileType::Directory {
            return if readers::leads_to_database(entry.path) { Visit::Enter } else { Visit::Skip };
        }
        if let Some(form) = readers::form(entry.path).filter(|form| form.is_database()) {
            match readers::read(form, entry, tree.limits(), true) {
                Ok(said) => scan.take(entry.text(), said),
                Err(e) => scan.problem(&entry.text(), &e),
            }
        }
        Visit::Skip
    })?;
    scan.findings.iter_mut().for_each(|finding| list_files(tree, finding));
    Ok(scan)
}

fn list_files(tree: &Tree, finding: &mut Finding) {
    dpkg::add_files(tree, &mut finding.packages);
    for package in finding.packages.iter_mut().filter(|package| package.kind == Type::Pypi) {
        pip::add_files(tree, &finding.path, package);
    }
}

/// Looks for packages in a tree that stands alone.
///
/// # Errors
///
/// As [`scan`].
pub fn inventory(tree: &Tree, files: bool) -> Result<Inventory> {
    Ok(merge(&[scan(tree, files)?]))
}

/// Says what a file is worth reading as.
fn wanted(entry: &Entry<'_>) -> Option<Form> {
    if entry.kind != FileType::RegularFile {
        return None;
    }
    match readers::form(entry.path) {
        // Where modules are, they are the truth.
        Some(Form::NpmLock) if entry.has_directory("node_modules") => None,
        None => readers::may_execute(entry).then_some(Form::Executable),
        form => form,
    }
}

/// What the kernel makes up in a container that runs is no file of anybody.
fn is_made_up(path: &[u8]) -> bool {
    matches!(path, b"proc" | b"sys" | b"dev")
}

/// What reads files, wherever it is called.
struct Reader<'a> {
    limits: &'a Limits,
    files: bool,
    packages: AtomicUsize,
}

/// What one file has said, or why it could not be read.
struct Found {
    number: usize,
    path: String,
    said: Result<readers::Said>,
}

impl Reader<'_> {
    /// Reads a file if it is worth it; `number` is its place in the walk.
    fn read(&self, number: usize, entry: &Entry<'_>) -> Option<Found> {
        let form = wanted(entry)?;
        let said = readers::read(form, entry, self.limits, self.files);
        let packages = said.as_ref().map_or(0, |said| said.packages.len());
        self.packages.fetch_add(packages, Ordering::Relaxed);
        Some(Found { number, path: entry.text(), said })
    }

    fn is_over(&self) -> bool {
        self.packages.load(Ordering::Relaxed) > self.limits.packages
    }
}

impl Scan {
    fn take(&mut self, path: String, said: readers::Said) {
        for why in said.problems {
            if self.problems.len() < TOLD {
                self.problems.push(Problem { path: path.clone(), why });
            }
        }
        if !said.packages.is_empty() || said.distro.is_some() || !said.owns.is_empty() {
            let (packages, distro, owns) = (said.packages, said.distro, said.owns);
            self.findings.push(Finding { path, packages, distro, owns });
        }
    }

    fn problem(&mut self, path: &str, error: &Error) {
        // What goes while it is looked at is no problem.
        if error.kind() != Kind::NotFound && self.problems.len() < TOLD {
            self.problems.push(Problem { path: path.to_owned(), why: error.chain() });
        }
    }

    /// Tells of what lies in the place of a file that would be read, and is none. A link is no database wherever it leads;
    /// of other descriptions there are links in many trees.
    fn misplaced(&mut self, entry: &Entry<'_>) {
        let Some(form) = readers::form(entry.path) else { return };
        let what = match entry.kind {
            FileType::RegularFile => return,
            // What hides a name in a layer is a device.
            _ if entry.hides() && entry.kind != FileType::Directory => return,
            FileType::Directory | FileType::Symlink if !form.is_database() => return,
            FileType::Directory => "a directory",
            FileType::Symlink => "a link, which is not followed",
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        let why = format!("read {}: it is {what}", entry.text());
        self.problem(&entry.text(), &Error::new(Kind::Corrupt, why));
    }

    fn has(&self, path: &str, mark: Mark) -> bool {
        self.names.binary_search(&number(path.as_bytes(), mark)).is_ok()
    }

    /// Tells whether this layer hides the file that lower ones have at a path.
    fn hides(&self, path: &str) -> bool {
        self.has(path, Mark::Directory) || self.replaces(path)
    }

    /// Tells whether this layer has something else than a directory where lower ones have a path, or hides what it lies in.
    fn replaces(&self, path: &str) -> bool {
        if self.has(path, Mark::Other) || self.has(path, Mark::Opaque) {
            return true;
        }
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.into_iter().any(|dir| self.has(dir, Mark::Other) || self.has(dir, Mark::Opaque))
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Directory,
    Other,
    Opaque,
}

fn hidden_by(entry: &Entry<'_>) -> u64 {
    number(entry.path, if entry.kind == FileType::Directory { Mark::Directory } else { Mark::Other })
}

/// Makes a number of a path and a mark, the same in every version, as it is kept: FNV-1a.
fn number(path: &[u8], mark: Mark) -> u64 {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    path.iter().chain([&(mark as u8)]).fold(0xcbf2_9ce4_8422_2325, add)
}

/// Tells whether a layer changes what those below it tell of packages, or may.
pub fn matters(layer: &Scan, below: &[Scan]) -> bool {
    let hides = |finding: &Finding| layer.hides(&finding.path);
    !layer.findings.is_empty() || below.iter().flat_map(|scan| &scan.findings).any(hides)
}

/// Puts layers together, the lowest first.
pub fn merge(layers: &[Scan]) -> Inventory {
    let mut visible: Vec<&Finding> = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let shows = |finding: &&Finding| !layers[n + 1..].iter().any(|upper| upper.hides(&finding.path));
        visible.extend(layer.findings.iter().filter(shows));
    }
    // A problem may be one with a directory, of which an upper layer's only adds.
    let open = layers.iter().enumerate().flat_map(|(n, layer)| {
        let shows = move |problem: &&Problem| !layers[n + 1..].iter().any(|upper| upper.replaces(&problem.path));
        layer.problems.iter().filter(shows).cloned()
    });
    let owned: HashSet<&str> = visible.iter().flat_map(|finding| &finding.owns).map(String::as_str).collect();
    let mut inventory = Inventory {
        distro: distro(&visible),
        entries: layers.iter().map(|layer| layer.entries).sum(),
        problems: open.collect(),
        ..Inventory::default()
    };
    let mut places: HashMap<(Type, &str, &str, Option<&str>), usize> = HashMap::new();
    for finding in visible {
        for package in &finding.packages {
            let key = (package.kind, package.name.as_str(), package.version.as_str(), package.arch.as_deref());
            let at = *places.entry(key).or_insert(inventory.items.len());
            if at == inventory.items.len() {
                let item = Item { package: package.clone(), locations: Vec::new(), owned: true };
                inventory.items.push(item);
            }
            let is_first = inventory.items[at].locations.is_empty();
            let item = &mut inventory.items[at];
            if !is_first {
                // Each copy has files of its own.
                item.package.files.extend(package.files.iter().cloned());
            }
            item.owned &= !package.kind.is_system() && owned.contains(finding.path.as_str());
            if item.locations.last() != Some(&finding.path) {
                item.locations.push(finding.path.clone());
            }
        }
    }
    for item in inventory.items.iter_mut().filter(|item| item.locations.len() > 1) {
        item.package.files.sort();
        item.package.files.dedup();
    }
    inventory.items.sort_by(|a, b| order(&a.package).cmp(&order(&b.package)));
    inventory.relations = relate::relations(&inventory.items);
    inventory
}

fn order(package: &Package) -> (Type, &str, &str, Option<&str>) {
    (package.kind, &package.name, &package.version, package.arch.as_deref())
}

/// Takes the distribution's name from where an administrator would have put it, else from the distribution's own file.
fn distro(visible: &[&Finding]) -> Option<Distro> {
    let named = |path: &str| visible.iter().rev().find(|finding| finding.path == path)?.distro.clone();
    named("etc/os-release").or_else(|| named("usr/lib/os-release"))
}

#[cfg(test)]
mod tests;
