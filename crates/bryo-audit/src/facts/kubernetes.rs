// SPDX-License-Identifier: Apache-2.0
//! Kubernetes objects: pods in whatever makes them, and the few other objects that rules look at.

use std::cell::RefCell;
use std::sync::Arc;

use super::kinds::{self, Found, Makes};
use super::workload::{Mount, Namespace, Platform, Port, Volume, Workload};
use super::yaml::{Mistake, Node, Value};
use crate::model::{Fact, Place};

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// `Kind/name`.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The object itself.
    pub node: Arc<Node>,
    /// The pods that it is or makes: what is shared, and the containers.
    pub pods: Vec<(Arc<Workload>, Vec<Workload>)>,
    /// What in it has no meaning.
    pub problems: Vec<Mistake>,
    /// Why nobody can say what it makes.
    pub not_judged: Option<String>,
}

/// Reads the objects of a document. A `patch` is put on something else, and need not be whole.
///
/// # Errors
///
/// What cannot be an object.
pub fn read(file: &Arc<str>, document: &Arc<Node>, patch: bool) -> Result<Vec<Object>, Mistake> {
    let mut objects = Vec::new();
    collect(file, document, "", (0, patch), &mut objects)?;
    Ok(objects)
}

fn collect(
    file: &Arc<str>,
    node: &Arc<Node>,
    kind: &str,
    (depth, patch): (usize, bool),
    objects: &mut Vec<Object>,
) -> Result<(), Mistake> {
    let own = node.get("kind").and_then(Node::text).unwrap_or(kind);
    if own.ends_with("List") && depth < 4 && node.get("items").is_some() {
        // Members of a list of one kind need not say which.
        let of = own.strip_suffix("List").unwrap_or_default();
        for item in node.get("items").map(Node::items).unwrap_or_default() {
            collect(file, item, of, (depth + 1, patch), objects)?;
        }
        return Ok(());
    }
    let kind = own.to_owned();
    if !node.is_map() || kind.is_empty() {
        return Err(wrong(node, "this is no Kubernetes object: it has no kind"));
    }
    let name = node.at(&["metadata", "name"]).or_else(|| node.at(&["metadata", "generateName"]));
    let name = format!("{kind}/{}", name.and_then(Node::text).unwrap_or("?"));
    let version = node.get("apiVersion").and_then(Node::text);
    let mut object =
        Object { name, kind, node: Arc::clone(node), pods: Vec::new(), problems: Vec::new(), not_judged: None };
    let found = match kinds::makes(version, &object.kind) {
        Makes::Pod(path) => match template(node, path) {
            Ok(found) => vec![found],
            Err(_) if patch => {
                object.not_judged = Some(format!("{} is a patch without a pod", object.name));
                Vec::new()
            }
            Err(mistake) => return Err(mistake),
        },
        Makes::Misspelt(right) => {
            let at = node.get("kind").unwrap_or(node);
            return Err(wrong(at, &format!("there is no kind {}: it is written {right}", object.kind)));
        }
        Makes::Nothing => limited(&mut object, node),
        Makes::Unknown => {
            let found = limited(&mut object, node);
            if found.is_empty() {
                let version = version.unwrap_or("no version");
                let what =
                    format!("{}: whether a {} of {version} makes containers is not known", object.name, object.kind);
                object.not_judged = Some(what);
            }
            found
        }
    };
    for (at, found) in found.iter().enumerate() {
        let name = if at == 0 { object.name.clone() } else { format!("{} {}", object.name, at + 1) };
        let made = pod(file, &name, node, found, patch)?;
        object.pods.push((made.0, made.1));
        object.problems.extend(made.2);
    }
    objects.push(object);
    Ok(())
}

/// Finds the pods of an object, and says so where not all of them are judged.
fn limited<'a>(object: &mut Object, node: &'a Node) -> Vec<Found<'a>> {
    let (found, more) = kinds::pods(node);
    if more {
        let what = format!("{} has more than {} pods: the others are not judged", object.name, kinds::PODS_MAX);
        object.problems.push(wrong(node, &what));
    }
    found
}

