// SPDX-License-Identifier: Apache-2.0
//! The engine: the store, the containers and the host, opened together.

use std::path::PathBuf;

use bryo_identity::map::{IdMap, Mapping, RunIds};
use bryo_identity::rung::{Host, Rung};
use bryo_identity::{HostId, InsideId};
use bryo_image::store::{Pin, Store};
use bryo_image::unpack::{Compression, Limits, UnpackJob, Worker};
use bryo_launch::plan::Landlock;

use crate::container::{Containers, Held, Id, Namespace, Record, remove_layer};
use crate::error::{Error, Kind, Result};
use crate::networks::Networks;
use crate::options::Network;
use crate::policy::{PolicyFile, Standards};
use crate::step::StepCache;

/// Where an engine keeps its things. Both are of the caller alone.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Images, layers, containers and volumes.
    pub data: PathBuf,
    /// What does not outlive a boot.
    pub runtime: PathBuf,
}

/// What a site decides for all containers.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Takes the image's user, root or not, as Docker does.
    pub image_user: bool,
    /// The network of a container that asks for none.
    pub network: Network,
    /// Whether Landlock is asked for.
    pub landlock: Landlock,
    /// What a layer may cost.
    pub limits: Limits,
    /// How many processes a container may have when it does not say; nothing for no limit.
    pub pids_limit: Option<u64>,
    /// Where it is written down what must hold of every container.
    pub files: Vec<PolicyFile>,
    /// Judges by the Pod Security Standards.
    pub standards: Option<Standards>,
}

/// How many processes a container may have when nobody says. Source: Podman's default.
pub(crate) const PIDS_LIMIT: u64 = 2048;

impl Default for Policy {
    fn default() -> Self {
        Self {
            image_user: false,
            network: Network::Private,
            landlock: Landlock::WhereAvailable,
            limits: Limits::default(),
            pids_limit: Some(PIDS_LIMIT),
            files: Vec::new(),
            standards: None,
        }
    }
}

/// An engine for one caller.
#[derive(Debug)]
pub struct Engine {
    pub(crate) dirs: Dirs,
    pub(crate) store: Store,
    pub(crate) host: Host,
    pub(crate) policy: Policy,
    pub(crate) containers: Containers,
}

impl Engine {
    /// Opens an engine. Costs a few system calls; what is missing is made.
    ///
    /// # Errors
    ///
    /// When the store cannot be opened or made private.
    pub fn open(dirs: Dirs, policy: Policy) -> Result<Self> {
        let store = Store::open(&dirs.data)?;
        let containers = Containers::new(&dirs.data);
        Ok(Self { dirs, store, host: Host::probe(), policy, containers })
    }

    /// Returns the image store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the containers.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// Returns the networks that the caller has made.
    pub fn networks(&self) -> Networks {
        Networks::new(&self.dirs)
    }

    /// Returns what this host gives to the caller.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the map under which layers are unpacked.
    ///
    /// # Errors
    ///
    /// As [`Host::map`].
    pub fn store_map(&self) -> Result<IdMap> {
        Ok(self.host.map(self.host.rung(), RunIds::NONROOT)?)
    }

    /// Starts the process that unpacks layers, and collects what dead processes left. The calling process must have one
    /// thread.
    ///
    /// # Errors
    ///
    /// When the host refuses a user namespace.
    pub fn worker(&self) -> Result<Worker> {
        // What cannot be collected is in nobody's way here; `gc` says why it stays.
        let _ = self.collect();
        Ok(Worker::start(&self.store, &self.store_map()?, self.host.helpers.as_ref())?)
    }

    /// Unpacks what is missing of an image, from the blobs of the store: an image that was pulled when the caller had
    /// other ids.
    pub(crate) fn unpack_missing(&self, image: &bryo_image::store::Image, map: &IdMap) -> Result<()> {
        let missing = self.store.missing_layers(image, map.ownership_key());
        if missing.is_empty() {
            return Ok(());
        }
        let worker = Worker::start(&self.store, map, self.host.helpers.as_ref())?;
        for layer in missing {
            let job = UnpackJob {
                diff_id: Some(layer.diff_id.clone()),
                compression: Some(Compression::from_media_type(&layer.media_type)?),
                blob_size: Some(layer.size),
                limits: self.policy.limits,
            };
            let blob = self.store.open_blob(&layer.digest)?;
            worker.unpack(job, blob.into())?.wait()?.commit()?;
        }
        Ok(())
    }

    /// Returns the unpacked layers that containers stand on, or builds may stand on: no collection of garbage may take them.
    pub fn layers_in_use(&self) -> std::collections::BTreeSet<bryo_image::Digest> {
        let names = self.containers.all().into_iter().flat_map(|record| record.layers);
        let containers = names.filter_map(|name| name.parse().ok());
        containers.chain(StepCache::new(&self.store).in_use().1).collect()
    }

    /// Returns the blobs that the steps of builds have made, and that another build may use.
    pub fn blobs_in_use(&self) -> std::collections::BTreeSet<bryo_image::Digest> {
        StepCache::new(&self.store).in_use().0
    }

    /// Removes a container that nobody supervises, and what it wrote.
    ///
    /// # Errors
    ///
    /// [`Kind::Running`] when it runs.
    pub fn remove(&self, record: &Record) -> Result<()> {
        let held = self.containers.hold(record)?;
        self.discard(held, Some(record))?;
        self.tell(record, "destroy");
        Ok(())
    }

