// SPDX-License-Identifier: Apache-2.0
//! Containers as engines describe them (`inspect` of Docker, Podman and bryo), and OCI bundles.

use std::sync::Arc;

use super::compose::option_of;
use super::kubernetes::{Reader, place};
use super::workload::{Mount, Namespace, Platform, Port, Workload, capability};
use super::yaml::Node;
use crate::model::Fact;

/// Tells whether a document is what `inspect` prints of a container.
pub fn is_inspect(node: &Node) -> bool {
    let one = |node: &Node| node.get("HostConfig").is_some() && node.get("Config").is_some();
    one(node) || node.items().first().is_some_and(|first| one(first))
}

/// Tells whether a document is a bundle's `config.json`.
pub fn is_bundle(node: &Node) -> bool {
    node.get("ociVersion").is_some() && node.get("process").is_some()
}

/// Reads what `inspect` prints.
pub fn inspect(file: &Arc<str>, node: &Node) -> Vec<Workload> {
    let reader = Reader::new(file);
    match node.items() {
        [] => vec![one(reader, node)],
        all => all.iter().map(|node| one(reader, node)).collect(),
    }
}

fn one(reader: Reader<'_>, node: &Node) -> Workload {
    let text = |path: &[&str]| node.at(path).and_then(Node::text).unwrap_or_default();
    let id: String = text(&["Id"]).chars().take(12).collect();
    let name = text(&["Name"]).trim_start_matches('/');
    let mut made = Workload {
        platform: Platform::Engine,
        name: if name.is_empty() { id } else { name.to_owned() },
        place: Some(place(reader.file, node)),
        pinned: true,
        image: reader.text(node.at(&["Config", "Image"])),
        user: reader.text(node.at(&["Config", "User"])).filter(|user| !user.value.is_empty()),
        ..Workload::default()
    };
    host_config(reader, &mut made, node);
    limits(reader, &mut made, node);
    for mount in node.get("Mounts").map(Node::items).unwrap_or_default() {
        let text = |name: &str| mount.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        made.mounts.push(Mount {
            source: (text("Type") == "bind").then(|| text("Source")),
            target: text("Destination"),
            read_only: mount.get("RW").and_then(Node::truth) == Some(false),
            propagation: Some(text("Propagation")).filter(|spread| !spread.is_empty()),
            unbounded: false,
            place: place(reader.file, mount),
        });
    }
    for (name, node) in node.at(&["Config", "Labels"]).map(Node::pairs).unwrap_or_default() {
        made.env.push((name.to_owned(), node.text().unwrap_or_default().to_owned(), place(reader.file, node)));
    }
    // Docker says so beside what was asked for.
    if let Some(profile) = reader.text(node.get("AppArmorProfile")).filter(|profile| !profile.value.is_empty()) {
        let unconfined = profile.value == "unconfined";
        let value = if unconfined { "Unconfined" } else { "Localhost" }.to_owned();
        made.apparmor.push(Fact { value, ..profile });
    }
    for variable in node.at(&["Config", "Env"]).map(Node::items).unwrap_or_default() {
        let (name, value) = variable.text().and_then(|text| text.split_once('=')).unwrap_or_default();
        made.env.push((name.to_owned(), value.to_owned(), place(reader.file, variable)));
    }
    let words = |key| node.at(&["Config", key]).map(Node::items).unwrap_or_default();
    let command: Vec<String> = [words("Entrypoint"), words("Cmd")]
        .into_iter()
        .flatten()
        .filter_map(|word| word.text().map(str::to_owned))
        .collect();
    if !command.is_empty() {
        made.commands.push(reader.fact(node, command));
    }
    made.health = Some(node.at(&["Config", "Healthcheck", "Test"]).is_some());
    if let Some(spec) = node.get("Spec").filter(|spec| is_bundle(spec)) {
        obeyed(&mut made, bundle(reader.file, spec));
    }
    made
}

