// SPDX-License-Identifier: Apache-2.0
//! Kinds of Kubernetes objects: which make pods and where these are, which make none, and pods in objects of kinds that
//! are not known.

use std::sync::Arc;

use super::yaml::{Node, Value};

/// Kinds of Kubernetes' own API that are or make pods, and the way to the template.
const WORKLOADS: [(&str, &[&str]); 9] = [
    ("Pod", &[]),
    ("PodTemplate", &["template"]),
    ("Deployment", &["spec", "template"]),
    ("StatefulSet", &["spec", "template"]),
    ("DaemonSet", &["spec", "template"]),
    ("ReplicaSet", &["spec", "template"]),
    ("ReplicationController", &["spec", "template"]),
    ("Job", &["spec", "template"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// Kinds of Kubernetes' own API, and of Kustomize, that make no pods. Source: the reference of the API, version 1.37.
const OTHERS: &[&str] = &[
    "APIService",
    "Binding",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "Component",
    "ComponentStatus",
    "ConfigMap",
    "ControllerRevision",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "CustomResourceDefinition",
    "DeviceClass",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "FlowSchema",
    "Gateway",
    "GatewayClass",
    "GRPCRoute",
    "HorizontalPodAutoscaler",
    "HTTPRoute",
    "Ingress",
    "IngressClass",
    "IPAddress",
    "Kustomization",
    "Lease",
    "LimitRange",
    "LocalSubjectAccessReview",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "NetworkPolicy",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PodSecurityPolicy",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ReferenceGrant",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourceQuota",
    "ResourceSlice",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "Secret",
    "SelfSubjectAccessReview",
    "Service",
    "ServiceAccount",
    "ServiceCIDR",
    "StorageClass",
    "StorageVersion",
    "SubjectAccessReview",
    "TCPRoute",
    "TLSRoute",
    "TokenReview",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
    "VolumeSnapshot",
    "VolumeSnapshotClass",
    "VolumeSnapshotContent",
];

/// Kinds that others have added, that make no containers: by the group, and all of a group where no kind is named.
const ADDED: [(&str, &[&str]); 14] = [
    ("bitnami.com", &["SealedSecret"]),
    ("cert-manager.io", &[]),
    ("cilium.io", &["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"]),
    ("config.istio.io", &[]),
    ("external-secrets.io", &[]),
    ("kyverno.io", &["ClusterPolicy", "Policy"]),
    ("monitoring.coreos.com", &["PodMonitor", "Probe", "PrometheusRule", "ScrapeConfig", "ServiceMonitor"]),
    ("networking.istio.io", &[]),
    ("projectcalico.org", &[]),
    ("route.openshift.io", &[]),
    ("security.istio.io", &[]),
    ("traefik.containo.us", &[]),
    ("traefik.io", &[]),
    ("argoproj.io", &["AppProject"]),
];

/// What a kind says of pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Makes {
    /// A pod, whose template is that way.
    Pod(&'static [&'static str]),
    /// None.
    Nothing,
    /// It is not known.
    Unknown,
    /// A kind of Kubernetes' own API, but for capitals: this is how it is written.
    Misspelt(&'static str),
}

/// Tells what a kind makes. Objects in a list have no version of their own.
pub fn makes(version: Option<&str>, kind: &str) -> Makes {
    let group = version.map_or("", |version| version.split_once('/').map_or("", |(group, _)| group));
    if group.contains('.') && !group.ends_with(".k8s.io") {
        let known = ADDED.iter().find(|(of, _)| *of == group);
        let none = known.is_some_and(|(_, kinds)| kinds.is_empty() || kinds.contains(&kind));
        return if none { Makes::Nothing } else { Makes::Unknown };
    }
    if let Some((_, path)) = WORKLOADS.iter().find(|(known, _)| *known == kind) {
        return Makes::Pod(path);
    }
    if OTHERS.contains(&kind) {
        return Makes::Nothing;
    }
    let mut known = WORKLOADS.iter().map(|(known, _)| *known).chain(OTHERS.iter().copied());
    known.find(|known| known.eq_ignore_ascii_case(kind)).map_or(Makes::Unknown, Makes::Misspelt)
}

/// A pod in an object of any kind: its spec, and the metadata beside it.
#[derive(Debug)]
pub struct Found<'a> {
    /// What has the containers.
    pub spec: &'a Node,
    /// The template's metadata.
    pub metadata: Option<&'a Node>,
    /// Whether it stands where its kind has it.
    pub known: bool,
}

/// Where containers stand; workflows have one each.
const CONTAINERS: [&str; 3] = ["containers", "container", "script"];

/// Lists the pods in an object, whatever has containers with images, and tells whether there are more than are judged.
pub fn pods(object: &Node) -> (Vec<Found<'_>>, bool) {
    let mut found = Vec::new();
    search(object, None, &mut found);
    let more = found.len() > PODS_MAX;
    found.truncate(PODS_MAX);
    (found, more)
}

/// How many pods of one object are judged.
pub const PODS_MAX: usize = 1000;

/// What of a pod is read with it.
const OF_PODS: [&str; 3] = ["initContainers", "ephemeralContainers", SIDECARS];

/// Where workflows have containers beside the one.
pub const SIDECARS: &str = "sidecars";

/// Depth is bounded by what can be read at all.
fn search<'a>(node: &'a Node, metadata: Option<&'a Node>, found: &mut Vec<Found<'a>>) {
    if found.len() > PODS_MAX {
        return;
    }
    let has_image = |one: &Node| one.get("image").is_some_and(|image| image.text().is_some());
    let has = |node: Option<&Node>| match node {
        Some(Node { value: Value::List(list), .. }) => list.iter().any(|one: &Arc<Node>| has_image(one)),
        Some(one) => has_image(one),
        None => false,
    };
    let is_pod = CONTAINERS.iter().any(|key| has(node.get(key)));
    if is_pod {
        found.push(Found { spec: node, metadata, known: false });
    }
    for item in node.items() {
        search(item, None, found);
    }
    for (key, value) in node.pairs() {
        // Beside the containers of a pod there may be other pods.
        if is_pod && (CONTAINERS.contains(&key) || OF_PODS.contains(&key)) {
            continue;
        }
        let beside = if key == "spec" { node.get("metadata") } else { None };
        search(value, beside, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::yaml;

    #[test]
    fn kinds_are_told_apart_by_their_groups() {
        assert_eq!(makes(Some("v1"), "Pod"), Makes::Pod(&[]));
        assert_eq!(makes(None, "Pod"), Makes::Pod(&[]));
        assert_eq!(makes(Some("v1"), "Service"), Makes::Nothing);
        assert_eq!(makes(Some("serving.knative.dev/v1"), "Service"), Makes::Unknown);
        assert_eq!(makes(Some("batch.volcano.sh/v1alpha1"), "Job"), Makes::Unknown);
        assert_eq!(makes(Some("networking.k8s.io/v1"), "NetworkPolicy"), Makes::Nothing);
        assert_eq!(makes(Some("cert-manager.io/v1"), "Issuer"), Makes::Nothing);
        assert_eq!(makes(Some("v1"), "pod"), Makes::Misspelt("Pod"));
        assert_eq!(makes(Some("apps/v1"), "Statefulset"), Makes::Misspelt("StatefulSet"));
        assert_eq!(makes(Some("v1"), "Widget"), Makes::Unknown);
    }

    #[test]
    fn pods_are_found_wherever_they_are() {
        for (text, count) in [
            ("spec: {template: {metadata: {a: b}, spec: {containers: [{image: a}]}}}", 1),
            ("spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: a}]}}}}}", 1),
            ("spec: {containers: [{image: a}]}", 1),
            ("spec: {tasks: [{template: {spec: {containers: [{image: a}]}}}, {spec: {containers: [{image: b}]}}]}", 2),
            ("spec: {templates: [{name: x, container: {image: a}}, {name: y, script: {image: b}}]}", 2),
            ("spec: {templates: [{container: {image: a}, sidecars: [{image: b}]}]}", 1),
            ("spec: {container: {image: a}, next: {containers: [{image: b}]}}", 2),
            // A patch for pods that others make, and the description of a form.
            ("spec: {containers: [{name: a}]}", 0),
            ("spec: {properties: {containers: {type: array}}}", 0),
        ] {
            assert_eq!(pods(&yaml::parse(text).unwrap()[0]).0.len(), count, "{text}");
        }
        let many = |count: usize| format!("spec: [{}]", "{containers: [{image: a}]}, ".repeat(count));
        for (count, more) in [(PODS_MAX, false), (PODS_MAX + 1, true)] {
            let node = &yaml::parse(&many(count)).unwrap()[0];
            assert_eq!((pods(node).0.len(), pods(node).1), (PODS_MAX, more));
        }
    }
}
