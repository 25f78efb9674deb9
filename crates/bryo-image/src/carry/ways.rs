// SPDX-License-Identifier: Apache-2.0
//! How paths below a root are followed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bryo_sys::root::Root;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A root, and what links in it may do.
#[derive(Debug)]
pub enum Ways {
    /// Links are followed, and end inside: in a container they mean what they mean to it.
    Inside(Root),
    /// Links are not followed at all: on the host nobody but the caller says where things go.
    Plain(OwnedFd),
}

impl Ways {
    /// Opens a directory below the root.
    ///
    /// # Errors
    ///
    /// `ELOOP` or `ENOTDIR` for a link that is not followed.
    pub fn directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        match self {
            Self::Inside(root) => {
                let path = if path.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(path)) };
                root.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(|error| error.errno())
            }
            Self::Plain(root) => {
                let mut here = open(root.as_fd(), b".")?;
                for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
                    if name == b".." {
                        return Err(Errno::XDEV);
                    }
                    here = open(here.as_fd(), name)?;
                }
                Ok(here)
            }
        }
    }
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}
