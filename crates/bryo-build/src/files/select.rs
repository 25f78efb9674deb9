// SPDX-License-Identifier: Apache-2.0
//! What `COPY` and `ADD` copy, as an archive whose names are relative to the destination.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bryo_engine::error::{Error, Kind, Result};
use bryo_image::carry::attributes_of;
use bryo_image::record;
use bryo_sys::root::Root;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::Chmod;
use crate::ignore::Ignore;
use crate::pattern::{Pattern, clean};

/// How deep a tree may be.
const DEPTH_MAX: usize = 512;

/// How many names one source may match.
const MATCHES_MAX: usize = 100_000;

/// What is copied, and what becomes of it on the way.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Paths and patterns, as they were written, without variables.
    pub sources: Vec<String>,
    /// `--exclude`.
    pub excludes: Ignore,
    /// What of the root is none of the build's.
    pub ignore: Ignore,
    /// `--parents`: the directories above a source are made as well.
    pub parents: bool,
    /// Whom it all belongs to; nothing for whom it belongs to there.
    pub owner: Option<(u32, u32)>,
    /// One id owns everything: whose a file is, is written down beside it.
    pub recorded: bool,
    /// Whether file capabilities and attributes of users are copied as well.
    pub attributes: bool,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// Whether times are left out: the archive says then what is copied and not when it was made.
    pub timeless: bool,
    /// Whether the destination may be one file's own name.
    pub single: bool,
}

/// Tells whether a path is there, below the root.
pub fn exists(root: &Root, path: &str) -> bool {
    root.resolve(Path::new("/").join(clean(path))).is_ok()
}

/// Writes what is selected as an archive. What is in a directory is relative to it; a file has its own name. The first
/// member of a directory is the directory itself, called `.`.
///
/// # Errors
///
/// [`Kind::Source`] for a source that matches nothing, [`Kind::Io`].
pub fn pack(root: &Root, selection: &Selection, output: impl Write) -> Result<()> {
    let mut builder = Builder::new(output);
    builder.sparse(false);
    let mut packer = Packer { root, selection, builder, links: HashMap::new(), written: BTreeSet::new() };
    let mut found = Vec::new();
    for source in &selection.sources {
        found.extend(packer.find(source)?);
    }
    if selection.single && found.len() > 1 {
        let why = "more than one file is copied: the destination must be a directory, and end with /";
        return Err(Error::new(Kind::Source, why));
    }
    for found in found {
        packer.source(&found)?;
    }
    let done = packer.builder.into_inner().and_then(|mut output| output.flush());
    done.map_err(|e| Error::io("cannot write", "archive".as_ref(), e))
}

/// A source that was found: its path below the root, and the part of it that `--parents` keeps.
struct Found {
    path: String,
    kept: String,
}

struct Packer<'a, W: Write> {
    root: &'a Root,
    selection: &'a Selection,
    builder: Builder<W>,
    /// Where a file of several names was written first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Directories above sources that are written.
    written: BTreeSet<String>,
}

