// SPDX-License-Identifier: Apache-2.0
//! Blobs: written under a partial name, hashed on the way, and renamed only when they are right.
//!
//! A partial file is named after the digest it is to become, so an interrupted download is resumed by
//! whoever wants the same blob next. An exclusive `flock` tells a writer at work from a dead one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use super::{Store, make_dir};
use crate::copy::copy;
use crate::digest::{Algorithm, Digest, Hasher, HashingWriter};
use crate::error::{Error, Kind, Result};

/// What [`Store::begin_blob`] found.
#[derive(Debug)]
pub enum BlobSlot {
    /// The blob is already complete.
    Present,
    /// The blob is to be written, or completed, by the caller.
    Write(BlobWriter),
}

/// A blob being written. Dropped without [`commit`](Self::commit), it leaves a partial file to resume,
/// unless a write failed.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    expected: Digest,
    size: Option<u64>,
    hasher: Hasher,
    len: u64,
    keep: bool,
}

impl Store {
    /// Returns the path of a blob, whether it exists or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.root.join("images/blobs");
        path.push(digest.algorithm().name());
        path.push(digest.hex());
        path
    }

    /// Returns the size of a complete blob in bytes, or `None` if it is not in the store.
    pub fn has_blob(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().map(|meta| meta.len())
    }

    /// Opens a complete blob for reading from its start.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if it is not in the store.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        File::open(self.blob_path(digest)).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::Io,
            };
            Error::new(kind, format!("open blob {digest}")).with_source(error)
        })
    }

    /// Reads a small blob and verifies its digest.
    ///
    /// # Errors
    /// [`Kind::Limit`] above `max` bytes, [`Kind::DigestMismatch`] if the content is not what it was.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).map_err(|error| Error::io(format!("read blob {digest}"), error))?;
        if bytes.len() as u64 > max {
            let what = format!("read blob {digest}: more than {max} bytes");
            return Err(Error::new(Kind::Limit, what));
        }
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            let what = format!("verify blob {digest}: content is {found}");
            return Err(Error::new(Kind::DigestMismatch, what));
        }
        Ok(bytes)
    }

    /// Stores a small blob and returns its SHA-256 digest.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        if let BlobSlot::Write(mut writer) = self.begin_blob(&digest, Some(bytes.len() as u64))? {
            writer.restart()?;
            writer.write_all(bytes).map_err(|error| Error::io(format!("write blob {digest}"), error))?;
            writer.commit()?;
        }
        Ok(digest)
    }

    /// Stores a blob from a reader, verifying digest and, if given, size in bytes.
    ///
    /// # Errors
    /// [`Kind::DigestMismatch`] if the bytes are others, [`Kind::NoSpace`] if the disk is full.
    pub fn put_blob_stream(&self, expected: &Digest, size: Option<u64>, reader: &mut dyn Read) -> Result<()> {
        let BlobSlot::Write(mut writer) = self.begin_blob(expected, size)? else {
            return Ok(());
        };
        writer.restart()?;
        copy(reader, &mut writer, &format!("blob {expected}"))?;
        writer.commit()
    }

    /// Stores a blob whose digest is not known yet; returns its SHA-256 digest and its size in bytes.
    ///
    /// # Errors
    /// [`Kind::NoSpace`] if the disk is full.
    pub fn put_blob_of_unknown_digest(&self, reader: &mut dyn Read) -> Result<(Digest, u64)> {
        let partial = tempfile::Builder::new()
            .prefix("unknown-")
            .tempfile_in(self.partial_dir())
            .map_err(|error| Error::io("create a partial blob", error))?;
        rustix::fs::flock(&partial, FlockOperation::LockExclusive)
            .map_err(|error| Error::io("lock a partial blob", error))?;
        let mut writer = HashingWriter::new(partial, Algorithm::Sha256);
        copy(reader, &mut writer, "a blob")?;
        let (partial, digest, size) = writer.finish();
        if self.has_blob(&digest) != Some(size) {
            let fail = |error| Error::io(format!("rename blob {digest}"), error);
            partial.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(fail)?;
            partial.persist(self.blob_path(&digest)).map_err(|error| fail(error.error))?;
        }
        Ok((digest, size))
    }

    /// Makes a file without a name on the store's file system, for what is too large for memory.
    pub(crate) fn spool(&self) -> Result<File> {
        tempfile::tempfile_in(self.partial_dir()).map_err(|error| Error::io("create a temporary file", error))
    }

    /// Starts or resumes writing a blob. Waits while another process writes the same one.
    ///
    /// With `size`, a complete blob of another size (a lost write) is written anew.
    pub fn begin_blob(&self, expected: &Digest, size: Option<u64>) -> Result<BlobSlot> {
        let target = self.blob_path(expected);
        let partial = self.partial_dir().join(format!("{}-{}", expected.algorithm().name(), expected.hex()));
        let fail = |error: io::Error| Error::io(format!("open partial blob {expected}"), error);
        loop {
            if let Some(found) = self.has_blob(expected)
                && size.is_none_or(|size| size == found)
            {
                return Ok(BlobSlot::Present);
            }
            let file =
                File::options().create(true).truncate(false).read(true).write(true).open(&partial).map_err(fail)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|error| fail(error.into()))?;
            // The former owner of the lock may have renamed or removed the file meanwhile.
            let ours = file.metadata().map_err(fail)?;
            match fs::metadata(&partial) {
                Ok(named) if named.ino() == ours.ino() && named.dev() == ours.dev() => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            }
            if let Some(dir) = target.parent() {
                make_dir(dir, 0o755)?;
            }
            let mut writer = BlobWriter {
                file,
                partial,
                target,
                expected: expected.clone(),
                size,
                hasher: Hasher::new(expected.algorithm()),
                len: 0,
                keep: true,
            };
            writer.hash_existing()?;
            return Ok(BlobSlot::Write(writer));
        }
    }
}

