// SPDX-License-Identifier: Apache-2.0
//! What is written down about a container.

use std::collections::BTreeMap;

use bryo_identity::map::Mapping;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::Id;

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
    /// Its state when this was written; whether it runs now is for the lock to say.
    pub state: Status,
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
}

/// Where in its life a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// `created`, `running` or `exited`.
    pub status: String,
    /// Process id on the host of process 1 inside, 0 when there is none.
    pub pid: i32,
    /// The exit code, once it has one.
    pub exit_code: Option<i32>,
    /// When the payload was started, in RFC 3339, UTC.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
}
