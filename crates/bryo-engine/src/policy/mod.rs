// SPDX-License-Identifier: Apache-2.0
//! The policy: what must hold of a container for it to start, and to go on.
//!
//! Guarantees: every rule of every file holds, or nothing starts; a rule that cannot be checked does not hold; a file is
//! understood as a whole or refused. Trusts: whoever writes the files. Faces: images, and whoever would like to run one
//! that a file forbids. Without a file a start costs one failed `open` for each place.

mod attested;
mod flaws;
mod judge;
mod read;
mod signatures;
mod signed;
#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use bryo_packages::advisories::Severity;
use serde::Serialize;

pub use bryo_signature::DOCUMENT_MAX as SIGNATURE_MAX;
pub use signed::{Scope, Signer};

use crate::error::{Error, Kind, Result};

/// The largest file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// A place where a policy may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The file.
    pub path: PathBuf,
    /// Whether it must be there.
    pub required: bool,
}

/// Says which rules of a level of the Pod Security Standards a container breaks, one text for each, from what `inspect`
/// says of it; or why that cannot be found out.
pub type Standards = fn(PodSecurity, &str) -> std::result::Result<Vec<String>, String>;

/// A level of the Pod Security Standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSecurity {
    /// What is known to lead out of a container is forbidden.
    Baseline,
    /// All that hardens is asked for.
    Restricted,
}

/// Which flaws are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaws {
    /// How bad a flaw must be to count.
    pub severity: Severity,
    /// How many days it may be known before.
    pub grace: u32,
    /// Whether it counts if no version mends it.
    pub unfixed: bool,
    /// How many days old the advisories may be; nothing if that does not matter.
    pub max_age: Option<u32>,
    /// Whether packages that no advisory speaks of are accepted.
    pub accept_unknown: bool,
    /// What those who know the product say.
    pub vex: Vec<PathBuf>,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// The program is not root inside.
    NonRoot,
    /// The root is read-only.
    ReadOnly,
    /// It is as its image is.
    NoDrift,
    /// A bill of materials is attached to the image.
    SbomPresent,
    /// The Pod Security Standards hold.
    PodSecurity(PodSecurity),
    /// There are no such flaws.
    Vulnerabilities(Flaws),
    /// The right people have signed the image.
    Signed(Vec<Scope>),
}

impl Demand {
    /// Returns the key of the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NonRoot => "non-root",
            Self::ReadOnly => "read-only",
            Self::NoDrift => "no-drift",
            Self::SbomPresent => "sbom-present",
            Self::PodSecurity(_) => "pod-security",
            Self::Vulnerabilities(_) => "vulnerabilities",
            Self::Signed(_) => "signed",
        }
    }
}

/// A demand, and where it is written down.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What must hold.
    pub demand: Demand,
}

/// Everything that must hold.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// In the order of the files.
    pub all: Vec<Rule>,
}

/// Whether a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It does.
    Holds,
    /// It does not.
    Broken,
    /// Nobody can tell, and so it does not.
    Unchecked,
}

impl Answer {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken => "broken",
            Self::Unchecked => "unchecked",
        }
    }
}

/// What became of one rule.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Verdict {
    /// The rule, by its key.
    pub rule: &'static str,
    /// The file that has it.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// Whether it holds.
    pub answer: Answer,
    /// Why.
    pub why: String,
    /// What to do, where it does not hold.
    pub remedy: String,
}

/// What became of all rules.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// The container or image.
    pub target: String,
    /// One for each rule.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Tells whether all rules hold.
    pub fn holds(&self) -> bool {
        self.broken().next().is_none()
    }

    /// Lists what does not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.answer != Answer::Holds)
    }

    /// Returns nothing if all rules hold, and else the first that does not.
    ///
    /// # Errors
    ///
    /// [`Kind::Policy`].
    pub fn admit(&self) -> Result<()> {
        let Some(first) = self.broken().next() else { return Ok(()) };
        let more = match self.broken().count() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let Verdict { rule, file, line, why, remedy, .. } = first;
        let text = format!(
            "the policy does not let {} start: {}:{line}: {rule}: {why}; {remedy}{more}",
            self.target,
            file.display()
        );
        Err(Error::new(Kind::Policy, text))
    }
}

impl Rules {
    /// Returns the text of a new file: every key with its meaning, commented out.
    #[must_use]
    pub fn template() -> &'static str {
        include_str!("template.toml")
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidPolicy`] with line and column; [`Kind::Io`] for a file that is there and cannot be read, or that
    /// must be there and is not.
    pub fn load(files: &[PolicyFile]) -> Result<Self> {
        let mut rules = Self::default();
        for PolicyFile { path, required } in files {
            match text_of(path) {
                Ok(text) => rules.add(path, &text)?,
                Err(e) if !required && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => (),
                Err(e) => return Err(Error::io("read the policy", path, e)),
            }
        }
        Ok(rules)
    }

    /// Adds what one file says.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidPolicy`].
    pub fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        self.all.extend(read::rules(path, text)?);
        Ok(())
    }

    /// Tells whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells whether somebody must have signed an image of this name.
    pub fn wants_signature(&self, name: &str) -> bool {
        self.all.iter().any(|rule| match &rule.demand {
            Demand::Signed(scopes) => signed::scope_of(scopes, name).is_some_and(|scope| scope.signer.is_somebody()),
            _ => false,
        })
    }

    /// Tells whether a bill of materials must be attached.
    pub fn wants_sbom(&self) -> bool {
        self.all.iter().any(|rule| rule.demand == Demand::SbomPresent)
    }
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_MAX} bytes")));
    }
    Ok(text)
}
