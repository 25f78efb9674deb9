// SPDX-License-Identifier: Apache-2.0
//! rpm's database, in its three forms. Each is a store of headers, one a package.

pub mod bdb;
pub mod header;
pub mod ndb;
pub mod sqlite;

use std::borrow::Cow;

use super::Said;

/// How many names and files of all packages are kept.
const WORDS_MAX: usize = 5_000_000;

/// What reading may cost. A hostile database has thousands of packages that are the same bytes, or millions of names of
/// one letter.
#[derive(Debug)]
struct Budget {
    bytes: usize,
    words: usize,
}

impl Budget {
    /// Allows to read as much as there is, some times over.
    fn of(data: &[u8]) -> Self {
        Self { bytes: data.len().saturating_mul(4).max(1 << 20), words: WORDS_MAX }
    }

    /// Takes so many bytes, unless that is too much.
    fn take(&mut self, bytes: usize) -> Option<()> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(())
    }
}

/// Reads headers; a damaged one is told, and the others are read.
fn headers<'a>(blobs: impl Iterator<Item = Cow<'a, [u8]>>, files: bool, mut budget: Budget) -> Said {
    let mut said = Said::default();
    for blob in blobs {
        if budget.take(blob.len().max(16)).is_none() {
            said.problem("its packages are longer than it is".to_owned());
            break;
        }
        one(&blob, files, &mut budget, &mut said);
    }
    said
}

/// Reads one header.
fn one(blob: &[u8], files: bool, budget: &mut Budget, said: &mut Said) {
    match header::package(blob, files) {
        Ok(None) => (),
        Ok(Some(mut package)) => {
            let words = package.provides.len() + package.depends.len() + package.files.len();
            match budget.words.checked_sub(words) {
                Some(left) => budget.words = left,
                None => {
                    said.problem(format!("there are too many names for those of {} to be kept", package.name));
                    (package.provides, package.depends, package.files) = Default::default();
                }
            }
            said.packages.push(package);
        }
        Err(e) => said.problem(e.chain()),
    }
}