/// Follows the way to a pod.
fn template<'a>(node: &'a Node, path: &[&str]) -> Result<Found<'a>, Mistake> {
    let template = match path {
        [] => node,
        path => {
            node.at(path).ok_or_else(|| wrong(node, &format!("there is no {}: it makes no pod", path.join("."))))?
        }
    };
    let spec = template.get("spec").filter(|spec| spec.is_map());
    let spec = spec.ok_or_else(|| wrong(template, "the pod has no spec"))?;
    Ok(Found { spec, metadata: template.get("metadata"), known: true })
}

fn wrong(node: &Node, message: &str) -> Mistake {
    Mistake { line: node.line, column: node.column, message: message.to_owned() }
}

/// Says where a value is.
pub fn place(file: &Arc<str>, node: &Node) -> Place {
    Place { file: Arc::clone(file), line: node.line, column: node.column }
}

/// Reads values with their places.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub file: &'a Arc<str>,
    /// Takes what is said and has no meaning, where that is not to be taken for nothing.
    wrong: Option<&'a RefCell<Vec<Mistake>>>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a Arc<str>) -> Self {
        Self { file, wrong: None }
    }

    pub fn fact<T>(self, node: &Node, value: T) -> Fact<T> {
        Fact { value, place: place(self.file, node) }
    }

    /// Reads what is said; what is said and cannot be read is remembered.
    fn said<T>(self, node: Option<&Node>, what: &str, read: impl Fn(&Node) -> Option<T>) -> Option<Fact<T>> {
        let node = node.filter(|node| !node.is_null())?;
        let value = read(node);
        if let (None, Some(all)) = (&value, self.wrong) {
            let text = node.text().map_or_else(String::new, |text| format!("{text:?} "));
            all.borrow_mut().push(wrong(node, &format!("{text}is no {what}")));
        }
        value.map(|value| self.fact(node, value))
    }

    pub fn truth(self, node: Option<&Node>) -> Option<Fact<bool>> {
        self.said(node, "truth value", Node::truth)
    }

    pub fn text(self, node: Option<&Node>) -> Option<Fact<String>> {
        self.said(node, "text", |node| node.text().map(str::to_owned))
    }

    pub fn number(self, node: Option<&Node>) -> Option<Fact<i64>> {
        self.said(node, "whole number", Node::number)
    }

    pub fn items(self, node: Option<&Node>) -> &[Arc<Node>] {
        let is_list = |node: &Node| matches!(node.value, Value::List(_)).then_some(());
        self.said(node, "list", is_list);
        node.map(Node::items).unwrap_or_default()
    }

    pub fn texts(self, node: Option<&Node>) -> Vec<Fact<String>> {
        self.items(node).iter().filter_map(|item| self.text(Some(item))).collect()
    }
}

/// A pod, its containers, and what in it has no meaning.
type Made = (Arc<Workload>, Vec<Workload>, Vec<Mistake>);

