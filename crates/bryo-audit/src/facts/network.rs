// SPDX-License-Identifier: Apache-2.0
//! Which pods a NetworkPolicy selects. Source: the API of `networking.k8s.io/v1`.

use std::collections::HashMap;
use std::sync::Arc;

use super::kubernetes::Object;
use super::workload::Workload;
use super::yaml::Node;
use crate::model::Place;

/// A pod, or what makes it, as a policy sees it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The namespace, if one is said.
    pub namespace: Option<String>,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its place.
    pub place: Place,
}

/// A policy that refuses something to somebody.
#[derive(Clone, Debug)]
pub struct Policy {
    namespace: Option<String>,
    selector: Option<Arc<Node>>,
}

impl Target {
    /// Reads the labels of an object's pods.
    pub fn read(object: &Object) -> Vec<Self> {
        let template: &[&[&str]] = &[
            &["spec", "template", "metadata", "labels"],
            &["spec", "jobTemplate", "spec", "template", "metadata", "labels"],
            &["template", "metadata", "labels"],
        ];
        let own: &[&[&str]] = &[&["metadata", "labels"]];
        let paths = if object.kind == "Pod" { own } else { template };
        let labels = paths.iter().find_map(|path| object.node.at(path));
        let pairs = labels.map(Node::pairs).unwrap_or_default();
        let labels: HashMap<String, String> = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.text().unwrap_or_default().to_owned()))
            .collect();
        let one = |pod: &Workload| {
            let namespace = pod.namespace.as_ref().map(|fact| fact.value.clone());
            Self { namespace, labels: labels.clone(), place: pod.place() }
        };
        object.pods.iter().map(|(pod, _)| one(pod)).collect()
    }
}

impl Policy {
    /// Reads a policy; nothing for what is none, or refuses nobody who comes in.
    pub fn read(object: &Object) -> Option<Self> {
        let spec = object.node.get("spec").filter(|_| object.kind == "NetworkPolicy")?;
        let types = spec.get("policyTypes").map(Node::items).unwrap_or_default();
        let ingress = types.is_empty() || types.iter().any(|kind| kind.text() == Some("Ingress"));
        // A rule that says nothing lets everybody in.
        let open = |rule: &Arc<Node>| {
            let empty = |key: &str| rule.get(key).is_none_or(|list| list.items().is_empty());
            empty("from") && empty("ports")
        };
        let open = spec.get("ingress").map(Node::items).unwrap_or_default().iter().any(open);
        if !ingress || open {
            return None;
        }
        let namespace = object.node.at(&["metadata", "namespace"]).and_then(Node::text).map(str::to_owned);
        Some(Self { namespace, selector: spec.shared("podSelector").map(Arc::clone) })
    }

    /// Tells whether it selects a pod. A namespace that is not said may be any.
    pub fn selects(&self, target: &Target) -> bool {
        let same = match (&self.namespace, &target.namespace) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        let Some(selector) = &self.selector else { return same };
        let value = |name: &str| target.labels.get(name).map(String::as_str);
        let labels = selector.get("matchLabels").map(Node::pairs).unwrap_or_default();
        let all = labels.into_iter().all(|(name, wanted)| value(name) == wanted.text());
        let expressions = selector.get("matchExpressions").map(Node::items).unwrap_or_default();
        same && all
            && expressions.iter().all(|expression| {
                let has = value(expression.get("key").and_then(Node::text).unwrap_or_default());
                let values = expression.get("values").map(Node::items).unwrap_or_default();
                let among = has.is_some_and(|has| values.iter().any(|value| value.text() == Some(has)));
                match expression.get("operator").and_then(Node::text) {
                    Some("In") => among,
                    Some("NotIn") => !among,
                    Some("Exists") => has.is_some(),
                    Some("DoesNotExist") => has.is_none(),
                    _ => false,
                }
            })
    }
}

/// Many policies, found by a label that they want.
#[derive(Debug, Default)]
pub struct Policies<'a> {
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Policy>>,
    others: Vec<&'a Policy>,
}

/// How many policies are tried for one pod.
const TRIED_MAX: usize = 1000;

impl<'a> Policies<'a> {
    /// Sorts policies.
    pub fn new(all: impl IntoIterator<Item = &'a Policy>) -> Self {
        let mut made = Self::default();
        for policy in all {
            let labels = policy.selector.as_ref().and_then(|selector| selector.get("matchLabels")).map(Node::pairs);
            let first =
                labels.and_then(|labels| labels.first().map(|(name, value)| (*name, value.text().unwrap_or(""))));
            match first {
                Some(label) => made.by_label.entry(label).or_default().push(policy),
                None => made.others.push(policy),
            }
        }
        made
    }

    /// Tells whether one of them selects a pod.
    pub fn select(&self, target: &Target) -> bool {
        let labels =
            target.labels.iter().filter_map(|(name, value)| self.by_label.get(&(name.as_str(), value.as_str())));
        self.others.iter().chain(labels.flatten()).take(TRIED_MAX).any(|policy| policy.selects(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{kubernetes, yaml};

    fn object(text: &str) -> Object {
        kubernetes::read(&"f".into(), &yaml::parse(text).unwrap()[0], false).unwrap().remove(0)
    }

    fn selects(policy: &str) -> bool {
        let target = "kind: Pod\nmetadata: {namespace: n, labels: {app: web, tier: a}}\nspec: {containers: []}\n";
        let target = Target::read(&object(target)).remove(0);
        let policy = Policy::read(&object(&format!("kind: NetworkPolicy\n{policy}\n")));
        policy.is_some_and(|policy| Policies::new([&policy]).select(&target))
    }

    #[test]
    fn a_policy_selects_by_namespace_and_labels() {
        for policy in [
            "spec: {podSelector: {}}",
            "metadata: {namespace: n}\nspec: {podSelector: {matchLabels: {app: web}}}",
            "spec: {podSelector: {matchExpressions: [{key: tier, operator: In, values: [a, b]}]}}",
            "spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
            "spec: {podSelector: {}, policyTypes: [Ingress, Egress]}",
        ] {
            assert!(selects(policy), "{policy}");
        }
        for policy in [
            "metadata: {namespace: m}\nspec: {podSelector: {}}",
            "spec: {podSelector: {matchLabels: {app: db}}}",
            "spec: {podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [a]}]}}",
            "spec: {podSelector: {matchExpressions: [{key: x, operator: Exists}]}}",
            "spec: {podSelector: {}, policyTypes: [Egress]}",
            "spec: {podSelector: {}, ingress: [{}]}",
        ] {
            assert!(!selects(policy), "{policy}");
        }
    }
}
