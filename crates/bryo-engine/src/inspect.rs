// SPDX-License-Identifier: Apache-2.0
//! A container in the words of Docker's API, for whatever reads `docker inspect`, and in bryo's own: who it is on the
//! host, how it is confined, and the runtime spec that was obeyed. Source: Docker Engine API, `ContainerInspect`.
//!
//! Where the two differ, a name has no slash before it, as in Podman, and `Config.Env` is what the payload got.

use std::collections::BTreeMap;

use oci_spec::image::Config;
use serde_json::{Map, Value, json};

use crate::Engine;
use crate::container::{Health, Record, Status};
use crate::error::{Error, Kind, Result};
use crate::monitor::log;
use crate::options::{Check, LogDriver, Mount, Pids, Publish, Restart, RunOptions, Seccomp, Source, Swap, signal_name};

/// What Docker's API has for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The size of `/dev/shm` where none was asked for, in bytes.
const SHM: u64 = 64 << 20;

impl Engine {
    /// Describes a container.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`](crate::error::Kind::Corrupt) when what is written down about it cannot be read.
    pub fn inspect(&self, record: &Record) -> Result<Value> {
        let image = self.containers.image(&record.id)?;
        let of_image = image.as_ref().and_then(|image| image.config.config().clone()).unwrap_or_default();
        let dir = self.containers.dir(&record.id);
        let (path, arguments) = match record.command.split_first() {
            Some((path, arguments)) => (path.as_str(), arguments),
            None => ("", &[][..]),
        };
        let log = match record.options.log.driver {
            LogDriver::Local => dir.join(log::FILE).display().to_string(),
            LogDriver::None => String::new(),
        };
        let shown = |what: &str, value: serde_json::Result<Value>| {
            value.map_err(|e| Error::new(Kind::Corrupt, format!("cannot show the {what} of {}: {e}", record.name)))
        };
        Ok(json!({
            "Id": record.id,
            "Name": record.name,
            "Created": record.created,
            "Path": path,
            "Args": arguments,
            "State": state(record),
            "Image": record.image_id,
            "ImageName": record.image,
            "RestartCount": record.state.restart_count,
            "Driver": "overlay",
            "Platform": "linux",
            "LogPath": log,
            "GraphDriver": {"Name": "overlay", "Data": {"UpperDir": dir.join("layer/upper")}},
            "Mounts": record.options.mounts.iter().map(|mount| self.mount(mount)).collect::<Vec<_>>(),
            "Config": config(record, &of_image),
            "HostConfig": host_config(record),
            "NetworkSettings": network(&record.state, self.networks_described(record)),
            "Identity": shown("identity", serde_json::to_value(&record.identity))?,
            "Confinement": shown("confinement", serde_json::to_value(&record.confinement))?,
            "Limits": shown("limits", serde_json::to_value(&record.limits))?,
            "Layers": record.layers,
            "Spec": shown("runtime spec", serde_json::to_value(&record.spec))?,
        }))
    }

    fn mount(&self, mount: &Mount) -> Value {
        let mode = if mount.read_only { "ro" } else { "" };
        let (kind, name, source) = match &mount.source {
            Source::Bind(path) => ("bind", None, path.display().to_string()),
            Source::Volume(name) | Source::Anonymous(name) => {
                let place = self.volume(name).map(|volume| volume.mountpoint.display().to_string());
                ("volume", Some(name), place.unwrap_or_default())
            }
            Source::Tmpfs { .. } => ("tmpfs", None, String::new()),
        };
        let mut described = json!({
            "Type": kind, "Source": source, "Destination": mount.target, "Mode": mode, "RW": !mount.read_only,
            "Propagation": if kind == "bind" { "rprivate" } else { "" },
        });
        if let Some(name) = name {
            (described["Name"], described["Driver"]) = (json!(name), json!("local"));
        }
        described
    }

    /// Describes what a container has in its networks, or will have when it is started.
    fn networks_described(&self, record: &Record) -> Map<String, Value> {
        let has = record.state.networks.iter().map(|(name, has)| (name.clone(), json!(has)));
        let mut networks: Map<String, Value> = has.collect();
        for endpoint in &record.options.networks {
            // It may have been given by its id, and may be gone.
            let found = self.networks().find(&endpoint.network).ok();
            let name = found.as_ref().map_or(&endpoint.network, |network| &network.name);
            let empty = || {
                json!({
                    "NetworkID": found.as_ref().map(|network| network.id.as_str()).unwrap_or_default(),
                    "IPAddress": "",
                    "IPPrefixLen": 0,
                    "Gateway": "",
                    "MacAddress": "",
                    "Aliases": endpoint.aliases,
                })
            };
            networks.entry(name.as_str()).or_insert_with(empty);
        }
        networks
    }
}

