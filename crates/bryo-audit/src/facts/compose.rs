// SPDX-License-Identifier: Apache-2.0
//! Compose files: each service with what it extends in the same file, variables replaced by their defaults.

use std::sync::Arc;

use super::kubernetes::{Reader, place};
use super::workload::{Mount, Namespace, Platform, Port, Workload};
use super::yaml::{Node, Value};
use crate::model::Fact;

/// How far `extends` is followed.
const EXTENDS_MAX: usize = 16;

/// Reads the services of a Compose file.
pub fn read(file: &Arc<str>, document: &Node) -> Vec<Workload> {
    let services = document.get("services");
    let all = services.map(Node::pairs).unwrap_or_default();
    let reader = Reader { file };
    all.into_iter()
        .filter(|(_, node)| node.is_map())
        .map(|(name, node)| service(reader, document, name, node))
        .collect()
}

/// A service and all that it extends, itself first.
struct Service<'a> {
    layers: Vec<&'a Node>,
}

impl<'a> Service<'a> {
    fn get(&self, name: &str) -> Option<&'a Node> {
        self.layers.iter().find_map(|layer| layer.get(name)).filter(|node| !node.is_null())
    }

    /// Lists the members of lists of all layers.
    fn items(&self, name: &str) -> Vec<&'a Node> {
        self.layers
            .iter()
            .filter_map(|layer| layer.get(name))
            .flat_map(|list| list.items())
            .map(|item| &**item)
            .collect()
    }
}

fn service(reader: Reader<'_>, document: &Node, name: &str, node: &Node) -> Workload {
    let mut made = Workload {
        platform: Platform::Compose,
        name: name.to_owned(),
        place: Some(place(reader.file, node)),
        ..Workload::default()
    };
    let mut service = Service { layers: vec![node] };
    while let Some(extends) = service.layers.last().and_then(|last| last.get("extends"))
        && service.layers.len() < EXTENDS_MAX
    {
        let base = extends.text().or_else(|| extends.get("service").and_then(Node::text));
        let elsewhere = extends.get("file").is_some();
        let found = base.and_then(|base| document.at(&["services", base])).filter(|_| !elsewhere);
        match found {
            Some(found) => service.layers.push(found),
            None => {
                let what = "extends a service of another file".to_owned();
                made.unresolved.push(reader.fact(extends, what));
                break;
            }
        }
    }
    basics(reader, &mut made, &service);
    security(reader, &mut made, &service);
    resources(reader, &mut made, &service);
    volumes(reader, &mut made, &service);
    ports(reader, &mut made, &service);
    environment(reader, &mut made, &service);
    made
}

fn basics(reader: Reader<'_>, made: &mut Workload, service: &Service<'_>) {
    made.image = value(reader, made, service.get("image"));
    made.built = service.get("build").is_some();
    made.user = value(reader, made, service.get("user"));
    made.restart = value(reader, made, service.get("restart"));
    made.groups = service.items("group_add").into_iter().filter_map(|group| reader.text(Some(group))).collect();
    for key in ["entrypoint", "command"] {
        if let Some(node) = service.get(key) {
            let words = match &node.value {
                Value::List(_) => node.items().iter().filter_map(|word| word.text().map(str::to_owned)).collect(),
                _ => vec!["sh".to_owned(), "-c".to_owned(), node.text().unwrap_or_default().to_owned()],
            };
            made.commands.push(reader.fact(node, words));
        }
    }
    let health = service.get("healthcheck");
    let disabled = health.is_some_and(|check| check.get("disable").and_then(Node::truth) == Some(true));
    // The image may have one of its own.
    made.health = if disabled { Some(false) } else { health.map(|_| true) };
    let mode = value(reader, made, service.get("network_mode"));
    made.default_network = mode.as_ref().is_some_and(|mode| mode.value == "bridge");
    for (key, namespace, word) in [
        ("network_mode", Namespace::Network, "host"),
        ("pid", Namespace::Pid, "host"),
        ("ipc", Namespace::Ipc, "host"),
        ("uts", Namespace::Uts, "host"),
        ("cgroup", Namespace::Cgroup, "host"),
        ("userns_mode", Namespace::User, "host"),
    ] {
        let said = value(reader, made, service.get(key));
        if let Some(fact) = said.filter(|fact| fact.value == word) {
            made.host.push(Fact { value: namespace, place: fact.place });
        }
    }
    let pid = value(reader, made, service.get("pid"));
    made.share_pid = pid.filter(|pid| pid.value.contains(':')).map(|pid| Fact { value: true, place: pid.place });
}

