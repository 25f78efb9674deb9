// SPDX-License-Identifier: Apache-2.0
//! Compose files: each service as its project makes it.

use std::collections::HashSet;
use std::sync::Arc;

use super::project::{Files, Layer, Project, Service, joined, pairs, pairs_of, placed};
use super::workload::{Build, Mount, Namespace, Platform, Port, Workload};
use super::yaml::{Node, Value, truth};
use crate::model::{Fact, Place};

/// Shared memory above this is a limit that was lifted, in bytes.
const SHM_MAX: u64 = 1 << 30;

/// How many files of variables of one service are read.
const ENV_FILES_MAX: usize = 16;

/// Reads the services of a Compose file and of the files that belong to it, which `files` reads.
pub fn read(file: &Arc<str>, document: &Arc<Node>, files: Files<'_>) -> Vec<Workload> {
    let project = Project::new(files);
    let (services, lost) = project.services(file, document);
    let mut made: Vec<Workload> =
        services.iter().map(|service| Reader { project: &project, service }.workload()).collect();
    // What is not here is said once.
    if let Some(first) = made.first_mut() {
        first.unresolved.extend(lost.into_iter().map(|(place, value)| Fact { value, place }));
    }
    made
}

/// Reads one service.
#[derive(Clone, Copy)]
struct Reader<'a> {
    project: &'a Project<'a>,
    service: &'a Service,
}

impl<'a> Reader<'a> {
    fn workload(self) -> Workload {
        let first = self.service.layers.first();
        let mut made = Workload {
            platform: Platform::Compose,
            name: self.service.name.clone(),
            place: first.map(|layer| placed(&layer.file, &layer.node)),
            ..Workload::default()
        };
        let lost = self.service.lost.iter().cloned();
        made.unresolved.extend(lost.map(|(place, value)| Fact { value, place }));
        self.basics(&mut made);
        self.security(&mut made);
        self.resources(&mut made);
        self.volumes(&mut made);
        self.ports(&mut made);
        self.environment(&mut made);
        made
    }

    fn basics(self, made: &mut Workload) {
        made.image = self.value(made, "image");
        made.built = self.service.get("build").is_some();
        made.build = self.build(made);
        made.user = self.value(made, "user");
        made.restart = self.value(made, "restart");
        made.groups = self.texts(made, "group_add");
        for key in ["entrypoint", "command"] {
            if let Some((layer, node)) = self.service.get(key) {
                let words = match &node.value {
                    Value::List(_) => node.items().iter().filter_map(|word| word.text().map(str::to_owned)).collect(),
                    _ => vec!["sh".to_owned(), "-c".to_owned(), node.text().unwrap_or_default().to_owned()],
                };
                made.commands.push(layer.reader().fact(node, words));
            }
        }
        let disabled = self.service.all("healthcheck").into_iter().find_map(|(_, check)| check.get("disable")?.truth());
        // The image may have one of its own.
        made.health = match disabled {
            Some(true) => Some(false),
            _ => self.service.get("healthcheck").map(|_| true),
        };
        let mode = self.value(made, "network_mode");
        made.default_network = mode.as_ref().is_some_and(|mode| mode.value == "bridge");
        for (key, namespace) in [
            ("network_mode", Namespace::Network),
            ("pid", Namespace::Pid),
            ("ipc", Namespace::Ipc),
            ("uts", Namespace::Uts),
            ("cgroup", Namespace::Cgroup),
            ("userns_mode", Namespace::User),
        ] {
            if let Some(fact) = self.value(made, key).filter(|fact| fact.value == "host") {
                made.host.push(Fact { value: namespace, place: fact.place });
            }
        }
        let pid = self.value(made, "pid");
        made.share_pid = pid.filter(|pid| pid.value.contains(':')).map(|pid| Fact { value: true, place: pid.place });
    }

