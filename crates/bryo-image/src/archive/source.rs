// SPDX-License-Identifier: Apache-2.0
//! Where an image's files come from: an archive, or a directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bryo_sys::root::Root;
use rustix::fs::{Mode, OFlags};

use crate::copy::copy;
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::unpack::{Compression, Limits, MemberKind, TarReader, sniff};

/// Files by name.
pub(super) trait Blobs {
    /// Opens a file and tells its size in bytes.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none.
    fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64)>;

    /// Reads a small file.
    ///
    /// # Errors
    /// [`Kind::Limit`] above `max` bytes.
    fn read(&self, name: &str, max: u64) -> Result<Vec<u8>> {
        let (reader, _) = self.open(name)?;
        let mut bytes = Vec::new();
        reader.take(max + 1).read_to_end(&mut bytes).map_err(|error| Error::io(format!("read {name:?}"), error))?;
        if bytes.len() as u64 > max {
            return Err(Error::new(Kind::Limit, format!("read {name:?}: more than {max} bytes")));
        }
        Ok(bytes)
    }
}

/// A directory of the caller's choice. Links in it lead nowhere outside of it.
#[derive(Debug)]
pub(super) struct Directory {
    root: Root,
}

impl Directory {
    /// Opens a directory.
    pub fn open(path: &Path) -> Result<Self> {
        // The caller's own path may be a link; what is inside may not lead out.
        let path = path.canonicalize().map_err(|error| {
            let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("open {}", path.display())).with_source(error)
        })?;
        let root = Root::open(&path)
            .map_err(|error| Error::new(Kind::Io, format!("open {}", path.display())).with_source(error))?;
        Ok(Self { root })
    }
}

impl Blobs for Directory {
    fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = self.root.open_at(name, flags, Mode::empty()).map_err(|error| {
            let kind = if error.errno() == rustix::io::Errno::NOENT { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("open {name:?}")).with_source(error)
        })?;
        let file = File::from(file);
        let meta = file.metadata().map_err(|error| Error::io(format!("stat {name:?}"), error))?;
        if !meta.is_file() {
            return Err(Error::new(Kind::Corrupt, format!("open {name:?}: not a regular file")));
        }
        Ok((Box::new(file), meta.len()))
    }
}

/// A tar file, listed once, its members read where they are.
#[derive(Debug)]
pub(super) struct ArchiveFile {
    file: Arc<File>,
    members: BTreeMap<String, Place>,
}

#[derive(Clone, Debug)]
enum Place {
    Data {
        offset: u64,
        size: u64,
    },
    /// The normalised name of another member.
    Link(String),
}

impl ArchiveFile {
    /// Lists an archive. One that is compressed, or comes through a pipe, is spooled in the store first.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if it is no archive, [`Kind::NoSpace`] if it cannot be spooled.
    pub fn open(store: &Store, mut input: File) -> Result<Self> {
        let seekable = input.rewind().is_ok() && input.metadata().is_ok_and(|meta| meta.is_file());
        let sniffed = sniff(&mut input)?;
        let file = if seekable && sniffed.compression == Compression::None {
            drop(sniffed);
            input
        } else {
            let mut reader = sniffed.decompress(Limits::default().zstd_window_log)?;
            let mut spool = store.spool()?;
            copy(&mut reader, &mut spool, "archive")?;
            drop(reader);
            spool
        };
        let file = Arc::new(file);
        let whole = Section { file: Arc::clone(&file), offset: 0, left: u64::MAX };
        let members = list(BufReader::with_capacity(1 << 20, whole))?;
        Ok(Self { file, members })
    }

    /// Returns whether there is a file of that name.
    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Finds a name's data. Archives of old Docker versions share layers by links.
    fn place(&self, name: &str) -> Result<(u64, u64)> {
        let mut current = normal(name, "").unwrap_or_default();
        for _ in 0..8 {
            match self.members.get(&current) {
                Some(Place::Data { offset, size }) => return Ok((*offset, *size)),
                Some(Place::Link(target)) => current.clone_from(target),
                None => break,
            }
        }
        Err(Error::new(Kind::NotFound, format!("find {name:?} in the archive")))
    }
}

impl Blobs for ArchiveFile {
    fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        let (offset, size) = self.place(name)?;
        Ok((Box::new(Section { file: Arc::clone(&self.file), offset, left: size }), size))
    }
}

/// A part of a file, read at its own offset.
struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let n = self.file.read_at(&mut buf[..len], self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

fn list(input: impl io::BufRead) -> Result<BTreeMap<String, Place>> {
    let mut reader = TarReader::new(input, Limits::default(), false);
    let mut members = BTreeMap::new();
    while let Some(member) = reader.next()? {
        // Names that are no text, or lead out, can never be asked for.
        let Some(name) = std::str::from_utf8(&member.name).ok().and_then(|name| normal(name, "")) else { continue };
        let link = std::str::from_utf8(&member.link).unwrap_or_default();
        let place = match member.kind {
            MemberKind::Regular if member.sparse.is_none() => {
                Some(Place::Data { offset: reader.position(), size: member.size })
            }
            MemberKind::Symlink => normal(link, name.rsplit_once('/').map_or("", |(dir, _)| dir)).map(Place::Link),
            MemberKind::HardLink => normal(link, "").map(Place::Link),
            _ => None,
        };
        if let Some(place) = place
            && members.insert(name.clone(), place).is_some()
        {
            // Another reader would take the other one.
            return Err(Error::new(Kind::Corrupt, format!("read archive: {name:?} is there twice")));
        }
    }
    Ok(members)
}

/// Resolves a name against a directory of the archive, by its text; `None` if it leads out.
fn normal(name: &str, dir: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_by_their_text() {
        for (name, dir, expected) in [
            ("../b/layer.tar", "a", Some("b/layer.tar")),
            ("./x//y", "", Some("x/y")),
            ("/x", "", Some("x")),
            ("../x", "", None),
            ("../../x", "a", None),
        ] {
            assert_eq!(normal(name, dir).as_deref(), expected, "{name} in {dir}");
        }
    }
}
