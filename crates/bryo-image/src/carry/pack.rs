// SPDX-License-Identifier: Apache-2.0
//! A thing of a tree becomes a stream: a file, a link, or a directory with all that is in it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Carried;
use crate::error::{Error, Kind, Result};
use crate::unpack::{ArchiveWriter, DEPTH_MAX, attributes, is_record, names, shown};

/// File systems that the kernel makes up: what is in them is no file. Source: `linux/magic.h`.
const MADE_UP: [u64; 9] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x6367_7270, // cgroup2
    0x0027_e0eb, // cgroup
    0x0000_1cd1, // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
];

/// Something that was opened to be looked at: never waited for, never followed.
#[derive(Debug)]
pub struct Thing {
    fd: OwnedFd,
    found: Stat,
}

impl Thing {
    /// Opens a thing by a function that opens it with flags, twice: to see what it is, and to read it.
    ///
    /// # Errors
    ///
    /// What the function answers; `ESTALE` when it became something else in between.
    pub fn open(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<Self> {
        let fd = open(OFlags::PATH | OFlags::CLOEXEC)?;
        let found = rustix::fs::fstat(&fd)?;
        let flags = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => OFlags::DIRECTORY,
            // What has its name by now may be a pipe, and must not be waited for.
            FileType::RegularFile => OFlags::NONBLOCK | OFlags::NOCTTY,
            _ => return Ok(Self { fd, found }),
        };
        let fd = open(OFlags::RDONLY | flags | OFlags::CLOEXEC)?;
        let now = rustix::fs::fstat(&fd)?;
        let same = FileType::from_raw_mode(now.st_mode) == FileType::from_raw_mode(found.st_mode);
        if same { Ok(Self { fd, found: now }) } else { Err(Errno::STALE) }
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.found.st_mode)
    }
}

/// Tells whether something is in a file system that the kernel makes up.
pub fn is_made_up(fd: impl AsFd) -> bool {
    let magic = rustix::fs::fstatfs(fd).ok().and_then(|found| u64::try_from(found.f_type).ok());
    magic.is_some_and(|magic| MADE_UP.contains(&magic))
}

/// Reads the attributes of a file that have a meaning in an image, by their names in an archive, but not the record of
/// its owner.
///
/// # Errors
///
/// What the file system answers.
pub fn attributes_of(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<(String, Vec<u8>)>> {
    let mut attributes = attributes(file)?;
    attributes.retain(|(name, _)| !is_record(name));
    Ok(attributes)
}

/// Writes a thing, and what is in it, as an archive in which it has this name. With `squash` one id owns everything,
/// which stands for root.
///
/// # Errors
/// [`Kind::Limit`] for a tree that is too deep, [`Kind::Io`].
pub fn pack(thing: Thing, name: &[u8], squash: bool, output: impl Write) -> Result<Carried> {
    let archive = ArchiveWriter::new(BufWriter::with_capacity(256 << 10, output), squash);
    let mut packer = Packer { archive, path: name.to_vec(), packed: Carried::default(), depth: 0 };
    packer.thing(thing)?;
    packer.packed.bytes = packer.archive.content();
    packer.archive.finish()?;
    Ok(packer.packed)
}

struct Packer<W: Write> {
    archive: ArchiveWriter<W>,
    path: Vec<u8>,
    packed: Carried,
    depth: usize,
}

impl<W: Write> Packer<W> {
    fn thing(&mut self, thing: Thing) -> Result<()> {
        let kind = thing.kind();
        let made_up = kind == FileType::Directory && is_made_up(&thing.fd);
        let Thing { fd, found } = thing;
        let found = &found;
        match kind {
            FileType::Directory => {
                self.archive.directory(&self.path, found, &Vec::new())?;
                self.packed.entries += 1;
                // The directory itself is there, as a place to mount on.
                return if made_up { Ok(()) } else { self.content(&fd) };
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, "", Vec::new());
                let target = target.map_err(|error| self.failed("read", error))?;
                self.archive.symlink(&self.path, found, target.as_bytes())?;
            }
            FileType::Fifo => self.archive.fifo(&self.path, found)?,
            FileType::RegularFile => {
                if !self.archive.hard_link(&self.path, found)? {
                    self.archive.file(&self.path, found, File::from(fd), &Vec::new())?;
                }
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.packed.devices += 1;
                return Ok(());
            }
            // A socket is no content.
            _ => return Ok(()),
        }
        self.packed.entries += 1;
        Ok(())
    }

    fn content(&mut self, dir: &OwnedFd) -> Result<()> {
        if self.depth > DEPTH_MAX {
            return Err(Error::new(Kind::Limit, "copy: directories too deep"));
        }
        for name in names(dir).map_err(|error| self.failed("list", error))? {
            let opened =
                Thing::open(|flags| rustix::fs::openat(dir, name.as_slice(), flags | OFlags::NOFOLLOW, Mode::empty()));
            let len = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(&name);
            match opened {
                // It was there a moment ago.
                Err(Errno::NOENT | Errno::STALE | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => (),
                Err(error) => return Err(self.failed("open", error)),
                Ok(thing) => {
                    self.depth += 1;
                    self.thing(thing)?;
                    self.depth -= 1;
                }
            }
            self.path.truncate(len);
        }
        Ok(())
    }

    fn failed(&self, operation: &str, errno: Errno) -> Error {
        Error::io(format!("{operation} {}", shown(&self.path)), errno)
    }
}
