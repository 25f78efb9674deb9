// SPDX-License-Identifier: Apache-2.0
//! What was found in layers, kept by their digests: an image that shares layers with another costs only its own.
//!
//! A file that is not whole, or that another version has written, is as good as none.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::inventory::Scan;

/// The form of the files, and of what readers make of a layer: another number makes all of them anew.
const VERSION: &[u8; 8] = b"bryopk02";
/// The longest file, in bytes.
const FILE_MAX: u64 = 1 << 30;

/// The directory of what was found.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Keeps it in a directory, which is made when there is something to keep.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns what was found in a layer.
    pub fn get(&self, layer: &str) -> Option<Scan> {
        let mut data = Vec::new();
        File::open(self.path(layer)?).ok()?.take(FILE_MAX).read_to_end(&mut data).ok()?;
        let rest = data.strip_prefix(VERSION)?;
        let (length, rest) = rest.split_at_checked(8)?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let (text, names) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let mut scan: Scan = serde_json::from_slice(text).ok()?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        scan.names = names.chunks_exact(8).map(number).collect();
        Some(scan)
    }

    /// Keeps what was found in a layer.
    ///
    /// # Errors
    ///
    /// That the file cannot be written.
    pub fn put(&self, layer: &str, scan: &Scan) -> Result<()> {
        let Some(path) = self.path(layer) else { return Ok(()) };
        let text = serde_json::to_vec(scan).map_err(|e| Error::corrupt("write what was found").with_source(e))?;
        let mut data = VERSION.to_vec();
        data.extend((text.len() as u64).to_le_bytes());
        data.extend(text);
        data.extend(scan.names.iter().flat_map(|name| name.to_le_bytes()));
        write_atomically(&path, &data)
    }

    /// Removes what was found in layers that are gone.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(&is_there) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Names the file of a layer; what is no digest has none.
    fn path(&self, layer: &str) -> Option<PathBuf> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_');
        (!layer.is_empty() && layer.bytes().all(plain)).then(|| self.dir.join(layer))
    }
}

/// Writes a file that is there whole or not at all.
///
/// # Errors
///
/// [`crate::error::Kind::Io`] when it or its directory cannot be written.
pub fn write_atomically(path: &Path, data: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(format!("write {}", path.display()), e);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(data)?;
        file.sync_data()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    renamed.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        failed(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Problem;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("made"));
        assert!(cache.get("sha256:aa").is_none());
        let problem = Problem { path: "x".into(), why: "y".into() };
        let scan = Scan { problems: vec![problem], names: vec![1, 2], entries: 3, ..Scan::default() };
        cache.put("sha256:aa", &scan).unwrap();
        let back = cache.get("sha256:aa").unwrap();
        assert_eq!((back.entries, back.names, back.problems), (3, vec![1, 2], scan.problems.clone()));
        let path = dir.path().join("made/sha256:aa");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..20]).unwrap();
        assert!(cache.get("sha256:aa").is_none());
        assert!(cache.get("../../etc/passwd").is_none());
        cache.keep(|_| false);
        assert!(!path.exists());
    }
}
