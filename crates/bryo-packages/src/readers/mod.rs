// SPDX-License-Identifier: Apache-2.0
//! Readers of package databases: which file is which, and what each says.
//!
//! A reader gets a file and returns packages; what it cannot make sense of is one error that names the file.

pub mod apk;
pub mod cargo;
pub mod dpkg;
pub mod elf;
pub mod gem;
pub mod golang;
pub mod npm;
pub mod pip;
pub mod rpm;

use rustix::fs::FileType;

use crate::error::{Error, Kind, Result};
use crate::package::{Distro, Package};
use crate::tree::{Bytes, Entry, Limits};

/// Which sort of database a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `var/lib/dpkg/status`, or one package of a distroless image.
    Dpkg,
    /// Alpine's `installed`.
    Apk,
    /// rpm's in sqlite.
    RpmSqlite,
    /// rpm's own form.
    RpmNdb,
    /// rpm's in Berkeley DB.
    RpmBdb,
    /// A Python distribution's metadata.
    Pip,
    /// A module's `package.json`.
    Npm,
    /// A `package-lock.json`, whose modules need not be there.
    NpmLock,
    /// A gem's specification.
    Gem,
    /// Something that may be an executable with a list of what it is made of.
    Executable,
    /// The name of the distribution.
    OsRelease,
    /// dpkg's list of a package's files.
    DpkgList,
}

impl Form {
    /// Tells whether it is the database of a distribution's packages.
    pub fn is_database(self) -> bool {
        matches!(self, Self::Dpkg | Self::Apk | Self::RpmSqlite | Self::RpmNdb | Self::RpmBdb)
    }
}

/// The directories of distributions' databases.
const DATABASES: [&str; 7] = [
    "var/lib/dpkg",
    "var/lib/dpkg/status.d",
    "lib/apk/db",
    "usr/lib/apk/db",
    "var/lib/rpm",
    "usr/lib/sysimage/rpm",
    "usr/share/rpm",
];

/// Tells whether a directory is one that has a distribution's database, or one above it.
pub fn leads_to_database(path: &[u8]) -> bool {
    DATABASES
        .iter()
        .any(|database| database.as_bytes().strip_prefix(path).is_some_and(|rest| matches!(rest, [] | [b'/', ..])))
}

/// What one file says.
#[derive(Debug, Default)]
pub struct Said {
    /// The packages.
    pub packages: Vec<Package>,
    /// The distribution.
    pub distro: Option<Distro>,
    /// Descriptions of packages that belong to packages of the distribution, by their paths without a slash in front.
    pub owns: Vec<String>,
    /// What of the file was not understood, while the rest was.
    pub problems: Vec<String>,
}

impl Said {
    /// Notes what was not understood. What follows the first of that sort is not told one by one.
    fn problem(&mut self, why: String) {
        /// How many are told.
        const TOLD: usize = 5;
        match self.problems.len() {
            told if told < TOLD => self.problems.push(why),
            TOLD => self.problems.push("and more of that sort".to_owned()),
            _ => (),
        }
    }

