// SPDX-License-Identifier: Apache-2.0
//! The agent's part: what a container's layer holds, and what it means.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bryo_image::carry::beneath;
use bryo_image::changes::{ChangeKind, Detail, Inodes, Layers, details};
use bryo_packages::inventory::{self, Claims, Difference, Inventory, Item, Scan, Step};
use bryo_packages::tree::{Limits, Tree};
use rustix::fs::{FileType, Mode, OFlags};

use super::programs::{Place, Program};
use super::{Drift, Finding, Happened, Meaning, Unread, Versions};
use crate::error::{Error, Result};
use crate::packages::readable;

/// How many findings of one sort are told one by one.
const TOLD: usize = 10_000;

/// Names of directories whose links stand for programs and libraries.
const PROGRAMS: [&str; 5] = ["bin", "sbin", "lib", "lib64", "libexec"];

/// What containers stand on: what was found in each layer, the lowest first; nothing where nobody has looked yet.
#[derive(Debug)]
pub(super) struct Base {
    scans: Vec<Scan>,
}

impl Base {
    pub fn new(scans: Vec<Scan>) -> Self {
        Self { scans }
    }
}

/// What is known of one base, found out when it is first asked for.
struct Known<'a> {
    base: &'a Base,
    scans: OnceCell<Vec<Scan>>,
    inventory: OnceCell<Inventory>,
    /// Executed files that are in the layers.
    files: HashSet<String>,
}

impl Known<'_> {
    fn scans(&self, layers: &Layers) -> Result<&[Scan]> {
        if !self.base.scans.is_empty() {
            return Ok(&self.base.scans);
        }
        if self.scans.get().is_none() {
            let _ = self.scans.set(vec![inventory::scan(&tree(&layers.lowers, &layers.opaque)?, false)?]);
        }
        Ok(self.scans.get().map_or(&[], Vec::as_slice))
    }

    /// Tells whether a path is that of a file of the layers.
    fn has(&mut self, path: &str, layers: &Layers) -> Result<bool> {
        if self.files.contains(path) {
            return Ok(true);
        }
        let there = tree(&layers.lowers, &layers.opaque)?.file(path).is_ok();
        if there {
            self.files.insert(path.to_owned());
        }
        Ok(there)
    }
}

/// All that an agent looks at.
pub(super) struct Case<'a> {
    known: Vec<Known<'a>>,
}

impl<'a> Case<'a> {
    pub fn all(bases: &'a [Base]) -> Self {
        let known = |base| Known { base, scans: OnceCell::new(), inventory: OnceCell::new(), files: HashSet::new() };
        Self { known: bases.iter().map(known).collect() }
    }

    /// Judges one container.
    pub fn judge(&mut self, layers: &Layers, base: usize, programs: &[Program]) -> Result<Drift> {
        let known = &mut self.known[base];
        let changed = details(layers)?;
        let mut judge = Judge { layers, drift: Drift::default(), counts: BTreeMap::new(), claims: Accounts::default() };
        judge.packages(known)?;
        changed.iter().for_each(|detail| judge.file(detail));
        judge.processes(programs, &changed, known)?;
        judge.drift.findings.sort();
        Ok(judge.drift)
    }
}

fn tree(layers: &[OwnedFd], opaque: &Inodes) -> Result<Tree> {
    let layers = layers.iter().map(|layer| readable(layer.as_fd())).collect::<Result<Vec<_>>>()?;
    Ok(Tree::new(layers, Limits::default()).with_opaque(opaque.clone()))
}

/// Which files packages account for: those that have come, those that have another version, and those that are gone.
#[derive(Default)]
struct Accounts {
    added: Claims,
    replaced: Claims,
    gone: Claims,
}

struct Judge<'a> {
    layers: &'a Layers,
    drift: Drift,
    counts: BTreeMap<(Meaning, Happened), usize>,
    claims: Accounts,
}

