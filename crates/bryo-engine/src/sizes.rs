// SPDX-License-Identifier: Apache-2.0
//! What containers take on disk.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bryo_image::unpack::{TreeUsage, usage};
use bryo_sys::{Errno, check};
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::agent::{self, Place};
use crate::container::Record;
use crate::error::Result;

/// What a container takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// What it has written itself.
    pub own: TreeUsage,
    /// The layers that it stands on, which it shares with others.
    pub shared: TreeUsage,
}

impl Engine {
    /// Counts what containers take, in their order; `shared` counts the layers below them as well.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Identity`] when their ids cannot be had; [`crate::error::Kind::Io`].
    pub fn sizes(&self, records: &[Record], shared: bool) -> Result<Vec<Sizes>> {
        let mut sizes = vec![Sizes::default(); records.len()];
        let mut left: Vec<usize> = (0..records.len()).collect();
        // Nearly always all have the same ids.
        while let Some(first) = left.first() {
            let map = self.map_of_files(Some(&records[*first]))?;
            let same = |n: &usize| self.map_of_files(Some(&records[*n])).is_ok_and(|other| other == map);
            let (now, later): (Vec<usize>, Vec<usize>) = left.iter().partition(|n| same(n));
            let place = Place::Own(&map, self.host.helpers.as_ref());
            let answer = agent::run(place, || self.open_trees(records, &now, shared), Opened::count)?;
            now.into_iter().zip(answer).for_each(|(n, found)| sizes[n] = found);
            left = later;
        }
        Ok(sizes)
    }

    /// Opens what the containers have written, and each layer once.
    fn open_trees(&self, records: &[Record], which: &[usize], shared: bool) -> Result<Opened> {
        let mut opened = Opened::default();
        for record in which.iter().map(|n| &records[*n]) {
            let own = directory(&self.containers.dir(&record.id).join("layer/upper"))?;
            let mut names = Vec::new();
            for name in record.layers.iter().filter(|_| shared) {
                if let Some(path) = self.layer_path(name) {
                    names.push(name.clone());
                    if !opened.layers.contains_key(name) {
                        opened.layers.extend(directory(&path)?.map(|fd| (name.clone(), fd)));
                    }
                }
            }
            opened.containers.push((own, names));
        }
        Ok(opened)
    }
}

/// What is counted.
#[derive(Default)]
struct Opened {
    containers: Vec<(Option<OwnedFd>, Vec<String>)>,
    layers: BTreeMap<String, OwnedFd>,
}

impl Opened {
    fn count(self) -> Result<Vec<Sizes>> {
        let mut layers = BTreeMap::new();
        for (name, fd) in &self.layers {
            layers.insert(name.as_str(), usage(fd.as_fd())?);
        }
        let one = |(own, names): &(Option<OwnedFd>, Vec<String>)| -> Result<Sizes> {
            let mut sizes = Sizes::default();
            if let Some(own) = own {
                sizes.own = usage(own.as_fd())?;
            }
            names.iter().filter_map(|name| layers.get(name.as_str())).for_each(|layer| sizes.shared += *layer);
            Ok(sizes)
        };
        self.containers.iter().map(one).collect()
    }
}

/// Opens a directory; one that is not there yet, or not any more, takes nothing.
pub(crate) fn directory(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(check("open", || path.display().to_string(), other)?)),
    }
}
