// SPDX-License-Identifier: Apache-2.0
//! What a container is given, in whatever language it was said: the one model that the rules look at.

use std::sync::Arc;

use crate::identity::Effective;
use crate::model::{Fact, Place};

/// Whose language it was said in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Platform {
    /// A container of an engine.
    #[default]
    Engine,
    /// A service of a Compose file.
    Compose,
    /// A container of a pod, or a pod.
    Kubernetes,
    /// An OCI bundle.
    Bundle,
}

/// A namespace that may be the host's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Namespace {
    /// Network.
    Network,
    /// Processes.
    Pid,
    /// System V memory.
    Ipc,
    /// Host name.
    Uts,
    /// Control groups.
    Cgroup,
    /// Users.
    User,
}

/// Something mounted.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where it comes from, if that is a path of the host.
    pub source: Option<String>,
    /// Where it is inside.
    pub target: String,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// How mounts spread.
    pub propagation: Option<String>,
    /// Whether it is memory, and without a bound.
    pub unbounded: bool,
    /// Its place.
    pub place: Place,
}

/// A port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Inside.
    pub inside: Option<u16>,
    /// On the host.
    pub outside: Option<u16>,
    /// The host's address; empty for all.
    pub address: String,
    /// Its place.
    pub place: Place,
}

/// A pod's volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its kinds, as it is said.
    pub kinds: Vec<String>,
    /// Its place.
    pub place: Place,
}

/// What a service is built from.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The context, from the directory of the file.
    pub context: String,
    /// The Dockerfile, from the context.
    pub dockerfile: Option<String>,
    /// The Dockerfile itself.
    pub inline: Option<String>,
    /// The stage.
    pub target: Option<String>,
    /// The values of arguments.
    pub arguments: Vec<(String, String)>,
}

/// What the kernel says of a running process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The effective user's id on the host.
    pub host_uid: u32,
    /// The same inside, if it has one there.
    pub uid: Option<u32>,
    /// What root inside is on the host, if anything.
    pub root_is: Option<u32>,
    /// The effective capabilities.
    pub capabilities: u64,
    /// The map of users: first inside, first on the host, how many.
    pub map: Vec<(u64, u64, u64)>,
    /// Whether system calls are filtered.
    pub filtered: Option<bool>,
    /// Whether it may gain no privileges.
    pub no_new_privileges: Option<bool>,
    /// What AppArmor or SELinux says of it; empty for nothing.
    pub label: Option<String>,
    /// Which limits are in force: memory, processor time, processes.
    pub limits: Option<[bool; 3]>,
    /// All processes of the container.
    pub members: Vec<Member>,
}

/// A process of a container.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its number on the host.
    pub pid: u32,
    /// The effective user's id inside, if it has one there.
    pub uid: Option<u32>,
    /// The effective capabilities.
    pub capabilities: u64,
    /// The name of its program.
    pub name: String,
    /// Whether it was started from outside, later than the first one.
    pub entered: bool,
    /// Whether it is in a user namespace below the container's.
    pub nested: bool,
}