impl Judge<'_> {
    fn note(&mut self, finding: Finding) {
        let count = self.counts.entry((finding.meaning, finding.happened)).or_default();
        *count += 1;
        if *count > TOLD {
            self.drift.left_out += 1;
        } else {
            self.drift.findings.push(finding);
        }
    }

    fn note_file(&mut self, meaning: Meaning, happened: Happened, what: &str, detail: impl Into<String>) {
        let (what, detail) = (what.to_owned(), detail.into());
        self.note(Finding { meaning, happened, what, detail, package: None, process: None });
    }

    /// Compares what is installed. Where the own layer tells nothing of packages and hides nothing that does, nothing is.
    fn packages(&mut self, known: &Known<'_>) -> Result<()> {
        let own = match inventory::scan(&tree(std::slice::from_ref(&self.layers.own), &self.layers.opaque)?, true) {
            Ok(own) => own,
            Err(e) => {
                self.drift.unread.push(Unread { what: "/".to_owned(), why: e.chain() });
                return Ok(());
            }
        };
        let problems = own.problems.iter().map(|p| Unread { what: format!("/{}", p.path), why: p.why.clone() });
        self.drift.unread.extend(problems);
        let scans = known.scans(self.layers)?;
        if !inventory::matters(&own, scans) {
            return Ok(());
        }
        let before = known.inventory.get_or_init(|| inventory::merge(scans));
        let mut all = scans.to_vec();
        all.push(own);
        let after = inventory::merge(&all);
        let differences = inventory::difference(before, &after);
        self.account(&differences)?;
        for difference in &differences {
            self.note(package(difference));
        }
        Ok(())
    }

    /// Learns which files the packages that differ account for. What the image's packages had, its layers say.
    fn account(&mut self, differences: &[Difference]) -> Result<()> {
        let mut old: Vec<Item> = differences.iter().filter_map(|d| d.before.clone()).collect();
        if !old.is_empty() {
            inventory::add_files(&tree(&self.layers.lowers, &self.layers.opaque)?, &mut old)?;
        }
        old.iter().for_each(|item| self.claims.gone.add(item));
        for Difference { before, after, .. } in differences {
            let claims = if before.is_some() { &mut self.claims.replaced } else { &mut self.claims.added };
            after.iter().for_each(|item| claims.add(item));
        }
        Ok(())
    }

    fn file(&mut self, detail: &Detail) {
        let path = detail.change.path.to_string_lossy();
        let Some(now) = detail.now else {
            let lowers = || tree(&self.layers.lowers, &self.layers.opaque);
            let goes_with = || Ok::<_, Error>(self.claims.gone.has_all_in(&path, &lowers()?)?);
            // What cannot be looked at is told.
            if !self.claims.gone.has(&path) && !goes_with().unwrap_or(false) {
                self.note_file(Meaning::File, Happened::Deleted, &path, "");
            }
            return;
        };
        if now.kind() == FileType::Directory {
            return;
        }
        let (happened, accounted) = match detail.change.kind {
            ChangeKind::Added => (Happened::Added, self.claims.added.has(&path) || self.claims.replaced.has(&path)),
            // A package that has come accounts for nothing that the image has.
            _ => (Happened::Changed, self.claims.replaced.has(&path)),
        };
        let seen = match now.kind() {
            FileType::RegularFile => Seen::of(&self.layers.own, &detail.change.path, now.mode),
            FileType::Symlink => Seen { executable: stands_for_program(&detail.change.path), ..Seen::default() },
            _ => Seen::default(),
        };
        if !seen.rights.is_empty() {
            self.note_file(Meaning::SetUid, happened, &path, seen.rights.join(", "));
        }
        if accounted {
            return;
        }
        let owner = |mode: u32| format!("mode {:04o}", mode & 0o7777);
        if seen.executable {
            self.note_file(Meaning::Executable, happened, &path, owner(now.mode));
        } else if is_configuration(&path) {
            self.note_file(Meaning::Configuration, happened, &path, owner(now.mode));
        } else {
            self.drift.other += 1;
        }
    }

    fn processes(&mut self, programs: &[Program], changed: &[Detail], known: &mut Known<'_>) -> Result<()> {
        if programs.is_empty() {
            return Ok(());
        }
        let changed: HashMap<_, _> = changed.iter().map(|d| (d.change.path.to_string_lossy(), d.change.kind)).collect();
        for program in programs {
            for file in &program.files {
                let at = |place: &str| format!(", on {place}");
                let (happened, on) = match &file.place {
                    Place::Memory => (Happened::InMemory, String::new()),
                    Place::Deleted => (Happened::Deleted, String::new()),
                    Place::Mount(place) => (Happened::Mounted, at(place)),
                    Place::Root => match changed.get(file.path.as_str()) {
                        Some(ChangeKind::Added) => (Happened::Added, String::new()),
                        Some(_) => (Happened::Changed, String::new()),
                        None if known.has(&file.path, self.layers)? => continue,
                        // It went after the processes were looked at.
                        None => (Happened::Deleted, String::new()),
                    },
                };
                let what = if file.program { "the program" } else { "a library" };
                self.note(Finding {
                    meaning: Meaning::Process,
                    happened,
                    what: file.path.clone(),
                    detail: format!(
                        "{what} of {} (process {}, {} inside){on}",
                        program.name, program.pid, program.inside
                    ),
                    package: None,
                    process: Some((program.pid, program.inside)),
                });
            }
        }
        Ok(())
    }
}

