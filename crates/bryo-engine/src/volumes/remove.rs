// SPDX-License-Identifier: Apache-2.0
//! Counting and removing volumes: what is in them belongs to the ids of containers.

use std::path::Path;
use std::time::{Duration, Instant};

use bryo_image::unpack::{TreeUsage, usage};
use bryo_sys::check;
use rustix::fs::FlockOperation;

use super::{Hold, TEMPORARY, Volume};
use crate::Engine;
use crate::agent::{self, Place};
use crate::container::Id;
use crate::error::{Error, Kind, Result};
use crate::events::{Event, Type};
use crate::options::RunOptions;
use crate::sizes::directory;

impl Engine {
    /// Counts what volumes take, in their order.
    ///
    /// # Errors
    ///
    /// [`Kind::Identity`] when their ids cannot be had; [`Kind::Io`].
    pub fn volume_sizes(&self, volumes: &[Volume]) -> Result<Vec<TreeUsage>> {
        // What a container has written as the caller is counted too.
        let map = self.host.everything(true);
        let open = || volumes.iter().map(|volume| directory(&volume.mountpoint)).collect::<Result<Vec<_>>>();
        agent::run(Place::Own(&map, self.host.helpers.as_ref()), open, |opened| {
            let count = |fd: &Option<std::os::fd::OwnedFd>| match fd {
                Some(fd) => Ok(usage(std::os::fd::AsFd::as_fd(fd))?),
                // Nothing was ever mounted.
                None => Ok(TreeUsage::default()),
            };
            opened.iter().map(count).collect()
        })
    }

    /// Removes a volume that no container names.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchVolume`], [`Kind::VolumeInUse`].
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let volume = self.volume(name)?;
        let alone = self.volumes_alone()?;
        let users = self.volume_users();
        if let Some(records) = users.get(name) {
            let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
            let why = format!("volume {name} is in use by {}", names.join(", "));
            return Err(Error::new(Kind::VolumeInUse, why));
        }
        self.take_volume_away(&volume, alone)
    }

    /// Removes the volumes that a predicate chooses among those that no container names, and returns them with what each
    /// took.
    ///
    /// # Errors
    ///
    /// The first failure, after everything was tried.
    pub fn prune_volumes(&self, wanted: impl Fn(&Volume) -> bool) -> Result<Vec<(Volume, TreeUsage)>> {
        let mut pruned = Vec::new();
        let alone = self.volumes_alone()?;
        let users = self.volume_users();
        let idle = self.volumes().into_iter().filter(|v| !users.contains_key(&v.name) && wanted(v));
        let idle: Vec<Volume> = idle.collect();
        alone.release();
        if idle.is_empty() {
            return Ok(pruned);
        }
        let sizes = self.volume_sizes(&idle)?;
        let mut failure = None;
        for (volume, size) in idle.into_iter().zip(sizes) {
            match self.remove_volume(&volume.name) {
                Ok(()) => pruned.push((volume, size)),
                // It has found a container, or an end, meanwhile.
                Err(e) if matches!(e.kind(), Kind::VolumeInUse | Kind::NoSuchVolume) => (),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        failure.map_or(Ok(pruned), Err)
    }

    /// Removes the anonymous volumes of a container that is about to go, or gone, unless another names one of them.
    ///
    /// # Errors
    ///
    /// The first failure, after everything was tried.
    pub fn remove_anonymous_volumes(&self, options: &RunOptions) -> Result<()> {
        let mut failure = None;
        for mount in &options.mounts {
            let crate::options::Source::Anonymous(name) = &mount.source else { continue };
            match self.remove_volume(name) {
                Err(e) if !matches!(e.kind(), Kind::VolumeInUse | Kind::NoSuchVolume) => {
                    failure = failure.or(Some(e));
                }
                _ => (),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Removes what killed processes have left of volumes that they made, filled or removed.
    ///
    /// # Errors
    ///
    /// The first failure, after everything was tried.
    pub(crate) fn sweep_volumes(&self) -> Result<()> {
        self.sweep_nameless().and(self.sweep_unfinished())
    }

    /// Removes those that have no name yet, or no more.
    fn sweep_nameless(&self) -> Result<()> {
        let left = || {
            let entries = std::fs::read_dir(self.volumes_dir()).into_iter().flatten().flatten();
            entries.map(|e| e.path()).filter(|path| is_temporary(path)).collect::<Vec<_>>()
        };
        if left().is_empty() {
            return Ok(());
        }
        // Those that are being made are locked out; two may remove the same one.
        let alone = self.volumes_alone()?;
        let left = left();
        alone.release();
        left.iter().try_for_each(|path| self.empty_out(path))
    }

    /// Takes the lock alone. Whoever makes a container holds it for some milliseconds.
    fn volumes_alone(&self) -> Result<Hold> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let start = Instant::now();
        let lock = self.volumes_lock()?;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Hold(lock)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => return Err(Error::io("cannot lock", &self.dirs.data, e.into())),
            }
        }
    }

    /// Takes its name away, and then removes what is in it.
    fn take_volume_away(&self, volume: &Volume, alone: Hold) -> Result<()> {
        let path = self.volumes_dir().join(&volume.name);
        let temporary = self.volumes_dir().join(format!("{TEMPORARY}{}", Id::random()));
        std::fs::rename(&path, &temporary).map_err(|e| Error::io("cannot remove volume", &path, e))?;
        alone.release();
        let gone = Event::now(Type::Volume, "destroy", volume.name.as_str()).with("driver", volume.driver.as_str());
        self.journal().write(&[gone]);
        self.empty_out(&temporary)
    }

    fn empty_out(&self, path: &Path) -> Result<()> {
        // Nothing was ever mounted: what is there is the caller's.
        if std::fs::remove_dir_all(path).is_ok() {
            return Ok(());
        }
        // Containers that shared have written as the caller, perhaps below directories of their own ids.
        let map = self.host.everything(true);
        let place = Place::Own(&map, self.host.helpers.as_ref());
        agent::run(
            place,
            || directory(path),
            |opened| match opened {
                Some(fd) => Ok(check("unlinkat", || path.display().to_string(), bryo_sys::tree::remove_content(fd))?),
                None => Ok(()),
            },
        )?;
        match std::fs::remove_dir(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
            _ => Ok(()),
        }
    }
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
}