/// What a container, or a pod, is given. What is not said is `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The language.
    pub platform: Platform,
    /// Its name.
    pub name: String,
    /// Its place.
    pub place: Option<Place>,
    /// Whether it is a pod: what its containers share.
    pub is_pod: bool,
    /// The pod it is in.
    pub pod: Option<Arc<Workload>>,
    /// Whether it runs before the others.
    pub init: bool,
    /// Whether it is one of Windows.
    pub windows: bool,
    /// Whether it has a user namespace of its own.
    pub own_users: Option<Fact<bool>>,
    /// The image.
    pub image: Option<Fact<String>>,
    /// The digest is known, whatever the name says.
    pub pinned: bool,
    /// Whether it is built from a Dockerfile that is judged by itself.
    pub built: bool,
    /// That which it is built from.
    pub build: Option<Fact<Build>>,
    /// `user[:group]`.
    pub user: Option<Fact<String>>,
    /// The user of its image, where that is known.
    pub image_user: Option<String>,
    /// Whom the user's name makes of it, where accounts are at hand.
    pub named: Option<Effective>,
    /// The user's id.
    pub run_as_user: Option<Fact<i64>>,
    /// The group's id.
    pub run_as_group: Option<Fact<i64>>,
    /// Whether root is refused.
    pub run_as_non_root: Option<Fact<bool>>,
    /// Further groups.
    pub groups: Vec<Fact<String>>,
    /// Whether nothing is confined.
    pub privileged: Option<Fact<bool>>,
    /// Added capabilities.
    pub add: Vec<Fact<String>>,
    /// Dropped capabilities.
    pub drop: Vec<Fact<String>>,
    /// Whether programs may gain privileges.
    pub escalation: Option<Fact<bool>>,
    /// The filter of system calls.
    pub seccomp: Option<Fact<String>>,
    /// The AppArmor profiles.
    pub apparmor: Vec<Fact<String>>,
    /// The parts of the SELinux label: name and value.
    pub selinux: Vec<Fact<(String, String)>>,
    /// How `/proc` is masked.
    pub proc_mount: Option<Fact<String>>,
    /// Namespaces of the host.
    pub host: Vec<Fact<Namespace>>,
    /// Whether containers share processes.
    pub share_pid: Option<Fact<bool>>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// A pod's volumes.
    pub volumes: Vec<Volume>,
    /// Devices.
    pub devices: Vec<Fact<String>>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Kernel parameters.
    pub sysctls: Vec<Fact<String>>,
    /// Whether it is a process of a Windows host.
    pub host_process: Option<Fact<bool>>,
    /// Whom probes and hooks ask.
    pub probe_hosts: Vec<Fact<String>>,
    /// Whether the root file system is read-only.
    pub read_only: Option<Fact<bool>>,
    /// Whether memory is limited.
    pub memory: bool,
    /// Whether processor time is limited.
    pub cpu: bool,
    /// Whether the number of processes is limited.
    pub pids: bool,
    /// Limits that were lifted.
    pub lifted: Vec<Fact<String>>,
    /// What is done when it ends.
    pub restart: Option<Fact<String>>,
    /// Whether it is in a network that everybody is in.
    pub default_network: bool,
    /// The environment.
    pub env: Vec<(String, String, Place)>,
    /// What is run: at the start, by probes and hooks.
    pub commands: Vec<Fact<Vec<String>>>,
    /// Whether there is a health check; `None` where that is not this file's business.
    pub health: Option<bool>,
    /// When the image is asked for again.
    pub pull_policy: Option<Fact<String>>,
    /// Whether a service account's token is mounted.
    pub token: Option<Fact<bool>>,
    /// The service account.
    pub account: Option<Fact<String>>,
    /// The namespace of the cluster.
    pub namespace: Option<Fact<String>>,
    /// Images that are mounted.
    pub image_volumes: Vec<Fact<String>>,
    /// Names that are resolved without DNS.
    pub host_aliases: Option<Place>,
    /// Whether there is any security context.
    pub has_context: bool,
    /// How groups of the image count.
    pub strict_groups: bool,
    /// What the kernel says.
    pub process: Option<Process>,
    /// Users of commands that were started inside later, and whether they are privileged.
    pub execs: Vec<(String, bool)>,
    /// Paths that were changed since it was made: whether added (1), changed (0) or removed (2).
    pub changes: Vec<(u8, String)>,
    /// What is not as in the image, where that was looked for.
    pub drift: Option<Vec<bryo_engine::drift::Finding>>,
    /// What this host has wrong with the ids that containers get.
    pub host_ids: Vec<String>,
    /// Settings that cannot be judged.
    pub unresolved: Vec<Fact<String>>,
    /// Warnings of the engine about what is not enforced.
    pub not_enforced: Vec<String>,
}

impl Workload {
    /// Returns the place of the whole.
    pub fn place(&self) -> Place {
        self.place.clone().unwrap_or_else(|| Place { file: "".into(), line: 0, column: 0 })
    }

    /// Tells whether a namespace is the host's, by its own word or its pod's.
    pub fn has_host(&self, namespace: Namespace) -> bool {
        let own = self.host.iter().any(|fact| fact.value == namespace);
        own || self.pod.as_ref().is_some_and(|pod| pod.has_host(namespace))
    }

    /// Tells whether it has a user namespace of its own, by its own word or its pod's.
    pub fn in_user_namespace(&self) -> bool {
        let own = self.own_users.as_ref().map(|fact| fact.value);
        own.or_else(|| self.pod.as_ref().map(|pod| pod.in_user_namespace())).unwrap_or(false)
    }

    /// Tells whether it is privileged.
    pub fn is_privileged(&self) -> bool {
        self.privileged.as_ref().is_some_and(|fact| fact.value)
    }
}

/// Writes a capability as the kernel's documentation does, without `CAP_`.
pub fn capability(name: &str) -> String {
    let upper = name.trim().to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}
