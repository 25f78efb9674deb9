// SPDX-License-Identifier: Apache-2.0
//! Whom a probe is to be: the container of an image, a container that is there, or what other engines would make of it.

use bryo_identity::map::{IdMap, Mapping, RunIds};
use bryo_identity::rung::Rung;
use bryo_identity::subid::Range;
use bryo_identity::{HostId, InsideId};
use bryo_launch::plan::Landlock;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Spec};
use serde::Serialize;

use crate::container::{Id, Identity, Record};
use crate::error::{Error, Kind, Result};
use crate::options::RunOptions;
use crate::run::Image;
use crate::{Engine, Policy};

/// Another engine, by its map of ids and its default capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// Podman without root: root inside is the caller.
    Podman,
    /// Docker with its daemon as root: every id inside is the same id on the host.
    Docker,
}

impl Rival {
    /// Says in words what it is.
    pub fn title(self) -> &'static str {
        match self {
            Self::Podman => "rootless Podman",
            Self::Docker => "rootful Docker",
        }
    }
}

/// All that a process of a container has to act with.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Who it is.
    pub who: Who,
    /// Its capabilities, which mean nothing outside the user namespace that its map belongs to.
    pub capabilities: Vec<String>,
    pub(super) spec: Spec,
    pub(super) ids: Option<IdMap>,
    pub(super) landlock: Landlock,
    pub(super) rival: bool,
}

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The user id inside.
    pub uid: u32,
    /// The group id inside.
    pub gid: u32,
    /// The user id on the host.
    pub host_uid: Option<u32>,
    /// The group id on the host.
    pub host_gid: Option<u32>,
    /// Whether that user id on the host is the caller's own.
    pub is_caller: bool,
    /// What an escaped process would be, in words.
    pub escapee: String,
}