impl<W: Write> Packer<'_, W> {
    /// Finds what a source means.
    fn find(&self, source: &str) -> Result<Vec<Found>> {
        // What stands before a part that is a single dot is not kept.
        let cut = if self.selection.parents { source.find("/./").map(|at| &source[..at]) } else { None };
        let pattern = clean(source);
        let parsed = Pattern::parse(&pattern).map_err(|why| Error::new(Kind::Source, why))?;
        let paths = match parsed.literal() {
            Some(path) => match self.root.resolve(Path::new("/").join(&path)) {
                Ok(fd) if self.selection.ignore.excludes(&path) => {
                    let directory = kind(&look(&fd, &path)?) == FileType::Directory;
                    if !(directory && self.selection.ignore.keeps_below()) {
                        return Err(missing(source, "it is left out by .dockerignore"));
                    }
                    vec![path]
                }
                Ok(_) => vec![path],
                Err(e) if matches!(e.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    return Err(missing(source, "there is no such file or directory"));
                }
                Err(e) => return Err(e.into()),
            },
            None => self.expand(&pattern, &parsed)?,
        };
        if paths.is_empty() {
            return Err(missing(source, "nothing matches"));
        }
        let base = cut.map(clean).unwrap_or_default();
        let kept = |path: &String| {
            let depth = if base.is_empty() { 0 } else { base.split('/').count() };
            path.split('/').skip(depth).collect::<Vec<_>>().join("/")
        };
        Ok(paths.iter().map(|path| Found { path: path.clone(), kept: kept(path) }).collect())
    }

    /// Lists the paths that a pattern matches.
    fn expand(&self, pattern: &str, parsed: &Pattern) -> Result<Vec<String>> {
        let deep = pattern.contains("**");
        let depth = pattern.split('/').count();
        let plain = pattern.split('/').take_while(|part| !part.contains(['*', '?', '[', '\\'])).count();
        let start: Vec<&str> = pattern.split('/').take(plain).collect();
        let mut found = Vec::new();
        let mut waiting = vec![start.join("/")];
        while let Some(directory) = waiting.pop() {
            let Some(dir) = self.directory(&directory)? else { continue };
            for name in names(&dir, &directory)? {
                let Ok(name) = name.into_string() else { continue };
                let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
                let level = path.split('/').count();
                if parsed.matches(&path) && !self.selection.ignore.excludes(&path) {
                    found.push(path.clone());
                } else if (deep || level < depth) && is_directory(&dir, &name) {
                    waiting.push(path);
                }
                if found.len() > MATCHES_MAX || level > DEPTH_MAX {
                    return Err(Error::new(Kind::Source, format!("{pattern:?} matches too much")));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn directory(&self, path: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.root.open_at(Path::new("/").join(path), flags, Mode::empty()) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if matches!(e.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes one source. A link is followed, below the root: what is copied is what it leads to.
    fn source(&mut self, found: &Found) -> Result<()> {
        let fd = self.root.resolve(Path::new("/").join(&found.path))?;
        let stat = look(&fd, &found.path)?;
        let directory = kind(&stat) == FileType::Directory;
        let name = match (self.selection.parents, directory) {
            (true, _) => {
                self.above(found)?;
                found.kept.clone()
            }
            (false, true) => String::new(),
            (false, false) => found.path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        if directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let dir = self.root.open_at(Path::new("/").join(&found.path), flags, Mode::empty())?;
            self.directory_header(&name, &stat, &dir)?;
            return self.content(&dir, &Way { path: &found.path, inner: "", name: &name }, 0);
        }
        if self.selection.excludes.excludes(&name) {
            return Ok(());
        }
        let root = self.root;
        self.file(&name, &stat, || {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            Ok(root.open_at(Path::new("/").join(&found.path), flags, Mode::empty())?)
        })
    }

    /// Writes the directories above a source that are kept, each once.
    fn above(&mut self, found: &Found) -> Result<()> {
        let skipped = found.path.len() - found.kept.len();
        for (at, _) in found.kept.match_indices('/') {
            let kept = &found.kept[..at];
            if self.written.insert(kept.to_owned()) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let path = Path::new("/").join(&found.path[..skipped + at]);
                let dir = self.root.open_at(path, flags, Mode::empty())?;
                self.directory_header(kept, &look(&dir, kept)?, &dir)?;
            }
        }
        Ok(())
    }

    /// Writes what is in a directory.
    fn content(&mut self, dir: &OwnedFd, way: &Way<'_>, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::new(Kind::Source, format!("{}: directories too deep", way.path)));
        }
        for name in names(dir, way.path)? {
            // What is no text has no pattern, and is copied by its bytes.
            let text = name.to_string_lossy();
            let (path, inner, to) = (join(way.path, &text), join(way.inner, &text), join(way.name, &text));
            let excluded = self.selection.excludes.excludes(&inner);
            let ignored = self.selection.ignore.excludes(&path);
            let stat = match rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(|e| failed("look at", &path, e))?,
            };
            let directory = kind(&stat) == FileType::Directory;
            let kept_below =
                (ignored && self.selection.ignore.keeps_below()) || (excluded && self.selection.excludes.keeps_below());
            if (excluded || ignored) && !(directory && kept_below) {
                continue;
            }
            let inner = Way { path: &path, inner: &inner, name: &to };
            self.entry(dir, &name, &stat, &inner, (depth, excluded || ignored))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        stat: &Stat,
        way: &Way<'_>,
        (depth, passed_over): (usize, bool),
    ) -> Result<()> {
        let open = |flags| {
            let opened = rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
            opened.map_err(|e| failed("open", way.path, e))
        };
        match kind(stat) {
            FileType::Directory => {
                let inner = open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                if !passed_over {
                    self.directory_header(way.name, stat, &inner)?;
                }
                self.content(&inner, way, depth + 1)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new());
                let target = target.map_err(|e| failed("read", way.path, e))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                self.header(way.name, stat, EntryType::Symlink, Some(&target))
            }
            _ => self.file(way.name, stat, || open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)),
        }
    }

    /// Writes a regular file or a pipe; sockets and devices are no content.
    fn file(&mut self, name: &str, stat: &Stat, open: impl FnOnce() -> Result<OwnedFd>) -> Result<()> {
        match kind(stat) {
            FileType::RegularFile => (),
            FileType::Fifo => return self.header(name, stat, EntryType::Fifo, None),
            _ => return Ok(()),
        }
        let inode = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode).cloned() {
                return self.header(name, stat, EntryType::Link, Some(&first));
            }
            self.links.insert(inode, PathBuf::from(name));
        }
        let fd = open()?;
        let found = rustix::fs::fstat(&fd).map_err(|e| failed("look at", name, e))?;
        let size = found.st_size.cast_unsigned();
        let mut header = self.new_header(&found, EntryType::Regular, self.recorded(&fd));
        header.set_size(size);
        self.attributes(name, &fd)?;
        // Of a file that grows meanwhile the beginning, behind one that shrinks zeros.
        let data = File::from(fd).take(size).chain(io::repeat(0)).take(size);
        let appended = self.builder.append_data(&mut header, name, data);
        appended.map_err(|e| Error::io("cannot copy", name.as_ref(), e))
    }

    fn directory_header(&mut self, name: &str, stat: &Stat, dir: &OwnedFd) -> Result<()> {
        let mut header = self.new_header(stat, EntryType::Directory, self.recorded(dir));
        let name = if name.is_empty() { "." } else { name };
        self.attributes(name, dir)?;
        let appended = self.builder.append_data(&mut header, name, io::empty());
        appended.map_err(|e| Error::io("cannot copy", name.as_ref(), e))
    }

    /// Returns whose a file is where that is only written down.
    fn recorded(&self, file: &OwnedFd) -> Option<(u32, u32)> {
        self.selection.recorded.then(|| record::read(file.as_fd()).unwrap_or_default())
    }

    /// Writes the attributes of what comes next.
    fn attributes(&mut self, name: &str, file: &OwnedFd) -> Result<()> {
        if !self.selection.attributes {
            return Ok(());
        }
        let attributes = attributes_of(file.as_fd()).map_err(|e| failed("read attributes of", name, e))?;
        if attributes.is_empty() {
            return Ok(());
        }
        let records = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let appended = self.builder.append_pax_extensions(records);
        appended.map_err(|e| Error::io("cannot copy", name.as_ref(), e))
    }

    fn header(&mut self, name: &str, stat: &Stat, entry: EntryType, target: Option<&Path>) -> Result<()> {
        let mut header = self.new_header(stat, entry, None);
        let name = if name.is_empty() { "." } else { name };
        let appended = match target {
            Some(target) => self.builder.append_link(&mut header, name, target),
            None => self.builder.append_data(&mut header, name, io::empty()),
        };
        appended.map_err(|e| Error::io("cannot copy", name.as_ref(), e))
    }

    fn new_header(&self, stat: &Stat, entry: EntryType, recorded: Option<(u32, u32)>) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry);
        header.set_size(0);
        let mode = stat.st_mode & 0o7777;
        let mode = match (&self.selection.chmod, entry) {
            (_, EntryType::Symlink) | (None, _) => mode,
            (Some(chmod), entry) => chmod.apply(mode, entry == EntryType::Directory),
        };
        header.set_mode(mode);
        let (uid, gid) = self.selection.owner.or(recorded).unwrap_or((stat.st_uid, stat.st_gid));
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        let mtime = u64::try_from(stat.st_mtime).unwrap_or_default();
        header.set_mtime(if self.selection.timeless { 0 } else { mtime });
        header
    }
}

