// SPDX-License-Identifier: Apache-2.0
//! What is left of volumes whose making was cut short.

use std::fs::File;
use std::path::Path;

use bryo_launch::plan::Volume;
use rustix::fs::FlockOperation;

use crate::Engine;
use crate::container::{Namespace, remove_trees};
use crate::error::Result;

impl Engine {
    /// Removes data of volumes that was not finished and that nobody is about to finish.
    ///
    /// # Errors
    ///
    /// The first failure, after everything was tried.
    pub(super) fn sweep_unfinished(&self) -> Result<()> {
        let Ok(volumes) = std::fs::read_dir(self.volumes_dir()) else { return Ok(()) };
        let swept = volumes.filter_map(|volume| Some(self.sweep_volume(&volume.ok()?.path())));
        // All of them, whatever comes of one.
        swept.collect::<Vec<_>>().into_iter().collect()
    }

    fn sweep_volume(&self, volume: &Path) -> Result<()> {
        let left = unfinished(volume);
        let Ok(lock) = File::open(volume) else { return Ok(()) };
        if left.is_empty() || rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        // Whoever had the lock a moment ago may have finished: what is there now was left behind. What the caller cannot
        // remove belongs to ids of containers.
        let theirs = |name: &String| bryo_sys::tree::remove(&lock, name.as_bytes()).is_err();
        let names: Vec<String> = unfinished(volume).into_iter().filter(theirs).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        remove_trees(volume, &names, Namespace::New(&self.store_map()?, self.host.helpers.as_ref()))
    }
}

fn unfinished(volume: &Path) -> Vec<String> {
    let names = std::fs::read_dir(volume).into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(Volume::UNFINISHED)).collect()
}