    /// What the service is built from, with paths from the directory of the project.
    fn build(self, made: &mut Workload) -> Option<Fact<Build>> {
        let (layer, node) = self.service.get("build")?;
        let word = |made: &mut Workload, name: &str| {
            let (layer, node) =
                self.service.all("build").into_iter().find_map(|(layer, build)| Some((layer, build.get(name)?)))?;
            Some(self.replaced(made, layer, node, node.text()?))
        };
        let context = match node.text() {
            Some(text) => self.replaced(made, layer, node, text),
            None => word(made, "context").unwrap_or_else(|| ".".to_owned()),
        };
        let mut arguments: Vec<(String, String)> = Vec::new();
        let mut names = HashSet::new();
        let all = self.service.all("build").into_iter().filter_map(|(layer, build)| Some((layer, build.get("args")?)));
        for (layer, args) in all {
            for (name, value, place) in pairs_of(layer, args) {
                let value = value.map(|value| self.project.variable(&value).0);
                if let Some(value) = value.filter(|_| names.insert(name.clone())) {
                    made.env.push((name.clone(), value.clone(), place));
                    arguments.push((name, value));
                }
            }
        }
        let build = Build {
            context: joined(&layer.dir, &context),
            dockerfile: word(made, "dockerfile"),
            inline: word(made, "dockerfile_inline"),
            target: word(made, "target"),
            arguments,
        };
        Some(layer.reader().fact(node, build))
    }

    fn security(self, made: &mut Workload) {
        let flag = |made: &mut Workload, key: &str| {
            let said = self.value(made, key)?;
            let truth = truth(said.value.trim());
            // An empty word is one of a variable that was told of already.
            if truth.is_none() && !said.value.is_empty() {
                let value = format!("{key}: {:?} is no truth value", said.value);
                made.unresolved.push(Fact { value, place: said.place.clone() });
            }
            Some(Fact { value: truth?, place: said.place })
        };
        made.privileged = flag(made, "privileged");
        made.read_only = flag(made, "read_only");
        made.add = self.texts(made, "cap_add");
        made.drop = self.texts(made, "cap_drop");
        // The uppermost is the last to be said.
        for said in self.texts(made, "security_opt").into_iter().rev() {
            let (key, rest) = said.value.split_once([':', '=']).unwrap_or((&said.value, "true"));
            option_of(made, key, rest, &said);
        }
        for (layer, device) in self.service.items("devices") {
            let source = device.text().or_else(|| device.get("source").and_then(Node::text)).unwrap_or("?");
            let source = self.replaced(made, layer, device, source);
            let source = source.split(':').next().unwrap_or_default().to_owned();
            made.devices.push(layer.reader().fact(device, source));
        }
        let sysctls = self.service.pairs("sysctls");
        made.sysctls.extend(sysctls.into_iter().map(|(value, _, place)| Fact { value, place }));
    }

    fn resources(self, made: &mut Workload) {
        let limit = |key: &str| {
            let all = self.service.all("deploy").into_iter();
            all.map(|(_, deploy)| deploy).find_map(|deploy| deploy.at(&["resources", "limits", key]))
        };
        let own = |key: &str| self.service.get(key).map(|(_, node)| node);
        made.memory = own("mem_limit").or_else(|| limit("memory")).is_some();
        made.cpu = ["cpus", "cpu_quota", "cpu_shares", "cpuset"].iter().any(|key| own(key).is_some())
            || limit("cpus").is_some();
        made.pids = own("pids_limit").or_else(|| limit("pids")).and_then(Node::number).is_some_and(|n| n > 0);
        let mut seen = HashSet::new();
        for (layer, all) in self.service.all("ulimits") {
            for (name, node) in all.pairs() {
                let most = node.get("hard").and_then(Node::number).or_else(|| node.number());
                if seen.insert(name) && most == Some(-1) {
                    made.lifted.push(layer.reader().fact(node, format!("ulimit {name} without a bound")));
                }
            }
        }
        if let Some((layer, node)) = self.service.get("shm_size")
            && node.text().and_then(bytes).is_some_and(|size| size > SHM_MAX)
        {
            let what = format!("shared memory of {}", node.text().unwrap_or_default());
            made.lifted.push(layer.reader().fact(node, what));
        }
        if let Some((layer, node)) = self.service.get("logging") {
            let driver = node.get("driver").and_then(Node::text).unwrap_or("json-file");
            let bounded = node.at(&["options", "max-size"]).is_some();
            if driver == "json-file" && !bounded {
                made.lifted.push(layer.reader().fact(node, "the log json-file has no max-size".to_owned()));
            }
        }
    }

    fn volumes(self, made: &mut Workload) {
        let mut targets = HashSet::new();
        for (layer, node) in self.service.items("volumes") {
            let mount = self.volume(made, layer, node);
            // Of several on one target the uppermost counts.
            if targets.insert(mount.target.clone()) {
                made.mounts.push(mount);
            }
        }
        for (layer, node) in self.service.items("tmpfs") {
            let text = self.replaced(made, layer, node, node.text().unwrap_or_default());
            let (target, options) = text.split_once(':').unwrap_or((&text, ""));
            let unbounded = !options.split(',').any(|option| option.starts_with("size="));
            let (place, target) = (placed(&layer.file, node), target.to_owned());
            made.mounts.push(Mount { source: None, target, read_only: false, propagation: None, unbounded, place });
        }
    }

