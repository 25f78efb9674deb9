// SPDX-License-Identifier: Apache-2.0
//! What a container has changed, whether it runs or not: from its own layer, without a mount.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_image::changes::{Change, Inodes, Layers, Roots, changes, roots};
use bryo_sys::check;
use rustix::fs::{CWD, Mode, OFlags};

use crate::Engine;
use crate::agent::{self, Place};
use crate::container::{Record, RootDigest};
use crate::error::{Error, Kind, Result};

/// The files that are made for every container, and mounted.
const MADE: [&str; 4] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev"];

/// The exit code of a container that is not what it should be: that of a failure of the engine.
const NOT_PROVEN: i32 = 125;

/// Where the layers of a container are.
#[derive(Debug)]
pub(crate) struct Paths {
    pub own: PathBuf,
    pub lowers: Vec<PathBuf>,
    pub mounted: Vec<PathBuf>,
}

impl Engine {
    /// Lists what a container has changed, by path. Places that were made for mounts are no change of its own.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Unsupported`] for a container without a layer of its own, [`crate::error::Kind::Io`].
    pub fn changes(&self, record: &Record) -> Result<Vec<Change>> {
        let Some(paths) = self.layer_paths_of(record)? else { return Ok(Vec::new()) };
        let map = self.map_of_files(Some(record))?;
        let place = Place::Own(&map, self.host.helpers.as_ref());
        agent::run(place, || paths.open(), |layers| Ok(changes(&layers)?))
    }

    /// Proves of an immutable container that has ended that its root is still what it stands on, and returns the exit code:
    /// the payload's own, or [`NOT_PROVEN`].
    pub(crate) fn prove_immutable(&self, record: &mut Record, code: i32) -> i32 {
        if !record.options.immutable {
            return code;
        }
        let proven = self.digest_roots(record).and_then(|found| {
            let changed = found.digest != found.image;
            record.state.root = Some(found);
            if !changed {
                return Ok(());
            }
            let why = "the root file system has changed, though it is immutable: bryo diff";
            Err(Error::new(Kind::Corrupt, why))
        });
        match proven {
            Ok(()) => code,
            Err(e) => {
                record.state.error = e.to_string();
                NOT_PROVEN
            }
        }
    }

    fn digest_roots(&self, record: &Record) -> Result<RootDigest> {
        let Some(paths) = self.layer_paths_of(record)? else {
            return Err(Error::new(Kind::Unsupported, "the container has no root of its own"));
        };
        let map = self.map_of_files(Some(record))?;
        let place = Place::Own(&map, self.host.helpers.as_ref());
        agent::run(
            place,
            || paths.open(),
            |layers| {
                let Roots { now, before } = roots(&layers)?;
                Ok(RootDigest { digest: now.to_string(), image: before.to_string() })
            },
        )
    }

    /// Says where the layers of a container are; nothing when it has never had one of its own.
    pub(crate) fn layer_paths_of(&self, record: &Record) -> Result<Option<Paths>> {
        let lowers = self.lowers_of(record)?;
        let own = self.containers.dir(&record.id).join("layer/upper");
        let of_spec = record.spec.mounts().iter().flatten().map(|mount| mount.destination().clone());
        let asked = record.options.mounts.iter().map(|mount| mount.target.clone());
        // The working directory is made where it is missing.
        let work = record.spec.process().iter().map(|process| process.cwd().clone());
        let mounted = of_spec.chain(asked).chain(work).chain(MADE.map(PathBuf::from)).collect();
        Ok(own.is_dir().then_some(Paths { own, lowers, mounted }))
    }
}

impl Paths {
    /// Opens the layers with the caller's ids.
    pub fn open(&self) -> Result<Layers> {
        let lowers = self.lowers.iter().map(|path| directory(path)).collect::<Result<_>>()?;
        Ok(Layers { own: directory(&self.own)?, lowers, mounted: self.mounted.clone(), opaque: Inodes::new() })
    }
}

/// Opens a directory of the engine's own, as a place.
pub(crate) fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(check("open", || path.display().to_string(), rustix::fs::openat(CWD, path, flags, Mode::empty()))?)
}
