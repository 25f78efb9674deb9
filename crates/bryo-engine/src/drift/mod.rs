// SPDX-License-Identifier: Apache-2.0
//! What of a container is not as its image has it, sorted by what it means.
//!
//! ```text
//! caller: /proc of its processes ──┐
//! layers' inventories, as kept ────┤
//!                                  ▼
//! agent:  own layer beside the layers below ──> packages, files, processes judged ──> findings
//! ```
//!
//! Nothing is entered and nothing executed: a container that runs and one that does not are looked at in the same way, by
//! its own layer. What the container has written is parsed by an agent only. Everything is bounded; what cannot be read is
//! one problem that names the file, and the rest is told.
//!
//! Databases of packages in the container are its own word: a package that is said to have come is told of, and accounts
//! for files that are new; for files of the image only another version of a package accounts.

mod foreign;
mod judge;
mod programs;
mod watch;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bryo_identity::map::IdMap;
use bryo_image::changes::{Inodes, Layers};
use bryo_packages::inventory::Scan;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::agent::{self, Place};
use crate::changes::{Paths, directory};
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::processes::Everybody;
pub use foreign::Foreign;
use judge::{Base, Case};
use programs::Program;
pub use watch::Watch;

/// How many containers one agent looks at: so many descriptors it has.
const AT_ONCE: usize = 64;

/// What a finding is about, in the order in which findings are told.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Meaning {
    /// A package of a distribution or a language.
    Package,
    /// A file that can be executed, and that no package accounts for.
    Executable,
    /// Configuration.
    Configuration,
    /// A file that gives whoever executes it the rights of somebody else.
    SetUid,
    /// A file or directory of the image that is gone.
    File,
    /// A process that executes something that is not the image's.
    Process,
}

/// What happened to it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Happened {
    /// It is not in the image.
    Added,
    /// It is not as in the image.
    Changed,
    /// A package is no longer there.
    Removed,
    /// A package has a later version.
    Upgraded,
    /// A package has an earlier version.
    Downgraded,
    /// It is gone, or what a process executes has no name any more.
    Deleted,
    /// What a process executes is on a mount and not in the container's root.
    Mounted,
    /// What a process executes is in memory and in no file system.
    InMemory,
}

/// One thing that is not as the image has it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Finding {
    /// What it is about.
    pub meaning: Meaning,
    /// What happened.
    pub happened: Happened,
    /// The package's name, or the absolute path inside; for a process what it executes.
    pub what: String,
    /// More of it, in words.
    pub detail: String,
    /// The package's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Versions>,
    /// The process, by its number on the host and by that inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<(i32, i32)>,
}

/// Whose package it is, and its versions.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Versions {
    /// The type, as in a package URL.
    pub kind: String,
    /// The version in the image.
    pub before: Option<String>,
    /// The version in the container.
    pub now: Option<String>,
}

/// Something that could not be read, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unread {
    /// The path inside, or the process.
    pub what: String,
    /// What went wrong.
    pub why: String,
}

/// All of a container that is not as its image has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Drift {
    /// What was found, in order.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// How many other files differ: data, logs, caches.
    pub other: u64,
    /// How many findings there are beyond those that are told.
    pub left_out: u64,
}

impl Meaning {
    /// Returns its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Executable => "executable",
            Self::Configuration => "configuration",
            Self::SetUid => "setuid",
            Self::File => "file",
            Self::Process => "process",
        }
    }
}

impl Happened {
    /// Returns its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Upgraded => "upgraded",
            Self::Downgraded => "downgraded",
            Self::Deleted => "deleted",
            Self::Mounted => "mounted",
            Self::InMemory => "in memory",
        }
    }
}

impl Drift {
    /// Tells whether nothing was found, and everything could be read.
    pub fn is_none(&self) -> bool {
        self.findings.is_empty() && self.unread.is_empty()
    }
}

/// A container, whoever has made it, as it is looked at.
#[derive(Debug)]
struct Subject {
    map: IdMap,
    paths: Paths,
    /// Which of the bases it stands on.
    base: usize,
    programs: Vec<Program>,
    unread: Vec<Unread>,
    /// Directories that hide what lower layers have, as only the caller may read.
    opaque: Inodes,
}

/// What containers stand on.
#[derive(Debug, Default)]
struct Bases {
    all: Vec<Base>,
    places: BTreeMap<Vec<PathBuf>, usize>,
}

impl Bases {
    /// Returns the place of what stands on these layers; `scans` says what is known of those it stands on.
    fn place(&mut self, lowers: &[PathBuf], scans: impl FnOnce() -> Result<Vec<Scan>>) -> Result<usize> {
        if let Some(place) = self.places.get(lowers) {
            return Ok(*place);
        }
        let scans = scans()?;
        self.all.push(Base::new(scans));
        self.places.insert(lowers.to_vec(), self.all.len() - 1);
        Ok(self.all.len() - 1)
    }
}

