// SPDX-License-Identifier: Apache-2.0
//! On the root rung: a range of ids for each running container.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::error::{Error, Kind, Result};

/// A slot that this process holds; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Slot {
    /// The number, from 1: slot 0 owns the store.
    pub number: u32,
    _lock: File,
}

/// Takes a free slot.
///
/// # Errors
///
/// [`Kind::Unsupported`] when all are taken.
pub fn take(runtime: &Path, slots: u32) -> Result<Slot> {
    let dir = runtime.join("slots");
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| Error::io("cannot make", &dir, e))?;
    for number in 1..slots {
        let path = dir.join(number.to_string());
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|e| Error::io("cannot open", &path, e))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Slot { number, _lock: file });
        }
    }
    Err(Error::new(Kind::Unsupported, "every range of ids is in use by a running container; see /etc/subuid"))
}
