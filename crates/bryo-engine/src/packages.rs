// SPDX-License-Identifier: Apache-2.0
//! What is installed in images and containers.
//!
//! Databases and binaries that anybody has made are read by an agent, with the ids that the files belong to and nothing
//! of the host. A layer is looked at once: what was found is kept by its digest.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bryo_image::store::Image;
use bryo_packages::advisories::store::Header;
use bryo_packages::advisories::vex::{self, Statement};
use bryo_packages::advisories::{self, FILE_MAX};
use bryo_packages::cache::Cache;
use bryo_packages::inventory::{self, Inventory, Scan};
use bryo_packages::tree::{Bytes, Limits, Tree};
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::Engine;
use crate::agent::{self, Place};
use crate::changes::directory;
use crate::container::Record;
use crate::error::{Error, Kind, Result};

/// The directory of what was found in layers.
const CACHE: &str = "packages";

/// What a container has, and what of it its image has not.
#[derive(Debug)]
pub struct Contained {
    /// All that is installed.
    pub inventory: Inventory,
    /// The places in the inventory of what was installed at run time: in no layer of the image, or of what languages
    /// install a copy that is in none.
    pub added: BTreeSet<usize>,
}

/// A scan on its way: its names are numbers that are left out of its own text.
type Carried = (Scan, Vec<u64>);

impl Engine {
    /// Lists what is installed in an image. Layers that were looked at before cost nothing but reading what was found;
    /// with `files` the files of each package are listed as well, and everything is looked at anew.
    ///
    /// # Errors
    ///
    /// [`Kind::Identity`] when the layers' ids cannot be had; [`Kind::Image`]; [`Kind::Packages`] when a layer cannot be
    /// read at all.
    pub fn packages_of_image(&self, image: &Image, files: bool) -> Result<Inventory> {
        // Nobody may take a layer away meanwhile.
        let _pin = self.store.pin()?;
        let ids: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.as_str().to_owned()).collect();
        let uppermost = ids.iter().enumerate().filter(|(at, id)| !ids[at + 1..].contains(id)).map(|(_, id)| id.clone());
        let names: Vec<String> = uppermost.collect();
        let cache = Cache::new(self.dirs.data.join(CACHE));
        let known: Vec<Option<Scan>> =
            if files { Vec::new() } else { names.iter().map(|name| cache.get(name)).collect() };
        if !files && known.iter().all(Option::is_some) {
            return Ok(inventory::merge(&known.into_iter().flatten().collect::<Vec<_>>()));
        }
        let map = self.store_map()?;
        self.unpack_missing(image, &map)?;
        if files {
            return self.whole(&names);
        }
        self.layers(&names, known, &cache)
    }

    /// Lists what is installed in a container as it is now, with what is mounted in it, and what of it is not from its
    /// image.
    ///
    /// # Errors
    ///
    /// As [`Engine::packages_of_image`]; [`Kind::Unsupported`] for one on the host's own system that does not run.
    pub fn packages_of_container(&self, record: &Record, files: bool) -> Result<Contained> {
        let scan = self.with_files(record, false, |place, view| {
            let work = move |opened: crate::copy::view::Opened, []: [OwnedFd; 0]| {
                let root = opened.enter()?;
                let tree = Tree::new(vec![readable(root.as_fd())?], Limits::default());
                carried(inventory::scan(&tree, files)?)
            };
            agent::start(place, [], || view.open(), work)?.answer()
        })?;
        let whole = inventory::merge(&[restored(scan)]);
        let base = self.packages_of_layers(record)?;
        let added = inventory::added(&base, &whole);
        Ok(Contained { inventory: whole, added })
    }

    /// Returns what is kept of advisories.
    pub fn advisories(&self) -> advisories::store::Store {
        advisories::store::Store::new(self.dirs.data.join("advisories"))
    }

    /// Lists what is installed in a directory of the host, read as the caller.
    ///
    /// # Errors
    ///
    /// [`Kind::Packages`].
    pub fn packages_of_directory(&self, path: &std::path::Path, files: bool) -> Result<Inventory> {
        Ok(inventory::inventory(&Tree::open(path, Limits::default())?, files)?)
    }

    /// Lists what is installed in a directory of the host that containers have as their root: whoever may fill it, it is
    /// read by an agent, as the caller and all that containers of the caller's may be.
    ///
    /// # Errors
    ///
    /// [`Kind::Identity`] when the ids cannot be had; [`Kind::Packages`].
    pub(crate) fn packages_of_rootfs(&self, path: &std::path::Path) -> Result<Inventory> {
        let map = self.map_of_everybody()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = || rustix::fs::open(path, flags, Mode::empty());
        let open = || Ok(bryo_sys::check("open", || path.display().to_string(), opened())?);
        let look = |root: OwnedFd| {
            carried(inventory::scan(&Tree::new(vec![readable(root.as_fd())?], Limits::default()), false)?)
        };
        let found = agent::run(Place::Own(&map, self.host.helpers.as_ref()), open, look)?;
        Ok(inventory::merge(&[restored(found)]))
    }

    /// Forgets what was found in layers that are gone.
    pub(crate) fn sweep_packages(&self) {
        Cache::new(self.dirs.data.join(CACHE)).keep(|name| self.layer_path(name).is_some());
    }

    /// Lists what is installed in the layers that a container stands on.
    fn packages_of_layers(&self, record: &Record) -> Result<Inventory> {
        Ok(inventory::merge(&self.scans_of_layers(record)?))
    }

    /// Returns what was found in each of the layers that a container stands on, the lowest first.
    pub(crate) fn scans_of_layers(&self, record: &Record) -> Result<Vec<Scan>> {
        let cache = Cache::new(self.dirs.data.join(CACHE));
        let names: Vec<String> = record.layers.iter().rev().cloned().collect();
        let known = names.iter().map(|name| cache.get(name)).collect();
        self.scans(&names, known, &cache)
    }

    fn layers(&self, names: &[String], known: Vec<Option<Scan>>, cache: &Cache) -> Result<Inventory> {
        Ok(inventory::merge(&self.scans(names, known, cache)?))
    }

    /// Looks at layers, the lowest first, that nothing is known of yet.
    fn scans(&self, names: &[String], mut known: Vec<Option<Scan>>, cache: &Cache) -> Result<Vec<Scan>> {
        let missing: Vec<usize> = (0..names.len()).filter(|n| known[*n].is_none()).collect();
        if !missing.is_empty() {
            let map = self.store_map()?;
            let open = || missing.iter().map(|n| self.opened_layer(&names[*n])).collect::<Result<Vec<_>>>();
            let look = |layers: Vec<OwnedFd>| {
                let scan = |layer: OwnedFd| {
                    carried(inventory::scan(&Tree::new(vec![readable(layer.as_fd())?], Limits::default()), false)?)
                };
                layers.into_iter().map(scan).collect::<Result<Vec<Carried>>>()
            };
            let found = agent::run(Place::Own(&map, self.host.helpers.as_ref()), open, look)?;
            for (n, scan) in missing.into_iter().zip(found) {
                let scan = restored(scan);
                // What cannot be kept is found again the next time.
                let _ = cache.put(&names[n], &scan);
                known[n] = Some(scan);
            }
        }
        Ok(known.into_iter().flatten().collect())
    }

    /// Looks at layers, the lowest first, as the one tree that they make up.
    fn whole(&self, names: &[String]) -> Result<Inventory> {
        let map = self.store_map()?;
        let open = || names.iter().rev().map(|name| self.opened_layer(name)).collect::<Result<Vec<_>>>();
        let look = |layers: Vec<OwnedFd>| {
            let layers = layers.iter().map(|layer| readable(layer.as_fd())).collect::<Result<Vec<_>>>()?;
            carried(inventory::scan(&Tree::new(layers, Limits::default()), true)?)
        };
        let found = agent::run(Place::Own(&map, self.host.helpers.as_ref()), open, look)?;
        Ok(inventory::merge(&[restored(found)]))
    }

    fn opened_layer(&self, name: &str) -> Result<OwnedFd> {
        let gone = || Error::new(Kind::Corrupt, format!("layer {name} is gone"));
        directory(&self.layer_path(name).ok_or_else(gone)?)
    }
}