fn pod(file: &Arc<str>, name: &str, object: &Node, found: &Found<'_>, patch: bool) -> Result<Made, Mistake> {
    let problems = RefCell::new(Vec::new());
    let reader = Reader { file, wrong: Some(&problems) };
    let spec = found.spec;
    let mut pod = Workload {
        platform: Platform::Kubernetes,
        name: name.to_owned(),
        place: Some(place(file, spec)),
        is_pod: true,
        windows: spec.at(&["os", "name"]).and_then(Node::text) == Some("windows"),
        own_users: reader.truth(spec.get("hostUsers")).map(|fact| Fact { value: !fact.value, ..fact }),
        share_pid: reader.truth(spec.get("shareProcessNamespace")),
        token: reader.truth(spec.get("automountServiceAccountToken")),
        account: reader.text(spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount"))),
        namespace: reader.text(object.at(&["metadata", "namespace"])),
        host_aliases: spec.get("hostAliases").filter(|all| !all.items().is_empty()).map(|all| place(file, all)),
        ..Workload::default()
    };
    for (key, namespace) in
        [("hostNetwork", Namespace::Network), ("hostPID", Namespace::Pid), ("hostIPC", Namespace::Ipc)]
    {
        if let Some(fact) = reader.truth(spec.get(key)).filter(|fact| fact.value) {
            pod.host.push(Fact { value: namespace, place: fact.place });
        }
    }
    context(reader, &mut pod, spec.get("securityContext"));
    annotations(reader, &mut pod, found.metadata);
    volumes(reader, &mut pod, spec);
    let pod = Arc::new(pod);
    let containers = containers(reader, &pod, found)?;
    // Nothing runs in a pod whose list is empty; one that has none is not what its author takes it for.
    let has_list = spec.get("containers").is_some_and(|list| !list.is_null());
    if found.known && !has_list && !patch {
        return Err(wrong(spec.get("containers").unwrap_or(spec), "the pod has no containers"));
    }
    Ok((pod, containers, problems.into_inner()))
}

fn containers(reader: Reader<'_>, pod: &Arc<Workload>, found: &Found<'_>) -> Result<Vec<Workload>, Mistake> {
    let spec = found.spec;
    let mut containers = Vec::new();
    for (key, init) in [("initContainers", true), ("containers", false), ("ephemeralContainers", false)] {
        let Some(list) = spec.get(key).filter(|list| !list.is_null()) else { continue };
        if !matches!(list.value, Value::List(_)) {
            return Err(wrong(list, &format!("{key} is no list")));
        }
        for node in list.items() {
            if !node.is_map() {
                return Err(wrong(node, &format!("one of {key} is no map")));
            }
            containers.push(container(reader, pod, node, init));
        }
    }
    // Workflows have one container each, and others beside it; in a pod that is a misspelling.
    let sidecars = spec.get(kinds::SIDECARS).filter(|_| !found.known).map(Node::items).unwrap_or_default();
    let sidecars = sidecars.iter().filter(|one| one.is_map());
    containers.extend(sidecars.map(|node| container(reader, pod, node, false)));
    let single = ["container", "script"].iter().filter(|_| !found.known).filter_map(|key| spec.get(key));
    let single = single.filter(|one| one.is_map());
    containers.extend(single.map(|node| container(reader, pod, node, false)));
    Ok(containers)
}

/// Reads what pods and containers have in common.
fn context(reader: Reader<'_>, made: &mut Workload, context: Option<&Node>) {
    reader.said(context, "map", |node| node.is_map().then_some(()));
    let Some(context) = context.filter(|context| context.is_map()) else { return };
    made.has_context = !context.pairs().is_empty();
    made.run_as_user = reader.number(context.get("runAsUser"));
    made.run_as_group = reader.number(context.get("runAsGroup"));
    made.run_as_non_root = reader.truth(context.get("runAsNonRoot"));
    made.groups = reader.texts(context.get("supplementalGroups"));
    made.groups.extend(reader.text(context.get("fsGroup")));
    made.strict_groups = context.get("supplementalGroupsPolicy").and_then(Node::text) == Some("Strict");
    let kind = |name: &str| {
        let profile = context.get(name).filter(|profile| profile.is_map())?;
        let text = profile.get("type").and_then(Node::text).unwrap_or_default().to_owned();
        Some(reader.fact(profile, text))
    };
    made.seccomp = kind("seccompProfile");
    made.apparmor.extend(kind("appArmorProfile"));
    for (name, value) in context.get("seLinuxOptions").map(Node::pairs).unwrap_or_default() {
        let text = value.text().unwrap_or_default().to_owned();
        made.selinux.push(reader.fact(value, (name.to_owned(), text)));
    }
    made.host_process = reader.truth(context.at(&["windowsOptions", "hostProcess"]));
    for sysctl in context.get("sysctls").map(Node::items).unwrap_or_default() {
        made.sysctls.extend(reader.text(sysctl.get("name")));
    }
    made.privileged = reader.truth(context.get("privileged"));
    made.escalation = reader.truth(context.get("allowPrivilegeEscalation"));
    made.read_only = reader.truth(context.get("readOnlyRootFilesystem"));
    made.proc_mount = reader.text(context.get("procMount"));
    made.add = reader.texts(context.at(&["capabilities", "add"]));
    made.drop = reader.texts(context.at(&["capabilities", "drop"]));
}

/// Before it had a field, AppArmor was set by an annotation, which still counts.
fn annotations(reader: Reader<'_>, pod: &mut Workload, metadata: Option<&Node>) {
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    for (key, value) in annotations.map(Node::pairs).unwrap_or_default() {
        if !key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            continue;
        }
        let text = value.text().unwrap_or_default();
        let meant = match text {
            "" | "runtime/default" => "RuntimeDefault",
            _ if text.starts_with("localhost/") => "Localhost",
            other => other,
        };
        pod.apparmor.push(reader.fact(value, meant.to_owned()));
    }
}

