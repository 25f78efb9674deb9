// SPDX-License-Identifier: Apache-2.0
//! Directories that a layer does not describe.
//!
//! An archive may have `tmp/x` and no member `tmp/`. Applied on top of lower layers it leaves their `tmp` as it is, and
//! so do tools that unpack an image into one tree. Here a layer has a tree of its own, in which `tmp` must be made, and
//! an overlay takes the owner and mode of the uppermost one. So its path is kept beside the tree, for whoever puts
//! layers together.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};

/// The list's name beside the tree: paths relative to it, each ended by a zero byte.
const NAME: &str = "implied";

/// Writes the list beside a layer's tree, where there is something to list.
pub(super) fn write(layer: BorrowedFd<'_>, paths: &BTreeSet<Vec<u8>>) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(layer, NAME, flags, Mode::from_raw_mode(0o644));
    let mut file = File::from(file.map_err(|error| Error::io("create the list of implied directories", error))?);
    let mut text = Vec::new();
    for path in paths {
        text.extend_from_slice(path);
        text.push(0);
    }
    file.write_all(&text).map_err(|error| Error::io("write the list of implied directories", error))
}

/// Returns the directories of an unpacked layer that its archive does not describe, outer before inner, relative to the
/// tree. A path may lead through a link.
///
/// # Errors
/// [`Kind::Io`](crate::error::Kind::Io) if the list is there and cannot be read.
pub fn implied(tree: &Path) -> Result<Vec<PathBuf>> {
    let list = File::open(tree.with_file_name(NAME));
    Ok(paths(list)?.into_iter().map(|path| OsString::from_vec(path).into()).collect())
}

/// As [`implied`], of a layer's directory.
pub(super) fn read(layer: BorrowedFd<'_>) -> Result<BTreeSet<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let list = rustix::fs::openat(layer, NAME, flags, Mode::empty());
    paths(list.map(File::from).map_err(Into::into))
}

fn paths(list: std::io::Result<File>) -> Result<BTreeSet<Vec<u8>>> {
    let mut text = Vec::new();
    match list.and_then(|mut file| file.read_to_end(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(Error::io("read the list of implied directories", error)),
        Ok(_) => (),
    }
    let paths = text.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(<[u8]>::to_vec).collect())
}