fn state(record: &Record) -> Value {
    let state = &record.state;
    let mut described = json!({
        "Status": state.status,
        "Running": state.is_active(),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code.unwrap_or(0),
        "Error": state.error,
        "StartedAt": state.started_at.as_deref().unwrap_or(NEVER),
        "FinishedAt": state.finished_at.as_deref().unwrap_or(NEVER),
    });
    // Nothing is written down before the first check.
    let starting = (record.health_check.is_some() && state.is_active()).then(Health::starting);
    if let Some(health) = state.health.clone().or(starting) {
        described["Health"] = json!(health);
    }
    if let Some(root) = &state.root {
        described["Root"] = json!(root);
    }
    described
}

/// What the payload is, as it was asked for and as its image says.
fn config(record: &Record, image: &Config) -> Value {
    let options = &record.options;
    let process = record.spec.process().as_ref();
    let entrypoint = options.entrypoint.as_ref().or(image.entrypoint().as_ref());
    // Another entrypoint takes the image's arguments away.
    let of_image = image.cmd().as_ref().filter(|_| options.entrypoint.is_none());
    let command = if options.command.is_empty() { of_image } else { Some(&options.command) };
    let ports = options.expose.iter().map(ToString::to_string);
    let ports = ports.chain(image.exposed_ports().iter().flatten().cloned());
    let exposed: Map<String, Value> = ports.map(|port| (port, json!({}))).collect();
    let volumes: Map<String, Value> =
        image.volumes().iter().flatten().map(|volume| (volume.clone(), json!({}))).collect();
    let stop_signal = options.stop_signal.map(signal_name).or_else(|| image.stop_signal().clone());
    let mut described = json!({
        "Hostname": record.spec.hostname(),
        "Domainname": "",
        "User": options.user.as_ref().or(image.user().as_ref()).map_or("", String::as_str),
        "AttachStdin": options.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive,
        "Env": process.and_then(|process| process.env().as_ref()),
        "Cmd": command,
        "Image": record.image,
        "Volumes": volumes,
        "WorkingDir": process.map(|process| process.cwd()),
        "Entrypoint": entrypoint,
        "Labels": record.labels,
        "ExposedPorts": exposed,
        "StopSignal": stop_signal.as_deref().unwrap_or("SIGTERM"),
        "StopTimeout": options.stop_timeout.unwrap_or(10),
    });
    if let Some(check) = &record.health_check {
        described["Healthcheck"] = healthcheck(check);
    }
    described
}

/// Describes a check as an image's configuration does.
pub(crate) fn healthcheck(check: &Check) -> Value {
    let test: Vec<&str> = ["CMD"].into_iter().chain(check.command.iter().map(String::as_str)).collect();
    json!({
        "Test": test,
        "Interval": u64::try_from(check.interval.as_nanos()).unwrap_or(u64::MAX),
        "Timeout": u64::try_from(check.timeout.as_nanos()).unwrap_or(u64::MAX),
        "StartPeriod": u64::try_from(check.start_period.as_nanos()).unwrap_or(u64::MAX),
        "StartInterval": u64::try_from(check.start_interval.as_nanos()).unwrap_or(u64::MAX),
        "Retries": check.retries,
    })
}

/// What the container has of its host.
fn host_config(record: &Record) -> Value {
    let (options, security) = (&record.options, &record.options.security);
    let relaxed = record.confinement.relaxed.iter();
    let mut described = limits(options);
    let more = json!({
        "Binds": options.mounts.iter().filter_map(bind).collect::<Vec<_>>(),
        "Tmpfs": tmpfs(options),
        "ContainerIDFile": options.cidfile.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        "LogConfig": log_config(options),
        "NetworkMode": network_mode(record),
        "PortBindings": port_bindings(options),
        "PublishAllPorts": options.publish_all,
        "RestartPolicy": {
            "Name": options.restart.name(),
            "MaximumRetryCount": if let Restart::OnFailure(Some(most)) = options.restart { most } else { 0 },
        },
        "AutoRemove": record.auto_remove,
        "CapAdd": options.cap_add.iter().map(|cap| format!("CAP_{cap}")).collect::<Vec<_>>(),
        "CapDrop": options.cap_drop.iter().map(|cap| format!("CAP_{cap}")).collect::<Vec<_>>(),
        "Dns": options.dns.servers,
        "DnsOptions": options.dns.options,
        "DnsSearch": options.dns.search,
        "ExtraHosts": options.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        "GroupAdd": options.groups,
        "Init": options.init,
        "Privileged": options.cap_add_all && security.unmask_all && security.seccomp == Seccomp::Unconfined,
        "ReadonlyRootfs": record.confinement.read_only,
        "SecurityOpt": relaxed.filter_map(|word| word.strip_prefix("--security-opt ")).collect::<Vec<_>>(),
        "ShmSize": options.shm_size.unwrap_or(SHM),
        "Sysctls": options.sysctls,
        "UsernsMode": if options.keep_id { "keep-id" } else { "" },
        "Runtime": "bryo",
    });
    if let (Value::Object(described), Value::Object(more)) = (&mut described, more) {
        described.extend(more);
    }
    described
}

