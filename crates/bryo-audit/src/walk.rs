// SPDX-License-Identifier: Apache-2.0
//! Files below a directory, by descriptors: no symbolic link is followed, whatever changes meanwhile.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};

/// How deep directories are gone into.
const DEPTH_MAX: usize = 64;

/// How many files are looked at.
const FILES_MAX: usize = 1_000_000;

/// The largest file that is read, in bytes.
pub const FILE_MAX: u64 = 16 << 20;

/// A file that may be one to audit.
#[derive(Debug)]
pub struct Found {
    /// Its path, beginning with what was named.
    pub path: PathBuf,
    /// The directory that it is in, open.
    dir: std::sync::Arc<OwnedFd>,
    /// Its name there.
    name: std::ffi::OsString,
}

/// Lists the files below a directory whose names are wanted; `failed` hears of what cannot be read.
pub fn files(root: &Path, wanted: &dyn Fn(&str) -> bool, failed: &mut dyn FnMut(&Path, String)) -> Vec<Found> {
    let mut found = Vec::new();
    match rustix::fs::open(root, flags() | OFlags::DIRECTORY, Mode::empty()) {
        Ok(dir) => below(root, dir, 0, wanted, failed, &mut found),
        Err(error) => failed(root, format!("open it: {error}")),
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

fn below(
    path: &Path,
    dir: OwnedFd,
    depth: usize,
    wanted: &dyn Fn(&str) -> bool,
    failed: &mut dyn FnMut(&Path, String),
    found: &mut Vec<Found>,
) {
    if depth > DEPTH_MAX {
        return failed(path, "directories stand too deep in each other".to_owned());
    }
    let dir = std::sync::Arc::new(dir);
    let entries = match Dir::read_from(dir.as_fd()) {
        Ok(entries) => entries,
        Err(error) => return failed(path, format!("list it: {error}")),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return failed(path, format!("list it: {error}")),
        };
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if matches!(name.as_bytes(), b"." | b".." | b".git") {
            continue;
        }
        if found.len() >= FILES_MAX {
            return failed(path, format!("there are more than {FILES_MAX} files"));
        }
        match entry.file_type() {
            FileType::Directory => {
                let opened = rustix::fs::openat(
                    dir.as_fd(),
                    name,
                    flags() | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                    Mode::empty(),
                );
                match opened {
                    Ok(inner) => below(&path.join(name), inner, depth + 1, wanted, failed, found),
                    Err(error) => failed(&path.join(name), format!("open it: {error}")),
                }
            }
            FileType::RegularFile | FileType::Unknown if name.to_str().is_some_and(wanted) => {
                found.push(Found { path: path.join(name), dir: std::sync::Arc::clone(&dir), name: name.to_owned() });
            }
            _ => {}
        }
    }
}

impl Found {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What stands in the way.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let opened = rustix::fs::openat(self.dir.as_fd(), &self.name, flags() | OFlags::NOFOLLOW, Mode::empty());
        read(opened.map(File::from).map_err(|error| format!("open it: {error}"))?)
    }
}

/// Reads a file that the caller has named, which may be a link.
///
/// # Errors
///
/// What stands in the way.
pub fn named(path: &Path) -> Result<Vec<u8>, String> {
    let opened = rustix::fs::open(path, flags(), Mode::empty());
    read(opened.map(File::from).map_err(|error| format!("open it: {error}"))?)
}

fn read(file: File) -> Result<Vec<u8>, String> {
    let meta = file.metadata().map_err(|error| format!("look at it: {error}"))?;
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    bounded(file)
}

/// Reads a stream up to the limit.
///
/// # Errors
///
/// What stands in the way.
pub fn bounded(stream: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    stream.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("read it: {error}"))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {} MiB", FILE_MAX >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("Dockerfile"), "FROM x\n").unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM a\n").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("Dockerfile"), dir.path().join("b.dockerfile")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let mut failures = Vec::new();
        let found = files(dir.path(), &|_| true, &mut |path, why| failures.push((path.to_owned(), why)));
        let names: Vec<_> = found.iter().map(|found| found.path.file_name().unwrap()).collect();
        assert_eq!(names, ["Dockerfile"]);
        assert_eq!(found[0].read().unwrap(), b"FROM a\n");
        // What becomes a link after it was listed is not followed either.
        std::fs::remove_file(dir.path().join("Dockerfile")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("Dockerfile"), dir.path().join("Dockerfile")).unwrap();
        assert!(found[0].read().is_err());
        assert!(named(&dir.path().join("pipe")).unwrap_err().contains("no regular file"));
        assert!(failures.is_empty());
    }
}