/// Source: `containers.conf(5)`, `default_capabilities`, Podman 4 and later.
const PODMAN: &[Capability] = &[
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Source: Docker's manual, "Runtime privilege and Linux capabilities".
const DOCKER: &[Capability] = &[Capability::AuditWrite, Capability::Mknod, Capability::NetRaw];

impl Engine {
    /// Returns what `run` with these options would give to a process.
    ///
    /// # Errors
    ///
    /// As [`Engine::dry_run`].
    pub fn authority(&self, mut options: RunOptions, image: Image) -> Result<Authority> {
        // What it would run does not matter.
        (options.entrypoint, options.command) = (Some(Vec::new()), vec!["/".into()]);
        let prepared = self.prepare(&options, image, None)?;
        let planned = self.plan(&options, &prepared, &Id::random(), None)?.0;
        let run = prepared.facts.run_ids();
        let slots = self.host.slots();
        // On the root rung a plan that is only looked at has the ids that own the store; a container never has those.
        let ids = match planned.plan.ids {
            ids if self.host.rung() == Rung::Root && slots > 1 && ids.rung == Rung::Root => {
                self.host.slot(slots - 1, run)?
            }
            ids => ids,
        };
        let identity = Identity::of(&prepared.facts, &ids);
        Ok(self.of(&identity, planned.plan.spec, ids, planned.plan.landlock))
    }

    /// Returns what the processes of a container have.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`] when its map cannot be read.
    pub fn authority_of(&self, record: &Record) -> Result<Authority> {
        let landlock = match record.confinement.landlock {
            // One that has never run has not enforced any.
            0 if !record.state.status.is_empty() && record.state.started_at.is_some() => Landlock::Off,
            _ => self.policy.landlock,
        };
        Ok(self.of(&record.identity, record.spec.clone(), record.identity.map()?, landlock))
    }

    /// Returns the record of the container with a name, or with an id of which enough is given that it can be no image.
    pub fn container_named(&self, name: &str) -> Option<Record> {
        const ENOUGH: usize = 12;
        let found = self.containers.find(name).ok();
        found.filter(|record| record.name == name || name.len() >= ENOUGH)
    }

    fn of(&self, identity: &Identity, spec: Spec, ids: IdMap, landlock: Landlock) -> Authority {
        let who = Who {
            uid: identity.uid,
            gid: identity.gid,
            host_uid: identity.host_uid,
            host_gid: identity.host_gid,
            is_caller: identity.host_uid == Some(self.host.caller.uid.get()),
            escapee: identity.escapee.clone(),
        };
        Authority { who, capabilities: capabilities(&spec), spec, ids: Some(ids), landlock, rival: false }
    }

    /// Returns what the same container would have under another engine; or, in words, why that cannot be measured here.
    ///
    /// # Errors
    ///
    /// As [`Engine::dry_run`].
    pub fn authority_under(
        &self,
        rival: Rival,
        mut options: RunOptions,
        image: Image,
    ) -> Result<std::result::Result<Authority, String>> {
        let is_root = self.host.caller.uid == HostId::ROOT;
        if options.user.is_none() && !matches!(image, Image::Stored(_)) {
            options.user = Some("root".into());
        }
        (options.keep_id, options.mounts) = (false, Vec::new());
        let granted = (options.cap_drop_all, options.cap_add.clone(), options.cap_drop.clone());
        let policy = Policy { image_user: true, ..self.policy.clone() };
        let same = Self::open(self.dirs.clone(), policy)?.authority(options, image)?;
        let run = (InsideId::new(same.who.uid), InsideId::new(same.who.gid));
        let (Some(uid), Some(gid)) = run else {
            return Err(Error::new(Kind::UnknownUser, "the run user is no user"));
        };
        let run = RunIds { uid, gid };
        let ids = match rival {
            Rival::Docker if is_root => None,
            Rival::Docker => return Ok(Err("not measured: needs root, whose ids the container would have".into())),
            Rival::Podman if is_root => return Ok(Err("not measured: the caller is root".into())),
            Rival::Podman => match self.podman(run) {
                Some(ids) => Some(ids),
                None => return Ok(Err(format!("not measured: user {} has no id on this host", run.uid))),
            },
        };
        Ok(Ok(self.under(rival, same, run, ids, granted)))
    }

    fn under(
        &self,
        rival: Rival,
        same: Authority,
        run: RunIds,
        ids: Option<IdMap>,
        (drop_all, add, drop): (bool, Vec<Capability>, Vec<Capability>),
    ) -> Authority {
        let base = if rival == Rival::Docker { [PODMAN, DOCKER].concat() } else { PODMAN.to_vec() };
        let mut set: Capabilities = if drop_all { Capabilities::default() } else { base.into_iter().collect() };
        set.extend(add);
        set.retain(|capability| !drop.contains(capability));
        // Neither gives any to a user who is not root.
        let held = if run.uid == InsideId::ROOT { set } else { Capabilities::default() };
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(Some(held.clone()))
            .set_permitted(Some(held.clone()))
            .set_effective(Some(held))
            .set_inheritable(Some(Capabilities::default()))
            .set_ambient(Some(Capabilities::default()));
        let mut spec = same.spec;
        if let Some(process) = spec.process_mut() {
            process.set_capabilities(Some(sets));
        }
        let host = |id: Option<HostId>, same: InsideId| ids.as_ref().map_or(Some(same.get()), |_| id.map(HostId::get));
        let host_uid = host(ids.as_ref().and_then(|ids| ids.host_uid(run.uid)), run.uid);
        let host_gid = host(ids.as_ref().and_then(|ids| ids.host_gid(run.gid)), run.gid);
        let is_caller = host_uid == Some(self.host.caller.uid.get());
        let escapee = match host_uid {
            Some(0) => "an escaped process would be root of this host",
            _ if is_caller => "an escaped process would be you",
            _ => "an escaped process would be this user id",
        };
        let (uid, gid) = (run.uid.get(), run.gid.get());
        let who = Who { uid, gid, host_uid, host_gid, is_caller, escapee: escapee.into() };
        Authority { who, capabilities: capabilities(&spec), spec, ids, landlock: Landlock::Off, rival: true }
    }

    /// Returns Podman's map: root inside is the caller, and behind it come the caller's subordinate ids. Source:
    /// `podman-run(1)`, `--userns`.
    fn podman(&self, run: RunIds) -> Option<IdMap> {
        let host = &self.host;
        if host.rung() == Rung::Single {
            let alone = run == RunIds::ROOT;
            return alone.then(|| IdMap::single(host.caller, run));
        }
        let map = |own: HostId, ranges: &[Range]| -> Option<Vec<Mapping>> {
            let mut mappings = vec![Mapping { inside: InsideId::ROOT, host: own, count: 1 }];
            let mut next = InsideId::ROOT.offset(1)?;
            for range in ranges {
                mappings.push(Mapping { inside: next, host: range.start, count: range.count });
                next = next.offset(range.count)?;
            }
            Some(mappings)
        };
        let (uids, gids) = (map(host.caller.uid, &host.uids)?, map(host.caller.gid, &host.gids)?);
        let ids = IdMap::restored(Rung::Subordinate, uids, gids);
        (ids.host_uid(run.uid).is_some() && ids.host_gid(run.gid).is_some()).then_some(ids)
    }
}

impl Authority {
    /// Tells whether a system call filter is part of it.
    pub fn is_filtered(&self) -> bool {
        !self.rival && self.spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some())
    }
}

fn capabilities(spec: &Spec) -> Vec<String> {
    let sets = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let set = sets.and_then(|sets| sets.effective().as_ref());
    let mut names: Vec<String> = set.into_iter().flatten().map(|capability| format!("CAP_{capability}")).collect();
    names.sort();
    names
}
