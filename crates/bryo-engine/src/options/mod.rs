// SPDX-License-Identifier: Apache-2.0
//! What a caller asks of a container: the flags of `run`, parsed and strict.
//!
//! A value that is not understood is an error here, before anything has happened. The defaults are those of bryo's
//! policy; each field that relaxes one says so.

mod endpoint;
mod health;
mod life;
mod limits;
mod mount;
mod notify;
mod parse;
mod port;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{Capability, PosixRlimit};
use serde::{Deserialize, Serialize};

use crate::learned::Profile;

pub use bryo_sys::signal::numbered;
pub use endpoint::{Endpoint, Networking};
pub use health::{Check, HealthOptions};
pub use life::{Log, LogDriver, Restart, duration, signal_name, stop_signal};
pub use limits::{Limits, Pids, Swap};
pub(crate) use mount::volume_name;
pub use mount::{Mount, Source};
pub use notify::SdNotify;
pub use parse::{add_host, capability, env_file, key_value, security_option, size, sysctl, ulimit};
pub use port::{Port, Publish, expose, publish};

/// Everything that can be asked of one container. It is kept with it, so that it can be started again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunOptions {
    /// The image, by name, id or transport.
    pub image: String,
    /// Arguments that replace the image's command.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint; an empty one takes it away.
    pub entrypoint: Option<Vec<String>>,
    /// The container's name.
    pub name: Option<String>,
    /// Removes the container when it ends.
    pub remove: bool,
    /// `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// Supplementary groups, names or ids.
    pub groups: Vec<String>,
    /// Working directory, absolute.
    pub workdir: Option<PathBuf>,
    /// `NAME=VALUE`, in order; later ones win.
    pub env: Vec<String>,
    /// Names of variables to take out of the image's environment.
    pub unset_env: Vec<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Bind mounts, volumes and tmpfs.
    pub mounts: Vec<Mount>,
    /// Makes the root writable. Relaxes: the root is read-only.
    pub writable: bool,
    /// With a read-only root, leaves the state directories read-only too, as Docker's `--read-only` does.
    pub strict_read_only: bool,
    /// Refuses every write but to mounts, and proves at the end that the root is still the image's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immutable: bool,
    /// Lets programs be executed in every state directory. Relaxes: only in those where the image has some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec_state: bool,
    /// Capabilities to add. Relaxes: none without root inside, few with it.
    pub cap_add: Vec<Capability>,
    /// Adds all capabilities.
    pub cap_add_all: bool,
    /// Capabilities to take away.
    pub cap_drop: Vec<Capability>,
    /// Takes all capabilities away.
    pub cap_drop_all: bool,
    /// What `--security-opt` and `--privileged` changed.
    pub security: Security,
    /// The network.
    pub network: Option<Network>,
    /// The networks that the caller has made.
    pub networks: Vec<Endpoint>,
    /// Has been taken out of all its networks, and has none until it is connected with one.
    pub disconnected: bool,
    /// The container whose network it shares.
    pub network_of: Option<String>,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// Publishes every port that the image or the caller exposes.
    pub publish_all: bool,
    /// Ports that the container serves.
    pub expose: Vec<Port>,
    /// Extra lines of `/etc/hosts`: name and address.
    pub hosts: Vec<(String, String)>,
    /// Name servers, search domains and options that replace the host's.
    pub dns: Dns,
    /// Limits of the process. Source: `setrlimit(2)`.
    pub ulimits: Vec<PosixRlimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Kernel parameters of the container's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Runs a small init above the payload.
    pub init: bool,
    /// Passes standard input on.
    pub interactive: bool,
    /// Gives the payload a terminal.
    pub tty: bool,
    /// Does not pass signals on.
    pub no_signal_proxy: bool,
    /// When to pull.
    pub pull: Option<Pull>,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the runtime spec.
    pub annotations: BTreeMap<String, String>,
    /// Maps the run user to the caller, as `:me` on a mount does.
    pub keep_id: bool,
    /// A file that gets the container's id.
    pub cidfile: Option<PathBuf>,
    /// When it is started again after it has ended.
    pub restart: Restart,
    /// What becomes of its output.
    pub log: Log,
    /// Whether and how its health is checked.
    pub health: HealthOptions,
    /// The number of the signal that asks it to end, in place of the image's.
    pub stop_signal: Option<i32>,
    /// How many seconds it has to end before it is killed.
    pub stop_timeout: Option<u64>,
    /// Who tells a service manager that it is ready.
    pub sdnotify: SdNotify,
    /// What it may use at most.
    pub limits: Limits,
    /// All that it is to have of what it would have, as was learned.
    pub profile: Option<Profile>,
}

/// What `--security-opt` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Security {
    /// Lets set-user-id programs work. Relaxes `no_new_privs`.
    pub new_privileges: bool,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Landlock: unset is "where available".
    pub landlock: Option<bool>,
    /// Leaves `/proc` and `/sys` unmasked. Relaxes the masks.
    pub unmask_all: bool,
    /// Single paths that are not masked.
    pub unmask: Vec<PathBuf>,
    /// More paths to mask.
    pub mask: Vec<PathBuf>,
}

/// Which system call filter is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// The built-in allowlist.
    #[default]
    Builtin,
    /// None.
    Unconfined,
    /// One in Docker's or the OCI's form, read from a file by the caller.
    Profile(Vec<u8>),
}

impl RunOptions {
    /// Tells whether a container with this network can be connected with others: it has one of its own, and was not
    /// made to be without.
    pub fn is_connectable(&self, network: Network) -> bool {
        match network {
            Network::Private => true,
            Network::None => !self.networks.is_empty() || self.disconnected,
            Network::Host | Network::Container => false,
        }
    }

    /// Tells whether a container with these options is in the same networks as one with others.
    pub(crate) fn is_connected_as(&self, other: &Self) -> bool {
        let connected = |options: &Self| (options.network, options.disconnected);
        self.networks == other.networks && connected(self) == connected(other)
    }
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Its own, connected to the outside.
    Private,
    /// Its own, with nothing but loopback.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container,
}

impl Network {
    /// Returns the network that a word of the command line stands for; Docker's `bridge` is the private network.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "private" | "default" | "bridge" | "pasta" => Some(Self::Private),
            "none" => Some(Self::None),
            "host" => Some(Self::Host),
            _ => None,
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::None => "none",
            Self::Host => "host",
            Self::Container => "container",
        }
    }

    /// Tells whether the container has a network namespace of its own.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Private | Self::None)
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// Every time.
    Always,
    /// When it is not there.
    Missing,
    /// Never.
    Never,
}

/// Resolver settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}
