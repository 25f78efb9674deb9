// SPDX-License-Identifier: Apache-2.0
//! Everything a plan needs from the host and the store: the run user, the map, the layers.

use std::cell::OnceCell;
use std::path::PathBuf;

use bryo_identity::InsideId;
use bryo_identity::map::{IdMap, RunIds};
use bryo_identity::rung::Rung;
use bryo_launch::plan::RootFs;

use super::slot::{self, Slot};
use crate::Engine;
use crate::container::{Held, Id};
use crate::demo::COPY;
use crate::derive::{self, Base, DeriveInput, Facts};
use crate::error::{Error, Kind, Result};
use crate::options::{Network, RunOptions, Source};
use crate::plan::host::{HostTree, account_files};
use crate::plan::{HostFacts, Input, Planned, RESOLVER, plan};
use crate::users::{self, Accounts, Wanted};

/// What a container is made from.
#[derive(Debug)]
pub enum Image {
    /// An image of the store.
    Stored(Box<bryo_image::store::Image>),
    /// A directory of the host as a read-only root.
    Rootfs(PathBuf),
    /// The host's own system.
    Host,
}

impl Image {
    /// Returns the root that is no image which a name stands for: `host:` or `rootfs:PATH`.
    ///
    /// # Errors
    ///
    /// [`Kind::Source`] for a path that is no directory, and for any other name.
    pub fn of_host(name: &str) -> Result<Self> {
        if matches!(name, "host:" | "host") {
            return Ok(Self::Host);
        }
        let Some(path) = name.strip_prefix("rootfs:") else {
            return Err(Error::new(Kind::Source, format!("the image {name} of the container is lost")));
        };
        let absolute = std::fs::canonicalize(path).map_err(|e| Error::io("cannot find", path.as_ref(), e))?;
        if absolute.is_dir() {
            return Ok(Self::Rootfs(absolute));
        }
        Err(Error::new(Kind::Source, format!("{name}: not a directory")))
    }

    /// Tells whether a name stands for a root that is no image.
    pub fn is_of_host(name: &str) -> bool {
        matches!(name, "host:" | "host") || name.starts_with("rootfs:")
    }

    /// Tells whether a container's health is going to be checked, by its own words or by those of the image.
    ///
    /// # Errors
    ///
    /// As [`crate::options::HealthOptions::check`].
    pub fn is_checked(&self, options: &RunOptions) -> Result<bool> {
        Ok(options.health.check(self.healthcheck())?.is_some())
    }

    /// Returns how the image wants its health to be checked.
    pub(crate) fn healthcheck(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Stored(image) => image.healthcheck.as_ref(),
            Self::Rootfs(_) | Self::Host => None,
        }
    }

    /// Returns the image's id, if it is an image.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Stored(image) => Some(image.config_digest.to_string()),
            Self::Rootfs(_) | Self::Host => None,
        }
    }

    pub(super) fn config(&self) -> Option<&oci_spec::image::ImageConfiguration> {
        match self {
            Self::Stored(image) => Some(&image.config),
            Self::Rootfs(_) | Self::Host => None,
        }
    }
}

/// What is known once the image and the host were looked at.
#[derive(Debug)]
pub struct Prepared {
    /// What the container is made from.
    pub image: Image,
    /// The run user and the places where it may write.
    pub facts: Facts,
    /// The network, with the site's default applied.
    pub network: Network,
    ids: IdMap,
    sharing: bool,
    /// The layers on the host, top first.
    lowers: Vec<PathBuf>,
    terminal: Option<(u16, u16)>,
    /// The accounts of the host, read once, for a container on its own system.
    host_accounts: OnceCell<HostAccounts>,
}

/// The account files of the host, as they were at one moment.
#[derive(Debug)]
struct HostAccounts {
    passwd: String,
    group: String,
}

impl HostAccounts {
    fn read() -> Self {
        // Bytes that are no text are in no field that matters.
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }
}

impl Prepared {
    /// Takes layers, top first, as they are: nothing is derived from an image that is being built.
    pub(crate) fn of_step(image: Image, facts: Facts, network: Network, ids: IdMap, lowers: Vec<PathBuf>) -> Self {
        Self { image, facts, network, ids, sharing: false, lowers, terminal: None, host_accounts: OnceCell::new() }
    }

    /// Names the unpacked layers by the digests that their directories are called after.
    pub(super) fn layer_names(&self) -> Vec<String> {
        let name = |path: &PathBuf| {
            let directory = path.parent()?.file_name()?.to_str()?;
            Some(format!("sha256:{}", directory.strip_prefix("derived-").unwrap_or(directory)))
        };
        match self.image {
            Image::Stored(_) => self.lowers.iter().filter_map(name).collect(),
            // Only the derived layer is the store's.
            Image::Rootfs(_) => self.lowers.iter().take(1).filter_map(name).collect(),
            Image::Host => Vec::new(),
        }
    }
}