/// The limits that were asked for; those that the kernel keeps are in `Limits`.
fn limits(options: &RunOptions) -> Value {
    let limits = &options.limits;
    let swap = match limits.memory_swap {
        None => 0,
        Some(Swap::Unlimited) => -1,
        Some(Swap::Total(bytes)) => i64::try_from(bytes).unwrap_or(i64::MAX),
    };
    let pids = match limits.pids {
        Pids::Default => None,
        Pids::Unlimited => Some(-1),
        Pids::Most(most) => Some(i64::try_from(most).unwrap_or(i64::MAX)),
    };
    let (quota, period) = (limits.cpu_quota.unwrap_or(0), limits.cpu_period.unwrap_or(0));
    let ulimit = |limit: &oci_spec::runtime::PosixRlimit| {
        let name = limit.typ().to_string().trim_start_matches("RLIMIT_").to_lowercase();
        json!({"Name": name, "Soft": limit.soft(), "Hard": limit.hard()})
    };
    json!({
        "Memory": limits.memory.unwrap_or(0),
        "MemorySwap": swap,
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "CpuQuota": quota,
        "CpuPeriod": period,
        "NanoCpus": quota.saturating_mul(1_000_000_000).checked_div(period).unwrap_or(0),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or(""),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or(""),
        "PidsLimit": pids,
        "BlkioWeight": limits.block_weight.unwrap_or(0),
        "Ulimits": options.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
    })
}

fn bind(mount: &Mount) -> Option<String> {
    let source = match &mount.source {
        Source::Bind(path) => path.display().to_string(),
        Source::Volume(name) => name.clone(),
        Source::Anonymous(_) | Source::Tmpfs { .. } => return None,
    };
    let flags = [(mount.read_only, "ro"), (mount.me, "me")];
    let flags: Vec<&str> = flags.into_iter().filter_map(|(set, word)| set.then_some(word)).collect();
    let flags = if flags.is_empty() { String::new() } else { format!(":{}", flags.join(",")) };
    Some(format!("{source}:{}{flags}", mount.target.display()))
}

fn tmpfs(options: &RunOptions) -> BTreeMap<String, String> {
    let words = |mount: &Mount| match &mount.source {
        Source::Tmpfs { size, mode, .. } => {
            let size = size.map(|size| format!("size={size}"));
            let mode = mode.map(|mode| format!("mode={mode:o}"));
            let words: Vec<String> = size.into_iter().chain(mode).collect();
            Some((mount.target.display().to_string(), words.join(",")))
        }
        _ => None,
    };
    options.mounts.iter().filter_map(words).collect()
}

fn log_config(options: &RunOptions) -> Value {
    match options.log.driver {
        LogDriver::None => json!({"Type": "none", "Config": {}}),
        LogDriver::Local => json!({"Type": "local", "Config": {
            "max-size": options.log.max_size.to_string(), "max-file": options.log.max_files.to_string(),
        }}),
    }
}

fn network_mode(record: &Record) -> String {
    let options = &record.options;
    match (&options.network_of, options.networks.first()) {
        (Some(other), _) => format!("container:{other}"),
        (None, Some(first)) => first.network.clone(),
        (None, None) => record.confinement.network.clone(),
    }
}

/// What was asked for: a port of the host that is left to bryo is an empty text.
fn port_bindings(options: &RunOptions) -> BTreeMap<String, Vec<Value>> {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for Publish(wanted) in &options.publish {
        let address = wanted.address.map(|address| address.to_string()).unwrap_or_default();
        let host = match wanted.host.as_ref().map(|range| (*range.start(), *range.end())) {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let binding = json!({"HostIp": address, "HostPort": host});
        bindings.entry(format!("{}/{}", wanted.container, wanted.protocol)).or_default().push(binding);
    }
    bindings
}

fn network(state: &Status, networks: Map<String, Value>) -> Value {
    let first = state.networks.values().next();
    json!({
        "Ports": state.ports,
        "Networks": networks,
        "IPAddress": first.map(|end| end.ip_address.to_string()).unwrap_or_default(),
        "IPPrefixLen": first.map_or(0, |end| end.ip_prefix_len),
        "Gateway": first.map(|end| end.gateway.to_string()).unwrap_or_default(),
        "MacAddress": first.map(|end| end.mac_address.clone()).unwrap_or_default(),
    })
}
