// SPDX-License-Identifier: Apache-2.0
//! What is in a layer, read member by member and written nowhere.
//!
//! Guarantees: the members are those of an archive with the layer's diff id, or it is an error; one whose diff id is the
//! digest under which the store keeps it was verified when it came there, and is not once more. Trusts nothing of the
//! archive. Names are data: nothing is opened by them.

use std::io::{self, BufReader, Read};

use crate::digest::Hasher;
use crate::error::{Error, Kind, Result};
use crate::store::{Layer, Store};
use crate::unpack::{Limits, MemberKind, TarReader, sniff};

const BUFFER: usize = 256 << 10;

/// One member of a layer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, without slashes around it. `.` and empty parts are gone; a name with `..` is refused.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// The owner's id inside.
    pub uid: u64,
    /// The group's id inside.
    pub gid: u64,
    /// Bytes of data.
    pub size: u64,
    /// The target of a link, as it is.
    pub link: Vec<u8>,
    /// The names of its extended attributes.
    pub attributes: Vec<Vec<u8>>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A device or a pipe.
    Special,
}

/// Reads the members of a layer, bottom up as they are in its archive. `wanted` tells how many bytes of a file are
/// read at most; the content of a longer one is left out.
///
/// # Errors
/// [`Kind::Corrupt`], [`Kind::DigestMismatch`] or [`Kind::Limit`]; what the store fails with.
pub fn read(
    store: &Store,
    layer: &Layer,
    limits: &Limits,
    wanted: &dyn Fn(&Entry) -> u64,
    visit: &mut dyn FnMut(Entry, Option<Vec<u8>>),
) -> Result<()> {
    let blob = store.open_blob(&layer.digest)?;
    // Blobs are not flushed: after a power failure one may be short.
    let is_whole = blob.metadata().is_ok_and(|meta| meta.len() == layer.size);
    let is_verified = is_whole && layer.digest == layer.diff_id;
    let sniffed = sniff(blob)?;
    let ceiling = limits.uncompressed.min(layer.size.saturating_mul(limits.ratio).max(limits.ratio_floor));
    let plain = sniffed.decompress(limits.zstd_window_log)?;
    let hasher = (!is_verified).then(|| Hasher::new(layer.diff_id.algorithm()));
    let hashing = Hashing { inner: plain, hasher, left: ceiling };
    let mut reader = BufReader::with_capacity(BUFFER, hashing);
    let mut archive = TarReader::new(&mut reader, *limits, false);
    while let Some(member) = archive.next()? {
        let entry = Entry {
            path: normal(&member.name)?,
            kind: match member.kind {
                MemberKind::Regular => EntryKind::File,
                MemberKind::HardLink => EntryKind::HardLink,
                MemberKind::Symlink => EntryKind::Symlink,
                MemberKind::Directory => EntryKind::Directory,
                MemberKind::Device | MemberKind::Fifo => EntryKind::Special,
            },
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            size: member.size,
            link: member.link.clone(),
            attributes: member.xattrs.iter().map(|(name, _)| name.clone()).collect(),
        };
        let most = if entry.kind == EntryKind::File { wanted(&entry) } else { 0 };
        let whole = member.sparse.is_none() && most > 0 && member.size <= most;
        let content = whole.then(|| archive.read_data(most)).transpose()?;
        visit(entry, content);
    }
    let hasher = drained(reader)?.hasher;
    if let Some(found) = hasher.map(Hasher::finish)
        && found != layer.diff_id
    {
        let what = format!("verify layer: its diff id is {found}, not {}", layer.diff_id);
        return Err(Error::new(Kind::DigestMismatch, what));
    }
    Ok(())
}

/// Reads what is behind the end of the archive, so that all is hashed.
fn drained<R: Read>(mut reader: BufReader<Hashing<R>>) -> Result<Hashing<R>> {
    io::copy(&mut reader, &mut io::sink()).map_err(|error| Error::from_read("read layer", error))?;
    Ok(reader.into_inner())
}

fn normal(name: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<&[u8]> = name.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        let what = format!("read layer: {} leads out of it by \"..\"", crate::unpack::shown(name));
        return Err(Error::new(Kind::EscapesRoot, what));
    }
    Ok(parts.join(&b'/'))
}

struct Hashing<R> {
    inner: R,
    /// `None` where nothing is to be verified.
    hasher: Option<Hasher>,
    left: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        let Some(left) = self.left.checked_sub(n as u64) else {
            return Err(io::Error::other(Error::new(Kind::Limit, "decompress layer: too large")));
        };
        self.left = left;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_layer_is_read_by_its_own_name_and_verified_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path("file").unwrap();
        header.set_size(0);
        header.set_cksum();
        let archive = [&header.as_bytes()[..], &[0; 1024]].concat();
        let digest = store.put_blob(&archive).unwrap();
        let layer = |diff_id: Digest, size: usize| Layer {
            digest: digest.clone(),
            size: size as u64,
            media_type: String::new(),
            diff_id,
        };
        let names = |layer: &Layer| {
            let mut names = Vec::new();
            read(&store, layer, &Limits::default(), &|_| 0, &mut |entry, _| names.push(entry.path)).map(|()| names)
        };
        assert_eq!(names(&layer(digest.clone(), archive.len())).unwrap(), [b"file"]);
        // Another layer's name, also of one that this store has unpacked, is no word for what is read here.
        let other = layer(Digest::sha256_of(b"another"), archive.len());
        std::fs::create_dir_all(store.layer_dir("some-map", &other.diff_id)).unwrap();
        assert_eq!(names(&other).unwrap_err().kind(), Kind::DigestMismatch);
        // What a power failure has cut is looked at, whatever its name.
        std::fs::write(store.blob_path(&digest), &archive[..512]).unwrap();
        assert_eq!(names(&layer(digest.clone(), archive.len())).unwrap_err().kind(), Kind::DigestMismatch);
    }
}
