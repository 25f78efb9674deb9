// SPDX-License-Identifier: Apache-2.0
//! The merged tree of an image, to be read only.
//!
//! Guarantees: nothing outside the tree is ever looked at (each lookup is the kernel's, with `RESOLVE_IN_ROOT`), and
//! nothing but directories and regular files is opened: a FIFO or a device in the image cannot hold anybody up.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use bryo_sys::root::Root;
use bryo_sys::{Errno, Result, check};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::layer::Attributes;

/// How many symbolic links one path may go through. Source: `path_resolution(7)`.
const LINKS_MAX: u32 = 40;

/// The id that the kernel shows for one that is not in the map. Source: `user_namespaces(7)`, `overflowuid`.
const OVERFLOW: u32 = 65534;

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Root,
    /// A directory of the host, whose owners are not in the map.
    pub foreign: bool,
    /// What directories should be that the overlay shows otherwise, by real path.
    pub(super) described: BTreeMap<PathBuf, Attributes>,
}

/// Where a path ends, with every link followed.
#[derive(Debug)]
pub(crate) struct Real {
    /// An absolute path without links and dots.
    pub path: PathBuf,
    /// What is there, if anything is.
    pub stat: Option<Stat>,
}

impl Real {
    /// Tells whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.stat.as_ref().is_some_and(|stat| kind(stat) == FileType::Directory)
    }
}

/// Returns what kind of file this is.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Tree {
    /// Takes the tree below an open directory.
    pub fn new(root: OwnedFd, foreign: bool) -> Self {
        Self { root: Root::from_fd(root), foreign, described: BTreeMap::new() }
    }

    /// Looks at a path without following a link in its last component.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`, but a path that does not exist is `None`.
    pub fn look(&self, path: &Path) -> Result<Option<(OwnedFd, Stat)>> {
        match self.root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Err(e) if e.errno() == Errno::NOENT => Ok(None),
            Err(e) => Err(e),
            Ok(fd) => {
                let mut stat = check("fstat", || path.display().to_string(), rustix::fs::fstat(&fd))?;
                if let Some(described) = self.described.get(path) {
                    (stat.st_uid, stat.st_gid) = (described.uid, described.gid);
                    stat.st_mode = (stat.st_mode & !0o7777) | described.mode;
                }
                Ok(Some((fd, stat)))
            }
        }
    }

    /// Follows all links of a path, those that lead to nothing too, up to the top of the tree and not beyond.
    ///
    /// # Errors
    ///
    /// `ELOOP` for more than 40 links, `ENOTDIR` where a file is in the way.
    pub fn real(&self, path: &Path) -> Result<Real> {
        let mut rest: VecDeque<OsString> = parts(path);
        let mut here = PathBuf::from("/");
        let mut found = self.look(&here)?.map(|(_, stat)| stat);
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                here.pop();
                found = self.look(&here)?.map(|(_, stat)| stat);
                continue;
            }
            here.push(&part);
            let Some((fd, stat)) = self.look(&here)? else {
                found = None;
                continue;
            };
            if kind(&stat) != FileType::Symlink {
                found = Some(stat);
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(bryo_sys::Error::new("openat2", path.display().to_string(), Errno::LOOP));
            }
            let target = self.target(&fd)?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            } else {
                here.pop();
            }
            found = self.look(&here)?.map(|(_, stat)| stat);
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(Real { path: here, stat: found })
    }

    /// Returns what a symbolic link says.
    pub fn target(&self, link: &OwnedFd) -> Result<PathBuf> {
        let text = check("readlinkat", String::new, rustix::fs::readlinkat(link, "", Vec::new()))?;
        Ok(OsString::from_vec(text.into_bytes()).into())
    }

    /// Opens a directory to be listed.
    pub fn list(&self, path: &Path) -> Result<OwnedFd> {
        self.root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Returns the real paths of the directories in a directory, without links to some; none where there is no such one.
    pub fn directories(&self, path: &Path) -> Vec<PathBuf> {
        let list = || -> Option<Vec<PathBuf>> {
            let real = self.real(path).ok()?.path;
            let entries = rustix::fs::Dir::read_from(self.list(&real).ok()?).ok()?;
            let names = entries.flatten().map(|entry| entry.file_name().to_bytes().to_vec());
            let names = names.filter(|name| !matches!(&name[..], b"." | b".."));
            let paths = names.map(|name| real.join(OsString::from_vec(name)));
            let is_dir = |path: &PathBuf| {
                let found = self.look(path).ok().flatten();
                found.is_some_and(|(_, stat)| kind(&stat) == FileType::Directory)
            };
            Some(paths.filter(is_dir).collect())
        };
        list().unwrap_or_default()
    }

    /// Opens a path.
    pub fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        self.root.open_at(path, flags, mode)
    }

    /// Reads a regular file of up to `limit` bytes.
    pub fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>> {
        self.root.read(path, limit)
    }

    /// Returns the owner, with root for everybody whom the map does not know.
    pub fn owner(&self, stat: &Stat) -> (u32, u32) {
        let known = |id| if self.foreign && id == OVERFLOW { 0 } else { id };
        (known(stat.st_uid), known(stat.st_gid))
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_end_inside_even_where_they_lead_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("/../../etc/gone", dir.path().join("dangling")).unwrap();
        symlink("../a", dir.path().join("a/up")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let tree = Tree::new(rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap(), false);
        for (path, real, exists) in [
            ("/", "/", true),
            ("a/./b/..", "/a", true),
            ("/../../a/b", "/a/b", true),
            ("/a/up/up/b", "/a/b", true),
            ("/dangling", "/etc/gone", false),
            ("/new/../a/new", "/a/new", false),
        ] {
            let found = tree.real(Path::new(path)).unwrap();
            assert_eq!((found.path.to_str(), found.stat.is_some()), (Some(real), exists), "{path}");
        }
        assert_eq!(tree.real(Path::new("/loop")).unwrap_err().errno(), Errno::LOOP);
        assert_eq!(tree.real(Path::new("/file/x")).unwrap_err().errno(), Errno::NOTDIR);
    }
}
