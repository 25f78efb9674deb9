// SPDX-License-Identifier: Apache-2.0
//! A small disk for a home's store: a file system in memory, which only root can mount.

use std::path::PathBuf;

use crate::home::Home;
use crate::program::tool;
use crate::skip::skip;
use crate::user::is_root;

/// A file system at the directory that holds a home's store. It goes with everything in it when dropped, which must be
/// before the home.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of some mebibytes. `None` (and a skip) for whoever may not.
    pub fn new(home: &Home, mebibytes: u32) -> Option<Self> {
        if !is_root() {
            skip("mounting a disk for the store needs root");
            return None;
        }
        let path = home.mkdir(".local/share");
        for dir in [home.path.join(".local"), path.clone()] {
            home.user.own(&dir);
        }
        let options = format!("size={mebibytes}m,mode=0700,uid={},gid={}", home.user.uid, home.user.gid);
        tool("mount", &["-t", "tmpfs", "-o", &options, "none", path.to_str().unwrap()]);
        Some(Self { path })
    }

    /// Makes it larger, with all that is in it.
    pub fn grow(&self, mebibytes: u32) {
        tool("mount", &["-o", &format!("remount,size={mebibytes}m"), self.path.to_str().unwrap()]);
    }

    /// Returns how many bytes are taken.
    pub fn used(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.path).unwrap();
        (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever of a failed test still uses it keeps it until it ends.
        tool("umount", &["--lazy", self.path.to_str().unwrap()]);
    }
}