impl Engine {
    pub(crate) fn prepare(&self, options: &RunOptions, image: Image, terminal: Option<(u16, u16)>) -> Result<Prepared> {
        self.keep_to_itself(options)?;
        let sharing = options.keep_id || options.mounts.iter().any(|m| m.me);
        let first = self.expected(options, &image)?;
        let ids = self.map_for(first, sharing)?;
        let host_accounts = OnceCell::new();
        let facts = self.facts(options, &image, &ids, &host_accounts)?;
        // A name stands for ids that only the image knows; the map is made again for them.
        let (ids, facts) = if facts.run_ids() == first {
            (ids, facts)
        } else {
            let ids = self.map_for(facts.run_ids(), sharing)?;
            let facts = self.facts(options, &image, &ids, &host_accounts)?;
            (ids, facts)
        };
        let mut facts = facts;
        // Groups that are not in the map cannot be entered; with a single id there are none at all.
        facts.groups.retain(|g| !ids.is_single() && InsideId::new(*g).is_some_and(|g| ids.host_gid(g).is_some()));
        let lowers = self.lowers(&image, &facts, &ids)?;
        let network = self.network(options)?;
        Ok(Prepared { image, facts, network, ids, sharing, lowers, terminal, host_accounts })
    }

    /// Returns what a container has besides its networks: a way out, unless none of them leads outside.
    pub(crate) fn network(&self, options: &RunOptions) -> Result<Network> {
        let Some(network) = options.network else {
            let networks = self.networks();
            let found = options.networks.iter().map(|endpoint| networks.find(&endpoint.network));
            let found = found.collect::<Result<Vec<_>>>()?;
            return Ok(match found.iter().all(|network| network.internal) {
                _ if found.is_empty() && !options.disconnected => self.policy.network,
                true => Network::None,
                false => Network::Private,
            });
        };
        Ok(network)
    }

    /// Returns the run ids as far as they are known without looking into the image.
    fn expected(&self, options: &RunOptions, image: &Image) -> Result<RunIds> {
        let base = match image {
            Image::Stored(image) => Base::Image(image),
            // Neither says anything about its user.
            Image::Rootfs(_) | Image::Host => Base::Directory(std::path::Path::new("/")),
        };
        derive::expected_ids(options.user.as_deref(), base, self.policy.image_user)
    }

    /// Resolves the user, and makes the derived layer if it is not there yet.
    fn facts(
        &self,
        options: &RunOptions,
        image: &Image,
        ids: &IdMap,
        host_accounts: &OnceCell<HostAccounts>,
    ) -> Result<Facts> {
        let (base, layers) = match image {
            Image::Host => return host_facts(options, host_accounts.get_or_init(HostAccounts::read)),
            Image::Stored(image) => {
                // The usual case is that all is there, and then nothing but the facts is read.
                self.unpack_missing(image, ids)?;
                (Base::Image(image), self.store.layer_paths(image, ids.ownership_key())?)
            }
            Image::Rootfs(path) => (Base::Directory(path), vec![path.clone()]),
        };
        derive::derive(&DeriveInput {
            store: &self.store,
            base,
            layers: &layers,
            user: options.user.as_deref(),
            groups: &options.groups,
            default_user_image: self.policy.image_user,
            workdir: options.workdir.as_deref(),
            hardening: None,
            map: ids,
            helpers: self.host.helpers.as_ref(),
        })
    }

    fn lowers(&self, image: &Image, facts: &Facts, ids: &IdMap) -> Result<Vec<PathBuf>> {
        let mut lowers: Vec<PathBuf> = facts.layer.iter().cloned().collect();
        match image {
            Image::Stored(image) => {
                let layers = self.store.layer_paths(image, ids.ownership_key())?;
                lowers.extend(layers.into_iter().rev());
            }
            Image::Rootfs(path) => lowers.push(path.clone()),
            Image::Host => (),
        }
        Ok(lowers)
    }

    /// Makes the plan. Without a container to hold, for looking at only.
    pub(crate) fn plan(
        &self,
        options: &RunOptions,
        prepared: &Prepared,
        id: &Id,
        held: Option<&Held>,
    ) -> Result<(Planned, Option<Slot>)> {
        let (ids, slot) = self.own_range(prepared, held.is_some())?;
        let stored_as = (ids != prepared.ids).then(|| prepared.ids.clone());
        let overlay = |scratch| RootFs::Overlay { lowers: prepared.lowers.clone(), scratch, volatile: options.remove };
        let root = match (&prepared.image, held) {
            (Image::Host, _) => HostTree::probe().root(&prepared.facts),
            (_, Some(held)) => {
                let scratch = held.layer()?;
                self.give(&scratch).map_err(|e| Error::io("cannot give away", &scratch, e))?;
                overlay(scratch)
            }
            (_, None) => overlay(PathBuf::new()),
        };
        let volumes = self.volumes_dir();
        let host = HostFacts {
            resolver: host_resolver(),
            unified_cgroup: std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            kernel: kernel_version(),
            terminal: prepared.terminal,
            throttles: throttles(std::path::Path::new("/sys/devices/system/cpu")),
            processes: rustix::process::getrlimit(rustix::process::Resource::Nproc).maximum,
        };
        let input = Input {
            id,
            options,
            image: prepared.image.config(),
            facts: &prepared.facts,
            network: prepared.network,
            host: &host,
            ids,
            helpers: self.host.helpers.clone(),
            root,
            volumes: &volumes,
            landlock: self.policy.landlock,
            pids_limit: self.policy.pids_limit,
        };
        let mut planned = plan(input)?;
        planned.plan.stored_as = stored_as;
        if let Some(accounts) = prepared.host_accounts.get() {
            account_files(&mut planned, &prepared.facts, &accounts.passwd, &accounts.group);
        }
        Ok((planned, slot))
    }