fn volumes(reader: Reader<'_>, pod: &mut Workload, spec: &Node) {
    for volume in reader.items(spec.get("volumes")) {
        let name = volume.get("name").and_then(Node::text).unwrap_or("?").to_owned();
        let said = volume.pairs().into_iter().filter(|(key, value)| *key != "name" && !value.is_null());
        let mut kinds: Vec<String> = said.map(|(key, _)| key.to_owned()).collect();
        if kinds.is_empty() {
            // What the API makes of it.
            kinds.push("emptyDir".to_owned());
        }
        let place = place(reader.file, volume);
        if let Some(path) = volume.at(&["hostPath", "path"]) {
            pod.mounts.push(Mount {
                source: Some(path.text().unwrap_or_default().to_owned()),
                target: name.clone(),
                read_only: false,
                propagation: None,
                unbounded: false,
                place: self::place(reader.file, path),
            });
        } else if volume.get("hostPath").is_some_and(|path| !path.is_null()) {
            let source = Some("?".to_owned());
            let (target, place) = (name.clone(), place.clone());
            let mount = Mount { source, target, read_only: false, propagation: None, unbounded: false, place };
            pod.mounts.push(mount);
        }
        pod.image_volumes.extend(reader.text(volume.at(&["image", "reference"])));
        if let Some(dir) = volume.get("emptyDir")
            && dir.get("medium").and_then(Node::text) == Some("Memory")
            && dir.get("sizeLimit").is_none()
        {
            pod.lifted.push(reader.fact(dir, format!("volume {name}: memory without a sizeLimit")));
        }
        pod.volumes.push(Volume { name, kinds, place });
    }
}

fn container(reader: Reader<'_>, pod: &Arc<Workload>, node: &Node, init: bool) -> Workload {
    let name = node.get("name").and_then(Node::text).unwrap_or("?");
    let image = reader.text(node.get("image"));
    let mut made = Workload {
        platform: Platform::Kubernetes,
        name: format!("{} {name}", pod.name),
        place: Some(place(reader.file, node)),
        pod: Some(Arc::clone(pod)),
        init,
        windows: pod.windows,
        image,
        memory: node.at(&["resources", "limits", "memory"]).is_some(),
        cpu: node.at(&["resources", "limits", "cpu"]).is_some(),
        pids: true,
        pull_policy: reader.text(node.get("imagePullPolicy")),
        ..Workload::default()
    };
    context(reader, &mut made, node.get("securityContext"));
    for port in reader.items(node.get("ports")) {
        let number = |name| reader.number(port.get(name)).map(|fact| fact.value);
        made.ports.push(Port {
            inside: number("containerPort").and_then(|n| u16::try_from(n).ok()),
            outside: number("hostPort").map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
            address: String::new(),
            place: place(reader.file, port.get("hostPort").unwrap_or(port)),
        });
    }
    for mount in node.get("volumeMounts").map(Node::items).unwrap_or_default() {
        let text = |name| mount.get(name).and_then(Node::text).map(str::to_owned);
        made.mounts.push(Mount {
            source: None,
            target: text("mountPath").unwrap_or_default(),
            read_only: mount.get("readOnly").and_then(Node::truth).unwrap_or(false),
            propagation: text("mountPropagation"),
            unbounded: false,
            place: place(reader.file, mount),
        });
    }
    for variable in node.get("env").map(Node::items).unwrap_or_default() {
        let text = |name| variable.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        made.env.push((text("name"), text("value"), place(reader.file, variable)));
    }
    handlers(reader, &mut made, node);
    made
}