    /// Collects what dead processes left: directories without a record, containers that were to go away, data of volumes
    /// that is not whole.
    ///
    /// # Errors
    ///
    /// The first failure, after everything was tried.
    pub fn collect(&self) -> Result<usize> {
        let mut failure = None;
        let mut collected = 0;
        let mut alone = None;
        for id in self.containers.abandoned() {
            match self.collect_one(&id, &mut alone) {
                Ok(true) => collected += 1,
                Ok(false) => (),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        self.containers.sweep_names();
        let failure = failure.or(self.sweep_volumes().err());
        self.networks().sweep();
        StepCache::sweep(&self.store);
        self.sweep_packages();
        self.sweep_signatures();
        self.sweep_groups();
        failure.map_or(Ok(collected), Err)
    }

    /// Removes control groups of containers that nobody supervises, where the caller has a place for them that outlives
    /// a container.
    fn sweep_groups(&self) {
        bryo_cgroup::sweep(|group| {
            let id = group.strip_prefix("bryo-").unwrap_or_default();
            self.containers.is_any_held(id)
        });
    }

    /// Removes one container unless it is of use after all.
    fn collect_one(&self, id: &Id, alone: &mut Option<Pin>) -> Result<bool> {
        if self.containers.find(id.as_str()).is_err() && alone.is_none() {
            // Whoever makes a container has pinned the store until the record is written: this may be a new one.
            *alone = self.store.pin_alone()?;
            if alone.is_none() {
                return Ok(false);
            }
        }
        self.discard_abandoned(id)
    }

    /// Makes the directory of a container and gives it its name. One that a killed command has left with this name is in
    /// the way of nobody: it had been locked when it was given the name, and now nobody has the lock.
    pub(crate) fn create_named(&self, id: &Id, name: &str) -> Result<Held> {
        match self.containers.create(id, name) {
            Err(e) if e.kind() == Kind::NameInUse => {
                let vacant = self.containers.holder(name).map_or(Ok(true), |other| self.discard_abandoned(&other))?;
                if vacant { self.containers.create(id, name) } else { Err(e) }
            }
            other => other,
        }
    }

    fn discard_abandoned(&self, id: &Id) -> Result<bool> {
        let Some(held) = self.containers.hold_abandoned(id)? else { return Ok(false) };
        // Looked at again: it may have been made, and have ended, before it was held.
        let record = self.containers.find(id.as_str()).ok();
        if record.as_ref().is_some_and(|record| !self.containers.is_over(record)) {
            return Ok(false);
        }
        self.discard(held, record.as_ref())?;
        if let Some(record) = &record {
            self.tell(record, "destroy");
            self.remove_anonymous_volumes(&record.options)?;
        }
        Ok(true)
    }

    /// Returns the content of an unpacked layer that a container stands on, by its name in the record.
    pub(crate) fn layer_path(&self, name: &str) -> Option<PathBuf> {
        let digest: bryo_image::Digest = name.parse().ok()?;
        let layers = self.store.layers_dir(self.store_map().ok()?.ownership_key());
        let directories = [digest.hex().to_owned(), format!("derived-{}", digest.hex())];
        directories.iter().map(|name| layers.join(name).join("fs")).find(|path| path.is_dir())
    }

    /// Returns the map that a container's files are owned through.
    pub(crate) fn map_of_files(&self, record: Option<&Record>) -> Result<IdMap> {
        match record {
            // Root's containers differ in their ids and share the owner of what is on disk.
            Some(record) if self.host.rung() != Rung::Root => record.identity.map(),
            _ => self.store_map(),
        }
    }

    /// Returns a map that has whoever owns files that are not bryo's own: the caller, who is root in other engines'
    /// containers, and all subordinate ids. For root that is everybody.
    pub(crate) fn map_of_everybody(&self) -> Result<IdMap> {
        if self.host.rung() != Rung::Root {
            return Ok(self.host.everything(true));
        }
        let all = || -> Option<Vec<Mapping>> {
            Some(vec![Mapping { inside: InsideId::ROOT, host: HostId::new(0)?, count: u32::MAX - 1 }])
        };
        let none = || Error::new(Kind::Corrupt, "there is no id 0");
        Ok(IdMap::restored(Rung::Root, all().ok_or_else(none)?, all().ok_or_else(none)?))
    }

    pub(crate) fn discard(&self, held: Held, record: Option<&Record>) -> Result<()> {
        let layer = held.dir().join("layer");
        if layer.exists() {
            let map = self.map_of_files(record)?;
            remove_layer(&layer, Namespace::New(&map, self.host.helpers.as_ref()))?;
        }
        if let Some(group) = record.and_then(|record| record.limits.cgroup.as_deref()) {
            bryo_cgroup::remove(std::path::Path::new(group));
        }
        held.discard();
        Ok(())
    }

    /// Returns the map for a run user: on the caller's rung, or with the run user as the caller when that was asked.
    pub(crate) fn map_for(&self, run: RunIds, sharing: bool) -> Result<IdMap> {
        if sharing && self.host.rung() == Rung::Root {
            let why = "root of the host cannot share its own id with a container (\":me\", --userns keep-id)";
            return Err(Error::new(Kind::Unsupported, why));
        }
        Ok(self.host.map(if sharing { Rung::Sharing } else { self.host.rung() }, run)?)
    }
}