    /// Tells whether a text can be a name or a version: what is damaged cannot.
    fn is_word(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Returns how a paragraph begins, to name it by.
    fn beginning(paragraph: &str) -> String {
        /// How much of it, in characters.
        const SHOWN: usize = 60;
        paragraph.lines().next().unwrap_or_default().chars().take(SHOWN).collect()
    }
}

impl From<Vec<Package>> for Said {
    fn from(packages: Vec<Package>) -> Self {
        Self { packages, ..Self::default() }
    }
}

impl Form {
    /// Tells whether a file of this form may be large, and is read into memory whole.
    pub fn is_large(self) -> bool {
        matches!(self, Self::Dpkg | Self::Apk | Self::RpmSqlite | Self::RpmNdb | Self::RpmBdb | Self::NpmLock)
    }
}

/// The smallest and the largest file that may be an executable of interest, in bytes.
const EXECUTABLE: std::ops::RangeInclusive<i64> = (16 << 10)..=(4 << 30);

/// Says by its path what a file may be.
pub fn form(path: &[u8]) -> Option<Form> {
    let Ok(path) = std::str::from_utf8(path) else { return None };
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "status" if dir == "var/lib/dpkg" => Some(Form::Dpkg),
        "installed" if matches!(dir, "lib/apk/db" | "usr/lib/apk/db") => Some(Form::Apk),
        "rpmdb.sqlite" if is_rpm(dir) => Some(Form::RpmSqlite),
        "Packages.db" if is_rpm(dir) => Some(Form::RpmNdb),
        "Packages" if is_rpm(dir) => Some(Form::RpmBdb),
        "os-release" if matches!(dir, "etc" | "usr/lib") => Some(Form::OsRelease),
        "METADATA" if dir.ends_with(".dist-info") => Some(Form::Pip),
        "PKG-INFO" if dir.ends_with(".egg-info") || dir.ends_with(".egg/EGG-INFO") => Some(Form::Pip),
        "package.json" if is_module(dir) => Some(Form::Npm),
        "package-lock.json" if !dir.contains("node_modules") => Some(Form::NpmLock),
        // Debian's own Python modules have a file for a directory.
        _ if name.ends_with(".egg-info") => Some(Form::Pip),
        _ if name.ends_with(".gemspec")
            && (dir.ends_with("specifications") || dir.ends_with("specifications/default")) =>
        {
            Some(Form::Gem)
        }
        _ if dir == "var/lib/dpkg/info" && name.ends_with(".list") => Some(Form::DpkgList),
        _ if dir == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => Some(Form::Dpkg),
        _ => None,
    }
}

/// Tells whether a file describes a package of a language.
fn describes(path: &str) -> bool {
    matches!(form(path.as_bytes()), Some(Form::Pip | Form::Npm | Form::Gem))
}

/// Keeps of the files of a distribution's packages what describes packages of languages, and the rest where it is asked
/// for.
fn keep_descriptions(said: &mut Said, files: bool) {
    for package in &mut said.packages {
        let paths = package.files.iter().map(|path| path.trim_start_matches('/'));
        said.owns.extend(paths.filter(|path| describes(path)).map(str::to_owned));
        if !files {
            package.files = Vec::new();
        }
    }
}

fn is_rpm(dir: &str) -> bool {
    matches!(dir, "var/lib/rpm" | "usr/lib/sysimage/rpm" | "usr/share/rpm")
}

/// Tells whether a directory is a module's own: `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
fn is_module(dir: &str) -> bool {
    let mut parts = dir.rsplit('/');
    let (_, above, further) = (parts.next(), parts.next(), parts.next());
    above == Some("node_modules") || (above.is_some_and(|a| a.starts_with('@')) && further == Some("node_modules"))
}

/// Tells whether a file may be an executable that lists what it is made of.
pub fn may_execute(entry: &Entry<'_>) -> bool {
    entry.kind == FileType::RegularFile
        && entry.stat().is_ok_and(|stat| stat.st_mode & 0o111 != 0 && EXECUTABLE.contains(&stat.st_size))
}

