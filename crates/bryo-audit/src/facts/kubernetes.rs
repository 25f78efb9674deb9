// SPDX-License-Identifier: Apache-2.0
//! Kubernetes objects: pods in whatever makes them, and the few other objects that rules look at.

use std::sync::Arc;

use super::workload::{Mount, Namespace, Platform, Port, Volume, Workload};
use super::yaml::{Mistake, Node};
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
    /// The pod that it is or makes: what is shared, and the containers.
    pub pod: Option<(Arc<Workload>, Vec<Workload>)>,
}

/// Reads the objects of a document.
///
/// # Errors
///
/// What cannot be an object.
pub fn read(file: &Arc<str>, document: &Arc<Node>) -> Result<Vec<Object>, Mistake> {
    let mut objects = Vec::new();
    collect(file, document, "", 0, &mut objects)?;
    Ok(objects)
}

fn collect(
    file: &Arc<str>,
    node: &Arc<Node>,
    kind: &str,
    depth: usize,
    objects: &mut Vec<Object>,
) -> Result<(), Mistake> {
    let own = node.get("kind").and_then(Node::text).unwrap_or(kind);
    if own.ends_with("List") && depth < 4 {
        // Members of a list of one kind need not say which.
        let of = own.strip_suffix("List").unwrap_or_default();
        for item in node.get("items").map(Node::items).unwrap_or_default() {
            collect(file, item, of, depth + 1, objects)?;
        }
        return Ok(());
    }
    let kind = own.to_owned();
    if !node.is_map() || kind.is_empty() {
        return Err(wrong(node, "this is no Kubernetes object: it has no kind"));
    }
    let name = node.at(&["metadata", "name"]).or_else(|| node.at(&["metadata", "generateName"]));
    let name = name.and_then(Node::text).unwrap_or("?");
    let template = match kind.as_str() {
        "Pod" => Some(&**node),
        "PodTemplate" => node.get("template"),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            node.at(&["spec", "template"])
        }
        "CronJob" => node.at(&["spec", "jobTemplate", "spec", "template"]),
        // What others have added to the API makes pods in the same form.
        _ => node.at(&["spec", "template"]).filter(|template| template.at(&["spec", "containers"]).is_some()),
    };
    let name = format!("{kind}/{name}");
    let pod = template.map(|template| pod(file, &name, node, template)).transpose()?;
    objects.push(Object { name, kind, node: Arc::clone(node), pod });
    Ok(())
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
}

impl Reader<'_> {
    pub fn fact<T>(self, node: &Node, value: T) -> Fact<T> {
        Fact { value, place: place(self.file, node) }
    }

    pub fn truth(self, node: Option<&Node>) -> Option<Fact<bool>> {
        node.and_then(|node| Some(self.fact(node, node.truth()?)))
    }

    pub fn text(self, node: Option<&Node>) -> Option<Fact<String>> {
        node.and_then(|node| Some(self.fact(node, node.text()?.to_owned())))
    }

    pub fn number(self, node: Option<&Node>) -> Option<Fact<i64>> {
        node.and_then(|node| Some(self.fact(node, node.number()?)))
    }

    pub fn texts(self, node: Option<&Node>) -> Vec<Fact<String>> {
        let items = node.map(Node::items).unwrap_or_default();
        items.iter().filter_map(|item| self.text(Some(item))).collect()
    }
}

fn pod(file: &Arc<str>, name: &str, object: &Node, template: &Node) -> Result<(Arc<Workload>, Vec<Workload>), Mistake> {
    let reader = Reader { file };
    let Some(spec) = template.get("spec").filter(|spec| spec.is_map()) else {
        return Err(wrong(template, "the pod has no spec"));
    };
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
    annotations(reader, &mut pod, template);
    volumes(reader, &mut pod, spec);
    let pod = Arc::new(pod);
    let mut containers = Vec::new();
    for (key, init) in [("initContainers", true), ("containers", false), ("ephemeralContainers", false)] {
        let Some(list) = spec.get(key).filter(|list| !list.is_null()) else { continue };
        if !matches!(list.value, super::yaml::Value::List(_)) {
            return Err(wrong(list, &format!("{key} is no list")));
        }
        for node in list.items() {
            if !node.is_map() {
                return Err(wrong(node, &format!("one of {key} is no map")));
            }
            containers.push(container(reader, &pod, node, init));
        }
    }
    Ok((pod, containers))
}

/// Reads what pods and containers have in common.
fn context(reader: Reader<'_>, made: &mut Workload, context: Option<&Node>) {
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
fn annotations(reader: Reader<'_>, pod: &mut Workload, template: &Node) {
    for (key, value) in template.at(&["metadata", "annotations"]).map(Node::pairs).unwrap_or_default() {
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
    for volume in spec.get("volumes").map(Node::items).unwrap_or_default() {
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
    for port in node.get("ports").map(Node::items).unwrap_or_default() {
        let number = |name| port.get(name).and_then(Node::number).and_then(|n| u16::try_from(n).ok());
        made.ports.push(Port {
            inside: number("containerPort"),
            outside: port.get("hostPort").and_then(Node::number).map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
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
        yaml::parse(text).unwrap().iter().flat_map(|document| read(&file, document).unwrap()).collect()
    }

    #[test]
    fn pods_are_found_in_whatever_makes_them() {
        let pod = "spec: {containers: [{name: c, image: a}]}";
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"] {
            let found = objects(&format!("kind: {kind}\nmetadata: {{name: x}}\nspec:\n  template: {{{pod}}}\n"));
            assert_eq!(found[0].pod.as_ref().unwrap().1[0].name, format!("{kind}/x c"));
        }
        let cron = format!("kind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{{pod}}}}}}}}}\n");
        assert!(objects(&cron)[0].pod.is_some());
        assert_eq!(objects(&format!("kind: PodList\nitems:\n- {{{pod}}}\n"))[0].kind, "Pod");
        for kind in ["Rollout", "DeploymentConfig", "Revision"] {
            assert!(objects(&format!("kind: {kind}\nspec:\n  template: {{{pod}}}\n"))[0].pod.is_some(), "{kind}");
        }
        let list = format!("kind: List\nitems:\n- {{kind: Pod, {pod}}}\n- {{kind: Pod, {pod}}}\n");
        assert_eq!(objects(&list).len(), 2);
        assert!(objects("kind: Service\nspec: {}\n")[0].pod.is_none());
    }

    #[test]
    fn what_is_no_pod_is_a_mistake_with_a_place() {
        for (text, line) in [
            ("kind: Pod\nmetadata: {}\n", 1),
            ("kind: Pod\nspec:\n  containers: 5\n", 3),
            ("kind: Pod\nspec:\n  containers:\n  - x\n", 4),
            ("a: b\n", 1),
            ("- a\n", 1),
        ] {
            let documents = yaml::parse(text).unwrap();
            let found = read(&"f".into(), &documents[0]).unwrap_err();
            assert_eq!(found.line, line, "{text}");
        }
    }
}
