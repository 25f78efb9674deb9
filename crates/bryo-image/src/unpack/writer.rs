// SPDX-License-Identifier: Apache-2.0
//! Archives written member by member, from files that may change meanwhile.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Stat;
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::entry::shown;
use crate::error::{Error, Result};
use crate::record;

/// What the names of attributes begin with in an archive.
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// A user and a group.
type Owner = (u32, u32);

/// Extended attributes by their names in the archive.
pub(crate) type Attributes = Vec<(String, Vec<u8>)>;

/// Writes an archive.
pub(crate) struct ArchiveWriter<W: Write> {
    builder: Builder<W>,
    /// One id owns everything: it stands for whom the record of a file says.
    squash: bool,
    /// Whom what has no record belongs to then.
    unrecorded: Owner,
    /// Where a file of several names was written first, and whose it is.
    links: HashMap<(u64, u64), (Vec<u8>, Owner)>,
    /// Bytes of files so far.
    content: u64,
    /// No time is written that is later than this one.
    newest: Option<u64>,
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(output: W, squash: bool) -> Self {
        Self {
            builder: Builder::new(output),
            squash,
            unrecorded: (0, 0),
            links: HashMap::new(),
            content: 0,
            newest: None,
        }
    }

    /// Says whom what comes next belongs to, where one id owns everything and nothing is written down for it.
    pub fn unrecorded(&mut self, owner: Owner) {
        self.unrecorded = owner;
    }

    /// Writes later times as this one, in seconds since the epoch.
    pub fn no_later_than(self, newest: Option<u64>) -> Self {
        Self { newest, ..self }
    }

    /// Returns how many bytes of files were written.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Writes the end mark and returns the output.
    pub fn finish(self) -> Result<W> {
        let fail = |error| Error::io("write archive", error);
        let mut output = self.builder.into_inner().map_err(fail)?;
        output.flush().map_err(fail)?;
        Ok(output)
    }

    pub fn directory(&mut self, path: &[u8], found: &Stat, attributes: &Attributes) -> Result<()> {
        let mut header = self.header(found, EntryType::Directory, self.owner(found, attributes));
        self.append(&[path, b"/"].concat(), &mut header, attributes, io::empty())
    }

    pub fn fifo(&mut self, path: &[u8], found: &Stat) -> Result<()> {
        let mut header = self.header(found, EntryType::Fifo, self.owner(found, &Vec::new()));
        self.append(path, &mut header, &Vec::new(), io::empty())
    }

    pub fn symlink(&mut self, path: &[u8], found: &Stat, target: &[u8]) -> Result<()> {
        let header = self.header(found, EntryType::Symlink, self.owner(found, &Vec::new()));
        self.link(path, header, target)
    }

    /// Writes a second name of a file that was written already, or takes note of a first one. Tells whether that is all
    /// there is to do.
    pub fn hard_link(&mut self, path: &[u8], found: &Stat) -> Result<bool> {
        if found.st_nlink < 2 {
            return Ok(false);
        }
        let inode = (found.st_dev, found.st_ino);
        if let Some((first, owner)) = self.links.get(&inode).cloned() {
            // Whoever unpacks the second name sets the owner once more.
            let header = self.header(found, EntryType::Link, owner);
            self.link(path, header, &first)?;
            return Ok(true);
        }
        self.links.insert(inode, (path.to_vec(), (0, 0)));
        Ok(false)
    }

    /// Writes a file of the size that it has now: of what grows the beginning, behind what shrinks zeros.
    pub fn file(&mut self, path: &[u8], found: &Stat, file: File, attributes: &Attributes) -> Result<()> {
        let size = found.st_size.cast_unsigned();
        let owner = self.owner(found, attributes);
        if let Some((_, first)) = self.links.get_mut(&(found.st_dev, found.st_ino)) {
            *first = owner;
        }
        let mut header = self.header(found, EntryType::Regular, owner);
        header.set_size(size);
        self.content += size;
        self.append(path, &mut header, attributes, file.take(size).chain(io::repeat(0)).take(size))
    }