/// Where the runtime spec that was obeyed is known, it counts and not what was asked for.
fn obeyed(made: &mut Workload, spec: Workload) {
    made.user = spec.user;
    made.groups = spec.groups;
    made.own_users = spec.own_users;
    (made.add, made.drop) = (spec.add, spec.drop);
    (made.escalation, made.seccomp, made.proc_mount) = (spec.escalation, spec.seccomp, spec.proc_mount);
    (made.host, made.read_only, made.sysctls) = (spec.host, spec.read_only, spec.sysctls);
}

fn host_config(reader: Reader<'_>, made: &mut Workload, node: &Node) {
    let Some(host) = node.get("HostConfig") else { return };
    made.privileged = reader.truth(host.get("Privileged"));
    made.read_only = reader.truth(host.get("ReadonlyRootfs")).or(Some(reader.fact(host, false)));
    made.add = reader.texts(host.get("CapAdd"));
    made.drop = reader.texts(host.get("CapDrop"));
    made.groups = reader.texts(host.get("GroupAdd"));
    for option in reader.texts(host.get("SecurityOpt")) {
        let (key, rest) = option.value.split_once(['=', ':']).unwrap_or((&option.value, "true"));
        option_of(made, key, rest, &option);
    }
    if let Some(paths) = host.get("MaskedPaths")
        && paths.items().is_empty()
        && !paths.is_null()
    {
        made.proc_mount = Some(reader.fact(paths, "Unmasked".to_owned()));
    }
    for (key, namespace) in [
        ("NetworkMode", Namespace::Network),
        ("PidMode", Namespace::Pid),
        ("IpcMode", Namespace::Ipc),
        ("UTSMode", Namespace::Uts),
        ("CgroupnsMode", Namespace::Cgroup),
        ("UsernsMode", Namespace::User),
    ] {
        if let Some(fact) = reader.text(host.get(key)).filter(|fact| fact.value == "host") {
            made.host.push(Fact { value: namespace, place: fact.place });
        }
    }
    let mode = host.get("NetworkMode").and_then(Node::text).unwrap_or_default();
    made.default_network = matches!(mode, "default" | "bridge");
    for device in host.get("Devices").map(Node::items).unwrap_or_default() {
        made.devices.extend(reader.text(device.get("PathOnHost")));
    }
    for (name, node) in host.get("Sysctls").map(Node::pairs).unwrap_or_default() {
        made.sysctls.push(reader.fact(node, name.to_owned()));
    }
    let restart = reader.text(host.at(&["RestartPolicy", "Name"]));
    let count = host.at(&["RestartPolicy", "MaximumRetryCount"]).and_then(Node::number).unwrap_or(0);
    made.restart = restart.map(|fact| match fact.value.as_str() {
        "on-failure" if count > 0 => Fact { value: format!("on-failure:{count}"), ..fact },
        _ => fact,
    });
    for (inside, outside) in host.get("PortBindings").map(Node::pairs).unwrap_or_default() {
        let number = |text: &str| text.split('/').next().and_then(|number| number.parse().ok());
        for binding in outside.items() {
            made.ports.push(Port {
                inside: number(inside),
                outside: binding.get("HostPort").and_then(Node::text).and_then(number).or(Some(0)),
                address: binding.get("HostIp").and_then(Node::text).unwrap_or_default().to_owned(),
                place: place(reader.file, binding),
            });
        }
    }
}

fn limits(reader: Reader<'_>, made: &mut Workload, node: &Node) {
    let Some(host) = node.get("HostConfig") else { return };
    let number = |key: &str| host.get(key).and_then(Node::number).unwrap_or(0);
    made.memory = number("Memory") > 0;
    made.cpu = ["NanoCpus", "CpuQuota", "CpuShares"].iter().any(|key| number(key) > 0)
        || host.get("CpusetCpus").and_then(Node::text).is_some_and(|set| !set.is_empty());
    made.pids = number("PidsLimit") > 0;
    for limit in host.get("Ulimits").map(Node::items).unwrap_or_default() {
        if limit.get("Hard").and_then(Node::number) == Some(-1) {
            let name = limit.get("Name").and_then(Node::text).unwrap_or_default();
            made.lifted.push(reader.fact(limit, format!("ulimit {name} without a bound")));
        }
    }
    for (target, node) in host.get("Tmpfs").map(Node::pairs).unwrap_or_default() {
        if !node.text().unwrap_or_default().split(',').any(|option| option.starts_with("size=")) {
            made.lifted.push(reader.fact(node, format!("{target}: a tmpfs without a size")));
        }
    }
    if let Some(log) = host.get("LogConfig")
        && log.get("Type").and_then(Node::text) == Some("json-file")
        && log.at(&["Config", "max-size"]).is_none()
    {
        made.lifted.push(reader.fact(log, "the log json-file has no max-size".to_owned()));
    }
    if number("ShmSize") > 1 << 30 {
        made.lifted.push(reader.fact(host, "shared memory above 1 GiB".to_owned()));
    }
}