    fn volume(self, made: &mut Workload, layer: &Layer, node: &Node) -> Mount {
        let place = placed(&layer.file, node);
        if let Some(text) = node.text() {
            let text = self.replaced(made, layer, node, text);
            let parts: Vec<&str> = text.split(':').collect();
            let options = parts.get(2).copied().unwrap_or_default();
            let source =
                (parts.len() > 1).then(|| parts[0].to_owned()).filter(|source| source.starts_with(['/', '.', '~']));
            let target = parts.get(1).or(parts.first()).copied().unwrap_or_default().to_owned();
            let has = |word: &str| options.split(',').any(|option| option == word);
            let propagation = ["rshared", "shared"].into_iter().find(|word| has(word)).map(str::to_owned);
            let read_only = has("ro");
            return Mount { source, target, read_only, propagation, unbounded: false, place };
        }
        let text = |name: &str| node.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        let kind = text("type");
        let source = (kind == "bind").then(|| text("source"));
        let source = source.map(|source| self.replaced(made, layer, node, &source));
        Mount {
            source,
            target: text("target"),
            read_only: node.get("read_only").and_then(Node::truth).unwrap_or(false),
            propagation: node.at(&["bind", "propagation"]).and_then(Node::text).map(str::to_owned),
            unbounded: kind == "tmpfs" && node.at(&["tmpfs", "size"]).is_none(),
            place,
        }
    }

    fn ports(self, made: &mut Workload) {
        let number = |text: &str| text.split(['/', '-']).next().unwrap_or_default().parse().ok();
        for (layer, node) in self.service.items("ports") {
            let place = placed(&layer.file, node);
            if let Some(text) = node.text() {
                let text = self.replaced(made, layer, node, text);
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
        for (layer, node) in self.service.items("expose") {
            let inside = node.text().and_then(number);
            let place = placed(&layer.file, node);
            made.ports.push(Port { inside, outside: None, address: String::new(), place });
        }
    }

    /// The environment, labels as what is read by everybody who sees the container, and what files of variables say.
    fn environment(self, made: &mut Workload) {
        for (name, value, place) in self.service.pairs("environment") {
            made.env.push((name, value.unwrap_or_default(), place));
        }
        for (name, value, place) in self.service.pairs("labels") {
            made.env.push((name, value.unwrap_or_default(), place));
        }
        let mut known: HashSet<String> = made.env.iter().map(|(name, ..)| name.clone()).collect();
        for (layer, node) in self.service.items("env_file").into_iter().take(ENV_FILES_MAX) {
            let path = node.text().or_else(|| node.get("path").and_then(Node::text)).unwrap_or_default();
            let path = self.replaced(made, layer, node, path);
            let Some((file, text)) = self.project.text(&joined(&layer.dir, &path)) else { continue };
            for (line, name, value) in pairs(&text) {
                if known.insert(name.clone()) {
                    made.env.push((name, value, Place { file: Arc::clone(&file), line, column: 1 }));
                }
            }
        }
    }

    /// Reads a word, its variables replaced.
    fn value(self, made: &mut Workload, name: &str) -> Option<Fact<String>> {
        let (layer, node) = self.service.get(name)?;
        Some(layer.reader().fact(node, self.replaced(made, layer, node, node.text()?)))
    }

    fn texts(self, made: &mut Workload, name: &str) -> Vec<Fact<String>> {
        let one = |(layer, node): (&Layer, &Node)| {
            Some(layer.reader().fact(node, self.replaced(made, layer, node, node.text()?)))
        };
        self.service.items(name).into_iter().filter_map(one).collect()
    }

    /// Replaces variables by their values, and takes a note of one that has none.
    fn replaced(self, made: &mut Workload, layer: &Layer, node: &Node, text: &str) -> String {
        let (said, unknown) = self.project.variable(text);
        if unknown {
            made.unresolved.push(layer.reader().fact(node, format!("{text:?} depends on a variable")));
        }
        said
    }
}

/// Reads `64m`, `2gb` or a number of bytes.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].chars().next() {
        None | Some('b') => 0,
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::yaml;

    fn services(text: &str) -> Vec<Workload> {
        read(&"compose.yaml".into(), &yaml::parse(text).unwrap()[0], &|_| None)
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

    /// Reads `compose.yaml` of several files.
    fn project(files: &[(&str, &str)]) -> Vec<Workload> {
        let read_file = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path)?;
            Some((Arc::from(found.0), found.1.to_owned()))
        };
        read(&"compose.yaml".into(), &yaml::parse(files[0].1).unwrap()[0], &read_file)
    }

