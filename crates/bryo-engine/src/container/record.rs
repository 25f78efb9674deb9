// SPDX-License-Identifier: Apache-2.0
//! What is written down about a container.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use bryo_cgroup::Enforced;
use bryo_identity::map::{IdMap, Mapping};
use bryo_identity::rung::Rung;
use bryo_identity::{HostId, InsideId};
use oci_spec::runtime::Spec;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::{Bindings, Id, ProcessId};
use crate::learned::Enforcement;
use crate::options::{Check, RunOptions};
use crate::time::now;

/// Everything that is known of a container. The spec is the OCI runtime spec, as it was obeyed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// The id.
    pub id: Id,
    /// The name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image's id: the digest of its configuration; nothing for a root that is no image.
    pub image_id: Option<String>,
    /// When it was made, in RFC 3339, UTC.
    pub created: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether it goes away when it ends.
    pub auto_remove: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Who it is.
    pub identity: Identity,
    /// How it is confined.
    pub confinement: Confinement,
    /// What it may use at most, as the kernel said when it was started.
    #[serde(default)]
    pub limits: Enforced,
    /// Its state, from a file of its own that only its supervisor writes; whether it runs now is for the lock to say.
    #[serde(default)]
    pub state: Status,
    /// The unpacked layers it stands on, by digest, top first: they stay as long as the container is there.
    #[serde(default)]
    pub layers: Vec<String>,
    /// How its health is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Check>,
    /// What was asked for: what it is started again from.
    #[serde(default)]
    pub options: RunOptions,
    /// The OCI runtime spec.
    pub spec: Spec,
}

/// Who a container is, inside and on the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Identity {
    /// The rung of the ladder: `subordinate`, `sharing`, `single` or `root`.
    pub rung: String,
    /// What an escaped process would be on the host, in words.
    pub escapee: String,
    /// User name inside.
    pub user: String,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary group ids inside.
    pub groups: Vec<u32>,
    /// User id on the host.
    pub host_uid: Option<u32>,
    /// Group id on the host.
    pub host_gid: Option<u32>,
    /// All user ids.
    pub uid_map: Vec<MappingRecord>,
    /// All group ids.
    pub gid_map: Vec<MappingRecord>,
}

/// A line of an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MappingRecord {
    /// The first id inside.
    pub inside: u32,
    /// The host id that it is.
    pub host: u32,
    /// How many follow one another.
    pub count: u32,
}

impl From<&Mapping> for MappingRecord {
    fn from(m: &Mapping) -> Self {
        Self { inside: m.inside.get(), host: m.host.get(), count: m.count }
    }
}

/// What confines a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Confinement {
    /// Whether the root is read-only.
    pub read_only: bool,
    /// Whether new privileges are given up.
    pub no_new_privileges: bool,
    /// Whether a system call filter is installed.
    pub seccomp: bool,
    /// The Landlock ABI in force, 0 for none.
    pub landlock: u8,
    /// Capabilities in the bounding set.
    pub capabilities: Vec<String>,
    /// The network: `private`, `none`, `host`, or `loopback` where a private one could not be connected.
    pub network: String,
    /// What was asked for beyond the default, in the words of the command line.
    pub relaxed: Vec<String>,
    /// What of a learned profile is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Enforcement>,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// `created`, `running`, `restarting`, `paused` or `exited`.
    pub status: String,
    /// Process id on the host of process 1 inside, 0 when there is none.
    pub pid: i32,
    /// The same process, so that it cannot be mistaken for a later one with its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// The exit code, once it has one.
    pub exit_code: Option<i32>,
    /// Whether the kernel has killed a process of its last run because memory ran out.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// When the payload was started, in RFC 3339, UTC.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What it has in each network that the caller has made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, EndpointState>,
    /// Its ports, and what leads to them from the host.
    #[serde(default, skip_serializing_if = "Bindings::is_empty")]
    pub ports: Bindings,
    /// How often it was started again by its policy.
    pub restart_count: u32,
    /// The digest of its root when it last ended, of one that is immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootDigest>,
    /// How it feels, where that is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How many of the last runs were short.
    #[serde(skip)]
    pub failures: u32,
    /// Why it could not be started, when it could not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// What the root of an immutable container was when it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootDigest {
    /// Its digest.
    pub digest: String,
    /// The digest of what it stands on.
    pub image: String,
}