/// Devices that every container has.
const HARMLESS_DEVICES: [&str; 8] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx"];

/// Reads a bundle's `config.json`.
pub fn bundle(file: &Arc<str>, node: &Node) -> Workload {
    let reader = Reader::new(file);
    let id = |key| node.at(&["process", "user", key]).and_then(Node::number);
    let user = node.at(&["process", "user"]);
    let said = id("uid").map(|uid| format!("{uid}:{}", id("gid").unwrap_or(0)));
    let mut made = Workload {
        platform: Platform::Bundle,
        name: "bundle".to_owned(),
        place: Some(place(reader.file, node)),
        pinned: true,
        user: Some(reader.fact(user.unwrap_or(node), said.unwrap_or_else(|| "0:0".to_owned()))),
        groups: reader.texts(node.at(&["process", "user", "additionalGids"])),
        read_only: reader.truth(node.at(&["root", "readonly"])).or_else(|| Some(reader.fact(node, false))),
        ..Workload::default()
    };
    let gains = reader.truth(node.at(&["process", "noNewPrivileges"]));
    made.escalation = gains.map(|fact| Fact { value: !fact.value, ..fact });
    // What is not in the bounding set was dropped.
    let all = node.at(&["process", "capabilities", "bounding"]).map(Node::items).unwrap_or_default();
    made.drop = vec![reader.fact(node, "ALL".to_owned())];
    made.add = all.iter().filter_map(|cap| Some(reader.fact(cap, capability(cap.text()?)))).collect();
    let linux = node.get("linux");
    let seccomp = linux.and_then(|linux| linux.at(&["seccomp"]));
    made.seccomp = Some(match seccomp {
        Some(filter) => reader.fact(filter, "Localhost".to_owned()),
        None => reader.fact(linux.unwrap_or(node), "Unconfined".to_owned()),
    });
    namespaces(reader, &mut made, linux.unwrap_or(node));
    let masked = linux.and_then(|linux| linux.get("maskedPaths"));
    if masked.is_none_or(|paths| paths.items().is_empty()) {
        made.proc_mount = Some(reader.fact(masked.or(linux).unwrap_or(node), "Unmasked".to_owned()));
    }
    for mount in node.get("mounts").map(Node::items).unwrap_or_default() {
        made.mounts.push(bundle_mount(reader, mount));
    }
    for device in linux.and_then(|linux| linux.get("devices")).map(Node::items).unwrap_or_default() {
        let path = reader.text(device.get("path"));
        made.devices.extend(path.filter(|path| !HARMLESS_DEVICES.contains(&path.value.as_str())));
    }
    for (name, at) in linux.and_then(|linux| linux.get("sysctl")).map(Node::pairs).unwrap_or_default() {
        made.sysctls.push(reader.fact(at, name.to_owned()));
    }
    let limit = |path: &[&str]| linux.and_then(|linux| linux.at(path)).and_then(Node::number).is_some_and(|n| n > 0);
    made.memory = limit(&["resources", "memory", "limit"]);
    made.cpu = limit(&["resources", "cpu", "quota"]) || limit(&["resources", "cpu", "shares"]);
    made.pids = limit(&["resources", "pids", "limit"]);
    let words = node.at(&["process", "args"]).map(Node::items).unwrap_or_default();
    let command = words.iter().filter_map(|word| word.text().map(str::to_owned)).collect();
    made.commands.push(reader.fact(node, command));
    for variable in node.at(&["process", "env"]).map(Node::items).unwrap_or_default() {
        let (name, value) = variable.text().and_then(|text| text.split_once('=')).unwrap_or_default();
        made.env.push((name.to_owned(), value.to_owned(), place(reader.file, variable)));
    }
    made
}