    /// On the root rung, a range of ids that no other running container has.
    fn own_range(&self, prepared: &Prepared, take: bool) -> Result<(IdMap, Option<Slot>)> {
        let alone = self.host.slots() < 2;
        if self.host.rung() != Rung::Root || prepared.sharing || alone || !take {
            return Ok((prepared.ids.clone(), None));
        }
        let slot = slot::take(&self.dirs.runtime, self.host.slots())?;
        Ok((self.host.slot(slot.number, prepared.facts.run_ids())?, Some(slot)))
    }

    /// Refuses to share the store: whoever can write there chooses what every later container runs.
    fn keep_to_itself(&self, options: &RunOptions) -> Result<()> {
        let own = [&self.dirs.data, &self.dirs.runtime].map(std::fs::canonicalize);
        for mount in &options.mounts {
            let Source::Bind(source) = &mount.source else { continue };
            // What `demo` runs is a copy of this program that lies there for a moment, and is no part of any image.
            let name = source.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let copy = mount.read_only && name.starts_with(COPY) && source.parent() == Some(&self.dirs.data);
            let acts = mount.me || options.keep_id || self.host.rung() == Rung::Single;
            if acts && !mount.read_only && own.iter().flatten().any(|own| own.starts_with(source)) {
                let why = format!(
                    "cannot share {} for writing as you: bryo's store is in it; share a directory below it, or \"ro\"",
                    source.display()
                );
                return Err(Error::new(Kind::Source, why));
            }
            if !copy && own.iter().flatten().any(|own| source.starts_with(own)) {
                let why = format!("cannot share {}: it is in the store, which is bryo's own", source.display());
                return Err(Error::new(Kind::Source, why));
            }
        }
        Ok(())
    }
}

/// Resolves the user of a container on the host's own system, among the host's accounts. Places to write are memory,
/// and no layer is needed.
fn host_facts(options: &RunOptions, accounts: &HostAccounts) -> Result<Facts> {
    let accounts = Accounts::parse(accounts.passwd.as_bytes(), accounts.group.as_bytes());
    let wanted = Wanted::decide(options.user.as_deref(), None, false)?;
    let user = users::resolve(&wanted, &options.groups, &accounts)?;
    let id = InsideId::get;
    Ok(Facts {
        uid: user.uid.get(),
        gid: user.gid.get(),
        groups: user.groups.iter().copied().map(id).collect(),
        // A home of the host is not shown; what is under its name is empty memory.
        home: user.home,
        name: user.name,
        shell: user.shell.unwrap_or_else(|| "/bin/sh".into()),
        state: Vec::new(),
        executable: Vec::new(),
        layer: None,
    })
}

/// Lists where the processors tell how often they were too hot. One look tells that there is no such place, as in a
/// virtual machine.
fn throttles(cpus: &std::path::Path) -> Vec<String> {
    let place = |cpu: &str| cpus.join(cpu).join("thermal_throttle");
    if !place("cpu0").exists() {
        return Vec::new();
    }
    let names = std::fs::read_dir(cpus).into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_cpu = |name: &String| name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok());
    let places = names.filter(is_cpu).map(|name| place(&name)).filter(|place| place.exists());
    places.map(|place| place.display().to_string()).collect()
}

fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname();
    let mut numbers = release.release().to_str().unwrap_or_default().split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Refuses an image for another machine before anything is made for it.
///
/// # Errors
///
/// [`Kind::Unsupported`].
pub fn check_architecture(image: &bryo_image::store::Image) -> Result<()> {
    let of_image = image.config.architecture().to_string();
    let of_host = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if of_image == of_host || of_image.is_empty() {
        return Ok(());
    }
    let why = format!(
        "the image is made for {of_image}, and this machine is {of_host}; pull it with --platform linux/{of_host}"
    );
    Err(Error::new(Kind::Unsupported, why))
}

/// Returns how the host resolves names.
pub(crate) fn host_resolver() -> String {
    std::fs::read_to_string(RESOLVER).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_that_tells_of_its_heat_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let cpus = dir.path();
        for name in ["cpufreq", "cpuidle", "cpu2", "cpu10/topology"] {
            std::fs::create_dir_all(cpus.join(name)).unwrap();
        }
        assert_eq!(throttles(cpus), [""; 0]);
        for name in ["cpu0", "cpu1", "cpu10", "cpufreq"] {
            std::fs::create_dir_all(cpus.join(name).join("thermal_throttle")).unwrap();
        }
        let mut found = throttles(cpus);
        found.sort();
        let expected = ["cpu0", "cpu1", "cpu10"].map(|cpu| format!("{}/{cpu}/thermal_throttle", cpus.display()));
        assert_eq!(found, expected);
    }
}