/// What a container has in a network. Source: Docker's API, `NetworkSettings.Networks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointState {
    /// The network's id.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Its address.
    #[serde(rename = "IPAddress")]
    pub ip_address: Ipv4Addr,
    /// How many leading bits the addresses of the network have in common.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// The address that no container has.
    pub gateway: Ipv4Addr,
    /// The hardware address.
    pub mac_address: String,
    /// Names by which it is found besides its own.
    pub aliases: Vec<String>,
}

/// What health checks found. Source: Docker's API, `State.Health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// How many checks in a row have failed.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<HealthResult>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// When it was begun, in RFC 3339, UTC.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Its exit code; -1 for one that could not be run or took too long.
    pub exit_code: i32,
    /// What it said, up to a length.
    pub output: String,
}

impl Health {
    /// Nothing was checked yet.
    pub fn starting() -> Self {
        Self { status: "starting".into(), failing_streak: 0, log: Vec::new() }
    }

    /// Adds a result; the oldest goes.
    pub fn add(&mut self, result: HealthResult) {
        /// Source: Docker.
        const KEPT: usize = 5;
        if self.log.len() == KEPT {
            self.log.remove(0);
        }
        self.log.push(result);
    }
}

impl Status {
    /// Tells whether there is a process.
    pub fn is_running(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused")
    }

    /// Tells whether it runs, or is about to run once more.
    pub fn is_active(&self) -> bool {
        self.is_running() || self.status == "restarting"
    }

    /// The container was made, and nothing has run in it.
    pub fn created() -> Self {
        Self { status: "created".into(), ..Self::default() }
    }

    /// The payload runs as this process of the host, from now on.
    pub fn started(&mut self, pid: Pid, pidfd: BorrowedFd<'_>) {
        self.status = "running".into();
        self.pid = pid.as_raw_nonzero().get();
        self.process = ProcessId::of(pid, pidfd);
        self.started_at = Some(now());
        (self.exit_code, self.finished_at, self.oom_killed) = (None, None, false);
        self.error.clear();
        self.root = None;
    }

    /// Nobody reaches it any more.
    pub fn unreachable(&mut self) {
        self.networks.clear();
        self.ports.0.clear();
    }

    /// The payload has ended now.
    pub fn ended(&mut self, code: i32) {
        self.status = "exited".into();
        self.pid = 0;
        self.process = None;
        self.unreachable();
        self.exit_code = Some(code);
        self.finished_at = Some(now());
    }
}

impl Identity {
    /// Describes who a container is.
    pub fn of(facts: &crate::derive::Facts, ids: &IdMap) -> Self {
        let run = facts.run_ids();
        Self {
            rung: ids.rung.as_str().into(),
            escapee: escapee(ids.rung).into(),
            user: facts.name.clone(),
            uid: facts.uid,
            gid: facts.gid,
            groups: facts.groups.clone(),
            host_uid: ids.host_uid(run.uid).map(HostId::get),
            host_gid: ids.host_gid(run.gid).map(HostId::get),
            uid_map: ids.uids.iter().map(MappingRecord::from).collect(),
            gid_map: ids.gids.iter().map(MappingRecord::from).collect(),
        }
    }

    /// Makes the map again, to act on the container's files.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Corrupt`] when what was written down is no map.
    pub fn map(&self) -> crate::error::Result<IdMap> {
        let mappings = |records: &[MappingRecord]| -> Option<Vec<Mapping>> {
            let mapping = |r: &MappingRecord| {
                Some(Mapping { inside: InsideId::new(r.inside)?, host: HostId::new(r.host)?, count: r.count })
            };
            records.iter().map(mapping).collect()
        };
        let rung = [Rung::Subordinate, Rung::Sharing, Rung::Single, Rung::Root];
        let rung = rung.into_iter().find(|r| r.as_str() == self.rung);
        match (rung, mappings(&self.uid_map), mappings(&self.gid_map)) {
            (Some(rung), Some(uids), Some(gids)) => Ok(IdMap::restored(rung, uids, gids)),
            _ => Err(crate::error::Error::new(crate::error::Kind::Corrupt, "the container's id map is damaged")),
        }
    }
}

/// What a process that got out would be, in words.
fn escapee(rung: Rung) -> &'static str {
    match rung {
        Rung::Subordinate => {
            "an escaped process would be nobody: a subordinate id, which owns nothing on this host outside your containers"
        }
        Rung::Sharing => "as the run user an escaped process would be you; as any other user inside, nobody",
        Rung::Single => "an escaped process would be you, with your groups",
        Rung::Root => "an escaped process would be nobody: an id of a range that is this container's alone",
    }
}
