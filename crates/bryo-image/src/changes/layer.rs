// SPDX-License-Identifier: Apache-2.0
//! Changes as an image's layer. Source: OCI image specification, "layer.md".

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::merged::{again, failed, kind};
use super::{ChangeKind, Layers, changes, relative};
use crate::carry::{Carried, beneath};
use crate::error::Result;
use crate::unpack::{ArchiveWriter, attributes};

/// What the name of a whiteout begins with.
const WHITEOUT: &[u8] = b".wh.";

/// How a layer is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// One id owns everything, which stands for whom the record of a file says ([`crate::record`]).
    pub squash: bool,
    /// Whom new files belong to then that have no record: whoever has made them.
    pub maker: (u32, u32),
    /// Later times, in seconds since the epoch, are written as this one.
    pub newest: Option<u64>,
}

/// Writes what a container has changed as an archive that makes a layer of it. A name that would be taken for a whiteout
/// is left out.
///
/// # Errors
/// As [`changes`].
pub fn write_layer(layers: &Layers, manner: Manner, output: impl Write) -> Result<Carried> {
    let archive = ArchiveWriter::new(BufWriter::with_capacity(256 << 10, output), manner.squash);
    let mut writer = Writer {
        archive: archive.no_later_than(manner.newest),
        root: again(&layers.own)?,
        written: BTreeSet::new(),
        carried: Carried::default(),
    };
    for change in changes(layers)? {
        let path = relative(&change.path);
        writer.above(path)?;
        match change.kind {
            ChangeKind::Deleted => writer.whiteout(path)?,
            ChangeKind::Added => writer.entry(path, (manner.maker, manner.maker))?,
            // Who is not root replaces files, and does not take over directories.
            ChangeKind::Changed => writer.entry(path, ((0, 0), manner.maker))?,
        }
    }
    writer.carried.bytes = writer.archive.content();
    writer.archive.finish()?;
    Ok(writer.carried)
}

struct Writer<W: Write> {
    archive: ArchiveWriter<BufWriter<W>>,
    root: OwnedFd,
    /// Directories that are in the archive.
    written: BTreeSet<PathBuf>,
    carried: Carried,
}

impl<W: Write> Writer<W> {
    /// Writes the directories above a path. Whoever unpacks the layer would else make them up.
    fn above(&mut self, path: &Path) -> Result<()> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        above.reverse();
        above
            .into_iter()
            .try_for_each(|path| if self.written.contains(path) { Ok(()) } else { self.entry(path, ((0, 0), (0, 0))) })
    }

    fn whiteout(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let hidden = path.with_file_name(OsStr::from_bytes(&[WHITEOUT, name].concat()));
        self.archive.empty_file(hidden.as_os_str().as_bytes())?;
        self.carried.entries += 1;
        Ok(())
    }

    /// Writes an entry; one without a record belongs to the first of the owners if it is a directory, else to the other.
    fn entry(&mut self, path: &Path, (directory, other): ((u32, u32), (u32, u32))) -> Result<()> {
        let bytes = path.as_os_str().as_bytes();
        if path.file_name().is_some_and(|name| name.as_bytes().starts_with(WHITEOUT)) {
            return Ok(());
        }
        // The own layer alone: all above were directories a moment ago, and no link is followed that one has become.
        let Some(fd) = self.open(path, OFlags::PATH)? else { return Ok(()) };
        let found = rustix::fs::fstat(&fd).map_err(|error| failed("look at", bytes, error))?;
        let read = |fd: &OwnedFd| attributes(fd.as_fd()).map_err(|error| failed("read attributes of", bytes, error));
        self.archive.unrecorded(if kind(&found) == FileType::Directory { directory } else { other });
        match kind(&found) {
            FileType::Directory => {
                let Some(dir) = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(()) };
                self.archive.directory(bytes, &found, &read(&dir)?)?;
                self.written.insert(path.to_owned());
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                let Some(file) = self.open(path, flags)? else { return Ok(()) };
                let found = rustix::fs::fstat(&file).map_err(|error| failed("look at", bytes, error))?;
                if kind(&found) == FileType::RegularFile && !self.archive.hard_link(bytes, &found)? {
                    let attributes = read(&file)?;
                    self.archive.file(bytes, &found, File::from(file), &attributes)?;
                }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, "", Vec::new());
                let target = target.map_err(|error| failed("read", bytes, error))?;
                self.archive.symlink(bytes, &found, target.as_bytes())?;
            }
            FileType::Fifo => self.archive.fifo(bytes, &found)?,
            // A socket is no content, and devices cannot be made.
            _ => return Ok(()),
        }
        self.carried.entries += 1;
        Ok(())
    }

    /// Opens a path of the own layer; nothing for what has gone meanwhile.
    fn open(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        let above = path.parent().unwrap_or(Path::new("")).as_os_str().as_bytes();
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = beneath(self.root.as_fd(), above);
        match opened.and_then(|above| rustix::fs::openat(above, name, flags, Mode::empty())) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            other => other.map(Some).map_err(|error| failed("open", path.as_os_str().as_bytes(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container exchanges a directory for a link between the look at its layer and the writing of it.
    #[test]
    fn no_link_is_followed_on_the_way_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secret")).unwrap();
        std::fs::write(dir.path().join("secret/file"), "x").unwrap();
        std::os::unix::fs::symlink("secret", dir.path().join("d")).unwrap();
        let writer = Writer {
            archive: ArchiveWriter::new(BufWriter::new(std::io::sink()), true),
            root: File::open(dir.path()).unwrap().into(),
            written: BTreeSet::new(),
            carried: Carried::default(),
        };
        assert!(writer.open(Path::new("secret/file"), OFlags::RDONLY).unwrap().is_some());
        assert!(writer.open(Path::new("d/file"), OFlags::RDONLY).unwrap().is_none());
        assert!(writer.open(Path::new("d"), OFlags::RDONLY).unwrap().is_none());
    }
}
