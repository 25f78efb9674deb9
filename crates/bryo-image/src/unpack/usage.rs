// SPDX-License-Identifier: Apache-2.0
//! What a tree takes.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::export::{DEPTH_MAX, open_directory};
use super::tree::stat;
use crate::error::{Error, Result};

/// What a tree takes, files of several names counted once.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TreeUsage {
    /// Bytes on disk, in real blocks.
    pub disk: u64,
    /// Bytes in files, as long as they are.
    pub content: u64,
}

impl std::ops::AddAssign for TreeUsage {
    fn add_assign(&mut self, other: Self) {
        self.disk += other.disk;
        self.content += other.content;
    }
}

/// Counts what a tree takes. The process must have rights over all of it.
///
/// # Errors
/// [`Kind::Io`](crate::error::Kind::Io) if something cannot be listed.
pub fn usage(root: BorrowedFd<'_>) -> Result<TreeUsage> {
    let mut count = Count { seen: HashSet::new(), usage: TreeUsage::default() };
    let result = open_directory(root, b".").and_then(|root| count.add(root, 0));
    result.map_err(|error| Error::io("count a tree's size", error))?;
    Ok(count.usage)
}

struct Count {
    seen: HashSet<(u64, u64)>,
    usage: TreeUsage,
}

impl Count {
    fn add(&mut self, dir: OwnedFd, depth: usize) -> rustix::io::Result<()> {
        let listing = match Dir::read_from(&dir) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        for entry in listing {
            let entry = match entry {
                Err(Errno::NOENT) => break,
                other => other?,
            };
            let name = entry.file_name().to_bytes();
            if name == b".." {
                continue;
            }
            let found = match stat(dir.as_fd(), name) {
                // A container that runs goes on meanwhile.
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_directory && name != b"." {
                // Deeper levels exist only to exhaust whoever counts them.
                if depth < DEPTH_MAX {
                    match open_directory(dir.as_fd(), name) {
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => (),
                        other => self.add(other?, depth + 1)?,
                    }
                }
            } else if found.st_nlink == 1 || is_directory || self.seen.insert((found.st_dev, found.st_ino)) {
                self.usage.disk += found.st_blocks.cast_unsigned() * 512;
                self.usage.content += if is_directory { 0 } else { found.st_size.cast_unsigned() };
            }
        }
        Ok(())
    }
}
