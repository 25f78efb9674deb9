// SPDX-License-Identifier: Apache-2.0
//! What a build is given: a directory, or an archive of one, and what of it is the build's.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bryo_image::carry::{Arriving, Owner, Placing, Top};
use bryo_sys::root::Root;
use rustix::fs::{FileType, Mode, OFlags};

use crate::dockerfile::LENGTH_MAX;
use crate::error::{Error, Kind, Result, wrong};
use crate::git::{Asker, Checkout, Repository};
use crate::ignore::Ignore;

/// The files that a build may read.
#[derive(Debug)]
pub struct Context {
    root: Option<Root>,
    /// What of it is left out.
    pub ignore: Ignore,
    _unpacked: Option<Unpacked>,
}

/// What is there for this build alone, and goes with it.
#[derive(Debug)]
enum Unpacked {
    Archive { _place: tempfile::TempDir },
    Repository { _checkout: Checkout },
}

/// A Dockerfile that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is called in messages.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Context {
    /// Takes no files at all.
    pub fn empty() -> Self {
        Self { root: None, ignore: Ignore::default(), _unpacked: None }
    }

    /// Takes a directory.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn directory(path: &Path) -> Result<Self> {
        let real = std::fs::canonicalize(path).map_err(|e| io("cannot find the context", path, e))?;
        let root = Root::open(&real).map_err(bryo_engine::error::Error::from)?;
        Ok(Self { root: Some(root), ignore: Ignore::default(), _unpacked: None })
    }

    /// Takes an archive, which is unpacked beside `place`.
    ///
    /// # Errors
    ///
    /// What can be wrong with an archive.
    pub fn archive(input: impl Read, place: &Path) -> Result<Self> {
        let unpacked = tempfile::Builder::new().prefix("context-").tempdir_in(place);
        let unpacked = unpacked.map_err(|e| io("cannot make a directory in", place, e))?;
        let open = || File::open(unpacked.path()).map(OwnedFd::from);
        let fail = |e| io("cannot open", unpacked.path(), e);
        let placing =
            Placing { top: Top::AsItIs, owner: Owner::Maker, strip_set_id: true, record: false, attributes: false };
        Arriving::begin(input)?.place(open().map_err(fail)?.as_fd(), &placing)?;
        let root = Root::from_fd(open().map_err(fail)?);
        Ok(Self {
            root: Some(root),
            ignore: Ignore::default(),
            _unpacked: Some(Unpacked::Archive { _place: unpacked }),
        })
    }

    /// Takes a git repository, which is checked out beside `place`.
    ///
    /// # Errors
    ///
    /// What `git` says.
    pub fn repository(repository: &Repository, place: &Path) -> Result<Self> {
        let checkout = repository.check_out(place, false, Asker::Caller)?;
        let again = checkout.root().open_at("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let root = Root::from_fd(again.map_err(bryo_engine::error::Error::from)?);
        let unpacked = Some(Unpacked::Repository { _checkout: checkout });
        Ok(Self { root: Some(root), ignore: Ignore::default(), _unpacked: unpacked })
    }

    /// Returns the directory.
    ///
    /// # Errors
    ///
    /// When there are no files.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| wrong("there is no context to copy from: the Dockerfile came alone"))
    }

    /// Reads a file of the context.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.root.as_ref()?.read(Path::new("/").join(path), LENGTH_MAX).ok()
    }

    fn is_link(&self, path: &str) -> bool {
        let opened = self
            .root
            .as_ref()
            .map(|root| root.open_at(Path::new("/").join(path), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()));
        let Some(Ok(fd)) = opened else { return false };
        rustix::fs::fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    /// Reads the Dockerfile of the context, by its name there.
    ///
    /// # Errors
    ///
    /// When it is not there or no text.
    pub fn dockerfile(&self, name: Option<&str>) -> Result<Found> {
        let tried = match name {
            Some(name) => vec![name],
            None => vec!["Dockerfile", "Containerfile"],
        };
        let found = tried.iter().find_map(|name| Some(((*name).to_owned(), self.read(name)?)));
        let link = || tried.iter().find(|name| self.is_link(name));
        let none = || match link() {
            Some(name) => wrong(format!("{name} is a link that leads to no file of the context")),
            None => wrong(format!("there is no {} in the context; -f says which file it is", tried[0])),
        };
        let (name, bytes) = found.ok_or_else(none)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong(format!("{name} is no text")))?;
        Ok(Found { name, text })
    }

    /// Reads what is left out: the rules that belong to the Dockerfile, if it has some, else those of the context.
    ///
    /// # Errors
    ///
    /// The line that is no rule.
    pub fn read_ignore(&mut self, beside: Option<&Path>, dockerfile: &str) -> Result<()> {
        let own = beside.and_then(|path| read_beside(&with_suffix(path)));
        let own = own.or_else(|| self.read(&format!("{dockerfile}.dockerignore")));
        let (name, bytes) = match own {
            Some(bytes) => (format!("{dockerfile}.dockerignore"), bytes),
            None => match self.read(".dockerignore") {
                Some(bytes) => (".dockerignore".to_owned(), bytes),
                None => return Ok(()),
            },
        };
        let text = String::from_utf8_lossy(&bytes);
        self.ignore = Ignore::parse(&text).map_err(|(line, why)| wrong(format!("{name}, line {line}: {why}")))?;
        Ok(())
    }
}

