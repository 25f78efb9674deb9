// SPDX-License-Identifier: Apache-2.0
//! Puts the runtime spec together: namespaces, masks, parameters, filter.

use std::collections::HashMap;
use std::path::Path;

use bryo_identity::map::{IdMap, Mapping};
use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Mount, Process,
    Root, Spec,
};

use super::capabilities::Granted;
use super::{Input, files};
use crate::error::{Error, Kind, Result};
use crate::learned::Profile;
use crate::options::{Network, Seccomp};
use crate::profile;

/// The version of the runtime specification that is written.
const VERSION: &str = "1.2.1";

/// Files and directories that show or steer the host, and of which a container has no use. A superset of Docker's.
const MASKED: [&str; 22] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/dynamic_debug",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
];

/// Parts of `/proc` that can only be read. Source: Docker's defaults.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn assemble(input: &Input<'_>, process: Process, mounts: Vec<Mount>, granted: &Granted) -> Result<Spec> {
    let mut root = Root::default();
    root.set_path(Path::new("rootfs").into()).set_readonly(Some(!input.options.writable));
    let mut spec = Spec::default();
    spec.set_version(VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_hostname(Some(files::host_name(input)))
        .set_annotations(
            (!input.options.annotations.is_empty())
                .then(|| input.options.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
        )
        .set_linux(Some(linux(input, granted)?));
    Ok(spec)
}

fn linux(input: &Input<'_>, granted: &Granted) -> Result<Linux> {
    let security = &input.options.security;
    let hidden = |path: &&str| !security.unmask_all && !security.unmask.iter().any(|u| u == Path::new(path));
    let paths = |list: &[&str]| list.iter().filter(|p| hidden(p)).map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let mut masked = paths(&MASKED);
    // What others do shows in how hot they make it (GHSA-6fw5-f8r9-fgfm).
    let throttles: Vec<&str> = input.host.throttles.iter().map(String::as_str).collect();
    masked.extend(paths(&throttles));
    masked.extend(security.mask.iter().map(|p| p.to_string_lossy().into_owned()));
    if input.network == Network::Container {
        // Where the kernel shows no devices of another container's network, the host's are behind what is bound.
        masked.extend(paths(&["/sys/class/net", "/sys/devices/virtual/net"]));
    }
    if let bryo_launch::plan::RootFs::Empty { .. } = input.root {
        // What the caller mounts there is not the host's, or is meant to be seen.
        let mounted = |path: &str| input.options.mounts.iter().any(|m| Path::new(path).starts_with(&m.target));
        masked.extend(super::host::MASKED.iter().filter(|p| !mounted(p)).map(|p| (*p).to_owned()));
    }
    let resources = input.options.limits.resources(input.pids_limit);
    let mut linux = Linux::default();
    linux
        .set_uid_mappings(Some(mappings(&input.ids.uids)))
        .set_gid_mappings(Some(mappings(&input.ids.gids)))
        .set_sysctl(Some(sysctls(input)?))
        .set_cgroups_path(resources.as_ref().map(|_| format!(":bryo:{}", input.id.short()).into()))
        .set_resources(resources)
        .set_namespaces(Some(namespaces(input.network)))
        .set_masked_paths(Some(masked))
        .set_readonly_paths(Some(paths(&READ_ONLY)))
        .set_seccomp(seccomp(input, granted)?);
    Ok(linux)
}

fn namespaces(network: Network) -> Vec<LinuxNamespace> {
    let own = [
        LinuxNamespaceType::User,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    let network = network.is_own().then_some(LinuxNamespaceType::Network);
    let namespace = |typ| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace
    };
    own.into_iter().chain(network).map(namespace).collect()
}

fn mappings(list: &[Mapping]) -> Vec<LinuxIdMapping> {
    let mapping = |m: &Mapping| {
        let built = LinuxIdMappingBuilder::default().container_id(m.inside.get()).host_id(m.host.get()).size(m.count);
        built.build().ok()
    };
    list.iter().filter_map(mapping).collect()
}

/// Parameters of the container's own namespaces. Low ports are open to every user and `ping` to every group: both
/// only reach as far as the namespace.
fn sysctls(input: &Input<'_>) -> Result<HashMap<String, String>> {
    let mut values = HashMap::new();
    if input.network.is_own() {
        values.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        values.insert("net.ipv4.ping_group_range".to_owned(), ping_groups(&input.ids, input.facts.gid));
    }
    for (key, value) in &input.options.sysctls {
        if key.starts_with("net.") && !input.network.is_own() {
            let whose = if input.network == Network::Host { "the host" } else { "another container" };
            let why = format!("--sysctl {key} would change {whose}: the network is not the container's own");
            return Err(Error::new(Kind::InvalidOption, why));
        }
        values.insert(key.clone(), value.clone());
    }
    if input.options.profile.as_ref().and_then(Profile::tcp_ports).is_some() {
        if !input.network.is_own() {
            let why = "the profile's ports cannot be enforced on a network that is not the container's own: leave \
                       --network out, or \"ports\" out of the profile";
            return Err(Error::new(Kind::InvalidOption, why));
        }
        values.extend(bypasses().map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    Ok(values)
}

/// Ways to a TCP connection that Landlock's ports do not cover, and the parameters that close them: `mptcp(7)`, and data
/// that is sent with the first packet (`tcp(7)`, `tcp_fastopen`). A kernel without the one has nothing to close.
fn bypasses() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mptcp = Path::new("/proc/sys/net/mptcp/enabled").exists().then_some(("net.mptcp.enabled", "0"));
    mptcp.into_iter().chain([("net.ipv4.tcp_fastopen", "0")])
}

/// The groups that may send echo requests: the kernel takes a range only if both of its ends are mapped.
fn ping_groups(ids: &IdMap, gid: u32) -> String {
    match ids.gids.first() {
        Some(m) if m.inside.get() == 0 => format!("0 {}", m.count - 1),
        _ => format!("{gid} {gid}"),
    }
}

fn seccomp(input: &Input<'_>, granted: &Granted) -> Result<Option<LinuxSeccomp>> {
    let capabilities: Vec<_> = granted.set.iter().copied().collect();
    match &input.options.security.seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Builtin => {
            let mut filter = profile::default(&capabilities);
            if let Some(learned) = &input.options.profile {
                learned.narrow_filter(&mut filter);
            }
            Ok(Some(filter))
        }
        Seccomp::Profile(text) => {
            let host = profile::Host { caps: &capabilities, kernel: input.host.kernel };
            let profile = profile::from_docker_json(text, host);
            let profile = profile.map_err(|e| Error::new(Kind::InvalidOption, format!("seccomp profile: {e}")))?;
            Ok(Some(profile))
        }
    }
}