    #[test]
    fn a_project_is_merged_from_its_files() {
        let all = project(&[
            (
                "compose.yaml",
                "include: [sub/more.yaml, compose.yaml, sub/more.yaml]\nservices:\n  a: {image: x, user: '5', environment: {A: b, C: d}, cap_add: [KILL], volumes: ['/etc:/x']}\n  b: {extends: {file: sub/base.yml, service: base}}\n  c: {user: '7', privileged: true}\n",
            ),
            (
                "compose.override.yaml",
                "services:\n  a: {user: '${U}', environment: ['C=e'], volumes: ['./y:/x'], cap_add: !override [CHOWN]}\n  c: {user: !reset null, privileged: !reset null}\n",
            ),
            (".env", "# x\nU=0\n"),
            ("sub/base.yml", "services:\n  base: {image: z, privileged: true, env_file: v.env}\n"),
            ("sub/v.env", "TOKEN=abc\n"),
            ("sub/more.yaml", "services:\n  d: {image: w}\n"),
        ]);
        let names: Vec<&str> = all.iter().map(|made| made.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        let user = all[0].user.as_ref().unwrap();
        assert_eq!((user.value.as_str(), &*user.place.file, user.place.line), ("0", "compose.override.yaml", 2));
        let env: Vec<(&str, &str)> =
            all[0].env.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
        assert_eq!(env, [("C", "e"), ("A", "b")]);
        assert_eq!(all[0].mounts.len(), 1);
        assert_eq!(all[0].add.len(), 1);
        assert!(all[1].is_privileged() && all[1].env[0].2.file.ends_with("v.env"), "{:?}", all[1]);
        assert!(all[2].user.is_none() && all[2].privileged.is_none());
        assert!(all.iter().all(|made| made.unresolved.is_empty()));
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        let all = project(&[(
            "compose.yaml",
            "include: [../x.yaml]\nservices:\n  a: {extends: {file: ../y.yml, service: b}}\n  b: {extends: none}\n",
        )]);
        assert_eq!(all.iter().map(|made| made.unresolved.len()).sum::<usize>(), 3);
        let all = project(&[(
            "compose.yaml",
            "services:\n  a: {shm_size: 2gb, tmpfs: [/x, '/y:size=1m'], logging: {driver: json-file}, build: {context: c, dockerfile: D, target: t, args: [U=1]}}\n",
        )]);
        assert_eq!(all[0].lifted.len(), 2);
        assert_eq!(all[0].mounts.iter().filter(|mount| mount.unbounded).count(), 1);
        let build = &all[0].build.as_ref().unwrap().value;
        assert_eq!((build.context.as_str(), build.target.as_deref(), build.arguments.len()), ("c", Some("t"), 1));
    }

    #[test]
    fn variables_have_their_defaults() {
        let all = services("services:\n  a:\n    user: ${U:-0}\n    privileged: ${P}\n    image: a:$$x\n");
        assert_eq!(all[0].user.as_ref().unwrap().value, "0");
        assert_eq!(all[0].unresolved.len(), 1);
        assert_eq!(all[0].image.as_ref().unwrap().value, "a:$x");
    }

    #[test]
    fn every_word_for_true_counts() {
        for (word, privileged, unresolved) in [
            ("True", true, 0),
            ("TRUE", true, 0),
            ("Yes", true, 0),
            ("'${P:-On}'", true, 0),
            ("No", false, 0),
            ("maybe", false, 1),
        ] {
            let all = services(&format!("services:\n  a: {{image: x, privileged: {word}}}\n"));
            assert_eq!((all[0].is_privileged(), all[0].unresolved.len()), (privileged, unresolved), "{word}");
        }
        // A default of one variable says nothing of another one.
        for (user, unresolved) in
            [("${A:-1}", 0), ("${A:-${B:-1}}", 0), ("${A:-1}:${B}", 1), ("${A:-${B}}", 1), ("$$x-1", 0)]
        {
            let all = services(&format!("services:\n  a: {{image: x, user: '{user}'}}\n"));
            assert_eq!(all[0].unresolved.len(), unresolved, "{user}");
        }
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
