// SPDX-License-Identifier: Apache-2.0
//! Kubernetes objects that are no pods: roles and bindings, services, ingresses.

use std::sync::Arc;

use crate::facts::kubernetes::{Object, place};
use crate::facts::yaml::Node;
use crate::judge::secrets;
use crate::model::{Severity, Sink};
use crate::rules::{DEFAULT_NAMESPACE, EXPOSED, RBAC};

/// Judges an object.
pub fn judge(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    match object.kind.as_str() {
        "Role" | "ClusterRole" => role(file, object, sink),
        "RoleBinding" | "ClusterRoleBinding" => binding(file, object, sink),
        "Service" => {
            let addresses = object.node.at(&["spec", "externalIPs"]).filter(|list| !list.items().is_empty());
            if let Some(node) = addresses {
                sink.add(&EXPOSED, &place(file, node), "externalIPs");
            }
        }
        "Ingress" => snippets(file, object, sink),
        "ConfigMap" => data(file, object, sink),
        "Secret" => secret(file, object, sink),
        _ => {}
    }
    // What was applied last stands there whole.
    for key in ["annotations", "labels"] {
        for (name, node) in object.node.at(&["metadata", key]).map(Node::pairs).unwrap_or_default() {
            if let Some(why) = node.text().and_then(secrets::looks_secret) {
                secrets::add(sink, Severity::Critical, &place(file, node), &format!("{key} {name}"), why);
            }
        }
    }
    tiller(file, object, sink);
    if object.pods.is_empty() && !object.kind.starts_with("Cluster") {
        let namespace = object.node.at(&["metadata", "namespace"]);
        if let Some(node) = namespace.filter(|node| matches!(node.text(), Some("kube-system" | "default"))) {
            sink.add(&DEFAULT_NAMESPACE, &place(file, node), format!("namespace {}", node.text().unwrap_or_default()));
        }
    }
}

/// A ConfigMap is read by everybody who may read the namespace.
fn data(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    for (name, node) in object.node.get("data").map(Node::pairs).unwrap_or_default() {
        let text = node.text().unwrap_or_default();
        let in_lines = || {
            let pairs = text.lines().take(10_000).filter_map(|line| line.split_once(['=', ':']));
            let mut named =
                pairs.filter(|(name, _)| name.trim().bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)));
            named.find_map(|(name, value)| secrets::is_secret(name.trim(), value.trim()))
        };
        let why = if text.contains('\n') {
            secrets::looks_secret(text).or_else(in_lines)
        } else {
            secrets::is_secret(name, text)
        };
        if let Some(why) = why {
            secrets::add(sink, Severity::High, &place(file, node), &format!("ConfigMap {name}"), why);
        }
    }
}

/// The values of a Secret are plain to whoever reads the file.
fn secret(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    for key in ["data", "stringData"] {
        let Some(node) = object.node.get(key) else { continue };
        let named: Vec<&str> =
            node.pairs().iter().filter(|(_, v)| v.text().is_some_and(|t| !t.is_empty())).map(|(n, _)| *n).collect();
        if !named.is_empty() {
            let what = format!("{key} {}", named.join(", "));
            secrets::add(sink, Severity::Medium, &place(file, node), &what, "the values stand in the file");
        }
    }
}

