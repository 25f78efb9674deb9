// SPDX-License-Identifier: Apache-2.0
//! Files that `ADD` fetches.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;

use bryo_engine::error::Error as EngineError;
use bryo_image::Digest;
use bryo_image::digest::{Algorithm, HashingWriter};

use super::Fetch;
use crate::error::{Error, Result, wrong};

/// A file of an address, in a directory of its own once it was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    url: String,
    /// What it is called where the destination is a directory.
    pub name: String,
    /// What it must be. It is fetched only when that is not known already.
    pub checksum: Option<Digest>,
    directory: tempfile::TempDir,
    done: Cell<bool>,
}

impl Fetched {
    /// Prepares to fetch, below the store.
    pub fn new(url: &str, checksum: Option<&str>, store: &Path) -> Result<Self> {
        let checksum = checksum.map(|text| text.parse::<Digest>()).transpose();
        let checksum = checksum.map_err(|_| wrong("--checksum is sha256: and 64 digits from 0 to f"))?;
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        let name = match path.split_once('/').map(|(_, path)| path.rsplit('/').next().unwrap_or_default()) {
            Some(name) if !matches!(name, "" | "." | "..") => name.to_owned(),
            _ => "download".to_owned(),
        };
        let place = store.join("build");
        let fail = |e| Error::from(EngineError::io("cannot make a directory in", &place, e));
        std::fs::create_dir_all(&place).map_err(fail)?;
        // Called as other things that a build unpacks, so that what a killed one has left is found.
        let directory = tempfile::Builder::new().prefix("context-").tempdir_in(&place).map_err(fail)?;
        Ok(Self { url: url.to_owned(), name, checksum, directory, done: Cell::new(false) })
    }

    /// Returns the directory with the file.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Fetches the file, unless that was done, and verifies it.
    pub fn fetch(&self, fetch: Fetch<'_>) -> Result<()> {
        if self.done.get() {
            return Ok(());
        }
        fetch(&self.url, self.checksum.is_some(), &self.directory().join(&self.name))?;
        if let Some(wanted) = &self.checksum {
            let found = self.hash()?;
            if found != *wanted {
                return Err(wrong(format!("ADD {}: the content is {found}, and not {wanted}", self.url)));
            }
        }
        self.done.set(true);
        Ok(())
    }

    /// Returns the digest that it has, or is going to have.
    pub fn digest(&self) -> Result<Digest> {
        self.checksum.clone().map_or_else(|| self.hash(), Ok)
    }

    fn hash(&self) -> Result<Digest> {
        let path = self.directory().join(&self.name);
        let algorithm = self.checksum.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut writer = HashingWriter::new(std::io::sink(), algorithm);
        let hashed = File::open(&path).and_then(|mut file| std::io::copy(&mut file, &mut writer));
        hashed.map_err(|e| EngineError::io("cannot read", &path, e))?;
        Ok(writer.finish().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_as_its_address_ends() {
        let store = tempfile::tempdir().unwrap();
        for (url, name) in [
            ("https://x/a/b.txt", "b.txt"),
            ("https://x/b.txt?c=/d#e/f", "b.txt"),
            ("https://x/", "download"),
            ("https://x", "download"),
            ("https://x/..", "download"),
        ] {
            assert_eq!(Fetched::new(url, None, store.path()).unwrap().name, name, "{url}");
        }
        assert!(Fetched::new("https://x/y", Some("md5:0"), store.path()).is_err());
    }

    #[test]
    fn what_comes_is_what_was_promised() {
        let store = tempfile::tempdir().unwrap();
        let write = |_: &str, verified: bool, path: &Path| {
            assert!(verified);
            std::fs::write(path, "content").map_err(|e| EngineError::io("write", path, e))
        };
        let promised = Digest::sha256_of(b"content").to_string();
        let fetched = Fetched::new("http://x/y", Some(&promised), store.path()).unwrap();
        assert_eq!(fetched.digest().unwrap().to_string(), promised);
        fetched.fetch(&write).unwrap();
        let other = Digest::sha256_of(b"other").to_string();
        let fetched = Fetched::new("http://x/y", Some(&other), store.path()).unwrap();
        assert!(fetched.fetch(&write).unwrap_err().to_string().contains(&promised));
    }
}