impl BlobWriter {
    /// Returns how many bytes are there, from this writer or an earlier one that was interrupted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets what was written, to start over.
    pub fn restart(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|error| Error::io(format!("truncate partial blob {}", self.expected), error))?;
        self.hasher = Hasher::new(self.expected.algorithm());
        self.len = 0;
        Ok(())
    }

    /// Opens what is written so far for reading, to feed an unpacker with the bytes of an earlier try.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.partial).map_err(|error| Error::io(format!("open partial blob {}", self.expected), error))
    }

    /// Verifies size and digest and makes the blob visible.
    ///
    /// # Errors
    /// [`Kind::DigestMismatch`], and the partial file is removed.
    pub fn commit(mut self) -> Result<()> {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(self.expected.algorithm()));
        let found = hasher.finish();
        let wrong_size = self.size.is_some_and(|size| size != self.len);
        if found != self.expected || wrong_size {
            self.keep = false;
            let what = format!("verify blob {}: content is {found}, {} bytes", self.expected, self.len);
            return Err(Error::new(Kind::DigestMismatch, what));
        }
        fs::rename(&self.partial, &self.target)
            .map_err(|error| Error::io(format!("rename blob {}", self.expected), error))
    }

    fn hash_existing(&mut self) -> Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = self
                .file
                .read(&mut buffer)
                .map_err(|error| Error::io(format!("read partial blob {}", self.expected), error))?;
            if n == 0 {
                break;
            }
            self.hasher.update(&buffer[..n]);
            self.len += n as u64;
        }
        if self.size.is_some_and(|size| self.len > size) {
            self.restart()?;
        }
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let end = self.len + buf.len() as u64;
        if self.size.is_some_and(|size| end > size) {
            self.keep = false;
            let what = format!("verify blob {}: more bytes than were declared", self.expected);
            return Err(io::Error::other(Error::new(Kind::DigestMismatch, what)));
        }
        let written = self.file.write(buf).inspect_err(|error| {
            // A partial file on a full disk only keeps it full.
            if error.kind() != io::ErrorKind::Interrupted {
                self.keep = false;
            }
        })?;
        self.hasher.update(&buf[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After `commit` renamed it, the name is gone or belongs to a later writer: only an own,
        // still locked file may be removed.
        if self.keep && self.len > 0 {
            return;
        }
        if let (Ok(ours), Ok(named)) = (self.file.metadata(), fs::metadata(&self.partial))
            && ours.ino() == named.ino()
        {
            fs::remove_file(&self.partial).unwrap_or_default();
        }
    }
}