fn security(reader: Reader<'_>, made: &mut Workload, service: &Service<'_>) {
    let flag = |made: &mut Workload, key: &str| {
        let said = value(reader, made, service.get(key))?;
        Some(Fact { value: matches!(said.value.as_str(), "true" | "yes" | "on"), place: said.place })
    };
    made.privileged = flag(made, "privileged");
    made.read_only = flag(made, "read_only");
    made.add = service.items("cap_add").into_iter().filter_map(|cap| reader.text(Some(cap))).collect();
    made.drop = service.items("cap_drop").into_iter().filter_map(|cap| reader.text(Some(cap))).collect();
    for option in service.items("security_opt") {
        let Some(said) = value(reader, made, Some(option)) else { continue };
        let (key, rest) = said.value.split_once([':', '=']).unwrap_or((&said.value, "true"));
        option_of(made, key, rest, &said);
    }
    for device in service.items("devices") {
        let source = device.text().or_else(|| device.get("source").and_then(Node::text)).unwrap_or("?");
        made.devices.push(reader.fact(device, source.split(':').next().unwrap_or_default().to_owned()));
    }
    let sysctls = service.get("sysctls");
    for (name, node) in sysctls.map(Node::pairs).unwrap_or_default() {
        made.sysctls.push(reader.fact(node, name.to_owned()));
    }
    for item in sysctls.map(Node::items).unwrap_or_default() {
        let name = item.text().unwrap_or_default().split('=').next().unwrap_or_default();
        made.sysctls.push(reader.fact(item, name.to_owned()));
    }
}

/// Reads one of Docker's `--security-opt`.
pub(super) fn option_of(made: &mut Workload, key: &str, rest: &str, said: &Fact<String>) {
    let fact = |value: &str| Fact { value: value.to_owned(), place: said.place.clone() };
    match key {
        "no-new-privileges" => made.escalation = Some(Fact { value: rest == "false", place: said.place.clone() }),
        "seccomp" => made.seccomp = Some(fact(if rest == "unconfined" { "Unconfined" } else { "Localhost" })),
        "apparmor" => made.apparmor.push(fact(if rest == "unconfined" { "Unconfined" } else { "Localhost" })),
        "systempaths" if rest == "unconfined" => made.proc_mount = Some(fact("Unmasked")),
        "label" => {
            let (part, value) = rest.split_once([':', '=']).unwrap_or((rest, ""));
            let value = (part.to_owned(), value.to_owned());
            made.selinux.push(Fact { value, place: said.place.clone() });
        }
        _ => {}
    }
}

fn resources(reader: Reader<'_>, made: &mut Workload, service: &Service<'_>) {
    let limit = |key: &str| service.get("deploy").and_then(|deploy| deploy.at(&["resources", "limits", key]));
    made.memory = service.get("mem_limit").or_else(|| limit("memory")).is_some();
    made.cpu = ["cpus", "cpu_quota", "cpu_shares", "cpuset"].iter().any(|key| service.get(key).is_some())
        || limit("cpus").is_some();
    made.pids = service.get("pids_limit").or_else(|| limit("pids")).and_then(Node::number).is_some_and(|n| n > 0);
    for (name, node) in service.get("ulimits").map(Node::pairs).unwrap_or_default() {
        let soft = node.number().or_else(|| node.get("hard").and_then(Node::number));
        if soft == Some(-1) {
            made.lifted.push(reader.fact(node, format!("ulimit {name}")));
        }
    }
}

fn volumes(reader: Reader<'_>, made: &mut Workload, service: &Service<'_>) {
    for node in service.items("volumes") {
        let place = place(reader.file, node);
        if let Some(text) = node.text() {
            let text = replaced(reader, made, node, text);
            let parts: Vec<&str> = text.split(':').collect();
            let options = parts.get(2).copied().unwrap_or_default();
            let source =
                (parts.len() > 1).then(|| parts[0].to_owned()).filter(|source| source.starts_with(['/', '.', '~']));
            let target = parts.get(1).or(parts.first()).copied().unwrap_or_default().to_owned();
            let has = |word: &str| options.split(',').any(|option| option == word);
            let spread = ["rshared", "shared"].into_iter().find(|word| has(word)).map(str::to_owned);
            let read_only = has("ro");
            made.mounts.push(Mount { source, target, read_only, propagation: spread, unbounded: false, place });
            continue;
        }
        let text = |name: &str| node.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        let kind = text("type");
        let source = (kind == "bind").then(|| text("source"));
        let source = source.map(|source| replaced(reader, made, node, &source));
        made.mounts.push(Mount {
            source,
            target: text("target"),
            read_only: node.get("read_only").and_then(Node::truth).unwrap_or(false),
            propagation: node.at(&["bind", "propagation"]).and_then(Node::text).map(str::to_owned),
            unbounded: kind == "tmpfs" && node.at(&["tmpfs", "size"]).is_none(),
            place,
        });
    }
}