fn package(difference: &Difference) -> Finding {
    let Difference { step, before, after } = difference;
    let version = |item: &Option<Item>| item.as_ref().map(|item| item.package.version.clone());
    let versions = (version(before), version(after));
    let named = after.as_ref().or(before.as_ref());
    let kind = named.map_or("", |item| item.package.kind.name());
    let place = named.and_then(|item| item.locations.first()).map_or(String::new(), |place| format!(", /{place}"));
    let detail = match &versions {
        (Some(before), Some(now)) => format!("{kind}, {before} -> {now}{place}"),
        (Some(only), None) | (None, Some(only)) => format!("{kind}, {only}{place}"),
        (None, None) => kind.to_owned(),
    };
    Finding {
        meaning: Meaning::Package,
        happened: match step {
            Step::Added => Happened::Added,
            Step::Removed => Happened::Removed,
            Step::Upgraded => Happened::Upgraded,
            Step::Downgraded => Happened::Downgraded,
            Step::Changed => Happened::Changed,
        },
        what: named.map_or_else(String::new, |item| item.package.name.clone()),
        detail,
        package: Some(Versions { kind: kind.to_owned(), before: versions.0, now: versions.1 }),
        process: None,
    }
}

/// What a file of the own layer is, by its mode, its beginning and its attributes.
#[derive(Default)]
struct Seen {
    executable: bool,
    /// What gives its rights away, in words.
    rights: Vec<&'static str>,
}

impl Seen {
    /// Looks at a regular file. What has gone meanwhile, or become something else, is judged by its mode.
    fn of(own: &OwnedFd, path: &Path, mode: u32) -> Self {
        let mut seen = Self { executable: mode & 0o111 != 0, rights: Vec::new() };
        seen.rights.extend((mode & 0o4000 != 0).then_some("set-user-id"));
        // Without the group's right to execute, the bit had another meaning once.
        seen.rights.extend((mode & 0o2010 == 0o2010).then_some("set-group-id"));
        let Some(mut file) = open(own, path) else { return seen };
        if !seen.executable {
            let mut head = [0u8; 4];
            seen.executable = file.read_exact(&mut head).is_ok() && head == *b"\x7fELF";
            return seen;
        }
        let mut value = [0u8; 64];
        let capable = rustix::fs::fgetxattr(&file, c"security.capability", &mut value[..]);
        seen.rights.extend(capable.is_ok_and(|length| length > 0).then_some("file capabilities"));
        seen
    }
}

fn open(own: &OwnedFd, path: &Path) -> Option<File> {
    let relative = path.strip_prefix("/").ok()?;
    let above = relative.parent().unwrap_or(Path::new(""));
    let dir = beneath(own.as_fd(), above.as_os_str().as_bytes()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Some(File::from(rustix::fs::openat(dir, relative.file_name()?, flags, Mode::empty()).ok()?))
}

fn stands_for_program(path: &Path) -> bool {
    let above: Option<&str> = path.parent().and_then(|dir| dir.file_name()).and_then(|name| name.to_str());
    above.is_some_and(|name| PROGRAMS.contains(&name))
}

/// Tells whether a file is configuration: in `/etc`, or in such a directory of a prefix.
fn is_configuration(path: &str) -> bool {
    let path = PathBuf::from(path);
    path.components().skip(1).take(3).any(|part| part.as_os_str() == "etc") && path.file_name() != Some("etc".as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_what_lies_in_etc() {
        for path in ["/etc/passwd", "/usr/local/etc/x.conf", "/opt/app/etc/x"] {
            assert!(is_configuration(path), "{path}");
        }
        for path in ["/etc", "/var/lib/a/b/etc/x", "/srv/etcetera/x"] {
            assert!(!is_configuration(path), "{path}");
        }
        assert!(stands_for_program(Path::new("/usr/bin/x")) && !stands_for_program(Path::new("/etc/x")));
    }
}
