// SPDX-License-Identifier: Apache-2.0
//! A root directory whose content is hostile, and paths that cannot leave it.
//!
//! Guarantees: every lookup below a [`Root`] is made with `RESOLVE_IN_ROOT` (see [`crate::lookup`]), so that `..` and
//! symbolic links end inside, whoever changes the tree meanwhile. Faces images and volumes in which every name may be a link
//! to somewhere else.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result, check};
use crate::lookup::open_in_root;

/// An open root directory.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Takes a directory that is already open.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens a trusted path of the host as a root; the last component must be a real directory, not a link.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
        Ok(Self { fd: check("open", || path.display().to_string(), fd)? })
    }

    /// Opens a path inside the root; links are followed, and end inside. Source: `openat2(2)`.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let path = path.as_ref();
        let opened = open_in_root(self.fd.as_fd(), path, flags, mode);
        check("openat2", || format!("{} in root", path.display()), opened)
    }

    /// Resolves a path inside the root to a descriptor that can only be looked at or mounted on.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_at(path, OFlags::PATH, Mode::empty())
    }

    /// Reads a regular file inside the root, up to `limit` bytes. A FIFO or a device is refused, not waited for.
    pub fn read(&self, path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        let stat = check("fstat", || path.display().to_string(), rustix::fs::fstat(&fd))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new("read", format!("{} is not a regular file", path.display()), Errno::INVAL));
        }
        let mut data = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(limit) + 1);
        let read =
            std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(fd), limit as u64 + 1), &mut data);
        if let Err(e) = read {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            return Err(Error::new("read", path.display().to_string(), errno));
        }
        if data.len() > limit {
            return Err(Error::new("read", format!("{} exceeds {limit} bytes", path.display()), Errno::FBIG));
        }
        Ok(data)
    }

    /// Makes a directory and all its parents inside the root, and returns the last one.
    ///
    /// A component that is a link to a directory inside the root is followed; what is missing is made with `mode`.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd> {
        self.create_dir_all_by(path, |parent, name| mkdir(parent, name, mode))
    }

    /// As [`Root::create_dir_all`], with something else to make what is missing: it is given the directory that lacks a
    /// name, and the name.
    pub fn create_dir_all_by(
        &self,
        path: impl AsRef<Path>,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<()>,
    ) -> Result<OwnedFd> {
        let path = path.as_ref();
        // Nearly always it is there, and one look tells.
        match self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(e) if e.errno() == Errno::NOENT => (),
            result => return result,
        }
        let mut here = self.resolve(".")?;
        let mut done = std::path::PathBuf::from("/");
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            done.push(name);
            here = match self.open_at(&done, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
                Err(e) if e.errno() == Errno::NOENT => {
                    make(here.as_fd(), name)?;
                    self.open_at(&done, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok(here)
    }

    /// Makes an empty file, and its parents, inside the root unless something is there, and returns it for mounting on.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd> {
        let path = path.as_ref();
        match self.resolve(path) {
            Err(e) if e.errno() == Errno::NOENT => (),
            other => return other,
        }
        let (parent, name) = split(path)?;
        touch(self.create_dir_all(parent, Mode::from_raw_mode(0o755))?.as_fd(), name, mode)?;
        self.resolve(path)
    }

    /// Tells what is at a path inside the root, without following a link in its last component.
    pub fn kind(&self, path: impl AsRef<Path>) -> Result<FileType> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH);
        Ok(FileType::from_raw_mode(check("fstat", String::new, stat)?.st_mode))
    }
}

/// Makes a directory; one that is there already serves as well.
pub fn mkdir(parent: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<()> {
    match rustix::fs::mkdirat(parent, name, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::new("mkdirat", name.display().to_string(), errno)),
    }
}

/// Makes an empty file where there is none.
pub fn touch(parent: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, mode);
    check("openat", || format!("{} (create)", name.display()), made).map(drop)
}

/// Splits a path into that of the directory and the name in it.
pub fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| Error::new("openat", path.display().to_string(), Errno::ISDIR))?;
    Ok((path.parent().unwrap_or(Path::new("/")), name))
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_end_inside() {
        let dir = std::env::temp_dir().join(format!("bryo-root-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(dir.join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../../../etc/passwd", dir.join("relative")).unwrap();
        let root = Root::open(&dir).unwrap();
        for name in ["absolute", "relative", "/etc/passwd", "../../etc/passwd"] {
            assert_eq!(root.read(name, 100).unwrap(), b"inside", "{name}");
        }
        assert_eq!(root.read("etc/passwd", 3).unwrap_err().errno(), Errno::FBIG);
        assert_eq!(root.read("etc", 3).unwrap_err().errno(), Errno::INVAL);
        root.create_file("new/deep/file", Mode::from_raw_mode(0o644)).unwrap();
        assert!(dir.join("new/deep/file").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