/// Reads what is run, and whom probes and hooks ask.
fn handlers(reader: Reader<'_>, made: &mut Workload, node: &Node) {
    let words = |node: &Node| node.items().iter().filter_map(|word| word.text().map(str::to_owned)).collect::<Vec<_>>();
    let command = node.get("command").or_else(|| node.get("args"));
    let all = [node.get("command"), node.get("args")].into_iter().flatten().flat_map(words).collect();
    made.commands.extend(command.map(|at| reader.fact(at, all)));
    let paths: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    for handler in paths.iter().filter_map(|path| node.at(path)) {
        for kind in ["httpGet", "tcpSocket"] {
            let host = reader.text(handler.at(&[kind, "host"]));
            made.probe_hosts.extend(host.filter(|host| !host.value.is_empty()));
        }
        let exec = handler.at(&["exec", "command"]);
        made.commands.extend(exec.map(|at| reader.fact(at, words(at))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::yaml;

    fn objects(text: &str) -> Vec<Object> {
        let file = "f.yaml".into();
        yaml::parse(text).unwrap().iter().flat_map(|document| read(&file, document, false).unwrap()).collect()
    }

    #[test]
    fn pods_are_found_in_whatever_makes_them() {
        let pod = "spec: {containers: [{name: c, image: a}]}";
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"] {
            let found = objects(&format!("kind: {kind}\nmetadata: {{name: x}}\nspec:\n  template: {{{pod}}}\n"));
            assert_eq!(found[0].pods[0].1[0].name, format!("{kind}/x c"));
        }
        let cron = format!("kind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{{pod}}}}}}}}}\n");
        assert!(objects(&cron)[0].pods.len() == 1);
        assert_eq!(objects(&format!("kind: PodList\nitems:\n- {{{pod}}}\n"))[0].kind, "Pod");
        for kind in ["Rollout", "DeploymentConfig", "Revision"] {
            let text = format!("kind: {kind}\napiVersion: x.y/v1\nspec:\n  template: {{{pod}}}\n");
            assert_eq!(objects(&text)[0].pods.len(), 1, "{kind}");
        }
        let list = format!("kind: List\nitems:\n- {{kind: Pod, {pod}}}\n- {{kind: Pod, {pod}}}\n");
        assert_eq!(objects(&list).len(), 2);
        let service = objects("kind: Service\nspec: {}\n").remove(0);
        assert!(service.pods.is_empty() && service.not_judged.is_none());
        let other = objects("kind: Service\napiVersion: serving.knative.dev/v1\nspec: {}\n").remove(0);
        assert!(other.not_judged.is_some());
    }

    #[test]
    fn what_is_no_pod_is_a_mistake_with_a_place() {
        for (text, line) in [
            ("kind: Pod\nmetadata: {}\n", 1),
            ("kind: Pod\nspec:\n  containers: 5\n", 3),
            ("kind: Pod\nspec:\n  containers:\n  - x\n", 4),
            ("kind: Pod\nspec:\n  containers: ~\n", 3),
            ("kind: Pod\nspec:\n  container:\n  - name: c\n", 3),
            ("kind: Deployment\nspec:\n  replicas: 1\n", 1),
            ("apiVersion: v1\nkind: pod\n", 2),
            ("a: b\n", 1),
            ("- a\n", 1),
        ] {
            let documents = yaml::parse(text).unwrap();
            let found = read(&"f".into(), &documents[0], false).unwrap_err();
            assert_eq!(found.line, line, "{text}");
        }
    }

    #[test]
    fn what_is_said_and_has_no_meaning_is_not_taken_for_nothing() {
        for (said, line) in [
            ("hostPID: 1", 4),
            ("securityContext: {runAsUser: abc}", 4),
            ("securityContext: {capabilities: {drop: ALL}}", 4),
            ("securityContext: []", 4),
            ("volumes: {}", 4),
        ] {
            let text = format!("kind: Pod\nspec:\n  containers: [{{image: a}}]\n  {said}\n");
            let found = objects(&text);
            assert_eq!(found[0].problems.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [line], "{said}");
        }
        let text = "kind: Pod\nspec: {hostPID: ~, containers: [{securityContext: {runAsUser: 0b0}}, {securityContext: {runAsUser: 0_0}}]}\n";
        let object = objects(text).remove(0);
        let users: Vec<_> = object.pods[0].1.iter().map(|made| made.run_as_user.as_ref().unwrap().value).collect();
        assert_eq!((users, object.problems), (vec![0, 0], vec![]));
    }

    #[test]
    fn a_patch_need_not_be_whole() {
        let read = |text: &str| read(&"f".into(), &yaml::parse(text).unwrap()[0], true).unwrap().remove(0);
        assert!(read("kind: Deployment\nspec: {replicas: 1}\n").not_judged.is_some());
        let made = read("kind: Deployment\nspec: {template: {spec: {hostPID: true}}}\n");
        assert!(made.pods[0].0.has_host(Namespace::Pid));
    }
}