    /// Writes an empty file of root.
    pub fn empty_file(&mut self, path: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(0);
        header.set_mode(0o644);
        self.append(path, &mut header, &Vec::new(), io::empty())
    }

    fn link(&mut self, path: &[u8], mut header: Header, target: &[u8]) -> Result<()> {
        // As it is: what `append_link` makes of a path would be another text, and a longer one goes before the header.
        if header.set_link_name_literal(target).is_err() {
            self.long_link(target).map_err(|error| failed(path, error))?;
        }
        self.append(path, &mut header, &Vec::new(), io::empty())
    }

    /// Writes a target that is too long for a header, as GNU's tar does.
    fn long_link(&mut self, target: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongLink);
        header.set_path("././@LongLink")?;
        header.set_mode(0o644);
        header.set_size(target.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, target.chain(&[0][..]))
    }

    /// Returns whom a file belongs to.
    fn owner(&self, found: &Stat, attributes: &Attributes) -> Owner {
        if !self.squash {
            return (found.st_uid, found.st_gid);
        }
        let recorded = attributes.iter().find(|(name, _)| is_record(name));
        recorded.and_then(|(_, value)| record::parse(value)).unwrap_or(self.unrecorded)
    }

    fn header(&self, found: &Stat, entry_type: EntryType, (uid, gid): Owner) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type);
        header.set_size(0);
        header.set_mode(found.st_mode & 0o7777);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        let mtime = u64::try_from(found.st_mtime).unwrap_or_default();
        header.set_mtime(self.newest.map_or(mtime, |newest| mtime.min(newest)));
        header
    }

    fn append(&mut self, path: &[u8], header: &mut Header, attributes: &Attributes, data: impl Read) -> Result<()> {
        let mut attributes = attributes.iter().filter(|(name, _)| !is_record(name)).peekable();
        if attributes.peek().is_some() {
            let records = attributes.map(|(name, value)| (name.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(records).map_err(|error| failed(path, error))?;
        }
        self.builder.append_data(header, os_path(path), data).map_err(|error| failed(path, error))
    }
}

/// Tells whether an attribute, by its name in an archive, says whose a file is, which the archive says by itself.
pub(crate) fn is_record(name: &str) -> bool {
    name.strip_prefix(ATTRIBUTE) == Some(record::OWNER)
}

/// Reads the attributes of a file that have a meaning in an image, by their names in an archive.
pub(crate) fn attributes(fd: BorrowedFd<'_>) -> rustix::io::Result<Attributes> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::flistxattr(fd, &mut names[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        let Ok(text) = std::str::from_utf8(name) else { continue };
        if !user && name != b"security.capability" {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let len = match rustix::fs::fgetxattr(fd, name, &mut value[..]) {
            // It went a moment ago.
            Err(Errno::NODATA) => continue,
            other => other?,
        };
        value.truncate(len);
        attributes.push((format!("{ATTRIBUTE}{text}"), value));
    }
    attributes.sort();
    Ok(attributes)
}

fn failed(path: &[u8], error: io::Error) -> Error {
    Error::io(format!("write {} to archive", shown(path)), error)
}

fn os_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_text_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let found = rustix::fs::stat(dir.path()).unwrap();
        let long = format!("{}//end/", "x/./".repeat(60));
        let texts = ["a//b/", "./a/./b", "../..//", long.as_str()];
        let mut writer = ArchiveWriter::new(Vec::new(), true);
        for (n, text) in texts.iter().enumerate() {
            writer.symlink(format!("{}/{n}", "d".repeat(120)).as_bytes(), &found, text.as_bytes()).unwrap();
        }
        let archive = writer.finish().unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let read: Vec<Vec<u8>> =
            archive.entries().unwrap().map(|entry| entry.unwrap().link_name_bytes().unwrap().into_owned()).collect();
        assert_eq!(read, texts.map(|text| text.as_bytes().to_vec()));
    }
}