fn ports(reader: Reader<'_>, made: &mut Workload, service: &Service<'_>) {
    for node in service.items("ports") {
        let place = place(reader.file, node);
        let number = |text: &str| text.split(['/', '-']).next().unwrap_or_default().parse().ok();
        if let Some(text) = node.text() {
            let text = replaced(reader, made, node, text);
            let mut parts = text.rsplitn(3, ':');
            let inside = parts.next().and_then(number);
            let outside = parts.next();
            let address = parts.next().unwrap_or_default().to_owned();
            // Without a port of the host a free one is taken, on every address.
            made.ports.push(Port { inside, outside: Some(outside.and_then(number).unwrap_or(0)), address, place });
        } else {
            let field = |name: &str| node.get(name).and_then(Node::text).unwrap_or_default();
            let outside = number(field("published")).or(Some(0));
            let address = field("host_ip").to_owned();
            made.ports.push(Port { inside: number(field("target")), outside, address, place });
        }
    }
    for node in service.items("expose") {
        let inside = node.text().and_then(|text| text.split('/').next()?.parse().ok());
        let place = place(reader.file, node);
        made.ports.push(Port { inside, outside: None, address: String::new(), place });
    }
}

fn environment(reader: Reader<'_>, made: &mut Workload, service: &Service<'_>) {
    let Some(node) = service.get("environment") else { return };
    for (name, value) in node.pairs() {
        let place = place(reader.file, value);
        made.env.push((name.to_owned(), value.text().unwrap_or_default().to_owned(), place));
    }
    for item in node.items() {
        let (name, value) = item.text().and_then(|text| text.split_once('=')).unwrap_or_default();
        made.env.push((name.to_owned(), value.to_owned(), place(reader.file, item)));
    }
}

/// Reads a word, its variables replaced.
fn value(reader: Reader<'_>, made: &mut Workload, node: Option<&Node>) -> Option<Fact<String>> {
    let node = node?;
    let text = node.text()?;
    Some(reader.fact(node, replaced(reader, made, node, text)))
}

/// Replaces variables by their defaults, and takes a note of one that has none.
fn replaced(reader: Reader<'_>, made: &mut Workload, node: &Node, text: &str) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let unknown = std::cell::Cell::new(false);
    let lookup = |_: &str| {
        unknown.set(true);
        None
    };
    let plain = text.replace("$$", "\u{1}");
    let said = bryo_build::dockerfile::substitute::text(&plain, &lookup, '\0').unwrap_or_else(|_| text.to_owned());
    let has_default = plain.contains(":-") || plain.contains("${") && plain.contains('-');
    if unknown.get() && !has_default {
        made.unresolved.push(reader.fact(node, format!("{text:?} depends on a variable")));
    }
    said.replace('\u{1}', "$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::yaml;

    fn services(text: &str) -> Vec<Workload> {
        read(&"compose.yaml".into(), &yaml::parse(text).unwrap()[0])
    }

    #[test]
    fn a_service_has_what_it_extends() {
        let text = "services:\n  a: {image: x, user: '5', cap_add: [NET_RAW]}\n  b: {extends: a, user: '6', cap_add: [SYS_TIME]}\n  c: {extends: {service: z, file: other.yml}}\n";
        let all = services(text);
        assert_eq!(all[1].image.as_ref().unwrap().value, "x");
        assert_eq!(all[1].user.as_ref().unwrap().value, "6");
        assert_eq!(all[1].add.len(), 2);
        assert_eq!(all[2].unresolved.len(), 1);
        assert_eq!(services("services:\n  a: {extends: a}\n").len(), 1);
    }

    #[test]
    fn variables_have_their_defaults() {
        let all = services("services:\n  a:\n    user: ${U:-0}\n    privileged: ${P}\n    image: a:$$x\n");
        assert_eq!(all[0].user.as_ref().unwrap().value, "0");
        assert_eq!(all[0].unresolved.len(), 1);
        assert_eq!(all[0].image.as_ref().unwrap().value, "a:$x");
    }

    #[test]
    fn both_forms_of_volumes_and_ports_are_read() {
        let text = "services:\n  a:\n    volumes: ['/etc:/x:ro', 'data:/y', {type: bind, source: /z, target: /t, read_only: true}]\n    ports: ['80', '127.0.0.1:81:82', {target: 83, published: '84'}]\n";
        let all = services(text);
        let sources: Vec<_> = all[0].mounts.iter().map(|mount| (mount.source.as_deref(), mount.read_only)).collect();
        assert_eq!(sources, [(Some("/etc"), true), (None, false), (Some("/z"), true)]);
        let ports: Vec<_> =
            all[0].ports.iter().map(|port| (port.inside, port.outside, port.address.as_str())).collect();
        assert_eq!(ports, [(Some(80), Some(0), ""), (Some(82), Some(81), "127.0.0.1"), (Some(83), Some(84), "")]);
    }
}