impl Engine {
    /// Looks at containers, and says of each what is not as in its image, or why that cannot be said.
    pub fn drift(&self, records: &[Record]) -> Vec<Result<Drift>> {
        let everybody = Everybody::look();
        let mut bases = Bases::default();
        let subjects = records.iter().map(|record| self.subject(record, &everybody, &mut bases)).collect();
        self.looked(subjects, &bases)
    }

    /// Lets agents look at what was gathered, each at those that have the same map.
    fn looked(&self, subjects: Vec<Result<Option<Subject>>>, bases: &Bases) -> Vec<Result<Drift>> {
        let mut gathered = Vec::new();
        let mut answers: Vec<Option<Result<Drift>>> = Vec::new();
        for subject in subjects {
            match subject {
                Ok(Some(subject)) => {
                    gathered.push((answers.len(), subject));
                    answers.push(None);
                }
                Ok(None) => answers.push(Some(Ok(Drift::default()))),
                Err(e) => answers.push(Some(Err(e))),
            }
        }
        self.judge_all(&gathered, bases, &mut answers);
        let lost = || Err(Error::new(Kind::Io, "look for drift: nothing was answered"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// Gathers what the caller may see of a container; nothing for one that has never had a layer of its own.
    fn subject(&self, record: &Record, everybody: &Everybody, bases: &mut Bases) -> Result<Option<Subject>> {
        let Some(paths) = self.layer_paths_of(record)? else { return Ok(None) };
        let base = bases.place(&paths.lowers, || {
            // A root that is a directory of the host is looked at by the agent, every time anew.
            if record.image_id.is_some() { self.scans_of_layers(record) } else { Ok(Vec::new()) }
        })?;
        let first = record.state.pid;
        let (mut programs, mut unread) = (Vec::new(), Vec::new());
        // It may be over by now, and its number another's.
        if record.state.is_running() && self.process(record).is_ok() {
            // The small init is this program, and executes nothing.
            let mut pids = everybody.with(first);
            pids.retain(|pid| *pid != first || !record.options.init);
            (programs, unread) = programs::of(&pids, first);
        }
        let (map, opaque) = (self.map_of_files(Some(record))?, Inodes::new());
        Ok(Some(Subject { map, paths, base, programs, unread, opaque }))
    }

    /// Lets agents judge, one for all those whose files have the same owners.
    fn judge_all(&self, subjects: &[(usize, Subject)], bases: &Bases, answers: &mut [Option<Result<Drift>>]) {
        let mut left: Vec<&(usize, Subject)> = subjects.iter().collect();
        while let Some((_, first)) = left.first() {
            let (mut same, other): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, s)| s.map == first.map);
            left = other;
            while !same.is_empty() {
                let rest = same.split_off(same.len().min(AT_ONCE));
                self.judge(&same, bases, answers);
                same = rest;
            }
        }
    }

    fn judge(&self, subjects: &[&(usize, Subject)], bases: &Bases, answers: &mut [Option<Result<Drift>>]) {
        let Some((_, first)) = subjects.first() else { return };
        let place = Place::Own(&first.map, self.host.helpers.as_ref());
        let open = || Ok(subjects.iter().map(|(_, subject)| opened(subject)).collect::<Vec<_>>());
        let work = |opened: Vec<Result<Layers>>| {
            let mut cases = Case::all(&bases.all);
            let one = |((_, subject), layers): (&&(usize, Subject), Result<Layers>)| {
                let judged = layers.and_then(|layers| cases.judge(&layers, subject.base, &subject.programs));
                judged.map_err(|e| e.to_string())
            };
            Ok(subjects.iter().zip(opened).map(one).collect::<Vec<std::result::Result<Drift, String>>>())
        };
        match agent::run(place, open, work) {
            Ok(found) => {
                for ((place, subject), found) in subjects.iter().zip(found) {
                    let found = found.map(|mut drift| {
                        drift.unread.extend(subject.unread.iter().cloned());
                        drift
                    });
                    answers[*place] = Some(found.map_err(|why| Error::new(Kind::Io, why)));
                }
            }
            // What has ended the agent is one container's doing; the others are looked at without it.
            Err(_) if subjects.len() > 1 => subjects.iter().for_each(|one| self.judge(&[one], bases, answers)),
            Err(e) => answers[subjects[0].0] = Some(Err(e)),
        }
    }
}

/// Opens a container's layers. Many stand on the same ones, and each is opened by itself: they are few.
fn opened(Subject { paths, opaque, .. }: &Subject) -> Result<Layers> {
    let lowers = paths.lowers.iter().map(|path| directory(path)).collect::<Result<Vec<OwnedFd>>>()?;
    Ok(Layers { own: directory(&paths.own)?, lowers, mounted: paths.mounted.clone(), opaque: opaque.clone() })
}
