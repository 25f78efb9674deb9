// SPDX-License-Identifier: Apache-2.0
//! A file of a tree, read in parts or whole, never beyond a limit.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Kind, Result};

/// An open regular file with its path in the tree.
#[derive(Debug)]
pub struct Bytes {
    file: File,
    path: String,
}

impl Bytes {
    pub(super) fn new(file: File, path: impl Into<String>) -> Self {
        Self { file, path: path.into() }
    }

    /// Takes a file that is open already; `path` is what errors call it.
    pub fn of(file: File, path: impl Into<String>) -> Self {
        Self::new(file, path)
    }

    /// Returns its path in the tree.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| self.failed(e))?.len())
    }

    /// Tells whether it is empty.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// [`Kind::Limit`] when it is longer than `limit` bytes; [`Kind::Io`].
    pub fn whole(&self, limit: usize) -> Result<Vec<u8>> {
        let expected = usize::try_from(self.len()?).unwrap_or(usize::MAX);
        let too_long = || Error::new(Kind::Limit, format!("read {}: it is longer than {limit} bytes", self.path));
        if expected > limit {
            return Err(too_long());
        }
        let mut data = Vec::with_capacity(expected + 1);
        let read = Read::take(&self.file, limit as u64 + 1).read_to_end(&mut data);
        read.map_err(|e| self.failed(e))?;
        if data.len() > limit { Err(too_long()) } else { Ok(data) }
    }

    /// Fills a buffer from a place in the file; less is read at its end only.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => (),
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(done)
    }

    /// Gives the file away.
    pub fn into_file(self) -> File {
        self.file
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(format!("read {}", self.path), error)
    }
}