/// Returns how many days ago advisories were published or fetched, whichever is longer ago.
pub fn age(header: &Header) -> i64 {
    let seconds = |text: &str| text.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    let then = seconds(&header.date).min(seconds(&header.fetched));
    (Timestamp::now().as_second() - then) / (24 * 60 * 60)
}

/// Reads OpenVEX documents.
///
/// # Errors
///
/// [`Kind::Source`], naming the file that cannot be read or understood.
pub fn statements(paths: &[PathBuf]) -> Result<Vec<Statement>> {
    let mut all = Vec::new();
    for path in paths {
        let shown = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
        let data = Bytes::of(file, shown.as_str()).whole(usize::try_from(FILE_MAX).unwrap_or(usize::MAX))?;
        let read = vex::parse(&data);
        all.extend(read.map_err(|e| Error::new(Kind::Source, format!("read {shown}: {}", e.chain())))?);
    }
    Ok(all)
}

/// Opens a place as a directory that can be listed.
pub(crate) fn readable(place: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(bryo_sys::check("openat", || ".".into(), rustix::fs::openat(place, c".", flags, Mode::empty()))?)
}

fn carried(mut scan: Scan) -> Result<Carried> {
    let names = std::mem::take(&mut scan.names);
    Ok((scan, names))
}

fn restored((scan, names): Carried) -> Scan {
    Scan { names, ..scan }
}