/// What a role must not have: resources, verbs, how bad, and what it means.
type Power = (&'static [&'static str], &'static [&'static str], Severity, &'static str);
const POWERS: &[Power] = &[
    (&["secrets"], &["get", "list", "watch", "*"], Severity::High, "reads secrets"),
    (&["pods/log"], &["delete", "*"], Severity::Medium, "removes what pods have said"),
    (&["pods/exec", "pods/attach"], &["create", "get", "*"], Severity::High, "runs commands in pods"),
    (&["nodes/proxy"], &["get", "create", "*"], Severity::Critical, "commands kubelets"),
    (&["roles", "clusterroles"], &["bind", "escalate", "*"], Severity::Critical, "raises its own rights"),
    (
        &["rolebindings", "clusterrolebindings"],
        &["create", "update", "patch", "*"],
        Severity::Critical,
        "gives itself any role",
    ),
    (&["users", "groups", "serviceaccounts"], &["impersonate", "*"], Severity::Critical, "acts as somebody else"),
    (&["serviceaccounts/token"], &["create", "*"], Severity::High, "makes tokens"),
    (
        &["pods", "deployments", "daemonsets", "statefulsets", "jobs", "cronjobs", "replicasets"],
        &["create", "update", "patch", "*"],
        Severity::Medium,
        "makes pods",
    ),
    (
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        &["create", "update", "patch", "*"],
        Severity::High,
        "changes what others make",
    ),
    (
        &["configmaps"],
        &["create", "update", "patch", "delete", "*"],
        Severity::Medium,
        "changes the settings of others",
    ),
    (
        &["services", "endpoints", "endpointslices", "networkpolicies", "ingresses"],
        &["create", "update", "patch", "delete", "deletecollection", "impersonate", "*"],
        Severity::Medium,
        "changes who reaches whom",
    ),
    (&["certificatesigningrequests/approval"], &["update", "patch", "*"], Severity::High, "approves certificates"),
    (&["persistentvolumes"], &["create", "*"], Severity::Medium, "makes volumes on hosts"),
];

fn role(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    for rule in object.node.get("rules").map(Node::items).unwrap_or_default() {
        let texts = |key: &str| -> Vec<&str> {
            rule.get(key).map(Node::items).unwrap_or_default().iter().filter_map(|item| item.text()).collect()
        };
        let (resources, verbs) = (texts("resources"), texts("verbs"));
        let place = place(file, rule);
        if resources.contains(&"*") || verbs.contains(&"*") {
            let all = resources.contains(&"*") && verbs.contains(&"*");
            let severity = if all { Severity::Critical } else { Severity::High };
            sink.add_as(&RBAC, severity, &place, format!("verbs {} on {}", verbs.join(", "), resources.join(", ")));
            continue;
        }
        for (of, with, severity, what) in POWERS {
            if resources.iter().any(|r| of.contains(r)) && verbs.iter().any(|v| with.contains(v)) {
                sink.add_as(&RBAC, *severity, &place, *what);
            }
        }
        let login = texts("resourceNames").contains(&"aws-auth") && resources.contains(&"configmaps");
        if login && verbs.iter().any(|verb| ["create", "update", "patch", "delete"].contains(verb)) {
            sink.add_as(&RBAC, Severity::Critical, &place, "changes who may log in: aws-auth");
        }
    }
}

fn binding(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    let role = object.node.at(&["roleRef", "name"]);
    if let Some(node) = role.filter(|node| node.text() == Some("cluster-admin")) {
        sink.add_as(&RBAC, Severity::Critical, &place(file, node), "cluster-admin");
    }
    for subject in object.node.get("subjects").map(Node::items).unwrap_or_default() {
        let name = subject.get("name").and_then(Node::text).unwrap_or_default();
        if matches!(name, "system:anonymous" | "system:unauthenticated" | "system:authenticated" | "system:masters") {
            sink.add_as(&RBAC, Severity::Critical, &place(file, subject), format!("a role for {name}"));
        }
    }
}

fn snippets(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    for (key, node) in object.node.at(&["metadata", "annotations"]).map(Node::pairs).unwrap_or_default() {
        if key.starts_with("nginx.ingress.kubernetes.io/") && key.ends_with("-snippet") {
            sink.add(&EXPOSED, &place(file, node), key);
        }
    }
}

fn tiller(file: &Arc<str>, object: &Object, sink: &mut Sink) {
    let images = object.pods.iter().flat_map(|(_, containers)| containers).filter_map(|made| made.image.as_ref());
    for image in images.filter(|image| image.value.contains("kubernetes-helm/tiller")) {
        sink.add(&EXPOSED, &image.place, format!("image {}", image.value));
    }
    if object.name.ends_with("/tiller-deploy") {
        sink.add(&EXPOSED, &place(file, &object.node), &*object.name);
    }
}