/// Where something is: below the root, below its source, and in the archive.
struct Way<'a> {
    path: &'a str,
    inner: &'a str,
    name: &'a str,
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Lists a directory in the order of the names.
fn names(dir: &OwnedFd, path: &str) -> Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(dir).map_err(|e| failed("list", path, e))? {
        let entry = entry.map_err(|e| failed("list", path, e))?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.insert(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn is_directory(dir: &OwnedFd, name: &str) -> bool {
    let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| kind(&found) == FileType::Directory)
}

fn look(fd: impl AsFd, path: &str) -> Result<Stat> {
    rustix::fs::fstat(fd).map_err(|e| failed("look at", path, e))
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn failed(operation: &str, path: &str, errno: Errno) -> Error {
    Error::io(&format!("cannot {operation}"), path.as_ref(), errno.into())
}

fn missing(source: &str, why: &str) -> Error {
    Error::new(Kind::Source, format!("cannot copy {source:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in [("a/x.txt", "1"), ("a/y.md", "2"), ("a/sub/z.txt", "3"), ("top.txt", "4")] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("a/x.txt", dir.path().join("link")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn listed(root: &Root, selection: &Selection) -> Result<Vec<String>> {
        let mut archive = Vec::new();
        pack(root, selection, &mut archive)?;
        let mut archive = tar::Archive::new(archive.as_slice());
        let name = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap()
        };
        Ok(archive.entries().unwrap().map(name).collect())
    }

    fn of(sources: &[&str]) -> Selection {
        Selection { sources: sources.iter().map(|s| (*s).to_owned()).collect(), ..Selection::default() }
    }

    #[test]
    fn sources_are_files_directories_and_patterns() {
        let (_dir, root) = tree();
        for (sources, expected) in [
            (&["a/x.txt"][..], &["x.txt"][..]),
            (&["/a/x.txt"], &["x.txt"]),
            (&["../../a/x.txt"], &["x.txt"]),
            (&["a"], &[".", "sub", "sub/z.txt", "x.txt", "y.md"]),
            (&["a/", "top.txt"], &[".", "sub", "sub/z.txt", "x.txt", "y.md", "top.txt"]),
            (&["*/*.txt"], &["x.txt"]),
            (&["**/*.txt"], &["x.txt", "z.txt", "top.txt"]),
            (&["t?p.*"], &["top.txt"]),
            (&["link"], &["link"]),
        ] {
            let mut found = listed(&root, &of(sources)).unwrap();
            let mut expected: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{sources:?}");
        }
        for sources in ["none", "*.none", "out/passwd", "a/x.txt/y", "out"] {
            assert_eq!(listed(&root, &of(&[sources])).unwrap_err().kind(), Kind::Source, "{sources}");
        }
        assert!(listed(&root, &Selection { single: true, ..of(&["a/*"]) }).is_err());
    }

    #[test]
    fn what_is_left_out_is_not_there() {
        let (_dir, root) = tree();
        let ignore = |rules: &str| Ignore::parse(rules).unwrap();
        let found = listed(&root, &Selection { ignore: ignore("a/sub\n*.txt"), ..of(&["."]) }).unwrap();
        assert_eq!(found, [".", "a", "a/x.txt", "a/y.md", "link", "out"]);
        let found = listed(&root, &Selection { ignore: ignore("a\n!a/sub/z.txt"), ..of(&["."]) }).unwrap();
        assert_eq!(found, [".", "a/sub/z.txt", "link", "out", "top.txt"]);
        assert!(listed(&root, &Selection { ignore: ignore("a"), ..of(&["a/x.txt"]) }).is_err());
        let found = listed(&root, &Selection { excludes: ignore("**/*.txt"), ..of(&["a"]) }).unwrap();
        assert_eq!(found, [".", "sub", "y.md"]);
    }

    #[test]
    fn parents_are_made_as_well() {
        let (_dir, root) = tree();
        let parents = |source: &str| listed(&root, &Selection { parents: true, ..of(&[source]) }).unwrap();
        assert_eq!(parents("a/sub/z.txt"), ["a", "a/sub", "a/sub/z.txt"]);
        assert_eq!(parents("a/./sub/z.txt"), ["sub", "sub/z.txt"]);
        assert_eq!(parents("./a/**/*.txt"), ["a", "a/sub", "a/sub/z.txt", "a/x.txt"]);
    }

    #[test]
    fn the_same_content_is_the_same_archive_at_any_time() {
        let (dir, root) = tree();
        let digest = || {
            let mut archive = Vec::new();
            let selection = Selection { timeless: true, owner: Some((0, 0)), ..of(&["a"]) };
            pack(&root, &selection, &mut archive).unwrap();
            archive
        };
        let before = digest();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
        File::options().write(true).open(dir.path().join("a/x.txt")).unwrap().set_modified(later).unwrap();
        assert!(before == digest());
        fs::write(dir.path().join("a/x.txt"), "5").unwrap();
        assert!(before != digest());
    }
}