/// What is not in the list of namespaces is the host's.
fn namespaces(reader: Reader<'_>, made: &mut Workload, linux: &Node) {
    let list = linux.get("namespaces");
    let kinds: Vec<&str> =
        list.map(Node::items).unwrap_or_default().iter().filter_map(|ns| ns.get("type")?.text()).collect();
    for (kind, namespace) in [
        ("network", Namespace::Network),
        ("pid", Namespace::Pid),
        ("ipc", Namespace::Ipc),
        ("uts", Namespace::Uts),
        ("cgroup", Namespace::Cgroup),
        ("user", Namespace::User),
    ] {
        if !kinds.contains(&kind) {
            made.host.push(reader.fact(list.unwrap_or(linux), namespace));
        }
    }
    made.own_users = Some(reader.fact(list.unwrap_or(linux), kinds.contains(&"user")));
}

fn bundle_mount(reader: Reader<'_>, mount: &Node) -> Mount {
    let text = |name: &str| mount.get(name).and_then(Node::text).unwrap_or_default().to_owned();
    let options = mount.get("options").map(Node::items).unwrap_or_default();
    let has = |word: &str| options.iter().any(|option| option.text() == Some(word));
    let bind = text("type") == "bind" || has("bind") || has("rbind");
    let sized = options.iter().any(|option| option.text().is_some_and(|text| text.starts_with("size=")));
    let own = ["/dev", "/dev/shm", "/dev/pts", "/proc", "/sys"].contains(&text("destination").as_str());
    Mount {
        source: bind.then(|| text("source")),
        target: text("destination"),
        read_only: has("ro"),
        propagation: ["rshared", "shared"].into_iter().find(|word| has(word)).map(str::to_owned),
        unbounded: text("type") == "tmpfs" && !sized && !own,
        place: place(reader.file, mount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::yaml;

    #[test]
    fn a_container_is_read_as_engines_print_it() {
        let text = r#"[{"Id":"0123456789abcdef","Name":"/web","Config":{"User":"5","Image":"a","Env":["A=b"]},
            "HostConfig":{"Privileged":true,"CapAdd":["CAP_SYS_ADMIN"],"NetworkMode":"host","SecurityOpt":["no-new-privileges","seccomp=unconfined"],
            "PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"Memory":5},
            "Mounts":[{"Type":"bind","Source":"/etc","Destination":"/x","RW":false}]}]"#;
        let node = &yaml::parse(text).unwrap()[0];
        assert!(is_inspect(node) && !is_bundle(node));
        let found = &inspect(&"f".into(), node)[0];
        assert_eq!(found.name, "web");
        assert!(found.is_privileged() && found.memory && !found.pids);
        assert_eq!(found.escalation.as_ref().map(|fact| fact.value), Some(false));
        assert_eq!(found.seccomp.as_ref().unwrap().value, "Unconfined");
        assert!(found.has_host(Namespace::Network) && !found.has_host(Namespace::Pid));
        assert_eq!((found.ports[0].inside, found.ports[0].outside), (Some(80), Some(8080)));
        assert!(found.mounts[0].read_only);
    }

    #[test]
    fn what_a_bundle_does_not_unshare_is_the_hosts() {
        let text = r#"{"ociVersion":"1.0","process":{"user":{"uid":5,"gid":6},"args":["x"]},"linux":{"namespaces":[{"type":"pid"}]}}"#;
        let node = &yaml::parse(text).unwrap()[0];
        let found = bundle(&"config.json".into(), node);
        assert!(is_bundle(node) && !is_inspect(node));
        assert_eq!(found.user.as_ref().unwrap().value, "5:6");
        assert!(found.has_host(Namespace::Network) && !found.has_host(Namespace::Pid));
        assert_eq!(found.proc_mount.as_ref().unwrap().value, "Unmasked");
    }
}