/// Reads a file as what its path says it is.
///
/// # Errors
///
/// That the file cannot be read or is not what it should be; the error names it.
pub fn read(form: Form, entry: &Entry<'_>, limits: &Limits, files: bool) -> Result<Said> {
    let file = entry.open()?;
    let path = file.path().to_owned();
    let small = |file: Bytes| file.whole(limits.document);
    let said = match form {
        Form::Dpkg => Ok(dpkg::parse(&file.whole(limits.text)?, path.contains("/status.d/"))),
        Form::Apk => Ok(apk::parse(&file.whole(limits.text)?, true)),
        Form::RpmSqlite => {
            let wal = match entry.beside("rpmdb.sqlite-wal") {
                Ok(wal) => Some(wal.whole(limits.database)?),
                Err(e) if e.kind() == Kind::NotFound => None,
                Err(e) => return Err(e),
            };
            rpm::sqlite::packages(&file.whole(limits.database)?, wal.as_deref(), true)
        }
        Form::RpmNdb => rpm::ndb::packages(&file.whole(limits.database)?, true),
        Form::RpmBdb => rpm::bdb::packages(&file.whole(limits.database)?, true),
        Form::Pip => pip::parse(&small(file)?).map(|package| vec![package].into()),
        Form::Npm => npm::module(&small(file)?).map(|package| package.into_iter().collect::<Vec<_>>().into()),
        Form::NpmLock => npm::lock(&file.whole(limits.text)?).map(Into::into),
        Form::Gem => gem::parse(&small(file)?).map(|package| vec![package].into()),
        Form::OsRelease => Ok(Said { distro: Distro::parse(&small(file)?), ..Said::default() }),
        Form::Executable => elf::packages(file),
        Form::DpkgList => {
            let list = small(file)?;
            let text = String::from_utf8_lossy(&list);
            let paths = text.lines().map(|line| line.trim_start_matches('/'));
            Ok(Said { owns: paths.filter(|path| describes(path)).map(str::to_owned).collect(), ..Said::default() })
        }
    };
    let mut said = said;
    if let Ok(said) = &mut said
        && matches!(form, Form::Apk | Form::RpmSqlite | Form::RpmNdb | Form::RpmBdb)
    {
        keep_descriptions(said, files);
    }
    said.map_err(|e| Error::new(e.kind(), format!("read {path}")).with_source(e))
}

/// Splits a text into fields of `Name: value`, as in a mail's head; a line that begins with a blank goes on.
pub(crate) fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let mut end = rest.find('\n').map_or(rest.len(), |n| n + 1);
            while rest[end..].starts_with([' ', '\t']) {
                end += rest[end..].find('\n').map_or(rest.len() - end, |n| n + 1);
            }
            let (field, further) = rest.split_at(end);
            rest = further;
            if let Some((name, value)) = field.split_once(':') {
                return Some((name, value.trim()));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_paths() {
        for (path, expected) in [
            ("var/lib/dpkg/status", Some(Form::Dpkg)),
            ("var/lib/dpkg/status.d/base", Some(Form::Dpkg)),
            ("var/lib/dpkg/status.d/base.md5sums", None),
            ("opt/var/lib/dpkg/status", None),
            ("lib/apk/db/installed", Some(Form::Apk)),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", Some(Form::RpmSqlite)),
            ("usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO", Some(Form::Pip)),
            ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", Some(Form::Pip)),
            ("app/node_modules/a/package.json", Some(Form::Npm)),
            ("app/node_modules/@s/a/package.json", Some(Form::Npm)),
            ("app/node_modules/a/lib/package.json", None),
            ("app/package.json", None),
            ("app/package-lock.json", Some(Form::NpmLock)),
            ("usr/lib/ruby/gems/3.1.0/specifications/rake-13.0.6.gemspec", Some(Form::Gem)),
            ("usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec", Some(Form::Gem)),
            ("src/x.gemspec", None),
        ] {
            assert_eq!(form(path.as_bytes()), expected, "{path}");
        }
        for path in ["var", "var/lib/dpkg", "usr/lib/sysimage"] {
            assert!(leads_to_database(path.as_bytes()), "{path}");
        }
        assert!(!leads_to_database(b"var/li") && !leads_to_database(b"usr/lib/x86_64-linux-gnu"));
    }

    #[test]
    fn fields_go_on_over_lines() {
        let text = "A: 1\nB: x\n y\nnonsense\nC:\n";
        assert_eq!(fields(text).collect::<Vec<_>>(), [("A", "1"), ("B", "x\n y"), ("C", "")]);
    }
}
