// SPDX-License-Identifier: Apache-2.0
//! From directories of Quadlet files to units, and from units to the directory that systemd reads.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::unit::{Entry, Malformed};
use crate::{Scope, quadlet, search};

/// What units are made with.
pub struct Generator<'a> {
    /// Whose they are.
    pub scope: Scope,
    /// The path of bryo, which the units start.
    pub program: &'a Path,
    /// Tells whether bryo understands a command: its words without the program's name.
    #[allow(clippy::type_complexity, reason = "a question and its answer")]
    pub check: &'a dyn Fn(&[&str]) -> Result<(), String>,
}

impl fmt::Debug for Generator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("scope", &self.scope).field("program", &self.program).finish_non_exhaustive()
    }
}

/// A unit that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The file it was made of.
    pub source: PathBuf,
    /// The links that enable it.
    pub links: Vec<Link>,
}

/// A symbolic link in the directory of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is, relative to the directory.
    pub path: PathBuf,
    /// Where it leads, relative to its own place.
    pub to: String,
}

/// Why a file was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, if it is one line's.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Problem {
    pub(crate) fn of_file(file: &Path, why: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, why: why.into() }
    }

    pub(crate) fn of_entry(entry: &Entry, why: impl fmt::Display) -> Self {
        let why = format!("{}={}: {why}", entry.key, entry.value);
        Self { file: entry.place.file.to_path_buf(), line: Some(entry.place.line), why }
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let place = malformed.place;
        Self { file: place.file.to_path_buf(), line: Some(place.line), why: malformed.why }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.why),
            None => write!(f, "{}: {}", self.file.display(), self.why),
        }
    }
}

/// What came of the files.
#[derive(Debug, Clone, Default)]
pub struct Generated {
    /// The units.
    pub units: Vec<Unit>,
    /// What kept others from being made.
    pub problems: Vec<Problem>,
}

impl Generator<'_> {
    /// Makes the units of all Quadlet files in directories; a file hides those of its name in later ones.
    pub fn generate(&self, dirs: &[PathBuf]) -> Generated {
        let (sources, mut problems) = search::read(dirs, self.scope);
        let (units, found) = quadlet::convert(self, &sources);
        problems.extend(found);
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Generated { units, problems }
    }
}

impl Generated {
    /// Writes the units into a directory, and returns what could not be written.
    pub fn write(&self, dir: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        for unit in &self.units {
            if let Err(error) = write(unit, dir) {
                problems.push(Problem::of_file(&unit.source, format!("cannot write {}: {error}", unit.name)));
            }
        }
        problems
    }
}

fn write(unit: &Unit, dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // Never over what another generator has written there.
    let mut file = std::fs::File::create_new(dir.join(&unit.name))?;
    std::io::Write::write_all(&mut file, unit.text.as_bytes())?;
    for link in &unit.links {
        let path = dir.join(&link.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::os::unix::fs::symlink(&link.to, path)?;
    }
    Ok(())
}