/// Tells whether a beginning is an archive's: compressed, or with the mark of one.
pub fn is_archive(beginning: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"];
    compressed.iter().any(|magic| beginning.starts_with(magic)) || beginning.get(257..262) == Some(b"ustar")
}

/// Reads rules beside a Dockerfile that is not in the context.
fn read_beside(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let found = std::fs::metadata(path).ok()?.is_file().then(|| File::open(path).ok())??;
    found.take(LENGTH_MAX as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dockerignore");
    name.into()
}

fn io(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::from(bryo_engine::error::Error::io(what, path, error))
}

/// Says that something of the context is not to be had.
pub(crate) fn no_text(name: &str) -> Error {
    Error::new(Kind::Dockerfile, format!("{name} is no text"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_dockerfile_and_its_own_rules_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("Containerfile", "FROM a\n");
        write(".dockerignore", "*.md\n");
        let mut context = Context::directory(dir.path()).unwrap();
        assert_eq!(context.dockerfile(None).unwrap().name, "Containerfile");
        write("Dockerfile", "FROM b\n");
        assert_eq!(context.dockerfile(None).unwrap().text, "FROM b\n");
        context.read_ignore(None, "Dockerfile").unwrap();
        assert!(context.ignore.excludes("x.md") && !context.ignore.excludes("x.txt"));
        write("Dockerfile.dockerignore", "*.txt\n");
        context.read_ignore(None, "Dockerfile").unwrap();
        assert!(context.ignore.excludes("x.txt") && !context.ignore.excludes("x.md"));
        write(".dockerignore", "[\n");
        assert!(context.read_ignore(None, "Other").is_err());
    }

    #[test]
    fn a_dockerfile_that_leads_out_of_the_context_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("Dockerfile")).unwrap();
        assert!(Context::directory(dir.path()).unwrap().dockerfile(None).is_err());
        assert!(Context::empty().root().is_err());
    }

    #[test]
    fn an_archive_is_a_context() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(7);
        header.set_mode(0o644);
        builder.append_data(&mut header, "Dockerfile", &b"FROM x\n"[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        assert!(is_archive(&archive) && !is_archive(b"FROM x\n"));
        let place = tempfile::tempdir().unwrap();
        let context = Context::archive(archive.as_slice(), place.path()).unwrap();
        assert_eq!(context.dockerfile(None).unwrap().text, "FROM x\n");
    }
}
