// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers read back: merged as overlayfs would show them, into one archive in a fixed order.
//!
//! Done by hand rather than through a mount: the order is ours, hard links are found, and nothing is mounted.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::tree::stat;
use crate::error::{Error, Kind, Result};

/// How deep a tree is read: a descriptor and some stack for each level.
pub(super) const DEPTH_MAX: usize = 512;

/// Writes the merged layers, given bottom to top.
pub(super) fn export(layers: Vec<OwnedFd>, squash: bool, output: File) -> Result<()> {
    let mut export = Export {
        builder: Builder::new(BufWriter::with_capacity(256 << 10, output)),
        squash,
        links: HashMap::new(),
        path: Vec::new(),
    };
    export.directory(layers.into_iter().rev().collect())?;
    let fail = |error| Error::io("write archive", error);
    export.builder.into_inner().and_then(|mut output| output.flush()).map_err(fail)
}

struct Export {
    builder: Builder<BufWriter<File>>,
    squash: bool,
    /// Where a file of several names was written first.
    links: HashMap<(u64, u64), Vec<u8>>,
    path: Vec<u8>,
}

impl Export {
    /// Writes the content of a directory that the given ones, top to bottom, make up.
    fn directory(&mut self, dirs: Vec<OwnedFd>) -> Result<()> {
        let mut names: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (at, dir) in dirs.iter().enumerate() {
            for entry in Dir::read_from(dir).map_err(|error| self.failed("list", error))? {
                let entry = entry.map_err(|error| self.failed("list", error))?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    names.entry(name.to_vec()).or_default().push(at);
                }
            }
        }
        for (name, at) in names {
            let len = self.path.len();
            if len > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            self.entry(&name, &at, &dirs)?;
            self.path.truncate(len);
        }
        Ok(())
    }

    /// Writes one name, which the directories at these indexes have.
    fn entry(&mut self, name: &[u8], at: &[usize], dirs: &[OwnedFd]) -> Result<()> {
        let Some(top) = at.first().map(|top| dirs[*top].as_fd()) else {
            return Ok(());
        };
        let found = stat(top, name).map_err(|error| self.failed("stat", error))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                if self.path.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
                    return Err(Error::new(Kind::Limit, "export: directories too deep"));
                }
                let merged = self.merged(name, at, dirs)?;
                let xattrs = merged.first().map(|dir| self.xattrs(dir.as_fd())).transpose()?.unwrap_or_default();
                let mut header = self.header(&found, EntryType::Directory);
                self.append(&mut header, &xattrs, std::io::empty())?;
                self.directory(merged)
            }
            FileType::RegularFile => self.file(top, name, &found),
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(top, name, Vec::new()).map_err(|error| self.failed("read", error))?;
                self.append_link(&found, EntryType::Symlink, target.as_bytes())
            }
            FileType::Fifo => {
                let mut header = self.header(&found, EntryType::Fifo);
                self.append(&mut header, &[], std::io::empty())
            }
            // Whiteouts and sockets.
            _ => Ok(()),
        }
    }

    /// Opens the directories of one name that show through, top to bottom.
    fn merged(&self, name: &[u8], at: &[usize], dirs: &[OwnedFd]) -> Result<Vec<OwnedFd>> {
        let mut merged = Vec::new();
        for index in at {
            let dir = match open_directory(dirs[*index].as_fd(), name) {
                Ok(dir) => dir,
                // Something else below hides all that is further down.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(error) => return Err(self.failed("open", error)),
            };
            let mut value = [0; 1];
            let opaque = rustix::fs::fgetxattr(&dir, c"user.overlay.opaque", &mut value[..]).is_ok() && value == *b"y";
            merged.push(dir);
            if opaque {
                break;
            }
        }
        Ok(merged)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], found: &Stat) -> Result<()> {
        if found.st_nlink > 1 {
            let inode = (found.st_dev, found.st_ino);
            if let Some(first) = self.links.get(&inode).cloned() {
                return self.append_link(found, EntryType::Link, &first);
            }
            self.links.insert(inode, self.path.clone());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| self.failed("open", error))?;
        let xattrs = self.xattrs(file.as_fd())?;
        let mut header = self.header(found, EntryType::Regular);
        let size = found.st_size.cast_unsigned();
        header.set_size(size);
        self.append(&mut header, &xattrs, File::from(file).take(size))
    }

    fn header(&self, found: &Stat, entry_type: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type);
        header.set_size(0);
        header.set_mode(found.st_mode & 0o7777);
        // On the single rung, every file has the one id there is.
        header.set_uid(if self.squash { 0 } else { found.st_uid.into() });
        header.set_gid(if self.squash { 0 } else { found.st_gid.into() });
        header.set_mtime(u64::try_from(found.st_mtime).unwrap_or_default());
        header
    }

    fn append(&mut self, header: &mut Header, xattrs: &[(String, Vec<u8>)], data: impl Read) -> Result<()> {
        if !xattrs.is_empty() {
            let records = xattrs.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(records).map_err(|error| self.write_failed(error))?;
        }
        let path = os_path(&self.path);
        self.builder.append_data(header, path, data).map_err(|error| self.write_failed(error))
    }

    fn append_link(&mut self, found: &Stat, entry_type: EntryType, target: &[u8]) -> Result<()> {
        let mut header = self.header(found, entry_type);
        let (path, target) = (os_path(&self.path), os_path(target));
        self.builder.append_link(&mut header, path, target).map_err(|error| self.write_failed(error))
    }

    fn xattrs(&self, fd: BorrowedFd<'_>) -> Result<Vec<(String, Vec<u8>)>> {
        let mut names = vec![0; 64 << 10];
        let len = match rustix::fs::flistxattr(fd, &mut names[..]) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("list attributes of", error)),
        };
        let mut xattrs = Vec::new();
        for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            let Ok(text) = std::str::from_utf8(name) else { continue };
            if !user && name != b"security.capability" {
                continue;
            }
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::fgetxattr(fd, name, &mut value[..])
                .map_err(|error| self.failed("read an attribute of", error))?;
            value.truncate(len);
            xattrs.push((format!("SCHILY.xattr.{text}"), value));
        }
        xattrs.sort();
        Ok(xattrs)
    }

    fn failed(&self, operation: &str, errno: Errno) -> Error {
        Error::io(format!("{operation} {:?}", String::from_utf8_lossy(&self.path)), errno)
    }

    fn write_failed(&self, error: std::io::Error) -> Error {
        Error::io(format!("write {:?} to archive", String::from_utf8_lossy(&self.path)), error)
    }
}

pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn os_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
